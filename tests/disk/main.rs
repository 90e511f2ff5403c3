//! What disks do to people, rows D1 to D3 of the fault matrix: full ones, ones that fail once, and power cuts at every moment.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a child is told by its environment what to do")]

mod catalog;
mod errors;
mod life;
mod replay;
mod shim;
mod space;
mod torn;
