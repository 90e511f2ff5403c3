//! Data keys and the object keys that are derived from them: derive, commit, zero, never print.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::entropy::{Entropy, draw};

/// Which object a key is for; all of it goes into the key's derivation, so a foreign or moved object has another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cipher suite's number.
    pub suite: u8,
    /// The kind of object.
    pub kind: u8,
    /// The log or base.
    pub stream: [u8; 16],
    /// The writer's reign.
    pub epoch: u64,
    /// The place in the log or base.
    pub slot: u64,
}

impl Identity {
    /// `"holdfast object v1" | suite | kind | stream | epoch | slot`, integers little-endian.
    fn info(&self) -> Vec<u8> {
        let mut info = b"holdfast object v1".to_vec();
        info.extend_from_slice(&[self.suite, self.kind]);
        info.extend_from_slice(&self.stream);
        info.extend_from_slice(&self.epoch.to_le_bytes());
        info.extend_from_slice(&self.slot.to_le_bytes());
        info
    }
}

/// 256 random bits from which the keys of many objects are derived.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; 32]);

impl DataKey {
    /// A new key.
    pub fn fresh(entropy: &dyn Entropy) -> Self {
        Self(draw(entropy))
    }

    /// A key that was unwrapped, or that a key service made.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key itself, for what wraps it and nothing else.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of one object, for one sealing attempt.
    pub(crate) fn object_key(&self, salt: &[u8; 32], identity: &Identity) -> ObjectKey {
        let mut material = [0; 64];
        expand(&self.0, salt, &identity.info(), &mut material);
        let (key, commitment) = material.split_at(32);
        let algorithm = if identity.suite == 2 { &AES_256_GCM } else { &CHACHA20_POLY1305 };
        let key = UnboundKey::new(algorithm, key).expect("both ciphers take 32 bytes");
        let commitment = commitment.try_into().expect("64 bytes less 32");
        material.zeroize();
        ObjectKey { key: LessSafeKey::new(key), commitment }
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(…)")
    }
}

/// What seals and opens one object.
pub(crate) struct ObjectKey {
    pub(crate) key: LessSafeKey,
    pub(crate) commitment: [u8; 32],
}

/// HKDF-SHA256 (RFC 5869): fills `out` from `secret`.
pub(crate) fn expand(secret: &[u8; 32], salt: &[u8; 32], info: &[u8], out: &mut [u8]) {
    expand_salted(secret, salt, info, out);
}

/// As [`expand`], with a salt of any length.
pub(crate) fn expand_salted(secret: &[u8; 32], salt: &[u8], info: &[u8], out: &mut [u8]) {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let pseudorandom = Salt::new(HKDF_SHA256, salt).extract(secret);
    let info = [info];
    let material = pseudorandom.expand(&info, Length(out.len()));
    let filled = material.and_then(|material| material.fill(out));
    filled.expect("HKDF-SHA256 gives up to 8160 bytes");
}
