//! The local index of segments and bases: a cache, rebuilt from a store whenever in doubt.
//!
//! ```text
//!   Catalog: note, replace, entries ──▶ Index ──┬── MemoryIndex   the model, and the fallback without a disk
//!                                               └── SledIndex     sled, behind walls: an error, never a panic
//! ```
//!
//! * L7: nothing is in it that the store cannot give; whoever reads it, the daemon or a verb, has the log confirm what it
//!   says, and asks the store for what is behind its newest entry.
//! * L6: its values hold what a segment's clear header holds and nothing else.
//! * L9: an index that fails stays failed until it is opened anew, and capture goes on without it.

pub mod entries;
pub mod index;
pub mod key;
pub mod opening;
pub mod sled_index;

pub use entries::{Catalog, Noted};
pub use index::{Entry, Index, IndexError, MemoryIndex};
pub use key::CatalogKey;
pub use opening::{Opened, Why};
pub use sled_index::SledIndex;
