//! Checkpoints: sealed lists of what came before, so that a rebuild lists only the tail.
//!
//! ```text
//!   plain:  previous u64, the slot of the checkpoint before, 0 for none | count u32 | entries (see entry.rs)
//! ```
//! A checkpoint stands at the last slot that it covers. It is trusted only where the next live segment's previous hash
//! agrees with its last live entry; `verify` derives it anew. It proves nothing that the segments do not prove.
//!
//! It lists no slot that is missing (L4). Behind a lost object the list begins anew: its header has the flag
//! [`BEGINS_ANEW`], no checkpoint stands at `previous`, and what stands up to there must be looked at by name. A reader
//! that does not know the flag finds the chain of checkpoints broken there, and lists the log.

use bytes::BufMut;

use crate::codec::frame::pack;
use crate::codec::segment::{Flags, Header, ObjectKind};
use crate::codec::wire::{Reader, WireError};
use crate::crypto::sealed::Sealed;
use crate::crypto::stream::SealError;
use crate::log::entry::{ENTRY_BYTES, Entry};
use crate::log::error::{ObjectError, ObjectErrorKind};
use crate::log::object::{Object, Seal, draft};
use crate::model::limits::FRAME_BYTES_MAX;
use crate::model::{Position, Slot};

/// In the header of a checkpoint: what stands up to `previous` is in no checkpoint that leads here, for an object of it
/// was lost.
pub const BEGINS_ANEW: Flags = Flags::HOLDS_GAP;

/// What a checkpoint lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The slot of the checkpoint before it; [`Slot::NONE`] if it is the first.
    pub previous: Slot,
    /// The objects from there to its own slot, void ones too.
    pub entries: Vec<Entry>,
}

impl Checkpoint {
    /// The last slot that it covers.
    pub fn slot(&self) -> Slot {
        self.entries.last().map_or(Slot::NONE, |entry| entry.slot)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12 + self.entries.len() * ENTRY_BYTES);
        out.put_u64_le(self.previous.get());
        out.put_u32_le(u32::try_from(self.entries.len()).expect("a checkpoint lists some hundred entries"));
        self.entries.iter().for_each(|entry| entry.encode(&mut out));
        out
    }

    /// Reads the plain bytes of a checkpoint.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let previous = Slot::new(reader.u64_le()?);
        let count = reader.u32_le()?;
        let entries = (0..count).map(|_| Entry::decode(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { previous, entries })
    }

    /// The sealed object.
    pub fn seal(&self, seal: &mut Seal) -> Result<Sealed, SealError> {
        self.seal_with(seal, Flags::from_nothing())
    }

    /// The sealed object, for a list that begins behind a lost object at `previous`.
    pub fn seal_anew(&self, seal: &mut Seal) -> Result<Sealed, SealError> {
        self.seal_with(seal, BEGINS_ANEW)
    }

    fn seal_with(&self, seal: &mut Seal, flags: Flags) -> Result<Sealed, SealError> {
        let last = self.entries.iter().rev().find(|entry| !entry.void);
        let header = Header {
            flags,
            slot: self.slot(),
            to: last.map_or(Position::ZERO, |entry| entry.to),
            previous: last.and_then(|entry| entry.hash).unwrap_or_default(),
            needs_from: self.previous,
            ..draft(ObjectKind::Checkpoint)
        };
        let frames: Vec<_> = self.encode().chunks(FRAME_BYTES_MAX).map(pack).collect();
        seal.seal(&header, &frames, |_| Vec::new())
    }

    /// Reads a sealed checkpoint.
    pub fn read(mut object: Object) -> Result<Self, ObjectError> {
        let mut plain = Vec::new();
        while let Some(frame) = object.next_frame()? {
            plain.extend_from_slice(&frame);
        }
        object.footer()?;
        let checkpoint = Self::decode(&plain).map_err(|error| object.wrong(error.into()))?;
        let right = object.header.kind == ObjectKind::Checkpoint && object.header.slot == checkpoint.slot();
        let misplaced = ObjectErrorKind::Misplaced { what: "kind or slot" };
        if right { Ok(checkpoint) } else { Err(object.wrong(misplaced)) }
    }
}
