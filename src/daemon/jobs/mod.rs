//! Work beside capture, on a schedule: one job at a time, slowly, and heard of when it does not succeed.
//!
//! ```text
//!   schedule ─▶ due? ─▶ the lock of the jobs ─▶ run ─▶ state_dir/jobs/NAME.json · board · metrics · a line
//! ```
//! * L9: a job reads at its own pace, on threads of its own, and whatever becomes of it capture goes on.
//! * L11: a run that found damage, could not tell or failed is an error line, a metric and an alarm in the status, until
//!   a run succeeds; a job that does not get to run is an alarm too.
//!
//! The same jobs run by `run --jobs` under another role, with the daemon beside: the lock keeps two jobs of one state
//! folder apart, and each sees in the files what the other has done.

pub mod expire;
pub mod memory;
pub mod once;
pub mod sweep;
pub mod verify;

#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use crate::clock::sleep;
use crate::config::Config;
use crate::daemon::assemble;
use crate::daemon::board::{Board, JobState};
use crate::daemon::expire::Order;
use crate::daemon::jobs::expire::{Expire, Told};
use crate::daemon::jobs::memory::Memory;
use crate::daemon::jobs::sweep::Sweep;
use crate::daemon::jobs::verify::Verify;
use crate::daemon::metrics as words;
use crate::daemon::policy;
use crate::daemon::schedule::{self, JobId, JobName, Past, Rhythm, Trouble};
use crate::log::LogEnv;
use crate::log::scrub::Depth;
use crate::model::{Tick, Timestamp};

const DAY: Duration = Duration::from_hours(24);
/// The calendar is looked at this often: it may be set, and the machine may have slept.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How a run ended: what it says for people.
pub type Ended = Result<String, (Trouble, String)>;

/// One trouble out of those of several sources: the worst kind, and all that is to be said; `None` if there is none.
pub(crate) fn together(mut troubles: Vec<(Trouble, String)>) -> Option<(Trouble, String)> {
    troubles.sort_by_key(|(trouble, _)| *trouble);
    let worst = troubles.first()?.0;
    let sentences: Vec<_> = troubles.into_iter().map(|(_, sentence)| sentence).collect();
    Some((worst, sentences.join("; ")))
}

/// One kind of work.
#[async_trait::async_trait]
pub trait Job: Send + Sync {
    /// Which, of which store.
    fn id(&self) -> JobId;
    /// Does it once. Cancel-safe: a run that is dropped leaves nothing half done that matters.
    async fn run(&self) -> Ended;
}

/// A job and how often it runs; `None` for never by itself.
pub struct Planned {
    /// The job.
    pub job: Arc<dyn Job>,
    /// How often.
    pub every: Option<Duration>,
}

/// Every job that this installation can run. A new one is plugged in here, and nowhere else. `expired` is told whose log
/// has lost something by retention.
pub fn planned(config: &Config, env: &LogEnv, expired: Told) -> Vec<Planned> {
    let mirrors = |depth, every| {
        let of = move |mirror| Planned { job: Arc::new(Verify::of_mirror(config, env, depth, mirror)), every };
        config.mirrors.iter().map(of)
    };
    let verify = |depth| Arc::new(Verify::of_first(config, env, depth));
    let sources: Vec<_> = config.sources.iter().map(|source| source.name.clone()).collect();
    let memory = Memory::open(config.service.state_dir.as_deref());
    let expire = Expire {
        env: env.clone(),
        sources: sources.clone(),
        order: Order::of(config, config.retention.delete),
        memory,
        told: expired,
    };
    let claims = config.service.state_dir.as_deref().map(assemble::base_claims);
    let of_first = vec![
        Planned { job: verify(Depth::Quick), every: config.verify.quick },
        Planned { job: Arc::new(expire), every: config.retention.delete.then_some(DAY) },
        Planned { job: Arc::new(Sweep { env: env.clone(), sources, claims }), every: Some(DAY) },
        Planned { job: verify(Depth::Full), every: config.verify.full },
    ];
    let quick = mirrors(Depth::Quick, config.verify.quick);
    of_first.into_iter().chain(quick).chain(mirrors(Depth::Full, config.verify.full)).collect()
}

/// Runs jobs when they are due.
pub struct Jobs {
    env: LogEnv,
    board: Arc<Board>,
    memory: Memory,
    begun: Timestamp,
    scheduled: Vec<Scheduled>,
}

struct Scheduled {
    job: Arc<dyn Job>,
    rhythm: Rhythm,
    past: Past,
    /// Another process was at work when it was due: not before this.
    not_before: Tick,
}

