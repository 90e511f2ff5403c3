//! Keeps one source captured: a life begins, breaks, and begins again, until there is a reason to stop.
//!
//! ```text
//!  life:  connect ─▶ fence: the next epoch ─▶ end the old session ─▶ compare slot and log ─▶ stream ─▶ pipeline
//! ```
//! The server is asked before the log is fenced, so that a server that is down costs no epoch; the fence is durable
//! before the old session is ended, so that of two daemons one always goes on (L5).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::clock::sleep;
use crate::codec::gap::{Gap, Reason};
use crate::daemon::board::{Board, Phase};
use crate::daemon::lastserver::LastServer;
use crate::daemon::metrics as words;
use crate::daemon::pipeline::{Ended, Observer, Pipeline, PipelineError};
use crate::daemon::policy::{self, Verdict};
use crate::daemon::standing::Standing;
use crate::log::{CutRule, Durable, History, Hole, LogEnv, LogError, Reign, Writer, fence};
use crate::model::{Epoch, Lsn, Tick};
use crate::source::postgres::context::PostgresContext;
use crate::source::postgres::intake::Shapes;
use crate::source::postgres::slot::{Found, Held, Renewal, Start};
use crate::source::postgres::stream::{Known, Logged, Opened, PostgresSettings};
use crate::source::{SourceError, SourceErrorKind};
use crate::store::StoreError;

/// A new slot is made at most this often.
const RENEW_EVERY: Duration = Duration::from_hours(1);
/// `--until-caught-up` waits this long for a slot that another session holds.
const BUSY_WITHIN: Duration = Duration::from_secs(10);
/// It looks this often whether the slot is free.
const BUSY_LOOK_EVERY: Duration = Duration::from_millis(200);
/// A life that captured for this long was a good one: the next failure begins to count anew.
const GOOD_LIFE: Duration = Duration::from_mins(1);

/// How long to capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until told to stop.
    Stopped,
    /// Until everything that is there now is durable.
    CaughtUp,
}

/// How capture of a source ended.
#[derive(Debug)]
pub enum Outcome {
    /// As it was asked.
    Done,
    /// Another writer has the log, or another session the slot.
    Fenced(PipelineError),
    /// Trying again would not help, or was not asked for.
    Failed(PipelineError),
}

/// What a base knows of its tables and its server.
#[derive(Clone, Debug, Default)]
pub struct BaseKnows {
    /// Its tables; `None` if there is no base.
    pub shapes: Shapes,
    /// Tables of extensions, which it does not hold.
    pub passed_over: BTreeSet<u32>,
    /// The cluster that it is of.
    pub system_id: Option<u64>,
    /// Where it stands.
    pub point: Option<Lsn>,
    /// The timeline that it is of.
    pub timeline: Option<u32>,
}

/// What a life asks the bases for.
pub trait Bases: Send + Sync {
    /// What the newest base knows, for comparison with the stream.
    fn newest_knows(&self) -> BaseKnows;
    /// A new one is wanted.
    fn wanted(&self);
}

/// Captures one source.
pub struct Capture {
    /// The log's surroundings.
    pub env: LogEnv,
    /// How the source is captured.
    pub settings: PostgresSettings,
    /// When segments are cut.
    pub rule: CutRule,
    /// What is true now.
    pub board: Arc<Board>,
    /// Called for each durable segment, before it is acknowledged.
    pub catalog: Arc<dyn Fn(&Durable) + Send + Sync>,
    /// Which server it was last, for a process that may not open the log.
    pub last_server: Option<LastServer>,
    /// The bases of the source.
    pub bases: Arc<dyn Bases>,
    /// Set when the slot was given up before it filled the source's disk.
    pub given_up: Arc<AtomicBool>,
    /// Told when something became durable.
    pub moved: Arc<Notify>,
}

/// What lives hand on to the next.
#[derive(Debug, Default)]
struct Inheritance {
    epoch: Option<Epoch>,
    renewed: Option<Tick>,
    failures: u32,
}

