//! Writes messages: for scripted sources and tests, which must speak as PostgreSQL does.

use bytes::BufMut;

use crate::codec::pgoutput::Column;
use crate::codec::pgoutput::Message;
use crate::codec::pgoutput::OldRow;
use crate::codec::pgoutput::Relation;
use crate::codec::pgoutput::Relids;
use crate::codec::pgoutput::Tuple;
use crate::codec::wire::WireError;

/// A row in the form of the wire.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TupleBuf {
    count: u16,
    body: Vec<u8>,
}

impl TupleBuf {
    /// A row of these values. An error if there are too many, or one is too long, for the wire.
    pub fn new<'a>(columns: impl IntoIterator<Item = Column<'a>>) -> Result<Self, WireError> {
        let mut row = Self::default();
        for column in columns {
            let too_many = WireError::Foreign { what: "a row of at most 65535 values" };
            row.count = row.count.checked_add(1).ok_or(too_many)?;
            match column {
                Column::Null => row.body.put_u8(b'n'),
                Column::Unchanged => row.body.put_u8(b'u'),
                Column::Text(value) => put_value(&mut row.body, b't', value)?,
                Column::Binary(value) => put_value(&mut row.body, b'b', value)?,
            }
        }
        Ok(row)
    }

    /// The row, as a message carries it.
    pub fn as_tuple(&self) -> Tuple<'_> {
        Tuple::trusted(self.count, &self.body)
    }
}

impl std::fmt::Debug for TupleBuf {
    /// Without the values, which belong in no log line (L6).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_tuple().fmt(f)
    }
}

/// Tables in the form of the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelidsBuf(Vec<u8>);

impl FromIterator<u32> for RelidsBuf {
    fn from_iter<I: IntoIterator<Item = u32>>(relids: I) -> Self {
        Self(relids.into_iter().flat_map(u32::to_be_bytes).collect())
    }
}

impl RelidsBuf {
    /// The tables, as a message carries them.
    pub fn as_relids(&self) -> Relids<'_> {
        Relids::trusted(&self.0)
    }
}

fn put_value(out: &mut Vec<u8>, kind: u8, value: &[u8]) -> Result<(), WireError> {
    let bytes = i32::try_from(value.len()).map_err(|_| WireError::Foreign { what: "a value of less than 2 GiB" })?;
    out.put_u8(kind);
    out.put_i32(bytes);
    out.put_slice(value);
    Ok(())
}

impl Message<'_> {
    /// Writes the message as PostgreSQL does. Texts are written up to their first zero byte, if they have one, and
    /// what the wire has no room for (65536 columns, 4 GiB) is left out: PostgreSQL has neither.
    pub fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Begin(begin) => {
                out.put_u8(b'B');
                out.put_u64(begin.final_lsn.get());
                out.put_i64(begin.commit_time.postgres_micros());
                out.put_u32(begin.xid);
            }
            Self::Commit(commit) => {
                out.put_slice(b"C\0");
                out.put_u64(commit.commit_lsn.get());
                out.put_u64(commit.end_lsn.get());
                out.put_i64(commit.commit_time.postgres_micros());
            }
            Self::Origin { commit_lsn, name } => {
                out.put_u8(b'O');
                out.put_u64(commit_lsn.get());
                put_text(out, name.as_bytes());
            }
            Self::Relation(relation) => put_relation(out, relation),
            Self::Type { oid, namespace, name } => {
                put_tag(out, b'Y', *oid);
                put_text(out, namespace.as_bytes());
                put_text(out, name.as_bytes());
            }
            Self::Insert { relid, new } => {
                put_tag(out, b'I', *relid);
                put_tuple(out, b'N', new);
            }
            Self::Update { relid, old, new } => {
                put_tag(out, b'U', *relid);
                if let Some(old) = old {
                    put_old(out, old);
                }
                put_tuple(out, b'N', new);
            }
            Self::Delete { relid, old } => {
                put_tag(out, b'D', *relid);
                put_old(out, old);
            }
            Self::Truncate { relids, cascade, restart_identity } => {
                put_tag(out, b'T', u32::try_from(relids.count()).unwrap_or(u32::MAX));
                out.put_u8(u8::from(*cascade) | (u8::from(*restart_identity) << 1));
                out.put_slice(relids.bytes());
            }
            Self::Message { transactional, lsn, prefix, content } => {
                out.put_slice(&[b'M', u8::from(*transactional)]);
                out.put_u64(lsn.get());
                put_text(out, prefix);
                out.put_u32(u32::try_from(content.0.len()).unwrap_or(u32::MAX));
                out.put_slice(content.0);
            }
        }
    }
}

fn put_tag(out: &mut impl BufMut, tag: u8, number: u32) {
    out.put_u8(tag);
    out.put_u32(number);
}

fn put_text(out: &mut impl BufMut, text: &[u8]) {
    out.put_slice(text.split(|&byte| byte == 0).next().unwrap_or(text));
    out.put_u8(0);
}

fn put_old(out: &mut impl BufMut, old: &OldRow) {
    match old {
        OldRow::Key(tuple) => put_tuple(out, b'K', tuple),
        OldRow::Full(tuple) => put_tuple(out, b'O', tuple),
    }
}

fn put_tuple(out: &mut impl BufMut, tag: u8, tuple: &Tuple) {
    out.put_u8(tag);
    out.put_u16(tuple.count());
    out.put_slice(tuple.body());
}

fn put_relation(out: &mut impl BufMut, relation: &Relation) {
    put_tag(out, b'R', relation.relid);
    put_text(out, relation.namespace.as_bytes());
    put_text(out, relation.name.as_bytes());
    out.put_slice(relation.identity.letter().encode_utf8(&mut [0; 4]).as_bytes());
    let count = u16::try_from(relation.columns.len()).unwrap_or(u16::MAX);
    out.put_u16(count);
    for column in relation.columns.iter().take(usize::from(count)) {
        out.put_u8(u8::from(column.in_key));
        put_text(out, column.name.as_bytes());
        out.put_u32(column.type_oid);
        out.put_i32(column.typmod);
    }
}
