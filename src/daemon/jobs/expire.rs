//! The job that deletes what has expired, for an installation whose configuration says that it may.
//!
//! L10: it deletes only with `[retention] delete = true`; without, `run --jobs expire` says what would go.

use crate::daemon::chain;
use crate::daemon::expire::{self, ExpireError, Order};
use crate::daemon::jobs::{Ended, Job};
use crate::daemon::schedule::{JobName, Trouble};
use crate::log::LogEnv;
use crate::log::retention::Refusal;
use crate::model::SourceName;

/// Deletes what has expired of the configured sources.
pub struct Expire {
    /// The store.
    pub env: LogEnv,
    /// Whose logs and bases.
    pub sources: Vec<SourceName>,
    /// What is promised.
    pub order: Order,
}

#[async_trait::async_trait]
impl Job for Expire {
    fn name(&self) -> JobName {
        JobName::Expire
    }

    async fn run(&self) -> Ended {
        let (mut segments, mut bases) = (0_u64, 0_usize);
        for source in &self.sources {
            let expiry = expire::run(&self.env, source, &self.order).await;
            let expiry = expiry.map_err(|error| (trouble(&error), chain(&error)))?;
            let refused = expiry.done.iter().flat_map(|done| &done.refused);
            if let Some((object, why)) = refused.clone().next() {
                let many = refused.count();
                let sentence = format!("source {source}: {many} objects could not be deleted; {object}: {why}");
                return Err((Trouble::Failed, sentence));
            }
            segments = segments.saturating_add(expiry.segments);
            bases = bases.saturating_add(expiry.bases.len());
        }
        let outcome = if self.order.delete { "were deleted" } else { "stay: [retention] delete is not true" };
        Ok(format!("{segments} segments and {bases} bases had expired and {outcome}"))
    }
}

const fn trouble(error: &ExpireError) -> Trouble {
    match error {
        ExpireError::Refused { source: Refusal::Damaged(_), .. } => Trouble::Damaged,
        ExpireError::Refused { source: Refusal::Timeless | Refusal::ClocksApart { .. }, .. } => Trouble::CouldNotTell,
        ExpireError::Unreadable { .. } | ExpireError::Broken { .. } => Trouble::Failed,
    }
}
