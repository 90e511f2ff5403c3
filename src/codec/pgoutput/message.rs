//! A whole message, borrowed from the bytes that carried it.

use crate::codec::pgoutput;
use crate::codec::pgoutput::Begin;
use crate::codec::pgoutput::Commit;
use crate::codec::pgoutput::Relation;
use crate::codec::pgoutput::Tuple;
use crate::codec::wire::Reader;
use crate::codec::wire::WireError;
use crate::model::Lsn;

/// What a row was before it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldRow<'a> {
    /// The columns of its identity; the others are null.
    Key(Tuple<'a>),
    /// All of it.
    Full(Tuple<'a>),
}

/// One message of protocol 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A transaction starts.
    Begin(Begin),
    /// A transaction ends.
    Commit(Commit),
    /// The transaction came from another server.
    Origin {
        /// Where it committed there.
        commit_lsn: Lsn,
        /// The origin's name here.
        name: &'a str,
    },
    /// A table's columns.
    Relation(Relation),
    /// A type that is not built in.
    Type {
        /// The type's OID.
        oid: u32,
        /// Its schema; empty for `pg_catalog`.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// A row appeared.
    Insert {
        /// In which table.
        relid: u32,
        /// The row.
        new: Tuple<'a>,
    },
    /// A row changed.
    Update {
        /// In which table.
        relid: u32,
        /// What it was; `None` if its identity did not change.
        old: Option<OldRow<'a>>,
        /// What it is.
        new: Tuple<'a>,
    },
    /// A row went.
    Delete {
        /// From which table.
        relid: u32,
        /// What it was.
        old: OldRow<'a>,
    },
    /// Tables were emptied.
    Truncate {
        /// Which.
        relids: Relids<'a>,
        /// And those that refer to them.
        cascade: bool,
        /// And their sequences begin anew.
        restart_identity: bool,
    },
    /// Somebody wrote a message into the log.
    Message {
        /// Whether it belongs to the transaction.
        transactional: bool,
        /// Where it stands in the log.
        lsn: Lsn,
        /// What its writer calls it.
        prefix: &'a [u8],
        /// What it says.
        content: Content<'a>,
    },
}

impl<'a> Message<'a> {
    /// Reads and checks a whole message.
    ///
    /// Errors: `Short` if bytes are missing, `TooLong` if some are left over, `Foreign` for a tag, a flag or a text
    /// that protocol 1 does not have.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let message = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(message)
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(match reader.u8()? {
            b'I' => Self::Insert { relid: reader.u32_be()?, new: new_row(reader)? },
            b'U' => Self::read_update(reader)?,
            b'D' => {
                let relid = reader.u32_be()?;
                let missing = WireError::Foreign { what: "the old version of a deleted row" };
                Self::Delete { relid, old: old_row(reader)?.ok_or(missing)? }
            }
            b'B' => Self::Begin(pgoutput::begin(reader)?),
            b'C' => Self::Commit(pgoutput::commit(reader)?),
            b'R' => Self::Relation(Relation::read(reader)?),
            b'Y' => Self::Type { oid: reader.u32_be()?, namespace: reader.cstr_utf8()?, name: reader.cstr_utf8()? },
            b'O' => Self::Origin { commit_lsn: pgoutput::lsn(reader)?, name: reader.cstr_utf8()? },
            b'T' => {
                let (relids, flags) = Relids::read(reader)?;
                let [cascade, restart_identity] = two_flags(flags)?;
                Self::Truncate { relids, cascade, restart_identity }
            }
            b'M' => Self::read_message(reader)?,
            _ => return Err(pgoutput::UNKNOWN),
        })
    }

    fn read_update(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self::Update { relid: reader.u32_be()?, old: old_row(reader)?, new: new_row(reader)? })
    }

    fn read_message(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let transactional = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(WireError::Foreign { what: "the flags of a message" }),
        };
        let (lsn, prefix) = (pgoutput::lsn(reader)?, reader.cstr()?);
        let content = count(reader.u32_be()?)?;
        Ok(Self::Message { transactional, lsn, prefix, content: Content(reader.take(content)?) })
    }
}

fn new_row<'a>(reader: &mut Reader<'a>) -> Result<Tuple<'a>, WireError> {
    match reader.u8()? {
        b'N' => Tuple::read(reader),
        _ => Err(WireError::Foreign { what: "the new version of a row" }),
    }
}

/// The old version of a row, if one stands there; else nothing is read.
fn old_row<'a>(reader: &mut Reader<'a>) -> Result<Option<OldRow<'a>>, WireError> {
    let mut ahead = *reader;
    let old = match ahead.u8()? {
        b'K' => OldRow::Key(Tuple::read(&mut ahead)?),
        b'O' => OldRow::Full(Tuple::read(&mut ahead)?),
        _ => return Ok(None),
    };
    *reader = ahead;
    Ok(Some(old))
}

fn two_flags(flags: u8) -> Result<[bool; 2], WireError> {
    match flags {
        0..4 => Ok([flags & 1 != 0, flags & 2 != 0]),
        4.. => Err(WireError::Foreign { what: "the flags of a truncate" }),
    }
}

fn count(number: u32) -> Result<usize, WireError> {
    usize::try_from(number).map_err(|_| WireError::Foreign { what: "a number that this machine can count to" })
}

/// What a message says. Programs put rows into messages (the outbox pattern), so it is not printed (L6).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Content<'a>(pub &'a [u8]);

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} bytes)", self.0.len())
    }
}

/// The tables of a truncate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relids<'a> {
    bytes: &'a [u8],
}

impl<'a> Relids<'a> {
    /// Reads what follows the tag `T`; with the flags, which stand before the tables.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<(Self, u8), WireError> {
        let (number, flags) = (count(reader.u32_be()?)?, reader.u8()?);
        let too_many = WireError::Short { want: usize::MAX, have: reader.len() };
        let bytes = reader.take(number.checked_mul(4).ok_or(too_many)?)?;
        Ok((Self { bytes }, flags))
    }

    /// Tables of bytes that were written for [`Relids::read`].
    pub(crate) const fn trusted(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The OIDs on the wire, without their number.
    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many tables.
    pub const fn count(&self) -> usize {
        self.bytes.len() / 4
    }

    /// The tables' OIDs.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.bytes.as_chunks().0.iter().map(|oid| u32::from_be_bytes(*oid))
    }
}
