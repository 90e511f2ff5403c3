//! The verb `run`: the daemon, until SIGTERM, or until caught up; or some jobs once, instead of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::args::{Job, RunArgs};
use crate::cli::ask;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, log_exit};
use crate::cli::scene::{COMPARED_WITHIN, MIRRORS_WITHIN, Scene};
use crate::daemon::jobs::once::once;
use crate::daemon::jobs::{Ended, planned};
use crate::daemon::mirrors::Deletes;
use crate::daemon::pipeline::PipelineError;
use crate::daemon::policy::job_trouble;
use crate::daemon::schedule::{JobId, JobName, Trouble};
use crate::daemon::serve;
use crate::daemon::supervise::{Outcome, Until};

/// Runs the daemon.
pub async fn run(scene: &Scene, args: &RunArgs) -> Result<Exit, Failure> {
    if !args.jobs.is_empty() {
        return Box::pin(jobs(scene, &args.jobs)).await;
    }
    let until = if args.until_caught_up { Until::CaughtUp } else { Until::Stopped };
    let (tell, stop) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failure::of(Exit::Failed, error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| Failure::of(Exit::Failed, error))?;
    let platform = serve::Platform::open(&scene.config, &scene.clock, &scene.entropy).await.map_err(opening)?;
    let serving = platform.serve(until, stop);
    tokio::pin!(serving);
    let outcomes = loop {
        tokio::select! {
            biased;
            outcomes = &mut serving => break outcomes,
            _ = terminate.recv() => { tell.send_replace(true); }
            _ = interrupt.recv() => { tell.send_replace(true); }
        }
    };
    let outcomes = outcomes.map_err(opening)?;
    outcomes.into_iter().map(ended).find(Result::is_err).unwrap_or(Ok(Exit::Done))
}

/// Runs jobs once: no capture, no slot, and no lock that a daemon of the same state folder holds.
async fn jobs(scene: &Scene, wanted: &[Job]) -> Result<Exit, Failure> {
    let names = wanted.iter().copied().map(job_name).collect::<Result<Vec<_>, _>>()?;
    let env = scene.env().await?;
    // A role that verifies may write nowhere, and needs no mirror.
    let writes = names.iter().any(|name| matches!(name, JobName::Expire | JobName::Sweep));
    let behind = if writes { Some(scene.behind(&env, Deletes::of(&scene.config)).await?) } else { None };
    if let Some(behind) = &behind {
        scene.settle(behind, MIRRORS_WITHIN).await;
    }
    let env = behind.as_ref().map_or(env, |behind| behind.env.clone());
    let expired = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&expired);
    let planned = planned(&scene.config, &env, Arc::new(move |_| tell.store(true, Ordering::Relaxed)));
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failure::of(Exit::Failed, error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| Failure::of(Exit::Failed, error))?;
    let stopped = || Err(Failure::text(Exit::Failed, "stopped before every job was done"));
    let all = tokio::select! {
        biased;
        _ = terminate.recv() => return stopped(),
        _ = interrupt.recv() => return stopped(),
        all = once(&env, scene.config.service.state_dir.as_deref(), &planned, &names) => all?,
    };
    if let Some(behind) = &behind {
        behind.compare_everything();
        scene.settle(behind, COMPARED_WITHIN).await;
    }
    if expired.load(Ordering::Relaxed)
        && let Err(failure) = ask::daemon(scene, &json!({ "verb": "catalog_rebuild" })).await
    {
        // What is gone leaves the daemon's catalog the next time it is opened. The job is done.
        scene.out.failure(&failure);
    }
    let told: Vec<_> = all.iter().map(|(job, ended)| told(job, ended)).collect();
    let lines: Vec<_> = all.iter().map(|(job, ended)| line(job, ended)).collect();
    let exit = worst(all.iter().filter_map(|(_, ended)| ended.as_ref().err().map(|(trouble, _)| *trouble)));
    scene.out.answer(&json!({ "exit": exit.code(), "jobs": told }), &lines.join("\n"));
    Ok(exit)
}

fn job_name(job: Job) -> Result<JobName, Failure> {
    match job {
        Job::Expire => Ok(JobName::Expire),
        Job::Verify => Ok(JobName::Verify),
        Job::Sweep => Ok(JobName::Sweep),
        Job::Drill => {
            let sentence = "the job drill is not in this version: restore into an empty database by hand now and then";
            Err(Failure::text(Exit::Usage, sentence))
        }
    }
}

fn told(id: &JobId, ended: &Ended) -> serde_json::Value {
    match ended {
        Ok(said) => json!({ "job": id.job.name(), "mirror": id.mirror, "outcome": "done", "what": said }),
        Err((trouble, found)) => {
            json!({ "job": id.job.name(), "mirror": id.mirror, "outcome": trouble.name(), "what": found })
        }
    }
}

fn line(id: &JobId, ended: &Ended) -> String {
    match ended {
        Ok(said) => format!("{id}: {said}"),
        Err((trouble, found)) => format!("{id}: {}: {found}", job_trouble(*trouble)),
    }
}

/// Damage comes before everything; then what failed; then what could not be told.
fn worst(troubles: impl Iterator<Item = Trouble>) -> Exit {
    let all: Vec<_> = troubles.collect();
    match () {
        () if all.contains(&Trouble::Damaged) => Exit::VerificationFailed,
        () if all.contains(&Trouble::Failed) => Exit::Failed,
        () if all.contains(&Trouble::CouldNotTell) => Exit::CouldNotTell,
        () => Exit::Done,
    }
}

fn opening(error: serve::ServeError) -> Failure {
    match error {
        serve::ServeError::Assemble(error) => error.into(),
        serve::ServeError::Need(error) => error.into(),
        serve::ServeError::Order(error) => error.into(),
        serve::ServeError::Running { .. } => Failure::of(Exit::Fenced, error),
        serve::ServeError::Io { .. } | serve::ServeError::Http(_) | serve::ServeError::Control(_) => {
            Failure::of(Exit::Failed, error)
        }
    }
}

fn ended(outcome: Outcome) -> Result<Exit, Failure> {
    match outcome {
        Outcome::Done => Ok(Exit::Done),
        Outcome::Fenced(error) => Err(Failure::of(Exit::Fenced, error)),
        Outcome::Failed(error) => {
            let exit = match &error {
                PipelineError::Log(error) => log_exit(error),
                PipelineError::Source(_) => Exit::Failed,
            };
            Err(Failure::of(exit, error))
        }
    }
}
