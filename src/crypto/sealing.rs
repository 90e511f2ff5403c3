//! The lives of data keys: how long one seals, when the next is fetched, and what holds while none comes.
//!
//! ```text
//!  made ────────────── the day ends, or soft life ─────────────────────────── hard life
//!       seals               a new one is fetched beside sealing                  nothing is sealed any more
//! ```
//! A key file makes a new data key on the spot. A key service is asked ahead, by whoever owns a writer, so that no seal
//! waits for a network; while it does not answer the key at hand seals on. A new reign of this process may begin under it
//! too; a new process has none, so it does not start (L11).

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::crypto::key::DataKey;
use crate::crypto::keyring::{KeyContext, KeyError, Keyring};
use crate::crypto::service::{KeyServiceError, Trouble};
use crate::entropy::Entropy;
use crate::model::limits::{DATA_KEY_HARD_LIFE, DATA_KEY_SOFT_LIFE};
use crate::model::{Epoch, Tick, Wrap};

/// A data key that seals, and its wraps for every header.
#[derive(Clone, Debug)]
pub struct SealingKey {
    /// The key.
    pub(crate) data: DataKey,
    /// The key, wrapped for everyone who may read.
    pub(crate) wraps: Vec<Wrap>,
    made: Tick,
    day: i64,
    round: u64,
}

/// A service that does not do what is needed, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTrouble {
    /// What it said last.
    pub error: KeyServiceError,
    /// When it began.
    pub since: Tick,
}

/// How the keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHealth {
    /// What is wrong with the key service, if anything.
    pub trouble: Option<KeyTrouble>,
    /// When sealing ends unless a new data key comes; `None` without a key service.
    pub seals_until: Option<Tick>,
}

/// What the ring remembers of the keys that it made.
#[derive(Default)]
pub(crate) struct Lives {
    /// The newest of each log.
    newest: BTreeMap<[u8; 16], SealingKey>,
    making: Option<KeyTrouble>,
    state: Option<KeyTrouble>,
    /// Raised by a wish for new data keys.
    round: u64,
}

impl Keyring {
    /// The data key that a new reign begins with: a new one. While the key service is out, the one that this process made
    /// last for the same log, if it is not too old.
    pub async fn begin(
        &self,
        context: &KeyContext,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<SealingKey, KeyError> {
        let error = match self.renew(context, clock, entropy).await {
            Err(error) if error.is_outage() => error,
            renewed => return renewed,
        };
        let at_hand = self.lives().newest.get(&context.stream).cloned();
        at_hand.filter(|key| !key.is_expired(clock)).ok_or(error)
    }

    /// A new data key.
    pub async fn renew(
        &self,
        context: &KeyContext,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<SealingKey, KeyError> {
        let round = self.lives().round;
        let made = self.make(context, entropy).await;
        if let Some(service) = self.services.first() {
            tracing::debug!(key = service.key(), made = made.is_ok(), "asked for a data key");
        }
        let mut lives = self.lives();
        match made {
            Ok((data, wraps)) => {
                lives.making = None;
                let key = SealingKey::new(data, wraps, round, clock);
                drop(lives);
                self.keep(context, &key);
                Ok(key)
            }
            Err(error) => {
                if let KeyError::Service(error) = &error {
                    let since = lives.making.as_ref().map_or_else(|| clock.tick(), |trouble| trouble.since);
                    lives.making = Some(KeyTrouble { error: error.clone(), since });
                }
                Err(error)
            }
        }
    }

    /// A new data key without asking anybody; `None` where a key service makes them, or none can be wrapped for everyone:
    /// then the one at hand seals on, to its end.
    pub(crate) fn renew_here(
        &self,
        context: &KeyContext,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Option<SealingKey> {
        let (data, wraps) = self.make_here(context, entropy)?.ok()?;
        Some(SealingKey::new(data, wraps, self.lives().round, clock))
    }

    /// A data key that is known already, as it seals.
    pub(crate) fn sealing(&self, data: DataKey, wraps: Vec<Wrap>, clock: &dyn Clock) -> SealingKey {
        SealingKey::new(data, wraps, self.lives().round, clock)
    }

    /// Keeps what a key service made: a reader need not ask for it, and the next reign may need it.
    fn keep(&self, context: &KeyContext, key: &SealingKey) {
        if self.services.is_empty() {
            return;
        }
        self.learn(&key.wraps, context.stream, key.data.clone());
        // Bases are too many to be remembered, and none is continued (L8).
        if context.epoch != Epoch::new(0) {
            self.lives().newest.insert(context.stream, key.clone());
        }
    }

    /// Whether a new data key should be fetched in the place of `key`.
    pub fn is_stale(&self, key: &SealingKey, clock: &dyn Clock) -> bool {
        let age = clock.tick().since(key.made);
        key.day != clock.now().day() || age >= DATA_KEY_SOFT_LIFE || key.round != self.lives().round
    }

    /// Wishes for new data keys: each log's next segment but few is sealed under one.
    pub fn rotate(&self) {
        self.lives().round += 1;
    }

    /// Proves that data keys can be had, by making one for nobody. A daemon that cannot have any must not start.
    pub async fn prove(&self, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<(), KeyError> {
        self.renew(&KeyContext::START, clock, entropy).await.map(drop)
    }

    /// How the key of each service is, as it says itself.
    pub async fn states(&self) -> Vec<(String, Result<(), KeyServiceError>)> {
        let mut states = Vec::with_capacity(self.services.len());
        for service in &self.services {
            states.push((service.key().to_owned(), service.state().await));
        }
        states
    }

    /// Asks the services how their keys are. A role that may not ask is no trouble: then nothing is known, and `check`
    /// says so.
    pub async fn look(&self, clock: &dyn Clock) {
        let told = self.states().await.into_iter().filter_map(|(_, state)| state.err());
        let found = told.into_iter().find(|error| error.trouble != Trouble::Denied);
        let mut lives = self.lives();
        let since = lives.state.as_ref().map_or_else(|| clock.tick(), |trouble| trouble.since);
        lives.state = found.map(|error| KeyTrouble { error, since });
    }

    /// How the keys are, as far as it is known.
    pub fn health(&self) -> KeyHealth {
        let lives = self.lives();
        let first = lives.newest.values().map(|key| key.made).min();
        KeyHealth {
            trouble: lives.state.clone().or_else(|| lives.making.clone()),
            seals_until: first.map(|made| made.after(DATA_KEY_HARD_LIFE)),
        }
    }

    /// Whether a key service makes the data keys.
    pub fn asks_a_service(&self) -> bool {
        !self.services.is_empty()
    }

    fn lives(&self) -> MutexGuard<'_, Lives> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SealingKey {
    fn new(data: DataKey, wraps: Vec<Wrap>, round: u64, clock: &dyn Clock) -> Self {
        Self { data, wraps, made: clock.tick(), day: clock.now().day(), round }
    }

    /// Whether nothing may be sealed under it any more.
    pub fn is_expired(&self, clock: &dyn Clock) -> bool {
        clock.tick().since(self.made) >= DATA_KEY_HARD_LIFE
    }
}
