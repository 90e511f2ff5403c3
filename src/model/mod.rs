//! The words that every other part speaks: positions, times, names, records and limits, as plain values without I/O.

pub mod id;
pub mod limits;
pub mod position;
pub mod record;
pub mod time;

pub use id::{BaseId, Epoch, HoldName, KeyId, LogId, NameError, ObjectKey, Recipient, Slot, SourceName, Wrap, Xid};
pub use position::{LagBytes, Lsn, Position};
pub use record::{Commit, Kind, Piece, Record, Role};
pub use time::{Tick, Timestamp};
