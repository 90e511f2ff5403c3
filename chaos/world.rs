//! A whole world from a seed: a server, daemons that live and die, a faulty store, a clock that is moved by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::chaos::faults::{Fault, Mischief};
use crate::chaos::laws;
use crate::chaos::process::{Process, Surroundings};
use crate::chaos::scenarios::{Scenario, cut_rule};
use crate::chaos::store::FaultyStore;
use crate::chaos::upstream::Upstream;
use crate::clock::{Clock, ManualClock};
use crate::codec::segment::Suite;
use crate::crypto::Keyring;
use crate::crypto::file::FileKey;
use crate::entropy::{Entropy, SeededEntropy};
use crate::log::LogEnv;
use crate::model::{SourceName, Timestamp};
use crate::store::{MemoryStore, RetryRule, Retrying, Store};

/// Polls in which faults strike.
const STORMY: u64 = 3_000;
/// Polls within which everything must be acknowledged once the faults have stopped.
const CALM_MAX: u64 = 20_000;
/// Daemons that run at once.
const PROCESSES_MAX: usize = 2;

/// What became of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How often each fault struck.
    pub fired: BTreeMap<Fault, u64>,
    /// Everything that happened, a line each.
    pub trace: Vec<String>,
    /// Laws that were broken, and how.
    pub broken: Vec<String>,
}

/// A world.
pub struct World {
    around: Surroundings,
    /// The log's surroundings as a new machine sees them: the same keys, and the store as it really is.
    pristine: LogEnv,
    memory: Arc<MemoryStore>,
    store: FaultyStore,
    clock: Arc<ManualClock>,
    upstream: Arc<Upstream>,
    mischief: Arc<Mischief>,
    processes: Vec<Process>,
    started: u32,
}

impl World {
    /// The world of `seed`.
    pub fn new(seed: u64, scenario: &Scenario) -> Self {
        let mischief = Arc::new(Mischief::new(seed, scenario.per_mille(seed)));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed ^ 0x5EED_0F5A_1750_F411));
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let memory = Arc::new(MemoryStore::new());
        let store = FaultyStore::new(Arc::clone(&memory), Arc::clone(&mischief));
        let keys = Arc::new(Keyring::of_file(FileKey::fresh(&*entropy)));
        let told: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let suite = if seed.is_multiple_of(2) { Suite::ChaCha20Poly1305 } else { Suite::Aes256Gcm };
        let pristine = LogEnv { store: Arc::<MemoryStore>::clone(&memory), keys, suite, clock: told, entropy };
        let rule = RetryRule {
            first_wait: Duration::from_millis(20),
            wait_max: Duration::from_millis(500),
            deadline: Duration::from_secs(3),
        };
        let (ticking, chance) = (Arc::clone(&pristine.clock), Arc::clone(&pristine.entropy));
        let retrying: Arc<dyn Store> = match mischief.below(2) {
            0 => Arc::new(store.clone()),
            _ => Arc::new(Retrying::new(Arc::new(store.clone()), ticking, chance, rule)),
        };
        let env = LogEnv { store: retrying, ..pristine.clone() };
        let upstream = Arc::new(Upstream::new(Arc::clone(&mischief), 20 + mischief.below(30)));
        let source: SourceName = "main".parse().expect("a good name");
        let rule = cut_rule(&mischief);
        let (server, dice) = (Arc::clone(&upstream), Arc::clone(&mischief));
        let around = Surroundings { env, source, rule, upstream: server, mischief: dice };
        Self { around, pristine, memory, store, clock, upstream, mischief, processes: Vec::new(), started: 0 }
    }

    /// Lives through a storm and the calm after it, twice, and holds the laws against what is left.
    pub fn run(mut self) -> Outcome {
        let book = self.upstream.book().len();
        self.upstream.happen(book * 7 / 10);
        self.storm();
        self.mischief.stop();
        self.calm();
        // What was late lands behind everybody's back, and the last daemon dies; the next one finds its way.
        self.kill_all();
        now(self.store.flush());
        self.judge();
        self.upstream.happen(book);
        self.calm();
        self.kill_all();
        self.judge();
        let (env, source) = (&self.pristine, &self.around.source);
        let damaged =
            laws::l4_no_silent_corruption::check_damaged(env, &self.memory, source, &self.upstream, &self.mischief);
        if let Err(how) = now(damaged) {
            self.mischief.broke("l4", &how);
        }
        let (fired, trace, broken) = self.mischief.told();
        Outcome { fired, trace, broken }
    }

    fn start(&mut self) {
        self.started += 1;
        self.processes.push(Process::start(self.started, &self.around));
    }

    fn kill_all(&mut self) {
        self.processes.clear();
    }

    fn storm(&mut self) {
        for _ in 0..STORMY {
            if self.processes.is_empty() {
                self.start();
            }
            if self.processes.len() < PROCESSES_MAX && self.mischief.strikes(Fault::SecondWriter) {
                self.start();
            }
            if self.mischief.strikes(Fault::DayPasses) {
                self.clock.advance(Duration::from_hours(24));
            }
            self.step();
            if !self.processes.is_empty() && self.mischief.strikes(Fault::Killed) {
                let victim = self.some_process();
                let victim = self.processes.remove(victim);
                self.mischief.note(format!("{} dies", victim.number));
                drop(victim);
                self.judge();
            }
        }
    }

    /// Without faults everything becomes durable and acknowledged, and one daemon is left.
    fn calm(&mut self) {
        for _ in 0..CALM_MAX {
            if self.processes.is_empty() {
                self.start();
            }
            self.step();
            if self.processes.len() == 1 && self.upstream.acknowledged() >= self.upstream.end() {
                return;
            }
        }
        let (stands, end) = (self.upstream.acknowledged().get(), self.upstream.end().get());
        let how = format!("{} daemons stand at {stands} of {end} long after the faults", self.processes.len());
        self.mischief.broke("live", &how);
    }

    fn some_process(&self) -> usize {
        let many = u64::try_from(self.processes.len()).unwrap_or(1);
        usize::try_from(self.mischief.below(many)).unwrap_or(0)
    }

    /// One daemon runs for a moment; then time passes.
    fn step(&mut self) {
        let at = self.some_process();
        let stalled = self.mischief.strikes(Fault::Stalled);
        let mut context = Context::from_waker(Waker::noop());
        // One that is stalled lets the other run for a while, which is when it is fenced.
        let turns = if stalled { 40 } else { 1 };
        for turn in 0..turns {
            let runs = if stalled && self.processes.len() > 1 { 1 - at.min(1) } else { at };
            if let Some(process) = self.processes.get_mut(runs) {
                process.run(&mut context);
            }
            if turn % 4 == 0 {
                self.clock.advance(Duration::from_millis(self.mischief.below(40)));
            }
        }
        self.processes.retain(|process| !process.is_stopped());
    }

    /// Holds every law against what the store really holds.
    fn judge(&self) {
        for (law, broken) in now(laws::broken(&self.pristine, &self.around.source, &self.upstream)) {
            self.mischief.broke(law, &broken);
        }
    }
}

/// Runs what only waits for memory.
pub fn now<F: Future>(work: F) -> F::Output {
    let mut work = Box::pin(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
}
