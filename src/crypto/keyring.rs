//! The keys at hand: makes data keys wrapped for every recipient, and unwraps those that headers carry.
//!
//! ```text
//!   new data keys:  key service, or else the first key of the key file · and the recovery key, if there is one
//!   opening:        key file · private half of the recovery key · key service, asked once for each data key
//! ```
//! A wrap by a key service is `epoch u64 | name_bytes u16 | key's whole name | wrapped key`, integers little-endian. The
//! epoch is the one that the data key was made in, which goes into the service's encryption context; a data key may
//! serve later reigns of the same process, because the object's own epoch is bound into the object's key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::crypto::file::{FileKey, KeyFile};
use crate::crypto::key::DataKey;
use crate::crypto::recovery::{RecoveryIdentity, RecoveryKey};
use crate::crypto::sealing::Lives;
use crate::crypto::service::{KeyService, KeyServiceError, ServiceWrap, Trouble};
use crate::crypto::stream::sha256;
use crate::entropy::Entropy;
use crate::model::limits::OPENED_KEYS_MAX;
use crate::model::{Epoch, KeyId, Recipient, Wrap};

/// What a data key is for; a wrap made for one stream or epoch opens for no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyContext {
    /// The log or base.
    pub stream: [u8; 16],
    /// The writer's reign; 0 for a base.
    pub epoch: Epoch,
}

impl KeyContext {
    /// What a data key is asked for that proves at the start that the service makes some.
    pub const START: Self = Self { stream: [0; 16], epoch: Epoch::new(0) };

    /// `stream | epoch`, the epoch little-endian.
    pub(crate) fn bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes.copy_from_slice(&[&self.stream[..], &self.epoch.get().to_le_bytes()].concat());
        bytes
    }

    /// The encryption context that a key service binds a wrap to: names and values, for policies and for the audit trail.
    pub fn pairs(&self) -> [(&'static str, String); 4] {
        let purpose = match (*self == Self::START, self.epoch == Epoch::new(0)) {
            (true, _) => "start",
            (false, true) => "base",
            (false, false) => "log",
        };
        [
            ("application", "holdfast".to_owned()),
            ("stream", hex::encode(self.stream)),
            ("epoch", self.epoch.to_string()),
            ("purpose", purpose.to_owned()),
        ]
    }
}

/// No key at hand opens an object, or none seals.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It was sealed for other keys.
    #[error("it was sealed for key {}; the key at hand is {}", .sealed_for.join(", "), .at_hand.join(", "))]
    OtherKey {
        /// Keys that could open it.
        sealed_for: Vec<String>,
        /// Keys that we have.
        at_hand: Vec<String>,
    },
    /// It names a key that we have, yet that key does not open the wrap.
    #[error("its wrapped key was changed or belongs to another object")]
    Broken,
    /// The key service did not do it.
    #[error(transparent)]
    Service(#[from] KeyServiceError),
    /// The data key at hand has become too old, and the key service gives no new one.
    #[error(
        "the data key is older than {} h and the key service gives no new one: nothing is sealed any more",
        crate::model::limits::DATA_KEY_HARD_LIFE.as_secs() / 3600
    )]
    Expired,
    /// There is nothing that could seal.
    #[error("the keys at hand only open: name a key file or a key service in [key] to seal")]
    SealsNothing,
    /// A recovery key is configured that nothing can be sealed for.
    #[error(
        "nothing can be sealed for the recovery key in [key] recovery; take the one that was printed with its half"
    )]
    RecoveryUnusable,
}

impl KeyError {
    /// Whether it passes by itself.
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::Service(error) => error.trouble.is_outage(),
            Self::Expired => true,
            Self::OtherKey { .. } | Self::Broken | Self::SealsNothing | Self::RecoveryUnusable => false,
        }
    }

    /// Whether this process has no right to open, as a writer should have none.
    pub const fn is_denied(&self) -> bool {
        matches!(self, Self::Service(KeyServiceError { trouble: Trouble::Denied, .. }))
    }

    /// Whether the process cannot open now or may not at all, as a writer need not: then clear headers must do.
    pub const fn is_out_of_reach(&self) -> bool {
        self.is_denied() || self.is_outage()
    }

    /// Whether somebody changed bytes, rather than the right key being out of reach.
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Broken => true,
            Self::Service(error) => matches!(error.trouble, Trouble::WrongContext),
            Self::OtherKey { .. } | Self::Expired | Self::SealsNothing | Self::RecoveryUnusable => false,
        }
    }
}