impl Capture {
    /// Captures until the end.
    pub async fn run(self: Arc<Self>, until: Until, mut stop: watch::Receiver<bool>) -> Outcome {
        let mut inheritance = Inheritance::default();
        loop {
            let begun = self.env.clock.tick();
            let lived = Arc::clone(&self).live(until, &mut inheritance, stop.clone()).await;
            if self.env.clock.tick().since(begun) > GOOD_LIFE {
                inheritance.failures = 0;
            }
            let wait = match self.judge(until, lived, &mut inheritance) {
                Ok(wait) => wait,
                Err(outcome) => {
                    if !matches!(outcome, Outcome::Done) {
                        self.board.update(&self.settings.name, |state| state.phase = Phase::Failed);
                    }
                    return outcome;
                }
            };
            tokio::select! {
                biased;
                stopped = stop.wait_for(|stop| *stop) => { drop(stopped); return self.stopped() }
                () = sleep(&*self.env.clock, wait) => {}
            }
        }
    }

    /// The wait before the next life, or the end.
    fn judge(
        &self,
        until: Until,
        lived: Result<Ended, PipelineError>,
        inheritance: &mut Inheritance,
    ) -> Result<Duration, Outcome> {
        let error = match lived {
            Ok(Ended::Stopped | Ended::Drained) => return Err(self.stopped()),
            Ok(Ended::SessionOver) => {
                self.update(Phase::Waiting, Some("The server ended the session".to_owned()));
                inheritance.failures = inheritance.failures.saturating_add(1);
                return Ok(policy::wait(Duration::from_secs(1), inheritance.failures - 1));
            }
            Err(error) => error,
        };
        let (verdict, sentence) = policy::verdict(&error);
        metrics::counter!(words::ERRORS.name, "source" => self.name(), "kind" => sentence).increment(1);
        self.update(Phase::Waiting, Some(sentence.to_owned()));
        match (verdict, until) {
            (Verdict::Fenced | Verdict::Busy, Until::CaughtUp) | (Verdict::Fenced, Until::Stopped) => {
                Err(Outcome::Fenced(error))
            }
            (Verdict::GiveUp, _) => Err(Outcome::Failed(error)),
            (Verdict::Again(wait), Until::CaughtUp) if inheritance.failures >= 3 || wait >= policy::WAIT_MAX => {
                Err(Outcome::Failed(error))
            }
            (Verdict::Again(wait), _) => {
                let wait = policy::wait(wait, inheritance.failures);
                self.warn(&error, sentence, wait);
                inheritance.failures = inheritance.failures.saturating_add(1);
                Ok(wait)
            }
            (Verdict::Busy, Until::Stopped) => {
                self.warn(&error, sentence, BUSY_WITHIN);
                Ok(BUSY_WITHIN)
            }
        }
    }

    fn warn(&self, error: &PipelineError, sentence: &str, wait: Duration) {
        let causes = crate::daemon::chain(error);
        tracing::warn!(source = %self.settings.name, error = causes, "{sentence}; again in {wait:?}");
    }

    async fn live(
        self: Arc<Self>,
        until: Until,
        inheritance: &mut Inheritance,
        stop: watch::Receiver<bool>,
    ) -> Result<Ended, PipelineError> {
        self.update(Phase::Starting, None);
        // Until something is captured there is nothing to be finished: a stop ends the life at once.
        let pipeline = tokio::select! {
            biased;
            () = stopped(stop.clone()) => return Ok(Ended::Stopped),
            pipeline = Box::pin(self.prepare(until, inheritance)) => pipeline?,
        };
        pipeline.run(stop).await
    }

