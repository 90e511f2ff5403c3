//! The job that removes what broken bases left behind.

use std::path::PathBuf;

use crate::daemon::chain;
use crate::daemon::jobs::{Ended, Job, together};
use crate::daemon::schedule::{JobId, JobName, Trouble};
use crate::log::LogEnv;
use crate::model::SourceName;
use crate::source::postgres::base::sweep::sweep;

/// Sweeps the bases of the configured sources.
pub struct Sweep {
    /// The store.
    pub env: LogEnv,
    /// Whose bases.
    pub sources: Vec<SourceName>,
    /// Where this installation's takers claim their bases.
    pub claims: Option<PathBuf>,
}

#[async_trait::async_trait]
impl Job for Sweep {
    fn id(&self) -> JobId {
        JobId::of_first(JobName::Sweep)
    }

    async fn run(&self) -> Ended {
        let (mut removed, mut troubles) = (0, Vec::new());
        for source in &self.sources {
            match sweep(&self.env, source, self.claims.as_deref()).await {
                Ok(objects) => removed += objects,
                Err(error) => troubles.push((Trouble::Failed, format!("source {source}: {}", chain(&error)))),
            }
        }
        together(troubles).map_or_else(|| Ok(format!("{removed} objects of broken bases were removed")), Err)
    }
}
