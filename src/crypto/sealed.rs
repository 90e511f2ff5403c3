//! Bytes that may leave this machine: a store takes nothing else, so plaintext cannot be uploaded by mistake (L6).

use std::fmt;

use bytes::Bytes;

/// Sealed bytes. Two doors lead here: the sealer made them, or a store gave them back ([`Sealed::stored`]).
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Bytes);

impl Sealed {
    /// The sealer's door: what it has just sealed.
    pub(crate) const fn from_sealer(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The stores' door: what a store gave back. Only stores call it, and tests that need any bytes at all.
    pub const fn stored(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, shared without a copy.
    pub fn bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// How many bytes there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}