impl Jobs {
    /// The jobs that run by themselves.
    pub fn new(env: &LogEnv, board: &Arc<Board>, memory: Memory, planned: Vec<Planned>) -> Self {
        let of = |Planned { job, every }: Planned| {
            let every = every?;
            let rhythm = Rhythm { every, jitter: schedule::jitter(every, &*env.entropy) };
            Some(Scheduled { job, rhythm, past: Past::default(), not_before: Tick::default() })
        };
        let mut scheduled: Vec<_> = planned.into_iter().filter_map(of).collect();
        // Those of one name stay as they were planned: the first store's before the mirrors'.
        let rank = |job: &Scheduled| JobName::ALL.iter().position(|name| *name == job.job.id().job);
        scheduled.sort_by_key(rank);
        Self { env: env.clone(), board: Arc::clone(board), memory, begun: env.clock.now(), scheduled }
    }

    /// Runs them until it is dropped.
    pub async fn run(mut self) {
        loop {
            let now = self.env.clock.now();
            // A clock that was ahead when this began has been set since.
            self.begun = self.begun.min(now);
            for at in 0..self.scheduled.len() {
                self.look(at);
            }
            let due = self.scheduled.iter().enumerate().map(|(at, job)| (self.due(job, now), at)).min();
            match due {
                None => return,
                Some((due, at)) if due <= now => self.take(at).await,
                Some((due, _)) => sleep(&*self.env.clock, due.since(now).min(LOOK_EVERY)).await,
            }
        }
    }

    fn due(&self, job: &Scheduled, now: Timestamp) -> Timestamp {
        let busy = job.not_before.since(self.env.clock.tick());
        let due = schedule::due(job.rhythm, &job.past, self.begun, now);
        if busy.is_zero() { due } else { due.max(now.later_by(busy)) }
    }

    /// Reads what became of a job, here or in another process.
    fn look(&mut self, at: usize) {
        let now = self.env.clock.now();
        let Some(job) = self.scheduled.get_mut(at) else { return };
        if let Some(past) = self.memory.read(&job.job.id()) {
            job.past = past;
        }
        if let Some(job) = self.scheduled.get(at) {
            self.show(job, now, None);
        }
    }

    fn show(&self, job: &Scheduled, now: Timestamp, running: Option<Timestamp>) {
        let (past, due) = (job.past.clone(), self.due(job, now));
        self.board.job(job.job.id(), JobState { every: job.rhythm.every, past, due, running });
    }

    async fn take(&mut self, at: usize) {
        let Some(job) = self.scheduled.get(at) else { return };
        let (id, now) = (job.job.id(), self.env.clock.now());
        self.show(job, now, Some(now));
        let ended = run_locked(&self.env, &self.memory, &*job.job).await;
        let rhythm = Rhythm { jitter: schedule::jitter(job.rhythm.every, &*self.env.entropy), ..job.rhythm };
        let Some(job) = self.scheduled.get_mut(at) else { return };
        if let Some(past) = ended {
            (job.past, job.rhythm) = (past, rhythm);
        } else {
            tracing::info!(job = %id, "another process runs a job of this state_dir; later");
            job.not_before = self.env.clock.tick().after(BUSY_FOR);
        }
    }
}

/// Where another process is at work, one looks again after this.
const BUSY_FOR: Duration = Duration::from_mins(5);

/// Runs a job if no other runs on this state folder, and writes down how it ended; `None` if another does.
pub(crate) async fn run_locked(env: &LogEnv, memory: &Memory, job: &dyn Job) -> Option<Past> {
    let _lock = memory.lock()?;
    let (id, begun) = (job.id(), env.clock.tick());
    let ran = AssertUnwindSafe(job.run()).catch_unwind().await;
    let ended = ran.unwrap_or_else(|_| Err((Trouble::Failed, "it broke off: a defect of ours; tell us".to_owned())));
    let took = env.clock.tick().since(begun);
    let mut labels = id.labels();
    metrics::gauge!(words::JOB_SECONDS.name, &labels).set(took.as_secs_f64());
    match &ended {
        Ok(said) => tracing::info!(job = %id, ?took, "{said}"),
        Err((trouble, found)) => {
            labels.push(("kind", trouble.name().to_owned()));
            metrics::counter!(words::JOB_FAILURES.name, &labels).increment(1);
            tracing::error!(job = %id, found, "{}", policy::job_trouble(*trouble));
        }
    }
    let mut past = memory.read(&id).unwrap_or_default();
    past.ended(env.clock.now(), ended);
    memory.write(&id, &past);
    Some(past)
}
