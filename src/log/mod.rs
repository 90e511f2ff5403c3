//! The life of a segment, and what "durable" means.
//!
//! ```text
//!  records ─▶ batch ─▶ cut ─▶ seal ─▶ put ─▶ durable, in order, without a hole
//!
//!  slots:   1 fence  2 data  3 data  4 (hole)  5 data, in flight when its writer died
//!                                    4 fence of the next epoch; 5 is void: its epoch is lower than an earlier slot's
//! ```
//! * L1: a segment counts as durable only when every slot up to it is; only then may its position be acknowledged.
//! * L4: what is read is proved: the header by the seal of every frame, the order by the hash of the previous object.
//! * L5: slots are created, never overwritten. A new writer takes the next epoch by a fence in the first hole; whoever
//!   meets a higher epoch stops. After a write whose fate cannot be told the writer latches: it must be opened anew.
//! * L10: what expires is a prefix of the log that no promised instant needs, and a boundary tells it from what is lost.

pub mod assemble;
pub mod batch;
pub mod boundary;
pub mod checkpoint;
pub mod context;
pub mod entry;
pub mod env;
pub mod error;
pub mod expiry;
pub mod fence;
#[cfg(test)]
pub(crate) mod fixture;
pub mod history;
pub mod hold;
pub mod items;
pub mod latch;
pub mod notice;
pub mod object;
pub mod reader;
pub mod retention;
pub mod rewrap;
pub mod session;
pub mod tail;
pub mod scrub;
pub mod wrapped;
pub mod writer;

pub use assemble::{Assembler, Item};
pub use batch::CutRule;
pub use context::Context;
pub use entry::Entry;
pub use env::LogEnv;
pub use error::{LogError, ObjectError, ObjectErrorKind};
pub use fence::Reign;
pub use history::{History, Hole};
pub use hold::Hold;
pub use items::Items;
pub use reader::{Reader, Segment};
pub use scrub::{Depth, Finding, Outcome, ScrubReport, Verdict, scrub};
pub use writer::{Durable, Writer};
