//! A gap: history is exact up to a position and, from the next commit on, is not until a base begins it anew (L3).
//!
//! ```text
//!   | exact_until u64 | time i64 | reason u8
//!   | tables u32, then each: id u32 | schema_bytes u16 | schema utf-8 | name_bytes u16 | name utf-8
//!   | detail … utf-8 to the end |                                                 integers little-endian
//! ```
//! A gap with tables concerns those alone; one without concerns everything.

use bytes::{BufMut, Bytes};

use crate::codec::wire::{Reader, WireError};
use crate::model::{Position, Timestamp};

/// Why history was not captured exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The replication slot is gone or was invalidated by the server.
    SlotLost,
    /// The slot stands ahead of the log: changes were confirmed that the log does not hold.
    SlotAhead,
    /// The slot was given up before it filled the source's disk (L12).
    SlotGivenUp,
    /// The schema changed.
    SchemaChanged,
    /// A table's changes are not published (it has no replica identity and is left alone).
    NotPublished,
    /// The server's history is another than the log's: a restored, promoted or re-initialised server.
    OtherHistory,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::SlotLost,
        Self::SlotAhead,
        Self::SlotGivenUp,
        Self::SchemaChanged,
        Self::NotPublished,
        Self::OtherHistory,
    ];

    /// The reason in a few words, the same in `list`, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlotLost => "slot lost",
            Self::SlotAhead => "slot ahead of the log",
            Self::SlotGivenUp => "slot given up",
            Self::SchemaChanged => "schema changed",
            Self::NotPublished => "table not published",
            Self::OtherHistory => "another server's history",
        }
    }

    const fn tag(self) -> u8 {
        match self {
            Self::SlotLost => 1,
            Self::SlotAhead => 2,
            Self::SlotGivenUp => 3,
            Self::SchemaChanged => 4,
            Self::NotPublished => 5,
            Self::OtherHistory => 6,
        }
    }
}

/// A table that a gap concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapTable {
    /// The source's number for it (a relation's OID).
    pub id: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for GapTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// A stretch that was not captured exactly, as a record of the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Transactions that commit up to here are exact.
    pub exact_until: Position,
    /// The commit time of the last exact transaction, or when the gap was noticed if that is not known.
    pub time: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The tables that are not exact; none if nothing is.
    pub tables: Vec<GapTable>,
    /// Names of what is affected; never values.
    pub detail: String,
}

impl Gap {
    /// The bytes of a record of kind [`crate::model::Kind::Gap`].
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        bytes.put_u64_le(self.exact_until.get());
        bytes.put_i64_le(self.time.micros());
        bytes.put_u8(self.reason.tag());
        bytes.put_u32_le(u32::try_from(self.tables.len()).expect("a server has at most 2^32 tables"));
        for table in &self.tables {
            bytes.put_u32_le(table.id);
            for name in [&table.schema, &table.name] {
                bytes.put_u16_le(u16::try_from(name.len()).expect("a PostgreSQL name has at most 63 bytes"));
                bytes.extend_from_slice(name.as_bytes());
            }
        }
        bytes.extend_from_slice(self.detail.as_bytes());
        bytes.into()
    }

    /// Reads what [`Gap::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let exact_until = Position::new(reader.u64_le()?);
        let time = Timestamp::from_micros(reader.i64_le()?);
        let tag = reader.u8()?;
        let reason = Reason::ALL.into_iter().find(|reason| reason.tag() == tag);
        let reason = reason.ok_or(WireError::Foreign { what: "a gap's reason" })?;
        let mut tables = Vec::new();
        for _ in 0..reader.u32_le()? {
            tables.push(GapTable { id: reader.u32_le()?, schema: name(&mut reader)?, name: name(&mut reader)? });
        }
        let detail = str::from_utf8(reader.rest()).map_err(|_| WireError::Foreign { what: "a gap's detail" })?;
        Ok(Self { exact_until, time, reason, tables, detail: detail.to_owned() })
    }
}

fn name(reader: &mut Reader<'_>) -> Result<String, WireError> {
    let length = usize::from(reader.u16_le()?);
    let name = str::from_utf8(reader.take(length)?);
    name.map(str::to_owned).map_err(|_| WireError::Foreign { what: "a gap's table" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_gap() -> impl Strategy<Value = Gap> {
        let table = (any::<u32>(), ".{0,20}", ".{0,20}").prop_map(|(id, schema, name)| GapTable { id, schema, name });
        let tables = proptest::collection::vec(table, 0..4);
        (any::<u64>(), any::<i64>(), 0..6_usize, tables, any::<String>()).prop_map(
            |(at, time, reason, tables, detail)| {
                let (exact_until, time) = (Position::new(at), Timestamp::from_micros(time));
                Gap { exact_until, time, reason: Reason::ALL[reason], tables, detail }
            },
        )
    }

    proptest! {
        #[test]
        fn a_gap_returns_as_it_was(gap in any_gap()) {
            prop_assert_eq!(Gap::decode(&gap.encode()).unwrap(), gap);
        }

        #[test]
        fn a_gap_cut_before_its_detail_is_an_error(gap in any_gap(), cut: prop::sample::Index) {
            let gap = Gap { detail: String::new(), ..gap };
            let bytes = gap.encode();
            prop_assert!(Gap::decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn no_bytes_at_all_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _whatever = Gap::decode(&bytes);
        }
    }
}
