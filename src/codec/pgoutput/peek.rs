//! What capture needs to know of a message, read from its beginning alone.

use crate::codec::pgoutput;
use crate::codec::pgoutput::Begin;
use crate::codec::pgoutput::Commit;
use crate::codec::pgoutput::Relids;
use crate::codec::wire::Reader;
use crate::codec::wire::WireError;
use crate::model::Lsn;
use crate::model::limits::PIECE_BYTES_MAX;

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// It appeared.
    Insert,
    /// It changed.
    Update,
    /// It went.
    Delete,
}

/// A message at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek<'a> {
    /// A transaction starts.
    Begin(Begin),
    /// A transaction ends.
    Commit(Commit),
    /// The transaction came from another server.
    Origin,
    /// A table's columns, sent before its first change and after they changed.
    Relation {
        /// The table.
        relid: u32,
    },
    /// A type that is not built in, sent before the first relation that uses it.
    Type {
        /// The type.
        oid: u32,
    },
    /// A row changed.
    Change {
        /// How.
        op: Op,
        /// In which table.
        relid: u32,
    },
    /// Tables were emptied.
    Truncate {
        /// Which. `None` if they are more than this piece of the message holds: take it that all were.
        relids: Option<Relids<'a>>,
    },
    /// Somebody wrote a message into the log, perhaps Holdfast.
    Message {
        /// Whether it belongs to the open transaction.
        transactional: bool,
        /// Where it stands in the log.
        lsn: Lsn,
        /// What its writer calls it. Bytes, for in a database without an encoding they need not be UTF-8, and
        /// anybody may write anything; a prefix that is longer than the piece is what the piece holds of it.
        prefix: &'a [u8],
    },
}

/// Looks at a message, or at the first piece of at most [`PIECE_BYTES_MAX`] bytes of one.
///
/// Errors: `Foreign` for a tag that protocol 1 does not have, `Short` if a message that was not cut into pieces lacks
/// bytes that are looked at. What comes after those is not looked at.
pub fn peek(piece: &[u8]) -> Result<Peek<'_>, WireError> {
    let was_cut = piece.len() >= PIECE_BYTES_MAX;
    let mut reader = Reader::new(piece);
    let change = |op, mut reader: Reader| reader.u32_be().map(|relid| Peek::Change { op, relid });
    match reader.u8()? {
        b'I' => change(Op::Insert, reader),
        b'U' => change(Op::Update, reader),
        b'D' => change(Op::Delete, reader),
        b'B' => pgoutput::begin(&mut reader).map(Peek::Begin),
        b'C' => pgoutput::commit(&mut reader).map(Peek::Commit),
        b'R' => Ok(Peek::Relation { relid: reader.u32_be()? }),
        b'Y' => Ok(Peek::Type { oid: reader.u32_be()? }),
        b'O' => Ok(Peek::Origin),
        b'T' => match Relids::read(&mut reader) {
            Ok((relids, _flags)) => Ok(Peek::Truncate { relids: Some(relids) }),
            Err(WireError::Short { .. }) if was_cut => Ok(Peek::Truncate { relids: None }),
            Err(error) => Err(error),
        },
        b'M' => {
            let (flags, lsn) = (reader.u8()?, pgoutput::lsn(&mut reader)?);
            let prefix = match reader.cstr() {
                Err(_) if was_cut => reader.rest(),
                prefix => prefix?,
            };
            Ok(Peek::Message { transactional: flags & 1 != 0, lsn, prefix })
        }
        _ => Err(pgoutput::UNKNOWN),
    }
}
