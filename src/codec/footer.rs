//! The footer of a segment: the sealed index of its frames, and a summary of what it holds.
//!
//! ```text
//!   frames u32, then each:  at u32 | sealed_bytes u32 | plain_bytes u32 | to u64 | to_time i64 | transactions u32
//!   records u64 | transactions u64 | xid_least u64 | xid_most u64
//!   subjects u32, then each: id u32 | name_bytes u16 | name utf-8 | inserts u64 | updates u64 | deletes u64 | truncates u64
//!   gaps u32, then each:     bytes u32 | gap (see gap.rs)
//! ```
//! Integers are little-endian. `at` counts from the object's beginning and `sealed_bytes` includes the frame's head and tag.
//! `to` and `to_time` are the position and the running maximum of commit times at the frame's end. A subject is a
//! table that the segment touches.

use bytes::BufMut;

use crate::codec::gap::Gap;
use crate::codec::wire::{Reader, WireError};
use crate::model::{Position, Timestamp, Xid};

/// One frame, as the footer lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameEntry {
    /// Offset of its head in the object.
    pub at: u32,
    /// Its length with head and tag.
    pub sealed_bytes: u32,
    /// The length of its plain bytes.
    pub plain_bytes: u32,
    /// The last position that is complete at its end.
    pub to: Position,
    /// The latest commit time up to its end.
    pub to_time: Timestamp,
    /// Transactions completed in it.
    pub transactions: u32,
}

/// A table that a segment touches, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The source's number for it (a relation's OID).
    pub id: u32,
    /// Its qualified name when the segment was written; empty if the segment does not say.
    pub name: String,
    /// Rows inserted, updated, deleted, and how often it was truncated.
    pub counts: Counts,
}

/// Changes by operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Rows inserted.
    pub inserts: u64,
    /// Rows updated.
    pub updates: u64,
    /// Rows deleted.
    pub deletes: u64,
    /// Times truncated.
    pub truncates: u64,
}

/// What a segment says about itself under its seal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    /// Its frames, in order.
    pub frames: Vec<FrameEntry>,
    /// How many records it holds.
    pub records: u64,
    /// How many transactions complete in it.
    pub transactions: u64,
    /// The least transaction number that completes in it; meaningless without transactions.
    pub xid_least: Xid,
    /// The greatest.
    pub xid_most: Xid,
    /// The tables that it touches.
    pub subjects: Vec<Subject>,
    /// The gaps that it records.
    pub gaps: Vec<Gap>,
}

impl Footer {
    /// The plain bytes of the footer.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_count(&mut out, self.frames.len());
        for frame in &self.frames {
            out.put_u32_le(frame.at);
            out.put_u32_le(frame.sealed_bytes);
            out.put_u32_le(frame.plain_bytes);
            out.put_u64_le(frame.to.get());
            out.put_i64_le(frame.to_time.micros());
            out.put_u32_le(frame.transactions);
        }
        for number in [self.records, self.transactions, self.xid_least.get(), self.xid_most.get()] {
            out.put_u64_le(number);
        }
        put_count(&mut out, self.subjects.len());
        for subject in &self.subjects {
            out.put_u32_le(subject.id);
            out.put_u16_le(u16::try_from(subject.name.len()).expect("two PostgreSQL names have at most 128 bytes"));
            out.extend_from_slice(subject.name.as_bytes());
            let Counts { inserts, updates, deletes, truncates } = subject.counts;
            for count in [inserts, updates, deletes, truncates] {
                out.put_u64_le(count);
            }
        }
        put_count(&mut out, self.gaps.len());
        for gap in &self.gaps {
            let bytes = gap.encode();
            put_count(&mut out, bytes.len());
            out.extend_from_slice(&bytes);
        }
        out
    }

    /// Reads what [`Footer::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut footer = Self::default();
        for _ in 0..reader.u32_le()? {
            footer.frames.push(FrameEntry {
                at: reader.u32_le()?,
                sealed_bytes: reader.u32_le()?,
                plain_bytes: reader.u32_le()?,
                to: Position::new(reader.u64_le()?),
                to_time: Timestamp::from_micros(reader.i64_le()?),
                transactions: reader.u32_le()?,
            });
        }
        footer.records = reader.u64_le()?;
        footer.transactions = reader.u64_le()?;
        footer.xid_least = Xid::new(reader.u64_le()?);
        footer.xid_most = Xid::new(reader.u64_le()?);
        for _ in 0..reader.u32_le()? {
            footer.subjects.push(decode_subject(&mut reader)?);
        }
        for _ in 0..reader.u32_le()? {
            let length = usize::try_from(reader.u32_le()?).unwrap_or(usize::MAX);
            footer.gaps.push(Gap::decode(reader.take(length)?)?);
        }
        reader.finish()?;
        Ok(footer)
    }
}

fn decode_subject(reader: &mut Reader<'_>) -> Result<Subject, WireError> {
    let id = reader.u32_le()?;
    let length = usize::from(reader.u16_le()?);
    let name = str::from_utf8(reader.take(length)?).map_err(|_| WireError::Foreign { what: "a subject's name" })?;
    let counts = Counts {
        inserts: reader.u64_le()?,
        updates: reader.u64_le()?,
        deletes: reader.u64_le()?,
        truncates: reader.u64_le()?,
    };
    Ok(Subject { id, name: name.to_owned(), counts })
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32_le(u32::try_from(count).expect("a segment has at most some thousand entries"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::gap::Reason;
    use proptest::prelude::*;

    fn any_footer() -> impl Strategy<Value = Footer> {
        let frame =
            (any::<[u64; 2]>(), any::<[u32; 4]>()).prop_map(|([to, time], [at, sealed, plain, count])| FrameEntry {
                at,
                sealed_bytes: sealed,
                plain_bytes: plain,
                to: Position::new(to),
                to_time: Timestamp::from_micros(time as i64),
                transactions: count,
            });
        let subject = (any::<u32>(), ".{0,20}", any::<[u64; 4]>()).prop_map(
            |(id, name, [inserts, updates, deletes, truncates])| Subject {
                id,
                name,
                counts: Counts { inserts, updates, deletes, truncates },
            },
        );
        let gap = (any::<u64>(), any::<i64>(), ".{0,20}").prop_map(|(at, time, detail)| Gap {
            exact_until: Position::new(at),
            time: Timestamp::from_micros(time),
            reason: Reason::SlotLost,
            tables: Vec::new(),
            detail,
        });
        let frames = proptest::collection::vec(frame, 0..5);
        let subjects = proptest::collection::vec(subject, 0..4);
        (frames, any::<[u64; 4]>(), subjects, proptest::collection::vec(gap, 0..3)).prop_map(
            |(frames, [records, transactions, least, most], subjects, gaps)| Footer {
                frames,
                records,
                transactions,
                xid_least: Xid::new(least),
                xid_most: Xid::new(most),
                subjects,
                gaps,
            },
        )
    }

    proptest! {
        #[test]
        fn a_footer_returns_as_it_was(footer in any_footer()) {
            prop_assert_eq!(Footer::decode(&footer.encode()).unwrap(), footer);
        }

        #[test]
        fn a_cut_footer_is_an_error(footer in any_footer(), cut: prop::sample::Index) {
            let bytes = footer.encode();
            prop_assert!(Footer::decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn no_bytes_at_all_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _whatever = Footer::decode(&bytes);
        }
    }
}
