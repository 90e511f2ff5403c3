//! Jobs once, now, by a process that does not capture: under another role, beside the daemon or on another machine.

use std::path::Path;

use crate::daemon::jobs::memory::Memory;
use crate::daemon::jobs::{Ended, Planned, run_locked};
use crate::daemon::schedule::{JobId, JobName, Past, Trouble};
use crate::log::LogEnv;

/// A job that has a name and nobody to do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job {} is not in this version", .0.name())]
pub struct NotInThisVersion(pub JobName);

/// Runs `wanted`, one after the other, in their order, each for every store that it looks at; one that does not succeed holds
/// up none behind it.
pub async fn once(
    env: &LogEnv,
    state_dir: Option<&Path>,
    planned: &[Planned],
    wanted: &[JobName],
) -> Result<Vec<(JobId, Ended)>, NotInThisVersion> {
    let mut jobs = Vec::new();
    for name in wanted {
        let before = jobs.len();
        jobs.extend(planned.iter().filter(|planned| planned.job.id().job == *name));
        if jobs.len() == before {
            return Err(NotInThisVersion(*name));
        }
    }
    let memory = Memory::open(state_dir);
    let mut all = Vec::new();
    for planned in jobs {
        let ended = match run_locked(env, &memory, &*planned.job).await {
            Some(past) => ended(past),
            None => Err((Trouble::Failed, "another process runs a job of this state_dir; try again later".to_owned())),
        };
        all.push((planned.job.id(), ended));
    }
    Ok(all)
}

fn ended(past: Past) -> Ended {
    match past.standing_failure() {
        Some(failed) => Err((failed.trouble, failed.sentence.clone())),
        None => Ok(past.said.unwrap_or_default()),
    }
}
