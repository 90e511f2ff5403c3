//! One object of a log as lists know it: what its clear header says, and whether it counts.
//!
//! ```text
//!   slot u64 | epoch u64 | kind u8 | flags u8 | void u8 | from u64 | to u64 | from_time i64 | to_time i64
//!   | needs_from u64 | sealed_at i64 | bytes u64 | hash [32], zeros if not known       integers little-endian, 107 bytes
//! ```

use bytes::BufMut;

use crate::codec::segment::{Flags, Header, ObjectKind};
use crate::codec::wire::{Reader, WireError};
use crate::log::error::{ObjectError, ObjectErrorKind};
use crate::model::{Epoch, ObjectKey, Position, Slot, Timestamp};

/// The length of an encoded entry.
pub const ENTRY_BYTES: usize = 107;

/// An object of a log, as checkpoints and the catalog list it. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub slot: Slot,
    /// Its writer's reign.
    pub epoch: Epoch,
    /// What it is.
    pub kind: ObjectKind,
    /// What it begins and ends in, and holds.
    pub flags: Flags,
    /// Written by a writer that had been fenced: skipped by every reader.
    pub void: bool,
    /// Transactions that commit after this …
    pub from: Position,
    /// … and up to this complete here.
    pub to: Position,
    /// The latest commit time before it.
    pub from_time: Timestamp,
    /// The latest commit time up to its end.
    pub to_time: Timestamp,
    /// Where to begin reading.
    pub needs_from: Slot,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// Its size; 0 if not known.
    pub bytes: u64,
    /// Its hash, if known.
    pub hash: Option<[u8; 32]>,
}

impl Entry {
    /// What a header says; neither void nor of known size.
    pub const fn of_header(header: &Header) -> Self {
        Self {
            slot: header.slot,
            epoch: header.epoch,
            kind: header.kind,
            flags: header.flags,
            void: false,
            from: header.from,
            to: header.to,
            from_time: header.from_time,
            to_time: header.to_time,
            needs_from: header.needs_from,
            sealed_at: header.sealed_at,
            bytes: 0,
            hash: None,
        }
    }

    /// Whether `header` says what this entry says.
    pub fn agrees_with(&self, header: &Header) -> bool {
        let theirs = Self::of_header(header);
        Self { void: false, bytes: 0, hash: None, ..self.clone() } == theirs
    }

    /// Refuses an object whose header is another's than the list says: it was put in this one's place (L4).
    pub fn check(&self, key: &ObjectKey, header: &Header) -> Result<(), ObjectError> {
        let kind = ObjectErrorKind::Misplaced { what: "what the list says of it" };
        if self.agrees_with(header) { Ok(()) } else { Err(ObjectError { key: key.clone(), kind }) }
    }

    /// Appends the entry's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.slot.get());
        out.put_u64_le(self.epoch.get());
        out.extend_from_slice(&[self.kind.tag(), self.flags.bits(), u8::from(self.void)]);
        out.put_u64_le(self.from.get());
        out.put_u64_le(self.to.get());
        out.put_i64_le(self.from_time.micros());
        out.put_i64_le(self.to_time.micros());
        out.put_u64_le(self.needs_from.get());
        out.put_i64_le(self.sealed_at.micros());
        out.put_u64_le(self.bytes);
        out.extend_from_slice(&self.hash.unwrap_or_default());
    }

    /// Reads one entry.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let slot = Slot::new(reader.u64_le()?);
        let epoch = Epoch::new(reader.u64_le()?);
        let [kind, flags, void] = reader.array()?;
        let kind = ObjectKind::ALL.into_iter().find(|known| known.tag() == kind);
        Ok(Self {
            slot,
            epoch,
            kind: kind.ok_or(WireError::Foreign { what: "a kind of object" })?,
            flags: Flags::from_bits(flags)?,
            void: void != 0,
            from: Position::new(reader.u64_le()?),
            to: Position::new(reader.u64_le()?),
            from_time: Timestamp::from_micros(reader.i64_le()?),
            to_time: Timestamp::from_micros(reader.i64_le()?),
            needs_from: Slot::new(reader.u64_le()?),
            sealed_at: Timestamp::from_micros(reader.i64_le()?),
            bytes: reader.u64_le()?,
            hash: Some(reader.array()?).filter(|hash| *hash != [0; 32]),
        })
    }
}
