//! PostgreSQL's logical replication messages (plugin `pgoutput`, protocol 1): a glance for capture, the whole for readers.
//!
//! ```text
//!   B begin      final_lsn u64 | commit_time i64 | xid u32
//!   C commit     flags u8 = 0 | commit_lsn u64 | end_lsn u64 | commit_time i64
//!   O origin     commit_lsn u64 | name text0
//!   R relation   relid u32 | namespace text0 | name text0 | identity u8 | n u16 | n × (flags u8 | name text0 | type u32 | typmod i32)
//!   Y type       oid u32 | namespace text0 | name text0
//!   I insert     relid u32 | 'N' tuple
//!   U update     relid u32 | [ 'K' tuple | 'O' tuple ] | 'N' tuple
//!   D delete     relid u32 | 'K' tuple | 'O' tuple
//!   T truncate   n u32 | flags u8 | n × relid u32
//!   M message    flags u8 | lsn u64 | prefix text0 | n u32 | n bytes
//!   tuple        n u16 | n × ( 'n' null | 'u' unchanged | 't' n u32 bytes as text | 'b' n u32 bytes as binary )
//! ```
//!
//! Integers are big-endian, `text0` ends in a zero byte, times count microseconds from 2000-01-01 UTC on the wire and
//! from 1970-01-01 in [`Timestamp`]. Source: PostgreSQL manual, *Logical Replication Message Formats*.
//!
//! [`peek`] looks at the beginning only, so that it works on the first piece of a message of any size. [`Message::decode`]
//! checks the whole message once and borrows from it; `Bytes::slice_ref` makes an owner of any part without a copy.

mod encode;
mod message;
mod peek;
mod relation;
mod tuple;

pub use encode::RelidsBuf;
pub use encode::TupleBuf;
pub use message::Content;
pub use message::Message;
pub use message::OldRow;
pub use message::Relids;
pub use peek::Op;
pub use peek::Peek;
pub use peek::peek;
pub use relation::Relation;
pub use relation::RelationColumn;
pub use relation::ReplicaIdentity;
pub use tuple::Column;
pub use tuple::Columns;
pub use tuple::Tuple;

use crate::codec::wire::Reader;
use crate::codec::wire::WireError;
use crate::model::Lsn;
use crate::model::Timestamp;

/// The start of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Where its commit record begins; equals [`Commit::commit_lsn`].
    pub final_lsn: Lsn,
    /// When it committed.
    pub commit_time: Timestamp,
    /// Its transaction id, 32 bits.
    pub xid: u32,
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Where its commit record begins.
    pub commit_lsn: Lsn,
    /// Where its commit record ends: what may be acknowledged once it is durable.
    pub end_lsn: Lsn,
    /// When it committed.
    pub commit_time: Timestamp,
}

/// What follows the tag `B`.
fn begin(reader: &mut Reader) -> Result<Begin, WireError> {
    Ok(Begin { final_lsn: lsn(reader)?, commit_time: time(reader)?, xid: reader.u32_be()? })
}

/// What follows the tag `C`.
fn commit(reader: &mut Reader) -> Result<Commit, WireError> {
    if reader.u8()? != 0 {
        return Err(WireError::Foreign { what: "the flags of a commit in protocol 1" });
    }
    Ok(Commit { commit_lsn: lsn(reader)?, end_lsn: lsn(reader)?, commit_time: time(reader)? })
}

fn lsn(reader: &mut Reader) -> Result<Lsn, WireError> {
    reader.u64_be().map(Lsn::new)
}

fn time(reader: &mut Reader) -> Result<Timestamp, WireError> {
    reader.i64_be().map(Timestamp::from_postgres_micros)
}

/// An error for a tag that protocol 1 does not have.
const UNKNOWN: WireError = WireError::Foreign { what: "a message of pgoutput's protocol 1" };

#[cfg(test)]
mod tests;
