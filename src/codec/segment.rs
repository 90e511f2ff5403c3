//! The clear header of a sealed object: what a rebuild without any key needs, and the wraps that let a key open it.
//!
//! ```text
//!    0  magic "HOLDFAST"
//!    8  version u8 (1) | kind u8 | suite u8 | flags u8
//!   12  header_bytes u32      the whole header with its sum
//!   16  stream [16]           the log or the base that the object belongs to
//!   32  epoch u64
//!   40  slot u64              its place in a log, its number in a base
//!   48  from u64 | to u64     positions: what commits after `from`, up to `to`, completes here
//!   64  from_time i64 | to_time i64      running maximum of commit times, before and after
//!   80  needs_from u64        the slot from which to read so that every transaction completed here is whole
//!   88  sealed_at i64
//!   96  previous [32]         SHA-256 of the previous live object of the log; zeros for the first
//!  128  salt [32] | commitment [32]
//!  192  wraps u8, then each: recipient u8 (1 key file, 2 key service, 3 recovery) | key id [16] | bytes u16 | wrapped key
//!    …  sum u32               CRC-32C of all before it
//! ```
//! Integers are little-endian, times in microseconds since 1970-01-01 UTC. `flags`: bit 0 begins inside a
//! transaction, bit 1 ends inside one, bit 2 holds a gap (of a checkpoint: begins behind a lost object), bit 3 holds a
//! mark. The header's hash is bound into the seal of every frame, so that a changed header opens nothing (L4).

use bytes::BufMut;

use crate::codec::wire::{Reader, WireError};
use crate::model::limits::HEADER_BYTES_MAX;
use crate::model::{Epoch, KeyId, Position, Recipient, Slot, Timestamp, Wrap};

const MAGIC: &[u8; 8] = b"HOLDFAST";
const VERSION: u8 = 1;
const FIXED_BYTES: usize = 193;

/// What a sealed object is. Bound into its key, so that no kind can stand for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A segment of records.
    Data,
    /// A segment that says: nothing happened up to here.
    Heartbeat,
    /// The first segment of an epoch.
    Fence,
    /// The list of what came before a slot.
    Checkpoint,
    /// From this slot on everything must be there.
    Boundary,
    /// A part of a base.
    BasePart,
    /// The manifest of a base.
    Manifest,
    /// A data key, wrapped once more for other keys.
    Rewrap,
    /// A stretch of history that retention must keep.
    Hold,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Data,
        Self::Heartbeat,
        Self::Fence,
        Self::Checkpoint,
        Self::Boundary,
        Self::BasePart,
        Self::Manifest,
        Self::Rewrap,
        Self::Hold,
    ];

    /// The number in the header and in the key's derivation.
    pub const fn tag(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Heartbeat => 2,
            Self::Fence => 3,
            Self::Checkpoint => 4,
            Self::Boundary => 5,
            Self::BasePart => 6,
            Self::Manifest => 7,
            Self::Rewrap => 8,
            Self::Hold => 9,
        }
    }

    /// The kind in a word, as `list` and `verify` print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Heartbeat => "heartbeat",
            Self::Fence => "fence",
            Self::Checkpoint => "checkpoint",
            Self::Boundary => "boundary",
            Self::BasePart => "base part",
            Self::Manifest => "manifest",
            Self::Rewrap => "rewrap",
            Self::Hold => "hold",
        }
    }
}

/// Which authenticated cipher sealed an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suite {
    /// ChaCha20-Poly1305 (RFC 8439), keys by HKDF-SHA256 (RFC 5869).
    #[default]
    ChaCha20Poly1305,
    /// AES-256-GCM (NIST SP 800-38D), keys by HKDF-SHA256.
    Aes256Gcm,
}

impl Suite {
    /// The number in the header and in the key's derivation.
    pub const fn tag(self) -> u8 {
        match self {
            Self::ChaCha20Poly1305 => 1,
            Self::Aes256Gcm => 2,
        }
    }
}

/// What a header says in a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Its first record stands inside a transaction.
    pub const STARTS_INSIDE: Self = Self(1);
    /// Its last record leaves a transaction open.
    pub const ENDS_INSIDE: Self = Self(2);
    /// It holds a gap record.
    pub const HOLDS_GAP: Self = Self(4);
    /// It holds a mark.
    pub const HOLDS_MARK: Self = Self(8);

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// None of them.
    pub const fn from_nothing() -> Self {
        Self(0)
    }

    /// The byte of the header.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The flags of a byte that stands in a header or a checkpoint.
    pub const fn from_bits(bits: u8) -> Result<Self, WireError> {
        if bits < 16 { Ok(Self(bits)) } else { Err(WireError::Foreign { what: "a header's flags" }) }
    }
}

