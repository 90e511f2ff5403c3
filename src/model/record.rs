//! One captured thing: a small typed header and then the source's own bytes, which the write side never decodes.

use bytes::Bytes;

use crate::model::id::Xid;
use crate::model::position::Position;
use crate::model::time::Timestamp;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of the source as it sent them (for PostgreSQL one pgoutput message).
    Wire,
    /// Bytes of the source that were sent earlier, repeated so that this segment can be read alone.
    Context,
    /// A replication session began: whatever transaction was open is void and comes again whole.
    Session,
    /// History up to a position is exact; from there to the next base it is not (L3).
    Gap,
    /// The source had nothing more up to this position.
    Heartbeat,
}

/// Where a record stands in its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It opens a transaction.
    Opens(Xid),
    /// It belongs to the open transaction.
    Inside,
    /// It completes the open transaction.
    Commits(Commit),
    /// It belongs to none.
    Outside,
}

/// The end of a transaction: from here on its records are visible together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The position that may be acknowledged once this record is durable.
    pub position: Position,
    /// When the source says it committed.
    pub time: Timestamp,
}

/// Whether a record holds a whole message or a piece of one that is larger than a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// All of it.
    Whole,
    /// The beginning.
    First,
    /// Neither beginning nor end.
    Middle,
    /// The end.
    Last,
}

/// One captured thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub kind: Kind,
    /// Where it stands in its transaction.
    pub role: Role,
    /// All of a message, or which piece.
    pub piece: Piece,
    /// The bytes: the source's own for [`Kind::Wire`] and [`Kind::Context`], ours for the other kinds.
    pub wire: Bytes,
}

impl Record {
    /// A whole wire record.
    pub const fn wire(role: Role, wire: Bytes) -> Self {
        Self { kind: Kind::Wire, role, piece: Piece::Whole, wire }
    }

    /// A record of one of our own kinds, outside every transaction.
    pub const fn own(kind: Kind, wire: Bytes) -> Self {
        Self { kind, role: Role::Outside, piece: Piece::Whole, wire }
    }
}
