//! A whole world from a seed: a server, daemons that live and die, a faulty store, a clock that is moved by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::chaos::faults::{Fault, Mischief};
use crate::chaos::laws;
use crate::chaos::mirror::Mirroring;
use crate::chaos::process::{Process, Surroundings};
use crate::chaos::retention::{Expirer, Ledger};
use crate::chaos::scenarios::{Scenario, cut_rule};
use crate::chaos::store::FaultyStore;
use crate::chaos::upstream::Upstream;
use crate::clock::{Clock, ManualClock};
use crate::codec::segment::Suite;
use crate::crypto::Keyring;
use crate::crypto::file::FileKey;
use crate::entropy::{Entropy, SeededEntropy};
use crate::log::{History, Hold, LogEnv, hold};
use crate::model::{Position, SourceName, Timestamp};
use crate::store::mirror::Duty;
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
    retention: Option<Retention>,
    mirror: Option<Mirroring>,
}

/// What a world has in which something expires.
struct Retention {
    ledger: Arc<Ledger>,
    expirer: Option<Expirer>,
    holds: Vec<Hold>,
    made: u64,
    /// Processes that sleep, and the step at which each wakes.
    asleep: BTreeMap<u32, u64>,
    steps: u64,
}

impl Retention {
    fn new(mischief: &Mischief) -> Self {
        let ledger = Arc::new(Ledger::new(mischief));
        Self { ledger, expirer: None, holds: Vec::new(), made: 0, asleep: BTreeMap::new(), steps: 0 }
    }