/// The keys at hand.
#[derive(Default)]
pub struct Keyring {
    pub(crate) files: Vec<FileKey>,
    pub(crate) services: Vec<Arc<dyn KeyService>>,
    pub(crate) recovery: Option<RecoveryKey>,
    identities: Vec<RecoveryIdentity>,
    opened: Mutex<BTreeMap<[u8; 32], DataKey>>,
    pub(crate) lives: Mutex<Lives>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("at_hand", &self.at_hand()).finish_non_exhaustive()
    }
}

impl Keyring {
    /// A ring of one key file's key.
    pub fn of_file(key: FileKey) -> Self {
        Self { files: vec![key], ..Self::default() }
    }

    /// A ring of all that a key file holds.
    pub fn of_key_file(file: KeyFile) -> Self {
        Self { files: file.keys, identities: file.identities, ..Self::default() }
    }

    /// And what a key service opens; the first service wraps new data keys.
    #[must_use]
    pub fn with_service(mut self, service: Arc<dyn KeyService>) -> Self {
        self.services.push(service);
        self
    }

    /// And every new data key is wrapped for the recovery key too.
    #[must_use]
    pub fn with_recovery(mut self, recovery: Option<RecoveryKey>) -> Self {
        self.recovery = recovery;
        self
    }

    /// What is at hand, by name.
    pub fn at_hand(&self) -> Vec<String> {
        let files = self.files.iter().map(|key| key.id().to_string());
        let identities = self.identities.iter().map(|identity| format!("recovery {}", identity.public().id()));
        files.chain(identities).chain(self.services.iter().map(|service| format!("kms {}", service.key()))).collect()
    }

    /// The ids of the keys in the key file.
    pub fn file_ids(&self) -> Vec<KeyId> {
        self.files.iter().map(FileKey::id).collect()
    }

    /// A data key and its wraps, made here; `None` where a key service makes them, or nothing seals.
    pub(crate) fn make_here(
        &self,
        context: &KeyContext,
        entropy: &dyn Entropy,
    ) -> Option<Result<(DataKey, Vec<Wrap>), KeyError>> {
        let key = self.files.first().filter(|_| self.services.is_empty())?;
        let data = DataKey::fresh(entropy);
        let first = key.wrap(&data, context, entropy);
        Some(self.with_recovery_wrap(first, &data, context, entropy).map(|wraps| (data, wraps)))
    }

    /// A new data key and its wraps, from wherever new ones come.
    pub(crate) async fn make(
        &self,
        context: &KeyContext,
        entropy: &dyn Entropy,
    ) -> Result<(DataKey, Vec<Wrap>), KeyError> {
        let Some(service) = self.services.first() else {
            return self.make_here(context, entropy).unwrap_or(Err(KeyError::SealsNothing));
        };
        let (data, wrapped) = service.generate(context).await?;
        let wraps = self.with_recovery_wrap(service_wrap(&wrapped, context), &data, context, entropy)?;
        Ok((data, wraps))
    }

    /// Wraps a data key that is known, for every recipient that a new one would be wrapped for.
    pub async fn wrap_again(
        &self,
        data: &DataKey,
        context: &KeyContext,
        entropy: &dyn Entropy,
    ) -> Result<Vec<Wrap>, KeyError> {
        let first = match (self.services.first(), self.files.first()) {
            (Some(service), _) => service_wrap(&service.wrap(data, context).await?, context),
            (None, Some(key)) => key.wrap(data, context, entropy),
            (None, None) => return Err(KeyError::SealsNothing),
        };
        self.with_recovery_wrap(first, data, context, entropy)
    }

    /// Every wrap that is promised, or none: a recipient that is left out would show when all else is gone.
    fn with_recovery_wrap(
        &self,
        first: Wrap,
        data: &DataKey,
        context: &KeyContext,
        entropy: &dyn Entropy,
    ) -> Result<Vec<Wrap>, KeyError> {
        let mut wraps = vec![first];
        if let Some(key) = &self.recovery {
            wraps.push(key.wrap(data, context, entropy).ok_or(KeyError::RecoveryUnusable)?);
        }
        Ok(wraps)
    }

    /// The data key that a header carries.
    pub async fn open(&self, wraps: &[Wrap], context: &KeyContext) -> Result<DataKey, KeyError> {
        let place = wraps_id(wraps, context.stream);
        if let Some(data) = self.opened_keys().get(&place) {
            return Ok(data.clone());
        }
        match self.open_here(wraps, context) {
            Err(KeyError::OtherKey { .. }) if !self.services.is_empty() => {
                let data = self.ask_services(wraps, context).await?;
                self.remember(place, data.clone());
                Ok(data)
            }
            opened => opened,
        }
    }

    /// Keeps a data key that was found for these wraps on another way.
    pub fn learn(&self, wraps: &[Wrap], stream: [u8; 16], data: DataKey) {
        self.remember(wraps_id(wraps, stream), data);
    }

