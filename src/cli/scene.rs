//! What every verb stands on: the configuration, a clock, randomness, and where its answers go.

use std::sync::Arc;

use crate::cli::args::Args;
use crate::cli::failure::Failure;
use crate::cli::out::Out;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::daemon::assemble;
use crate::entropy::{Entropy, OsEntropy};
use crate::log::LogEnv;

/// The surroundings of a verb.
pub struct Scene {
    /// The settings.
    pub config: Config,
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
}