    fn sleeps(&self, process: &Process) -> bool {
        self.asleep.get(&process.number).is_some_and(|wakes| *wakes > self.steps)
    }
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
        let retention = (*scenario == Scenario::Expiring).then(|| Retention::new(&mischief));
        let duty = match scenario {
            Scenario::MirrorRequired => Some(Duty::Required),
            Scenario::MirrorFollowing => Some(Duty::BestEffort),
            Scenario::Swarm | Scenario::Fencing | Scenario::LyingReads | Scenario::Killing | Scenario::Expiring => None,
        };
        let mirror = duty.map(|duty| Mirroring::new(&mischief, duty));
        let processes = Vec::new();
        Self { around, pristine, memory, store, clock, upstream, mischief, processes, started: 0, retention, mirror }
    }

    /// Lives through a storm and the calm after it, twice, and holds the laws against what is left.
    pub fn run(mut self) -> Outcome {
        let book = self.upstream.book().len();
        // Where something expires it happens little by little, with bases in between.
        self.upstream.happen(if self.retention.is_some() { 1 } else { book * 7 / 10 });
        self.storm();
        self.mischief.stop();
        // What is required is there at every moment, also in the middle of a storm.
        let lost_in_the_storm = self.is_required() && self.mischief.below(2) == 0;
        if !lost_in_the_storm {
            self.calm();
        }
        // What was late lands behind everybody's back, and the last daemon dies; the next one finds its way.
        self.kill_all();
        now(self.store.flush());
        self.judge();
        self.lose_the_first_store();
        self.upstream.happen(book);
        self.calm();
        self.kill_all();
        self.expire_at_last();
        self.judge();
        let (env, source) = (&self.pristine, &self.around.source);
        // A log that says no beginning, or that cannot be read, was judged just now.
        let begins = now(laws::begins(env, source, self.ledger())).ok().flatten().unwrap_or(Position::ZERO);
        let upstream = (&*self.upstream, begins);
        let damaged = laws::l4_no_silent_corruption::check_damaged(env, &self.memory, source, upstream, &self.mischief);
        if let Err(how) = now(damaged) {
            self.mischief.broke("l4", &how);
        }
        let (fired, trace, broken) = self.mischief.told();
        Outcome { fired, trace, broken }
    }

    fn start(&mut self) {
        self.started += 1;
        let (around, beside) = match &self.mirror {
            Some(mirror) => {
                let (around, beside) = mirror.behind(&self.around);
                (around, Some(beside))
            }
            None => (self.around.clone(), None),
        };
        self.processes.push(Process::start(self.started, &around, beside));
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
            self.tend();
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
        if let Some(retention) = &mut self.retention {
            retention.asleep.clear();
        }
        for _ in 0..CALM_MAX {
            if self.processes.is_empty() {
                self.start();
            }
            self.step();
            let mirrored = self.mirror.as_ref().is_none_or(|mirror| now(mirror.has_all_of(&self.memory)));
            if self.processes.len() == 1 && self.upstream.acknowledged() >= self.upstream.end() && mirrored {
                return;
            }
        }
        let (stands, end) = (self.upstream.acknowledged().get(), self.upstream.end().get());
        let how = format!("{} daemons stand at {stands} of {end} long after the faults", self.processes.len());
        self.mischief.broke("live", &how);
    }

    /// One that is awake, if any is.
    fn some_process(&self) -> usize {
        let sleeps = |process: &Process| self.retention.as_ref().is_some_and(|retention| retention.sleeps(process));
        let awake: Vec<_> = (0..).zip(&self.processes).filter(|(_, process)| !sleeps(process)).collect();
        let many = u64::try_from(awake.len()).unwrap_or(1);
        let drawn = usize::try_from(self.mischief.below(many)).unwrap_or(0);
        awake.get(drawn).map_or(0, |(at, _)| *at)
    }

    fn ledger(&self) -> Option<&Ledger> {
        self.retention.as_ref().map(|retention| &*retention.ledger)
    }

    /// Where something expires: takes bases, makes and removes holds, deletes, and puts daemons to sleep.
    fn tend(&mut self) {
        let Some(retention) = &mut self.retention else { return };
        retention.steps += 1;
        let (env, source, mischief) = (&self.pristine, &self.around.source, &self.mischief);
        let book = u64::try_from(self.upstream.book().len()).unwrap_or(0);
        let happened = usize::try_from(1 + retention.steps * book / STORMY).unwrap_or(0);
        self.upstream.happen(happened);
        if mischief.below(30) == 0 {
            // Of what is durable, or of what has happened already.
            let ahead = mischief.below(6) == 0;
            let point = if ahead { self.upstream.end() } else { self.upstream.acknowledged() };
            retention.ledger.take_base(env, source, &self.memory, (&self.upstream, point));
        }
        if mischief.below(1_500) == 0 {
            retention.hold(env, source, &self.upstream, mischief);
        }
        if mischief.below(500) == 0
            && let Some(hold) = retention.holds.pop()
        {
            drop(now(hold::remove(env, source, &hold.name)));
        }
        if retention.expirer.is_none() && mischief.strikes(Fault::Expiry) {
            retention.expirer = Some(expirer(&self.around, env, &self.store, &retention.ledger));
        }
        let mut context = Context::from_waker(Waker::noop());
        let dies = retention.expirer.is_some() && mischief.strikes(Fault::ExpirerDies);
        if retention.expirer.as_mut().is_some_and(|expirer| dies || expirer.run(&mut context)) {
            retention.expirer = None;
            self.judge();
        }
        self.put_to_sleep();
    }

    /// Somebody sleeps, and somebody is awake meanwhile.
    fn put_to_sleep(&mut self) {
        if self.processes.is_empty() || !self.mischief.strikes(Fault::Sleeps) {
            return;
        }
        let (at, long) = (self.some_process(), 300 + self.mischief.below(1_500));
        if let (Some(retention), Some(process)) = (&mut self.retention, self.processes.get(at)) {
            retention.asleep.insert(process.number, retention.steps + long);
            self.mischief.note(format!("{} sleeps", process.number));
        }
        if self.processes.len() <= PROCESSES_MAX {
            self.start();
        }
    }

    /// Once more without any fault: what has expired goes, and what is promised stays.
    fn expire_at_last(&mut self) {
        let Some(retention) = &mut self.retention else { return };
        let mut context = Context::from_waker(Waker::noop());
        drop(retention.expirer.take());
        let mut expirer = expirer(&self.around, &self.pristine, &self.store, &retention.ledger);
        while !expirer.run(&mut context) {}
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
        let (env, source) = (&self.pristine, &self.around.source);
        for (law, broken) in now(laws::broken(env, source, &self.upstream, self.ledger())) {
            self.mischief.broke(law, &broken);
        }
        let Some(mirror) = &self.mirror else { return };
        let alone = LogEnv { store: Arc::<MemoryStore>::clone(&mirror.memory), ..env.clone() };
        // A mirror that nobody waits for trails: what it holds is true, and what was acknowledged may not be there yet.
        let may_trail = |law: &str| mirror.duty == Duty::BestEffort && law == "l1";
        for (law, broken) in now(laws::broken(&alone, source, &self.upstream, None)) {
            if !may_trail(law) {
                self.mischief.broke(law, &format!("from the mirror alone: {broken}"));
            }
        }
    }

    fn is_required(&self) -> bool {
        self.mirror.as_ref().is_some_and(|mirror| mirror.duty == Duty::Required)
    }

    /// The first store is gone with all that is in it, and the mirror takes its place.
    fn lose_the_first_store(&mut self) {
        let Some(mirror) = self.mirror.take() else { return };
        self.mischief.note("the first store is gone".to_owned());
        self.store = FaultyStore::new(Arc::clone(&mirror.memory), Arc::clone(&self.mischief));
        self.memory = Arc::clone(&mirror.memory);
        self.pristine.store = mirror.memory;
        self.around.env.store = Arc::new(self.store.clone());
        self.judge();
    }
}

impl Retention {
    /// Holds some stretch of what has happened.
    fn hold(&mut self, env: &LogEnv, source: &SourceName, upstream: &Upstream, mischief: &Mischief) {
        let Ok(Some(log)) = now(History::load(env, source)).map(|history| history.log) else { return };
        let micros = |until: u64| i64::try_from(mischief.below(until)).unwrap_or(0);
        let from = micros(u64::try_from(upstream.book().len()).unwrap_or(0) * 1_000);
        let to = from + micros(20_000);
        self.made += 1;
        let name = format!("case-{}", self.made).parse().expect("a good name");
        let hold = Hold { name, from: Timestamp::from_micros(from), to: Timestamp::from_micros(to) };
        if now(hold::add(env, source, log, &hold)).is_ok() {
            mischief.note(format!("held: {hold:?}"));
            self.holds.push(hold);
        }
    }
}

fn expirer(around: &Surroundings, pristine: &LogEnv, store: &FaultyStore, ledger: &Arc<Ledger>) -> Expirer {
    let env = LogEnv { store: Arc::new(store.deleting()), ..pristine.clone() };
    let (source, mischief) = (around.source.clone(), Arc::clone(&around.mischief));
    Expirer::start(env, pristine.clone(), source, Arc::clone(ledger), mischief)
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
