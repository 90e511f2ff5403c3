//! Bases that were taken, what was promised of them, and the one who deletes what has expired.
//!
//! A base here is its manifest's name and its place: what is in it is the book up to there. What decides is the product's
//! own ([`Known::doomed`]), and so is what deletes ([`expiry::carry_out`]). Before it deletes, every instant that is
//! promised and can be restored is noted; the law asks for each of them ever after, until the next plan.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::chaos::faults::Mischief;
use crate::chaos::upstream::Upstream;
use crate::entropy::draw;
use crate::log::retention::{Known, KnownBase, Rule};
use crate::log::{Entry, History, Hold, LogEnv, LogError, expiry, hold};
use crate::model::{BaseId, Position, Slot, SourceName, Timestamp};
use crate::store::layout::{self, Named};
use crate::store::{Keys, MemoryStore};

/// A base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which.
    pub base: BaseId,
    /// It holds everything up to here.
    pub point: Position,
    /// No transaction in it is later.
    pub taken_at: Timestamp,
}

/// What everybody may know of bases and promises.
#[derive(Debug)]
pub struct Ledger {
    rule: Rule,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: Vec<Taken>,
    promised: BTreeSet<Timestamp>,
    plans: u64,
}

impl Ledger {
    /// A ledger that promises little, so that much expires.
    pub fn new(mischief: &Mischief) -> Self {
        let span = || Duration::from_micros(1_000 + mischief.below(9_000));
        Self { rule: Rule { bases: span(), log: span() }, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last plan promised.
    pub fn promised(&self) -> BTreeSet<Timestamp> {
        self.state().promised.clone()
    }

    /// How often it was decided what may go.
    pub fn plans(&self) -> u64 {
        self.state().plans
    }

    /// Takes a base that holds everything up to `point`.
    pub fn take_base(
        &self,
        env: &LogEnv,
        source: &SourceName,
        memory: &MemoryStore,
        (upstream, point): (&Upstream, Position),
    ) {
        let within = upstream.book().iter().filter(|happened| happened.commit.position <= point);
        let taken_at = within.map(|happened| happened.commit.time).max();
        let mut state = self.state();
        let Some(taken_at) = taken_at.filter(|_| state.taken.last().is_none_or(|last| last.point < point)) else {
            return;
        };
        let base = BaseId::from_bytes(draw(&*env.entropy));
        for key in [layout::base_part(source, base, 1), layout::manifest(source, base)] {
            memory.tamper(&key, Some(Bytes::from_static(b"a base")));
        }
        state.taken.push(Taken { base, point, taken_at });
    }

    /// The bases that the store has.
    pub async fn bases(&self, env: &LogEnv, source: &SourceName) -> Result<Vec<Taken>, LogError> {
        let mut keys = Keys::new(&*env.store, layout::bases_prefix(source), None);
        let mut there = BTreeSet::new();
        while let Some(key) = keys.next().await? {
            if let Some(Named::Manifest { base, .. }) = layout::parse(&key) {
                there.insert(base);
            }
        }
        Ok(self.state().taken.iter().filter(|taken| there.contains(&taken.base)).copied().collect())
    }

    /// The base from which a restore to `until` begins: the newest one that lies before it and whose log is there.
    pub fn leads(bases: &[Taken], history: &History, until: Timestamp) -> Option<Taken> {
        let live: Vec<_> = history.live().collect();
        let (first, last) = (live.first()?, live.last()?);
        let whole = |taken: &&Taken| {
            let there = first.from <= taken.point && reads_from(&live, taken.point) >= first.slot;
            there && taken.taken_at <= until && taken.point <= last.to
        };
        bases.iter().filter(whole).max_by_key(|taken| taken.point).copied()
    }
}

/// The first object that is read behind `point`.
pub fn reads_from(live: &[&Entry], point: Position) -> Slot {
    let behind = live.iter().filter(|entry| entry.to > point);
    behind.map(|entry| entry.needs_from.min(entry.slot)).min().unwrap_or(Slot::new(u64::MAX))
}

/// One run of the retention of a log.
pub struct Expirer(BoxFuture<'static, Result<(), LogError>>);

impl Expirer {
    /// Begins a run. `env` has faults and may delete; `pristine` tells what is really there.
    pub fn start(
        env: LogEnv,
        pristine: LogEnv,
        source: SourceName,
        ledger: Arc<Ledger>,
        mischief: Arc<Mischief>,
    ) -> Self {
        mischief.note("an expiry begins".to_owned());
        let work = async move {
            let ended = run(&env, &pristine, &source, &ledger, &mischief).await;
            mischief.note(format!("an expiry ends: {ended:?}"));
            ended
        };
        Self(work.boxed())
    }

    /// Lets it run until it waits for something; whether it has ended.
    pub fn run(&mut self, context: &mut Context<'_>) -> bool {
        matches!(self.0.as_mut().poll(context), Poll::Ready(_))
    }
}

async fn run(
    env: &LogEnv,
    pristine: &LogEnv,
    source: &SourceName,
    ledger: &Ledger,
    mischief: &Mischief,
) -> Result<(), LogError> {
    let begun = hold::list(pristine, source).await?;
    let history = History::load(env, source).await?;
    let bases = ledger.bases(env, source).await?;
    let holds = hold::list(env, source).await?;
    let entries: Vec<_> = history.live().cloned().collect();
    let Some(last) = entries.last().filter(|_| history.missing.is_empty()) else { return Ok(()) };
    let now = last.to_time;
    let known = |taken: &Taken| KnownBase {
        base: taken.base,
        point: taken.point,
        begins: taken.point,
        taken_at: taken.taken_at,
        finished_at: taken.taken_at,
        continues: true,
        sound: true,
    };
    let bases = bases.iter().map(known).collect();
    let known = Known { entries: &entries, bases, gaps: Vec::new(), holds: holds.clone() };
    let doomed = known.doomed(ledger.rule, now);
    let promised = promise(pristine, source, ledger, (now, &begun)).await?;
    mischief
        .note(format!("{} instants are promised; what is before {} goes, {:?}", promised, doomed.first, doomed.bases));
    mischief.expiry_began();
    expiry::announce(env, source, &history, &doomed).await?;
    if hold::list(env, source).await? != holds {
        mischief.note("a hold came or went meanwhile".to_owned());
        return expiry::withdraw(env, source, &history, &doomed).await;
    }
    let done = expiry::carry_out(env, source, &history, &doomed).await?;
    mischief.note(format!("expired: {done:?}"));
    Ok(())
}

/// Notes every instant that is promised and can be restored now; gives how many there are.
async fn promise(
    pristine: &LogEnv,
    source: &SourceName,
    ledger: &Ledger,
    (now, begun): (Timestamp, &[Hold]),
) -> Result<usize, LogError> {
    let history = History::load(pristine, source).await?;
    let bases = ledger.bases(pristine, source).await?;
    // One that was made while the holds were listed may have been overlooked, one that is removed promises nothing.
    let holds = hold::list(pristine, source).await?;
    let held: Vec<_> = holds.iter().filter(|hold| begun.contains(hold)).collect();
    let since = now.earlier_by(ledger.rule.log);
    let instants = history.live().flat_map(|entry| [entry.from_time, entry.to_time]).chain([since]);
    let is_due = |instant: &Timestamp| {
        let within = |from: Timestamp, to: Timestamp| (from..=to).contains(instant);
        within(since, now) || held.iter().any(|hold| within(hold.from, hold.to.min(now)))
    };
    let restorable = |instant: &Timestamp| Ledger::leads(&bases, &history, *instant).is_some();
    let promised: BTreeSet<_> = instants.filter(is_due).filter(restorable).collect();
    let many = promised.len();
    let mut state = ledger.state();
    (state.promised, state.plans) = (promised, state.plans + 1);
    Ok(many)
}
