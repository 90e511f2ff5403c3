//! Seals and opens the frames of one object, with a nonce that can only count.
//!
//! ```text
//!   0                  4                 8            9
//!   | sealed_bytes u32 | plain_bytes u32 | packing u8 | sealed … | tag 16 |       integers little-endian
//!
//!   nonce:            frame number, 11 bytes big-endian | last u8
//!   associated data:  SHA-256 of the header | frame number u32 | plain_bytes u32 | packing u8
//! ```
//! `sealed_bytes` counts the sealed bytes and the tag. The nonce is age's (C2SP age, *Payload*).

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

use crate::crypto::key::{DataKey, Identity, ObjectKey};
use crate::crypto::sealed::Sealed;

/// The clear head of a frame.
pub const FRAME_HEAD_BYTES: usize = 9;
/// The tag of either cipher.
pub const TAG_BYTES: usize = 16;

/// A frame that cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key is not the one that sealed this object.
    #[error("another key sealed it")]
    OtherKey,
    /// Bytes of the frame, of its head or of the object's header were changed.
    #[error("frame {frame} was changed or is not of this object")]
    Broken {
        /// Which frame, from 0.
        frame: u32,
    },
    /// A frame of 4 GiB, or four thousand million frames.
    #[error("too large to be sealed")]
    TooLarge,
    /// The data key has outlived itself.
    #[error("the data key is too old to seal with, and the key service gives no new one")]
    Expired,
}

/// Counts frames. It has no way to be set back.
#[derive(Debug)]
struct Counter(u32);

impl Counter {
    fn take(&mut self) -> Result<u32, SealError> {
        let now = self.0;
        self.0 = now.checked_add(1).ok_or(SealError::TooLarge)?;
        Ok(now)
    }
}

fn nonce(frame: u32, last: bool) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    let number = u128::from(frame) << 8 | u128::from(last);
    bytes.copy_from_slice(number.to_be_bytes().last_chunk::<NONCE_LEN>().expect("sixteen bytes have twelve"));
    Nonce::assume_unique_for_key(bytes)
}

fn associated(header: &[u8; 32], frame: u32, plain_bytes: u32, packing: u8) -> Aad<[u8; 41]> {
    let mut bytes = [0; 41];
    let parts = [&header[..], &frame.to_le_bytes(), &plain_bytes.to_le_bytes(), &[packing]].concat();
    bytes.copy_from_slice(&parts);
    Aad::from(bytes)
}

/// SHA-256 of `bytes`: of a header for its frames, of an object for the chain.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The key commitment that a header must carry.
pub fn commitment(data: &DataKey, salt: &[u8; 32], identity: &Identity) -> [u8; 32] {
    data.object_key(salt, identity).commitment
}

/// A frame before it is sealed: what its body is and how it became so.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// How the plain bytes were packed, as a number.
    pub packing: u8,
    /// Their length.
    pub plain_bytes: u32,
    /// The packed bytes.
    pub bytes: &'a [u8],
}

/// Where a frame stands in its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameAt {
    /// Its number, from 0.
    pub frame: u32,
    /// Offset of its head.
    pub at: u32,
    /// Its length with head and tag.
    pub bytes: u32,
}

/// Seals one object. It eats its key and is eaten by [`Sealer::finish`]: nothing is sealed twice under one key.
pub struct Sealer {
    key: ObjectKey,
    header: [u8; 32],
    next: Counter,
    out: Vec<u8>,
}

impl Sealer {
    /// Begins an object with its encoded header, which must carry the [`commitment`] of the same key, salt and identity.
    pub fn new(data: &DataKey, salt: &[u8; 32], identity: &Identity, header: &[u8], capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.extend_from_slice(header);
        Self { key: data.object_key(salt, identity), header: sha256(header), next: Counter(0), out }
    }

    /// Seals the next frame.
    pub fn frame(&mut self, body: Body<'_>) -> Result<FrameAt, SealError> {
        self.seal(body, false)
    }

    /// Seals the last frame, the footer, and appends the trailer that is made of its place.
    pub fn finish(mut self, footer: Body<'_>, trailer: impl FnOnce(FrameAt) -> [u8; 24]) -> Result<Sealed, SealError> {
        let at = self.seal(footer, true)?;
        self.out.extend_from_slice(&trailer(at));
        Ok(Sealed::from_sealer(self.out.into()))
    }

    fn seal(&mut self, body: Body<'_>, last: bool) -> Result<FrameAt, SealError> {
        let frame = self.next.take()?;
        let at = self.out.len();
        let sealed_bytes = body.bytes.len().checked_add(TAG_BYTES).and_then(|bytes| u32::try_from(bytes).ok());
        let sealed_bytes = sealed_bytes.ok_or(SealError::TooLarge)?;
        self.out.extend_from_slice(&sealed_bytes.to_le_bytes());
        self.out.extend_from_slice(&body.plain_bytes.to_le_bytes());
        self.out.push(body.packing);
        let begins = self.out.len();
        self.out.extend_from_slice(body.bytes);
        let aad = associated(&self.header, frame, body.plain_bytes, body.packing);
        let plain = self.out.get_mut(begins..).unwrap_or_default();
        let tag = self.key.key.seal_in_place_separate_tag(nonce(frame, last), aad, plain);
        self.out.extend_from_slice(tag.map_err(|_| SealError::TooLarge)?.as_ref());
        let bytes = u32::try_from(self.out.len() - at).map_err(|_| SealError::TooLarge)?;
        Ok(FrameAt { frame, at: u32::try_from(at).map_err(|_| SealError::TooLarge)?, bytes })
    }
}

/// Whether a frame is expected to be the object's last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A frame of records.
    Inner,
    /// The footer.
    Last,
}

/// Opens the frames of one object, in any order.
pub struct Opener {
    key: ObjectKey,
    header: [u8; 32],
}

/// One frame, opened but still packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// How the plain bytes were packed, as a number.
    pub packing: u8,
    /// Their length.
    pub plain_bytes: u32,
    /// The packed bytes.
    pub body: Vec<u8>,
    /// The frame's length in the object, with head and tag.
    pub frame_bytes: usize,
}

impl Opener {
    /// An opener for the object that begins with `header`; an error if another key sealed it.
    pub fn new(
        data: &DataKey,
        salt: &[u8; 32],
        identity: &Identity,
        header: &[u8],
        committed: &[u8; 32],
    ) -> Result<Self, SealError> {
        let key = data.object_key(salt, identity);
        verify_slices_are_equal(&key.commitment, committed).map_err(|_| SealError::OtherKey)?;
        Ok(Self { key, header: sha256(header) })
    }

    /// Opens frame number `frame`, which begins at the beginning of `bytes`; bytes behind it do not matter.
    pub fn frame(&self, frame: u32, place: Place, bytes: &Bytes) -> Result<Opened, SealError> {
        let broken = SealError::Broken { frame };
        let (head, rest) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>().ok_or(broken)?;
        let [s0, s1, s2, s3, p0, p1, p2, p3, packing] = *head;
        let sealed_bytes = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).map_err(|_| broken)?;
        let plain_bytes = u32::from_le_bytes([p0, p1, p2, p3]);
        let mut body = rest.get(..sealed_bytes).ok_or(broken)?.to_vec();
        let aad = associated(&self.header, frame, plain_bytes, packing);
        let opened = self.key.key.open_in_place(nonce(frame, place == Place::Last), aad, &mut body);
        let length = opened.map_err(|_| broken)?.len();
        body.truncate(length);
        Ok(Opened { packing, plain_bytes, body, frame_bytes: FRAME_HEAD_BYTES + sealed_bytes })
    }
}
