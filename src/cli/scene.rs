//! What every verb stands on: the configuration, a clock, randomness, and where its answers go.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::Args;
use crate::cli::failure::Failure;
use crate::cli::out::{self, Out};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::daemon::assemble;
use crate::daemon::mirrors::{Behind, Deletes};
use crate::entropy::{Entropy, OsEntropy};
use crate::log::LogEnv;

/// How long a verb stays for its mirrors …
pub const MIRRORS_WITHIN: Duration = Duration::from_secs(10);
/// … and how long one that had them compared from the beginning.
pub const COMPARED_WITHIN: Duration = Duration::from_mins(10);

/// The surroundings of a verb.
pub struct Scene {
    /// The settings; of the stores the one that was named alone, if one was.
    pub config: Config,
    /// Whether a mirror was named to work from.
    pub from_mirror: bool,
    /// Where answers go.
    pub out: Out,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Scene {
    /// Reads the configuration.
    pub fn set(args: &Args) -> Result<Self, Failure> {
        let config = Config::load(args.config.as_deref())?;
        Ok(Self {
            from_mirror: args.store().is_some_and(|named| named != config.store.name),
            config: match args.store() {
                Some(store) => config.with_store_alone(store)?,
                None => config,
            },
            out: Out::new(args),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(OsEntropy),
        })
    }

    /// Opens the key, and the first store or the one that was named.
    pub async fn env(&self) -> Result<LogEnv, Failure> {
        Ok(assemble::log_env(&self.config, &self.clock, &self.entropy).await?)
    }

    /// The first store with its mirrors behind it, for a verb that writes.
    pub async fn behind(&self, env: &LogEnv, deletes: Deletes) -> Result<Behind, Failure> {
        Ok(Behind::put(env, &self.config, deletes).await?)
    }

    /// Waits for the mirrors, and says which of them has not got everything yet.
    pub async fn settle(&self, behind: &Behind, patience: Duration) {
        for late in behind.settled(patience).await {
            let why = late.trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default();
            out::note(&format!("mirror {} has not caught up{why}; the daemon goes on with it", late.name));
        }
    }
}