/// The clear header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the object is.
    pub kind: ObjectKind,
    /// What sealed it.
    pub suite: Suite,
    /// What it begins and ends in, and holds.
    pub flags: Flags,
    /// The log or the base that it belongs to.
    pub stream: [u8; 16],
    /// Its writer's reign.
    pub epoch: Epoch,
    /// Its place.
    pub slot: Slot,
    /// Transactions that commit after this position …
    pub from: Position,
    /// … and up to this one complete here; this one may be acknowledged.
    pub to: Position,
    /// The latest commit time before it.
    pub from_time: Timestamp,
    /// The latest commit time up to its end.
    pub to_time: Timestamp,
    /// Where to begin reading.
    pub needs_from: Slot,
    /// When it was sealed, by the writer's clock.
    pub sealed_at: Timestamp,
    /// The hash of the previous live object.
    pub previous: [u8; 32],
    /// Random, for this sealing attempt alone.
    pub salt: [u8; 32],
    /// Which key sealed it, checked before any frame is opened.
    pub commitment: [u8; 32],
    /// The data key, wrapped for everyone who may read.
    pub wraps: Vec<Wrap>,
}

impl Header {
    /// The bytes of the header.
    pub fn encode(&self) -> Vec<u8> {
        let wrap_bytes = |wrap: &Wrap| wrap.bytes.len().saturating_add(19);
        let wraps = self.wraps.iter().map(wrap_bytes).fold(0, usize::saturating_add);
        let length = FIXED_BYTES.saturating_add(wraps).saturating_add(4);
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, self.kind.tag(), self.suite.tag(), self.flags.bits()]);
        out.put_u32_le(u32::try_from(length).expect("a header is at most 4 KiB"));
        out.extend_from_slice(&self.stream);
        out.put_u64_le(self.epoch.get());
        out.put_u64_le(self.slot.get());
        out.put_u64_le(self.from.get());
        out.put_u64_le(self.to.get());
        out.put_i64_le(self.from_time.micros());
        out.put_i64_le(self.to_time.micros());
        out.put_u64_le(self.needs_from.get());
        out.put_i64_le(self.sealed_at.micros());
        for hash in [&self.previous, &self.salt, &self.commitment] {
            out.extend_from_slice(hash);
        }
        out.put_u8(u8::try_from(self.wraps.len()).expect("a key has a handful of recipients"));
        for wrap in &self.wraps {
            out.put_u8(wrap.recipient.tag());
            out.extend_from_slice(wrap.key.as_bytes());
            out.put_u16_le(u16::try_from(wrap.bytes.len()).expect("a wrapped key is at most a few hundred bytes"));
            out.extend_from_slice(&wrap.bytes);
        }
        out.put_u32_le(crc32c::crc32c(&out));
        out
    }

    /// Reads the header at the beginning of `object`, and its length. Bytes behind it do not matter.
    pub fn decode(object: &[u8]) -> Result<(Self, usize), WireError> {
        let mut reader = Reader::new(object);
        if &reader.array::<8>()? != MAGIC {
            return Err(WireError::Foreign { what: "a sealed object of Holdfast" });
        }
        if reader.u8()? != VERSION {
            return Err(WireError::Foreign { what: "a format version that this program reads; a newer one does" });
        }
        let tags = reader.array::<3>()?;
        let length = usize::try_from(reader.u32_le()?).unwrap_or(usize::MAX);
        if length > HEADER_BYTES_MAX {
            return Err(WireError::Foreign { what: "a header's length" });
        }
        let whole = Reader::new(object).take(length)?;
        let (body, sum) = whole.split_last_chunk::<4>().ok_or(WireError::Short { want: 4, have: length })?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
            return Err(WireError::Foreign { what: "a header of its own sum" });
        }
        let mut reader = Reader::new(body);
        reader.take(16)?;
        let header = Self::decode_fields(tags, &mut reader)?;
        reader.finish()?;
        Ok((header, length))
    }

    fn decode_fields([kind, suite, flags]: [u8; 3], reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let kind = ObjectKind::ALL.into_iter().find(|known| known.tag() == kind);
        let suite = [Suite::ChaCha20Poly1305, Suite::Aes256Gcm].into_iter().find(|known| known.tag() == suite);
        Ok(Self {
            kind: kind.ok_or(WireError::Foreign { what: "a kind of object" })?,
            suite: suite.ok_or(WireError::Foreign { what: "a cipher suite" })?,
            flags: Flags::from_bits(flags)?,
            stream: reader.array()?,
            epoch: Epoch::new(reader.u64_le()?),
            slot: Slot::new(reader.u64_le()?),
            from: Position::new(reader.u64_le()?),
            to: Position::new(reader.u64_le()?),
            from_time: Timestamp::from_micros(reader.i64_le()?),
            to_time: Timestamp::from_micros(reader.i64_le()?),
            needs_from: Slot::new(reader.u64_le()?),
            sealed_at: Timestamp::from_micros(reader.i64_le()?),
            previous: reader.array()?,
            salt: reader.array()?,
            commitment: reader.array()?,
            wraps: decode_wraps(reader)?,
        })
    }
}

fn decode_wraps(reader: &mut Reader<'_>) -> Result<Vec<Wrap>, WireError> {
    let count = reader.u8()?;
    (0..count)
        .map(|_| {
            let tag = reader.u8()?;
            let recipient = Recipient::ALL.into_iter().find(|known| known.tag() == tag);
            let recipient = recipient.ok_or(WireError::Foreign { what: "a recipient of a key" })?;
            let key = KeyId::from_bytes(reader.array()?);
            let bytes = usize::from(reader.u16_le()?);
            Ok(Wrap { recipient, key, bytes: reader.take(bytes)?.to_vec() })
        })
        .collect()
}

#[cfg(test)]
mod tests;
