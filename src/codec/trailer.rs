//! The trailer of a sealed object: 24 clear bytes at the very end. One ranged read of them finds the footer.
//!
//! ```text
//!   0          8               12           16                 20        24
//!   | HFSEGv1. | footer_at u32 | frames u32 | footer_bytes u32 | sum u32 |      integers little-endian
//! ```
//! `frames` counts the frames before the footer, whose number that is; `footer_bytes` counts the footer's frame head too. `sum` is the CRC-32C of the 20 bytes before it: a flipped bit is
//! seen without a key. Proof against malice is the seal's.

use bytes::BufMut;

use crate::codec::wire::{Reader, WireError};

/// The length of a trailer.
pub const TRAILER_BYTES: usize = 24;
const MAGIC: &[u8; 8] = b"HFSEGv1.";

/// Where the footer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Offset of the footer's frame head in the object.
    pub footer_at: u32,
    /// How many frames stand before it.
    pub frames: u32,
    /// Its length with head and tag.
    pub footer_bytes: u32,
}

impl Trailer {
    /// The bytes of the trailer.
    pub fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut bytes = Vec::with_capacity(TRAILER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.put_u32_le(self.footer_at);
        bytes.put_u32_le(self.frames);
        bytes.put_u32_le(self.footer_bytes);
        bytes.put_u32_le(crc32c::crc32c(&bytes));
        bytes.try_into().expect("8 + 4 + 4 + 4 + 4 bytes")
    }

    /// Reads the last [`TRAILER_BYTES`] of an object.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        if &reader.array::<8>()? != MAGIC {
            return Err(WireError::Foreign { what: "a trailer" });
        }
        let trailer = Self { footer_at: reader.u32_le()?, frames: reader.u32_le()?, footer_bytes: reader.u32_le()? };
        let sum = reader.u32_le()?;
        reader.finish()?;
        if trailer.encode().ends_with(&sum.to_le_bytes()) {
            Ok(trailer)
        } else {
            Err(WireError::Foreign { what: "a trailer of its own sum" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_trailer_returns_as_it_was(footer_at: u32, frames: u32, footer_bytes: u32) {
            let trailer = Trailer { footer_at, frames, footer_bytes };
            prop_assert_eq!(Trailer::decode(&trailer.encode()).unwrap(), trailer);
        }

        #[test]
        fn no_flipped_bit_goes_unseen(footer_at: u32, frames: u32, footer_bytes: u32, bit in 0..TRAILER_BYTES * 8) {
            let mut bytes = Trailer { footer_at, frames, footer_bytes }.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Trailer::decode(&bytes).is_err());
        }
    }
}
