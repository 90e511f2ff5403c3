//! The recovery recipient: an X25519 key pair in the text form of age, whose private half stays offline.
//!
//! ```text
//!   age1…                 the public half: every data key gets a second wrap for it
//!   AGE-SECRET-KEY-1…     the private half: opens everything when key file and key service are gone
//!
//!   wrap:  epoch u64 | share [32] | sealed data key [32] | tag [16]           integers little-endian
//!   key:   HKDF-SHA256(X25519(ephemeral, recipient), salt = share | recipient, "age-encryption.org/v1/X25519")
//!   seal:  ChaCha20-Poly1305, zero nonce, associated data = "holdfast recovery v1" | stream | epoch
//! ```
//! The scheme is the X25519 stanza of age (C2SP age, *The X25519 recipient type*) around our 32 bytes instead of its 16.
//! The share is fresh for each wrap, so its key seals once; the associated data binds the wrap to its log and epoch, and
//! keeps stanzas of real age files out.
//!
//! Whoever knows the *public* half can make a wrap. So it proves nothing of who sealed an object, is never tried where
//! the private half is not at hand, and the public half is better not shown around.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::crypto::key::{DataKey, expand_salted};
use crate::crypto::keyring::KeyContext;
use crate::crypto::stream::sha256;
use crate::entropy::{Entropy, draw};
use crate::model::{Epoch, KeyId, Recipient, Wrap};

const INFO: &[u8] = b"age-encryption.org/v1/X25519";
const BOUND: &[u8] = b"holdfast recovery v1";
const PUBLIC: Hrp = Hrp::parse_unchecked("age");
const SECRET: Hrp = Hrp::parse_unchecked("age-secret-key-");

/// A text that is no recovery key. It never repeats what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryKeyError {
    /// It is not the public half.
    #[error("it is no public key in the form of age (age1 and 58 letters and digits), or one of them is wrong")]
    Public,
    /// It is one of the few points whose agreed secret everybody knows: what is sealed for it is sealed for nobody.
    #[error(
        "it is no usable public key: nothing can be sealed for it; take the one that was printed with its private half"
    )]
    Weak,
    /// It is not the private half.
    #[error("it is no private key in the form of age (AGE-SECRET-KEY-1 and 58 letters and digits), or one is wrong")]
    Private,
}

/// The public half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryKey([u8; 32]);

impl FromStr for RecoveryKey {
    type Err = RecoveryKeyError;

    fn from_str(text: &str) -> Result<Self, RecoveryKeyError> {
        // age writes it in small letters, and only so.
        let small = !text.bytes().any(|letter| letter.is_ascii_uppercase());
        let key = parse(text, PUBLIC).filter(|_| small).map(Self).ok_or(RecoveryKeyError::Public)?;
        // Whether a point is one of these does not depend on who agrees with it (RFC 7748, section 6.1).
        let anybody = RecoveryIdentity([1; 32]);
        anybody.wrapping_key(&key, &key, &key).map(|_| key).ok_or(RecoveryKeyError::Weak)
    }
}

impl fmt::Display for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode::<Bech32>(PUBLIC, &self.0).expect("32 bytes fit into bech32"))
    }
}

impl RecoveryKey {
    /// A point that no text gives.
    #[cfg(test)]
    pub(crate) const fn nobodys() -> Self {
        Self([0; 32])
    }

    /// Its fingerprint: the first sixteen bytes of SHA-256 of `"holdfast recovery key id v1"` and the key.
    pub fn id(&self) -> KeyId {
        let hash = sha256(&[&b"holdfast recovery key id v1"[..], &self.0].concat());
        KeyId::from_bytes(*hash.first_chunk().expect("32 bytes have sixteen"))
    }

