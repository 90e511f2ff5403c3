//! A key service: a key that never leaves it makes, wraps and unwraps data keys for us. The contract, and how it fails.
//!
//! What talks to one over a network stands in `connect`; this floor only knows what it may ask for.

use crate::crypto::key::DataKey;
use crate::crypto::keyring::KeyContext;

/// What wraps and unwraps data keys with a key of its own.
///
/// * `generate` gives 32 new random bytes, plain and wrapped; the wrap opens only for the same context.
/// * `unwrap` opens what this service's own key wrapped, and nothing else: a wrap that names another key is
///   [`Trouble::OtherKey`], whoever may use that key. Else somebody who can write to a store could forge what he likes
///   under a key of his own that we happen to be allowed to use.
/// * Every call ends: there is a bound on attempts and on time.
#[async_trait::async_trait]
pub trait KeyService: Send + Sync {
    /// The key as it was configured, for people.
    fn key(&self) -> &str;
    /// A new data key and its wrap.
    async fn generate(&self, context: &KeyContext) -> Result<(DataKey, ServiceWrap), KeyServiceError>;
    /// A wrap of a data key that is known already.
    async fn wrap(&self, data: &DataKey, context: &KeyContext) -> Result<ServiceWrap, KeyServiceError>;
    /// The data key in a wrap.
    async fn unwrap(&self, wrapped: &[u8], context: &KeyContext) -> Result<DataKey, KeyServiceError>;
    /// Whether the key can be used.
    async fn state(&self) -> Result<(), KeyServiceError>;
}

/// A data key as the service wrapped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceWrap {
    /// The whole name of the key that wrapped it, which may be another one tomorrow if the configured name is an alias.
    pub key: String,
    /// The wrapped key.
    pub bytes: Vec<u8>,
}

/// The service did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{op} with key {key}: {trouble}{}", parenthesis(.said))]
pub struct KeyServiceError {
    /// What was asked for, in the service's own word.
    pub op: &'static str,
    /// With which key.
    pub key: String,
    /// What is wrong.
    pub trouble: Trouble,
    /// What the service or the network said; empty if it said nothing.
    pub said: String,
}

fn parenthesis(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" ({said})") }
}

/// What is wrong with a key service or its key, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No answer, or an answer that says: later.
    #[error("the key service does not answer; look at the network, the endpoint and the service's own status page")]
    Unavailable,
    /// Too many requests, of anybody in the account.
    #[error("the key service is asked too often in this account and region; find who asks, or have the quota raised")]
    Throttled,
    /// Somebody disabled the key.
    #[error("the key is disabled; enable it again (aws kms enable-key), nothing is lost meanwhile")]
    Disabled,
    /// Somebody scheduled its deletion.
    #[error(
        "the key is going to be deleted; cancel that now (aws kms cancel-key-deletion, then enable-key): \
         once it is gone only the recovery key opens what it wrapped"
    )]
    PendingDeletion,
    /// Our role lacks the right.
    #[error("this role may not do that; grant it the right in the key's policy or the role's")]
    Denied,
    /// The wrap is not for this stream and epoch, or a byte of it was changed.
    #[error("the wrapped key was changed, or it belongs to another log or epoch")]
    WrongContext,
    /// The wrap was made with another key.
    #[error("another key wrapped it; name that key in [key] kms, or run keys rewrap where it can be used")]
    OtherKey,
    /// There is no such key.
    #[error("there is no such key; look at [key] kms: key_id, region and endpoint")]
    NotFound,
    /// Something that no version of the service was seen to say.
    #[error("the key service refused in a way of its own")]
    Unexpected,
}

impl Trouble {
    /// Whether it passes by itself. Until then what is sealed goes on under the data key at hand.
    pub const fn is_outage(self) -> bool {
        match self {
            Self::Unavailable | Self::Throttled | Self::Unexpected => true,
            Self::Disabled
            | Self::PendingDeletion
            | Self::Denied
            | Self::WrongContext
            | Self::OtherKey
            | Self::NotFound => false,
        }
    }

    /// The trouble in a word, as a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Throttled => "throttled",
            Self::Disabled => "disabled",
            Self::PendingDeletion => "pending_deletion",
            Self::Denied => "denied",
            Self::WrongContext => "wrong_context",
            Self::OtherKey => "other_key",
            Self::NotFound => "not_found",
            Self::Unexpected => "unexpected",
        }
    }

    /// Every trouble.
    pub const ALL: [Self; 9] = [
        Self::Unavailable,
        Self::Throttled,
        Self::Disabled,
        Self::PendingDeletion,
        Self::Denied,
        Self::WrongContext,
        Self::OtherKey,
        Self::NotFound,
        Self::Unexpected,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_trouble_has_a_sentence_of_its_own_and_says_what_to_do() {
        let sentences: BTreeSet<String> = Trouble::ALL.iter().map(Trouble::to_string).collect();
        let names: BTreeSet<&str> = Trouble::ALL.into_iter().map(Trouble::name).collect();
        assert_eq!((sentences.len(), names.len()), (Trouble::ALL.len(), Trouble::ALL.len()));
    }
}