    /// Everything up to the stream: who the server is, whether it is the log's, the fence, the slot.
    async fn prepare(self: &Arc<Self>, until: Until, inheritance: &mut Inheritance) -> Result<Pipeline, PipelineError> {
        let mut opened = Opened::connect(&self.settings, &self.env.clock).await?;
        if until == Until::CaughtUp {
            self.wait_for_slot(&mut opened).await?;
        }
        let BaseKnows { shapes, passed_over, system_id, timeline, point } = self.bases.newest_knows();
        let history = History::load(&self.env, &self.settings.name).await?;
        let logged = self.standing().logged(&history).await?;
        // The record of a life's session expires like everything else; the newest base is always there.
        let (system_id, timeline) = (logged.system_id.or(system_id), logged.timeline.or(timeline));
        let same_publications = logged.publications.as_ref().is_none_or(|names| *names == self.settings.publications);
        opened.compare(&Logged { system_id, timeline, ..logged }).await?;
        if let Some(Err(error)) = self.last_server.as_ref().map(|file| file.keep(&opened.server())) {
            tracing::warn!(source = %self.settings.name, error = %error, "which server this is cannot be kept in state_dir");
        }
        let taken = fence::take_behind(&self.env, &self.settings.name, inheritance.epoch, history).await;
        if let Err(LogError::FenceUndecided { epoch, .. }) = &taken {
            // It may be ours: the next life must not take it for a rival's.
            inheritance.epoch = Some(*epoch);
        }
        let (reign, history) = taken?;
        inheritance.epoch = Some(reign.epoch);
        self.tell_of_missing(&history.holes(), point);
        let held = held(&reign);
        let start = self.take_slot(&mut opened, &reign, &history, inheritance).await?;
        let standing = Standing { same_publications, ..self.standing() };
        let tail = standing.tail(history, &held, start.at).await?;
        let known = Known { held, tail, shapes, passed_over, drain: until == Until::CaughtUp };
        let source = opened.stream(start, known).await?;
        let (context, begun) = (Box::new(PostgresContext::default()), self.env.clock.tick());
        let fence = reign.next.before();
        let writer = Writer::new(&self.env, &self.settings.name, reign, self.rule, context);
        self.board.update(&self.settings.name, |state| {
            state.epoch = writer.epoch();
            state.slot = fence;
            state.became_durable(held.durable, begun);
            state.durable_time = Some(held.latest).filter(|time| *time > crate::model::Timestamp::MIN);
            state.phase = Phase::Capturing;
        });
        tracing::info!(source = %self.settings.name, epoch = writer.epoch().get(), from = %held.durable, "capturing");
        let observer: Arc<dyn Observer> = Arc::<Self>::clone(self);
        Ok(Pipeline::new(writer, Box::new(source), Arc::clone(&self.env.clock), observer))
    }

