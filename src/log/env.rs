//! What every part of the log needs from outside: a store, keys, a clock, randomness.

use std::fmt;
use std::sync::Arc;

use crate::clock::Clock;
use crate::codec::segment::Suite;
use crate::crypto::Keyring;
use crate::entropy::Entropy;
use crate::store::Store;

/// The surroundings of a log.
#[derive(Clone)]
pub struct LogEnv {
    /// Where the objects live.
    pub store: Arc<dyn Store>,
    /// What opens and seals them.
    pub keys: Arc<Keyring>,
    /// What new objects are sealed with.
    pub suite: Suite,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for LogEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogEnv").field("keys", &self.keys).field("suite", &self.suite).finish_non_exhaustive()
    }
}
