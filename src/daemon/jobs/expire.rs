//! The job that deletes what has expired, for an installation whose configuration says that it may.
//!
//! L10: it deletes only with `[retention] delete = true`; without, `run --jobs expire` says what would go. Whoever keeps a
//! list of what is stored is told, or it would go on to hold what is gone (L7).

use std::sync::Arc;

use crate::daemon::chain;
use crate::daemon::expire::{self, ExpireError, Expiry, Order};
use crate::daemon::jobs::memory::Memory;
use crate::daemon::jobs::{Ended, Job, together};
use crate::daemon::schedule::{JobId, JobName, Trouble};
use crate::log::LogEnv;
use crate::log::retention::Refusal;
use crate::model::SourceName;

/// Told that something of a log was deleted. Returns at once, always.
pub type Told = Arc<dyn Fn(&SourceName) + Send + Sync>;

/// Deletes what has expired of the configured sources.
pub struct Expire {
    /// The store.
    pub env: LogEnv,
    /// Whose logs and bases.
    pub sources: Vec<SourceName>,
    /// What is promised.
    pub order: Order,
    /// What became of the other jobs.
    pub memory: Memory,
    /// Who wants to know what is gone.
    pub told: Told,
}

#[async_trait::async_trait]
impl Job for Expire {
    fn id(&self) -> JobId {
        JobId::of_first(JobName::Expire)
    }

    async fn run(&self) -> Ended {
        if let Some(job) = self.damage_stands() {
            let sentence =
                format!("nothing is deleted while the job {} stands at damage: what goes may be needed", job.name());
            return Err((Trouble::Damaged, sentence));
        }
        let (mut segments, mut bases, mut troubles) = (0_u64, 0_usize, Vec::new());
        for source in &self.sources {
            let ran = expire::run(&self.env, source, &self.order).await;
            if deleted(&ran) {
                (self.told)(source);
            }
            match ran {
                Ok(expiry) => {
                    segments = segments.saturating_add(expiry.segments);
                    bases = bases.saturating_add(expiry.bases.len());
                    troubles.extend(refused(&expiry).map(|sentence| (Trouble::Failed, sentence)));
                }
                Err(error) => troubles.push((trouble(&error), chain(&error))),
            }
        }
        let outcome = if self.order.delete { "were deleted" } else { "stay: [retention] delete is not true" };
        together(troubles)
            .map_or_else(|| Ok(format!("{segments} segments and {bases} bases had expired and {outcome}")), Err)
    }
}

impl Expire {
    /// Damage that a verification of the first store found and none has taken back. What goes may be all that is left of
    /// something. Damage in a mirror is no reason to keep more: what is promised stands in the first store, and what is
    /// damaged in a mirror is made good from there.
    fn damage_stands(&self) -> Option<JobName> {
        let stands = |job: &JobName| {
            let past = self.memory.read(&JobId::of_first(*job)).unwrap_or_default();
            past.standing_failure().is_some_and(|failed| failed.trouble == Trouble::Damaged)
        };
        [JobName::Verify, JobName::QuickVerify].into_iter().find(stands).filter(|_| self.order.delete)
    }
}

/// Whether anything may be gone.
const fn deleted(ran: &Result<Expiry, ExpireError>) -> bool {
    match ran {
        Ok(expiry) => expiry.done.is_some(),
        Err(ExpireError::Broken { .. }) => true,
        Err(ExpireError::Refused { .. } | ExpireError::Unreadable { .. }) => false,
    }
}

fn refused(expiry: &Expiry) -> Option<String> {
    let done = expiry.done.as_ref()?;
    let (object, why) = done.refused.first()?;
    let (source, many) = (&expiry.source, done.refusals());
    Some(format!("source {source}: {many} objects could not be deleted, the others are; {object}: {why}"))
}

const fn trouble(error: &ExpireError) -> Trouble {
    match error {
        ExpireError::Refused { source: Refusal::Damaged(_) | Refusal::BaseDamaged(_), .. } => Trouble::Damaged,
        ExpireError::Refused { source: Refusal::Timeless | Refusal::ClocksApart { .. }, .. } => Trouble::CouldNotTell,
        ExpireError::Refused { source: Refusal::HeldMeanwhile, .. }
        | ExpireError::Unreadable { .. }
        | ExpireError::Broken { .. } => Trouble::Failed,
    }
}

#[cfg(test)]
mod tests;