    fn remember(&self, place: [u8; 32], data: DataKey) {
        let mut opened = self.opened_keys();
        if opened.len() >= OPENED_KEYS_MAX {
            // Asked for again, which costs little; kept for ever, they would pile up (L8).
            opened.clear();
        }
        opened.insert(place, data);
    }

    fn opened_keys(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], DataKey>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_here(&self, wraps: &[Wrap], context: &KeyContext) -> Result<DataKey, KeyError> {
        let mut named = false;
        for wrap in wraps {
            let opened = match wrap.recipient {
                Recipient::KeyFile => {
                    let mut keys = self.files.iter().filter(|key| key.id() == wrap.key).peekable();
                    named |= keys.peek().is_some();
                    keys.find_map(|key| key.unwrap(wrap, context))
                }
                Recipient::Recovery => {
                    let mut own = self.identities.iter().filter(|own| own.public().id() == wrap.key).peekable();
                    named |= own.peek().is_some();
                    own.find_map(|identity| identity.unwrap(wrap, context))
                }
                Recipient::Service => None,
            };
            if let Some(data) = opened {
                return Ok(data);
            }
        }
        Err(if named { KeyError::Broken } else { self.other_key(wraps) })
    }

    fn other_key(&self, wraps: &[Wrap]) -> KeyError {
        KeyError::OtherKey { sealed_for: wraps.iter().map(recipient_name).collect(), at_hand: self.at_hand() }
    }

    /// Every service is asked for every wrap: the name in a wrap is what somebody wrote there, and an alias or a replica
    /// goes by another one.
    async fn ask_services(&self, wraps: &[Wrap], context: &KeyContext) -> Result<DataKey, KeyError> {
        let mut refused = None;
        for wrap in wraps.iter().filter(|wrap| wrap.recipient == Recipient::Service) {
            let Some((epoch, _name, wrapped)) = split_service_wrap(&wrap.bytes) else { return Err(KeyError::Broken) };
            let made_for = KeyContext { epoch, ..*context };
            for service in &self.services {
                match service.unwrap(wrapped, &made_for).await {
                    Ok(data) => return Ok(data),
                    Err(error) if error.trouble == Trouble::OtherKey => {}
                    Err(error) => refused = Some(error),
                }
            }
        }
        Err(refused.map_or_else(|| self.other_key(wraps), KeyError::from))
    }
}

/// What the wraps of one data key of one log or base hash to: objects that it sealed share it. SHA-256 of `stream`, then
/// each wrap: `recipient u8 | key id [16] | bytes u64 | wrapped key`, integers little-endian.
pub fn wraps_id(wraps: &[Wrap], stream: [u8; 16]) -> [u8; 32] {
    let mut bytes = stream.to_vec();
    for wrap in wraps {
        bytes.push(wrap.recipient.tag());
        bytes.extend_from_slice(wrap.key.as_bytes());
        bytes.extend_from_slice(&u64::try_from(wrap.bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        bytes.extend_from_slice(&wrap.bytes);
    }
    sha256(&bytes)
}

/// For whom a wrap is, in words: the kind and what it is known by.
pub fn recipient_name(wrap: &Wrap) -> String {
    match (wrap.recipient, split_service_wrap(&wrap.bytes)) {
        (Recipient::KeyFile, _) => wrap.key.to_string(),
        (Recipient::Recovery, _) => format!("recovery {}", wrap.key),
        (Recipient::Service, Some((_, name, _))) => format!("kms {name}"),
        (Recipient::Service, None) => format!("kms {}", wrap.key),
    }
}

fn service_wrap(wrapped: &ServiceWrap, context: &KeyContext) -> Wrap {
    let mut bytes = context.epoch.get().to_le_bytes().to_vec();
    let name = wrapped.key.as_bytes();
    let length = u16::try_from(name.len()).unwrap_or(0);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(name.get(..usize::from(length)).unwrap_or_default());
    bytes.extend_from_slice(&wrapped.bytes);
    let hash = sha256(&[&b"holdfast kms key id v1"[..], name].concat());
    let key = KeyId::from_bytes(*hash.first_chunk().expect("32 bytes have sixteen"));
    Wrap { recipient: Recipient::Service, key, bytes }
}

/// The epoch it was made in, the key's name as far as it can be printed, and what the service wrapped.
fn split_service_wrap(bytes: &[u8]) -> Option<(Epoch, &str, &[u8])> {
    let (epoch, rest) = bytes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (name, wrapped) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let name = std::str::from_utf8(name).ok().filter(|name| !name.contains(char::is_control))?;
    Some((Epoch::new(u64::from_le_bytes(*epoch)), name, wrapped))
}

#[cfg(test)]
mod tests;