    const fn standing(&self) -> Standing<'_> {
        let (env, source, last_server) = (&self.env, &self.settings.name, self.last_server.as_ref());
        Standing { env, source, last_server, same_publications: true }
    }

    /// Frees the slot and makes sure that it serves. Each act on the server that cannot be taken back comes right behind a
    /// look whether the log is still ours: who was fenced meanwhile must not end, drop or make what is the rival's (L5).
    async fn take_slot(
        &self,
        opened: &mut Opened,
        reign: &Reign,
        history: &History,
        inheritance: &mut Inheritance,
    ) -> Result<Start, PipelineError> {
        let still_ours = || fence::still_ours(&self.env, &self.settings.name, reign.epoch, reign.next);
        let held = held(reign);
        still_ours().await?;
        opened.release().await?;
        match opened.reconcile(held).await? {
            Found::Usable(start) => Ok(start),
            Found::Useless(old) => {
                let renewal = self.renewal(history, inheritance).await?;
                still_ours().await?;
                let start = opened.renew(old, held, renewal).await?;
                inheritance.renewed = Some(self.env.clock.tick());
                self.given_up.store(false, Ordering::Relaxed);
                Ok(start)
            }
        }
    }

    /// Capture goes on past a lost object, since history behind it is still worth having; but not without a word (L11), and
    /// where the newest base does not lead behind it a new one is wanted at once (L3).
    fn tell_of_missing(&self, holes: &[Hole], base: Option<Lsn>) {
        let missing = u64::try_from(holes.len()).unwrap_or(u64::MAX);
        self.board.update(&self.settings.name, |state| state.missing = missing);
        let Some(first) = holes.first() else { return };
        let sentence = "The log in the store is damaged";
        metrics::counter!(words::ERRORS.name, "source" => self.name(), "kind" => sentence).increment(1);
        let (source, first) = (&self.settings.name, first.slot);
        tracing::error!(%source, %first, missing, "{sentence}: objects are missing; run holdfast verify");
        if holes.iter().any(|hole| base.is_none_or(|base| base.position() < hole.place)) {
            let gap = format!("object {first} of the log is missing");
            self.board.update(&self.settings.name, |state| state.gap = Some(gap));
            self.bases.wanted();
        }
    }

    /// Whether a slot may be made. A process that was just started asks the log: a service manager's restarts would make one
    /// after the other.
    async fn renewal(&self, history: &History, inheritance: &Inheritance) -> Result<Renewal, LogError> {
        let now = self.env.clock.tick();
        let here = inheritance.renewed.is_some_and(|before| now.since(before) < RENEW_EVERY);
        let then = self.env.clock.now().earlier_by(RENEW_EVERY);
        if here || self.standing().renewed_since(history, then).await? {
            return Ok(Renewal::Refused);
        }
        let given_up = self.given_up.load(Ordering::Relaxed);
        Ok(Renewal::Allowed(if given_up { Reason::SlotGivenUp } else { Reason::SlotLost }))
    }

    async fn wait_for_slot(&self, opened: &mut Opened) -> Result<(), SourceError> {
        let clock = &*self.env.clock;
        let due = clock.tick().after(BUSY_WITHIN);
        while let Some(pid) = opened.holder().await? {
            if clock.tick() >= due {
                let slot = crate::source::postgres::names::slot(&self.settings.name);
                return Err(SourceErrorKind::SlotBusy { slot, pid }.when("waiting for the slot"));
            }
            sleep(clock, BUSY_LOOK_EVERY).await;
        }
        Ok(())
    }

    fn stopped(&self) -> Outcome {
        self.update(Phase::Stopped, None);
        Outcome::Done
    }

    fn update(&self, phase: Phase, trouble: Option<String>) {
        self.board.update(&self.settings.name, |state| {
            state.phase = phase;
            state.trouble = trouble;
        });
    }

    fn name(&self) -> String {
        self.settings.name.to_string()
    }
}

impl Observer for Capture {
    fn durable(&self, durable: &Durable) {
        (self.catalog)(durable);
        let now = self.env.clock.tick();
        let name = self.name();
        self.board.update(&self.settings.name, |state| {
            state.became_durable(Lsn::from(durable.entry.to), now);
            state.durable_time = Some(durable.entry.to_time).filter(|time| *time > crate::model::Timestamp::MIN);
            state.slot = durable.entry.slot;
            state.segments += 1;
            state.bytes += durable.entry.bytes;
        });
        metrics::counter!(words::SEGMENTS.name, "source" => name.clone()).increment(1);
        metrics::counter!(words::SEGMENT_BYTES.name, "source" => name.clone()).increment(durable.entry.bytes);
        metrics::histogram!(words::PUT_SECONDS.name, "source" => name).record(durable.put_took.as_secs_f64());
        self.moved.notify_waiters();
    }

    fn base_wanted(&self, gap: &Gap) {
        tracing::warn!(source = %self.settings.name, reason = gap.reason.name(), detail = gap.detail, "gap");
        metrics::counter!(words::GAPS.name, "source" => self.name(), "reason" => gap.reason.name()).increment(1);
        self.board.update(&self.settings.name, |state| state.gap = Some(gap.reason.name().to_owned()));
        self.bases.wanted();
    }

    fn checkpoints_fail(&self, error: &StoreError) {
        let ((_, kind), causes) = (policy::checkpoints_fail(), crate::daemon::chain(error));
        metrics::counter!(words::ERRORS.name, "source" => self.name(), "kind" => kind).increment(1);
        tracing::warn!(source = %self.settings.name, error = causes, "{kind}; it is tried again until it does");
    }
}

/// What the log holds as a reign over it begins.
fn held(reign: &Reign) -> Held {
    Held { durable: Lsn::from(reign.cursor.to), latest: reign.cursor.to_time }
}

/// Waits until everything is to stop; for ever if nobody can say so any more.
async fn stopped(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