    /// Wraps a data key.
    pub(crate) fn wrap(&self, data: &DataKey, context: &KeyContext, entropy: &dyn Entropy) -> Option<Wrap> {
        let ephemeral = RecoveryIdentity(draw(entropy));
        let share = ephemeral.public();
        let key = ephemeral.wrapping_key(self, &share, self)?;
        let mut sealed = Zeroizing::new(data.as_bytes().to_vec());
        let tag = key.seal_in_place_separate_tag(zero_nonce(), bound(context), &mut sealed).ok()?;
        let bytes = [&context.epoch.get().to_le_bytes()[..], &share.0, &sealed, tag.as_ref()].concat();
        Some(Wrap { recipient: Recipient::Recovery, key: self.id(), bytes })
    }
}

/// The private half. Never printed; see [`RecoveryIdentity::secret_text`].
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryIdentity([u8; 32]);

impl fmt::Debug for RecoveryIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryIdentity({})", self.public().id())
    }
}

impl FromStr for RecoveryIdentity {
    type Err = RecoveryKeyError;

    fn from_str(text: &str) -> Result<Self, RecoveryKeyError> {
        parse(text, SECRET).map(Self).ok_or(RecoveryKeyError::Private)
    }
}

impl RecoveryIdentity {
    /// A new one.
    pub fn fresh(entropy: &dyn Entropy) -> Self {
        Self(draw(entropy))
    }

    /// The public half.
    pub fn public(&self) -> RecoveryKey {
        let key = PrivateKey::from_private_key(&X25519, &self.0).expect("any 32 bytes are a private key of X25519");
        let key = key.compute_public_key().expect("and every one has its public key");
        RecoveryKey(key.as_ref().try_into().expect("public keys of X25519 have 32 bytes"))
    }

    /// The text that age reads. It is the secret itself.
    pub fn secret_text(&self) -> Zeroizing<String> {
        Zeroizing::new(bech32::encode_upper::<Bech32>(SECRET, &self.0).expect("32 bytes fit into bech32"))
    }

    /// Unwraps a data key; `None` if the wrap is not for this key, or for another stream or epoch.
    pub(crate) fn unwrap(&self, wrap: &Wrap, context: &KeyContext) -> Option<DataKey> {
        let (epoch, rest) = wrap.bytes.split_first_chunk::<8>()?;
        let (share, sealed) = rest.split_first_chunk::<32>()?;
        let share = RecoveryKey(*share);
        let made_for = KeyContext { epoch: Epoch::new(u64::from_le_bytes(*epoch)), ..*context };
        let key = self.wrapping_key(&share, &share, &self.public())?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let opened: &[u8] = key.open_in_place(zero_nonce(), bound(&made_for), &mut sealed).ok()?;
        Some(DataKey::from_bytes(opened.try_into().ok()?))
    }

    /// `None` if the other half is one of the few points that agree with everybody on the same secret.
    fn wrapping_key(&self, other: &RecoveryKey, share: &RecoveryKey, recipient: &RecoveryKey) -> Option<LessSafeKey> {
        let own = PrivateKey::from_private_key(&X25519, &self.0).ok()?;
        let salt = [share.0, recipient.0].concat();
        let mut key = Zeroizing::new([0; 32]);
        agree(&own, UnparsedPublicKey::new(&X25519, &other.0), (), |shared| {
            let secret = Zeroizing::new(<[u8; 32]>::try_from(shared).map_err(|_| ())?);
            expand_salted(&secret, &salt, INFO, &mut *key);
            Ok(())
        })
        .ok()?;
        Some(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &*key).ok()?))
    }
}

/// The 32 bytes that a text stands for. What is wrong with one that stands for none is told to nobody: the text may be a
/// secret, and errors quote what they are about.
fn parse(text: &str, prefix: Hrp) -> Option<[u8; 32]> {
    let Ok(checked) = CheckedHrpstring::new::<Bech32>(text) else { return None };
    let bytes = Zeroizing::new(checked.byte_iter().collect::<Vec<u8>>());
    let right = checked.hrp() == prefix && bytes.len() == 32;
    if right { bytes.first_chunk().copied() } else { None }
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn bound(context: &KeyContext) -> Aad<Vec<u8>> {
    Aad::from([BOUND, &context.bytes()].concat())
}

#[cfg(test)]
mod tests;
