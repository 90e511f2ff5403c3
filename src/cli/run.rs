//! The verb `run`: the daemon, until SIGTERM, or until caught up.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::args::RunArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, log_exit};
use crate::cli::scene::Scene;
use crate::daemon::pipeline::PipelineError;
use crate::daemon::serve;
use crate::daemon::supervise::{Outcome, Until};

/// Runs the daemon.
pub async fn run(scene: &Scene, args: &RunArgs) -> Result<Exit, Failure> {
    if !args.jobs.is_empty() {
        return Err(Failure::text(Exit::Usage, "--jobs is not in this version; run `holdfast verify` from a timer"));
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
