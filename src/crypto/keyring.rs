//! The keys at hand: makes data keys wrapped for every recipient, and unwraps those that headers carry.

use crate::crypto::file::FileKey;
use crate::crypto::key::DataKey;
use crate::entropy::Entropy;
use crate::model::{Epoch, KeyId, Wrap};

/// What a data key is for; a wrap made for one stream or epoch opens for no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyContext {
    /// The log or base.
    pub stream: [u8; 16],
    /// The writer's reign.
    pub epoch: Epoch,
}

impl KeyContext {
    /// `stream | epoch`, the epoch little-endian.
    pub(crate) fn bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes.copy_from_slice(&[&self.stream[..], &self.epoch.get().to_le_bytes()].concat());
        bytes
    }
}

/// No key at hand opens an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It was sealed for other keys.
    #[error("it was sealed for key {}; the key at hand is {}", list(.sealed_for), list(.at_hand))]
    OtherKey {
        /// Keys that could open it.
        sealed_for: Vec<KeyId>,
        /// Keys that we have.
        at_hand: Vec<KeyId>,
    },
    /// It names a key that we have, yet that key does not open the wrap.
    #[error("its wrapped key was changed or belongs to another object")]
    Broken,
}

fn list(keys: &[KeyId]) -> String {
    keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ")
}

/// The keys at hand. The first wraps new data keys; all can unwrap.
#[derive(Clone, Debug)]
pub struct Keyring {
    files: Vec<FileKey>,
}

impl Keyring {
    /// A ring of one key file's key.
    pub fn of_file(key: FileKey) -> Self {
        Self { files: vec![key] }
    }

    /// The ids of the keys at hand.
    pub fn ids(&self) -> Vec<KeyId> {
        self.files.iter().map(FileKey::id).collect()
    }

    /// A new data key and its wraps.
    pub fn fresh(&self, context: &KeyContext, entropy: &dyn Entropy) -> (DataKey, Vec<Wrap>) {
        let data = DataKey::fresh(entropy);
        let wraps = self.files.first().map(|key| key.wrap(&data, context, entropy));
        (data, wraps.into_iter().collect())
    }

    /// The data key that a header carries.
    pub fn open(&self, wraps: &[Wrap], context: &KeyContext) -> Result<DataKey, KeyError> {
        let mut named = false;
        for wrap in wraps {
            for key in self.files.iter().filter(|key| key.id() == wrap.key) {
                named = true;
                if let Some(data) = key.unwrap(wrap, context) {
                    return Ok(data);
                }
            }
        }
        let sealed_for = wraps.iter().map(|wrap| wrap.key).collect();
        Err(if named { KeyError::Broken } else { KeyError::OtherKey { sealed_for, at_hand: self.ids() } })
    }
}
