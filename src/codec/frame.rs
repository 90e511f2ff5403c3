//! A frame: at most 256 KiB of records, compressed when that pays.
//!
//! ```text
//!   records ──▶ plain bytes ──▶ lz4 block, or the plain bytes where lz4 saves less than 5 %
//! ```
//! The plain length is not in the block: it stands in the frame's clear head and is bound into its seal, so that it
//! bounds what a decompressor may write before a single byte is inflated.

use crate::codec::wire::WireError;
use crate::model::limits::FRAME_BYTES_MAX;

/// How a frame's plain bytes became its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// They are its body.
    Stored,
    /// One lz4 block (LZ4 Block Format Description, lz4.org).
    Lz4,
}

impl Packing {
    /// The number in a frame's head.
    pub const fn tag(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Lz4 => 1,
        }
    }

    /// The packing of a frame's head.
    pub const fn from_tag(tag: u8) -> Result<Self, WireError> {
        match tag {
            0 => Ok(Self::Stored),
            1 => Ok(Self::Lz4),
            _ => Err(WireError::Foreign { what: "a frame's packing" }),
        }
    }
}

/// A frame before it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// How the body was made.
    pub packing: Packing,
    /// The length of the plain bytes.
    pub plain_bytes: u32,
    /// What will be sealed.
    pub body: Vec<u8>,
}

/// Packs `plain`, which is at most [`FRAME_BYTES_MAX`] long (a footer may be longer).
pub fn pack(plain: &[u8]) -> Packed {
    let mut body = vec![0; lz4_flex::block::get_maximum_output_size(plain.len())];
    let compressed = lz4_flex::block::compress_into(plain, &mut body).unwrap_or(usize::MAX);
    let plain_bytes = u32::try_from(plain.len()).expect("frames and footers are far below 4 GiB");
    let worth_it = plain.len().saturating_sub(plain.len().checked_div(20).unwrap_or(0));
    if compressed < worth_it {
        body.truncate(compressed);
        Packed { packing: Packing::Lz4, plain_bytes, body }
    } else {
        Packed { packing: Packing::Stored, plain_bytes, body: plain.to_vec() }
    }
}

/// The plain bytes of a frame. `plain_bytes_max` bounds what is inflated.
pub fn unpack(packing: Packing, plain_bytes: u32, body: &[u8], plain_bytes_max: usize) -> Result<Vec<u8>, WireError> {
    let length = usize::try_from(plain_bytes).unwrap_or(usize::MAX);
    if length > plain_bytes_max {
        return Err(WireError::Foreign { what: "a frame's plain length" });
    }
    match packing {
        Packing::Stored if body.len() == length => Ok(body.to_vec()),
        Packing::Stored => Err(WireError::Short { want: length, have: body.len() }),
        Packing::Lz4 => {
            let mut plain = vec![0; length];
            let wrong = WireError::Foreign { what: "an lz4 block of its plain length" };
            match lz4_flex::block::decompress_into(body, &mut plain) {
                Ok(written) if written == length => Ok(plain),
                Ok(_) | Err(_) => Err(wrong),
            }
        }
    }
}

/// The largest plain length of a frame of records: a frame is closed before a record would overfill it.
pub const PLAIN_BYTES_MAX: usize = FRAME_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_frame_returns_as_it_was(seed in proptest::collection::vec(any::<u8>(), 0..300), times in 1..50_usize) {
            let plain = seed.repeat(times);
            let packed = pack(&plain);
            prop_assert!(packed.body.len() <= plain.len());
            prop_assert_eq!(unpack(packed.packing, packed.plain_bytes, &packed.body, 1 << 20).unwrap(), plain);
        }

        #[test]
        fn no_block_inflates_past_its_promise(body in proptest::collection::vec(any::<u8>(), 0..300), plain in 0..600_u32) {
            if let Ok(bytes) = unpack(Packing::Lz4, plain, &body, 512) {
                prop_assert!(bytes.len() == plain as usize && bytes.len() <= 512);
            }
        }
    }
}
