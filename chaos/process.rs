//! One daemon: it takes the log, captures, and begins again after trouble, until it is fenced or killed.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::chaos::faults::Mischief;
use crate::chaos::upstream::{Nobody, Upstream};
use crate::daemon::pipeline::{Ended, Pipeline, PipelineError};
use crate::daemon::policy::{self, Verdict};
use crate::log::context::NoContext;
use crate::log::{CutRule, LogEnv, LogError, Reign, Writer, fence};
use crate::model::{Epoch, SourceName};

/// What a process needs from its world.
#[derive(Clone)]
pub struct Surroundings {
    /// The log's.
    pub env: LogEnv,
    /// Whose log.
    pub source: SourceName,
    /// When segments are cut.
    pub rule: CutRule,
    /// The server.
    pub upstream: Arc<Upstream>,
    /// The dice.
    pub mischief: Arc<Mischief>,
}

enum State {
    Taking(BoxFuture<'static, Result<Reign, LogError>>),
    Running(BoxFuture<'static, Result<Ended, PipelineError>>),
    Waiting(u64),
    Stopped,
}

/// A daemon.
pub struct Process {
    /// Its number in this world.
    pub number: u32,
    around: Surroundings,
    epoch: Option<Epoch>,
    state: State,
    /// What runs beside capture and dies with it.
    beside: Option<BoxFuture<'static, ()>>,
}

impl Process {
    /// Starts a daemon, and what runs beside its capture.
    pub fn start(number: u32, around: &Surroundings, beside: Option<BoxFuture<'static, ()>>) -> Self {
        around.mischief.note(format!("{number} starts"));
        Self { number, around: around.clone(), epoch: None, state: State::Waiting(0), beside }
    }

    /// Whether another writer stopped it for good.
    pub const fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    /// Lets it run until it waits for something.
    pub fn run(&mut self, context: &mut Context<'_>) {
        self.around.mischief.runs(self.number);
        if self.beside.as_mut().is_some_and(|beside| beside.as_mut().poll(context).is_ready()) {
            self.beside = None;
        }
        let next = match &mut self.state {
            State::Taking(taking) => match taking.as_mut().poll(context) {
                Poll::Pending => return,
                Poll::Ready(taken) => self.taken(taken),
            },
            State::Running(running) => match running.as_mut().poll(context) {
                Poll::Pending => return,
                Poll::Ready(ended) => self.ended(ended),
            },
            State::Waiting(0) => self.take(),
            State::Waiting(left) => State::Waiting(*left - 1),
            State::Stopped => return,
        };
        self.state = next;
    }

    fn take(&self) -> State {
        let (env, source, ours) = (self.around.env.clone(), self.around.source.clone(), self.epoch);
        State::Taking(async move { fence::take(&env, &source, ours).await }.boxed())
    }

    fn taken(&mut self, taken: Result<Reign, LogError>) -> State {
        let Surroundings { env, source, rule, upstream, mischief } = &self.around;
        let reign = match taken {
            Ok(reign) => reign,
            Err(error) => return self.trouble(&error.into()),
        };
        mischief.note(format!("{} reigns: epoch {} from {}", self.number, reign.epoch, reign.cursor.to.get()));
        self.epoch = Some(reign.epoch);
        let Some(session) = upstream.connect(reign.cursor.to) else {
            if !mischief.outranked(reign.epoch, self.number) {
                let (end, told) = (reign.cursor.to.get(), upstream.acknowledged().get());
                mischief.broke("l1", &format!("acknowledged up to {told}, the log ends at {end}"));
            }
            return State::Waiting(1);
        };
        let writer = Writer::new(env, source, reign, *rule, Box::new(NoContext));
        let pipeline = Pipeline::new(writer, Box::new(session), Arc::clone(&env.clock), Arc::new(Nobody));
        // Nobody asks it to stop: the sender goes with the future.
        State::Running(
            async move {
                let (_never, stop) = watch::channel(false);
                pipeline.run(stop).await
            }
            .boxed(),
        )
    }

    fn ended(&mut self, ended: Result<Ended, PipelineError>) -> State {
        match ended {
            Ok(ended) => {
                self.around.mischief.broke("live", &format!("a pipeline ended by itself: {ended:?}"));
                State::Waiting(1)
            }
            Err(error) => self.trouble(&error),
        }
    }

    /// What the daemon's supervisor does about it.
    fn trouble(&mut self, error: &PipelineError) -> State {
        if let PipelineError::Log(error) = error {
            self.around.mischief.note(format!("{}: {error}", self.number));
            self.judge(error);
        }
        if let PipelineError::Log(LogError::FenceUndecided { epoch, .. }) = error {
            self.epoch = Some(*epoch);
        }
        match policy::verdict(error).0 {
            Verdict::Fenced => State::Stopped,
            // Whoever gives up is started again, by a service manager or by somebody who has looked.
            Verdict::Again(_) | Verdict::Busy | Verdict::GiveUp => State::Waiting(self.around.mischief.below(10)),
        }
    }

    /// Trouble that nothing in this world can have caused is a law that was broken.
    fn judge(&self, error: &LogError) {
        let mischief = &self.around.mischief;
        match error {
            LogError::Fenced { theirs, .. } => {
                if !mischief.taken_by_another(*theirs, self.number) {
                    mischief.broke("l5", "a process was fenced by nobody but itself");
                }
            }
            LogError::Twin { .. } => mischief.broke("l5", "two writers used one epoch"),
            LogError::Slept { .. } => {
                let rivals = self.epoch.is_some_and(|ours| mischief.outranked(ours, self.number));
                if !mischief.has_expired() || !rivals {
                    mischief.broke("l5", "a writer slept through an expiry, or a reign, that never was");
                }
            }
            LogError::Disordered { what } => mischief.broke("l2", what),
            LogError::Store(_)
            | LogError::Object(_)
            | LogError::Key(_)
            | LogError::Missing { .. }
            | LogError::FenceUndecided { .. }
            | LogError::Overtaken { .. }
            | LogError::Latched => {}
        }
    }
}
