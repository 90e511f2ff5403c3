//! A record as it stands in a frame.
//!
//! ```text
//!   0         1          5
//!   | tags u8 | bytes u32 | xid u64 (opens) | position u64, time i64 (commits) | wire … |     integers little-endian
//!
//!   tags:  bits 0–2 kind (0 wire, 1 context, 2 session, 3 gap, 4 heartbeat)
//!          bits 3–4 role (0 outside, 1 opens, 2 inside, 3 commits)
//!          bits 5–6 piece (0 whole, 1 first, 2 middle, 3 last)      bit 7 zero
//! ```
//! `bytes` counts the wire alone. `time` is in microseconds since 1970-01-01 UTC.

use bytes::{BufMut, Bytes};

use crate::codec::wire::{Reader, WireError};
use crate::model::{Commit, Kind, Piece, Position, Record, Role, Timestamp, Xid};

/// The most that a record adds to its wire bytes.
pub const RECORD_HEAD_BYTES_MAX: usize = 1 + 4 + 16;

/// How many bytes `record` takes in a frame.
pub const fn encoded_bytes(record: &Record) -> usize {
    record.wire.len().saturating_add(RECORD_HEAD_BYTES_MAX)
}

/// Appends `record` to a frame. Its wire is at most a frame long, so that its length fits `bytes`.
pub fn encode(record: &Record, into: &mut Vec<u8>) {
    let kind = match record.kind {
        Kind::Wire => 0,
        Kind::Context => 1,
        Kind::Session => 2,
        Kind::Gap => 3,
        Kind::Heartbeat => 4,
    };
    let role = match record.role {
        Role::Outside => 0,
        Role::Opens(_) => 1 << 3,
        Role::Inside => 2 << 3,
        Role::Commits(_) => 3 << 3,
    };
    let piece = match record.piece {
        Piece::Whole => 0,
        Piece::First => 1 << 5,
        Piece::Middle => 2 << 5,
        Piece::Last => 3 << 5,
    };
    into.put_u8(kind | role | piece);
    into.put_u32_le(u32::try_from(record.wire.len()).expect("a record is passed on in pieces far below 4 GiB"));
    match record.role {
        Role::Opens(xid) => into.put_u64_le(xid.get()),
        Role::Commits(commit) => {
            into.put_u64_le(commit.position.get());
            into.put_i64_le(commit.time.micros());
        }
        Role::Inside | Role::Outside => {}
    }
    into.extend_from_slice(&record.wire);
}

/// The next record of a frame, its wire a slice of `frame`; `None` at the frame's end. `at` moves on.
pub fn decode(frame: &Bytes, at: &mut usize) -> Result<Option<Record>, WireError> {
    let left = frame.get(*at..).unwrap_or_default();
    if left.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::new(left);
    let tags = reader.u8()?;
    let bytes = reader.u32_le()?;
    let kind = match tags & 0b111 {
        0 => Kind::Wire,
        1 => Kind::Context,
        2 => Kind::Session,
        3 => Kind::Gap,
        4 => Kind::Heartbeat,
        _ => return Err(WireError::Foreign { what: "a kind of record" }),
    };
    let role = match (tags >> 3) & 0b11 {
        0 => Role::Outside,
        1 => Role::Opens(Xid::new(reader.u64_le()?)),
        2 => Role::Inside,
        _ => {
            let position = Position::new(reader.u64_le()?);
            Role::Commits(Commit { position, time: Timestamp::from_micros(reader.i64_le()?) })
        }
    };
    let piece = match (tags >> 5) & 0b11 {
        0 => Piece::Whole,
        1 => Piece::First,
        2 => Piece::Middle,
        _ => Piece::Last,
    };
    if tags >> 7 != 0 {
        return Err(WireError::Foreign { what: "a record's tags" });
    }
    let wire = reader.take(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    let wire = frame.slice_ref(wire);
    *at = frame.len().saturating_sub(reader.len());
    Ok(Some(Record { kind, role, piece, wire }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let kind = prop_oneof![
            Just(Kind::Wire),
            Just(Kind::Context),
            Just(Kind::Session),
            Just(Kind::Gap),
            Just(Kind::Heartbeat)
        ];
        let commit = (any::<u64>(), any::<i64>())
            .prop_map(|(at, time)| Commit { position: Position::new(at), time: Timestamp::from_micros(time) });
        let role = prop_oneof![
            Just(Role::Outside),
            any::<u64>().prop_map(|xid| Role::Opens(Xid::new(xid))),
            Just(Role::Inside),
            commit.prop_map(Role::Commits)
        ];
        let piece = prop_oneof![Just(Piece::Whole), Just(Piece::First), Just(Piece::Middle), Just(Piece::Last)];
        (kind, role, piece, proptest::collection::vec(any::<u8>(), 0..64))
            .prop_map(|(kind, role, piece, wire)| Record { kind, role, piece, wire: wire.into() })
    }

    fn decode_all(frame: &Bytes) -> Result<Vec<Record>, WireError> {
        let mut at = 0;
        std::iter::from_fn(|| decode(frame, &mut at).transpose()).collect()
    }

    proptest! {
        #[test]
        fn records_return_as_they_were_written(records in proptest::collection::vec(any_record(), 0..8)) {
            let mut frame = Vec::new();
            for record in &records {
                let before = frame.len();
                encode(record, &mut frame);
                prop_assert!(frame.len() - before <= encoded_bytes(record));
            }
            prop_assert_eq!(decode_all(&frame.into()).unwrap(), records);
        }

        #[test]
        fn a_cut_inside_a_record_is_an_error(record in any_record(), cut in any::<prop::sample::Index>()) {
            let mut frame = Vec::new();
            encode(&record, &mut frame);
            frame.truncate(1 + cut.index(frame.len() - 1));
            let cut_short = frame.len() < encoded_bytes(&record) - RECORD_HEAD_BYTES_MAX + 5;
            prop_assert!(decode_all(&frame.into()).is_err() || !cut_short);
        }

        #[test]
        fn no_bytes_at_all_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _whatever = decode_all(&bytes.into());
        }
    }
}
