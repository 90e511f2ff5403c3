//! Bytes that may leave this machine.

use bytes::Bytes;

/// Bytes that may leave this machine. A store takes nothing else, so plaintext cannot be uploaded by mistake (L6).
/// Two doors: [`crate::crypto::Sealer::finish`] made them, or a store gave them back ([`Sealed::stored`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed(Bytes);

impl Sealed {
    /// The sealer's door.
    pub(crate) const fn from_sealer(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The stores' door: bytes that were in a store already. Nothing but stores and tests calls it.
    pub const fn stored(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, shared.
    pub fn bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// How many.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
