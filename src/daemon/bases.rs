//! Bases beside capture: on a schedule, behind a gap, and on demand; one at a time for each source.
//!
//! A gap ends only where a base begins, so one is taken as soon as the schema has been quiet for a while. A base that
//! fails is tried again, later and later; capture goes on meanwhile (L9).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::clock::sleep;
use crate::codec::base::{Manifest, Table};
use crate::codec::pgoutput::{Relation, RelationColumn, ReplicaIdentity};
use crate::codec::segment::Flags;
use crate::daemon::board::Board;
use crate::daemon::metrics::BASE_FAILURES;
use crate::daemon::schedule;
use crate::daemon::supervise::{BaseKnows, Bases};
use crate::log::{History, LogEnv};
use crate::model::{Lsn, SourceName, Tick, Timestamp};
use crate::restore::windows::restorable_since;
use crate::restore::{Survey, bases};
use crate::source::postgres::base::{self, BaseOrder, BaseProgress, NoProgress, sweep};

/// The wait after the first failure; it doubles with each more.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// The longest wait after a failure.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(10);

/// When bases are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseRule {
    /// Time from one to the next; `None` for none on a schedule.
    pub every: Option<Duration>,
    /// How long the schema must have been quiet after a gap.
    pub quiet: Duration,
    /// A gap waits no longer than this for quiet.
    pub wait_max: Duration,
}

/// How the last base ended, for those who wait for one.
#[derive(Clone, Debug, Default)]
struct Ended {
    number: u64,
    last: Option<Result<Arc<Manifest>, String>>,
}

/// What is wanted, and since when.
#[derive(Clone, Copy, Debug, Default)]
struct Wants {
    first: Option<Tick>,
    latest: Option<Tick>,
    demanded: bool,
}

/// Takes the bases of one source.
pub struct BaseKeeper {
    env: LogEnv,
    order: BaseOrder,
    rule: BaseRule,
    board: Arc<Board>,
    newest: Mutex<Option<Arc<Manifest>>>,
    /// When and where the newest base was taken that was there at the start and could not be opened.
    seen: Option<(Timestamp, Lsn)>,
    wants: Mutex<Wants>,
    wake: Notify,
    ended: watch::Sender<Ended>,
}

impl BaseKeeper {
    /// Reads from the store which base is the newest.
    pub async fn open(env: &LogEnv, order: BaseOrder, rule: BaseRule, board: &Arc<Board>) -> Self {
        let mut seen_base = None;
        let (newest, since, open) = match Survey::take(env, &order.source).await {
            Ok(mut survey) => {
                // A gap that the daemon before did not live to close.
                let facts = &survey.facts;
                // Of what concerns some tables alone no base is the end.
                let facts = facts.apart_from_tables();
                let open = facts.log.is_some() && facts.latest().is_none_or(|(exact, _)| exact < facts.end());
                (survey.bases.pop().map(Arc::new), restorable_since(&survey.facts), open)
            }
            Err(error) if error.is_out_of_reach() => {
                // A writer that may not open what it writes: clear headers tell enough for the schedule.
                let (base, open) = seen(env, &order.source).await;
                seen_base = base;
                (None, base.map(|(time, _)| time), open)
            }
            Err(error) => {
                // Capture does not need it; the schedule takes a new one, and `verify` names the damage.
                tracing::warn!(source = %order.source, error = crate::daemon::chain(&error), "bases cannot be read");
                (None, None, true)
            }
        };
        board.update(&order.source, |state| state.base_first = since);
        let keeper = Self {
            env: env.clone(),
            order,
            rule,
            board: Arc::clone(board),
            newest: Mutex::default(),
            seen: seen_base,
            wants: Mutex::default(),
            wake: Notify::new(),
            ended: watch::channel(Ended::default()).0,
        };
        keeper.remember(newest);
        if open {
            let since = "since before this start".to_owned();
            keeper.board.update(&keeper.order.source, |state| state.gap = Some(since));
            keeper.still_wanted();
        }
        keeper
    }

    fn remember(&self, manifest: Option<Arc<Manifest>>) {
        let time = manifest.as_ref().map(|manifest| manifest.taken_at);
        self.board.update(&self.order.source, |state| {
            state.base_time = time;
            // A base behind a gap begins the restorable stretch anew.
            state.base_first = if state.gap.is_some() { time } else { state.base_first.or(time) };
        });
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = manifest;
    }

    fn newest(&self) -> Option<Arc<Manifest>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes bases when they are due, until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut failures = 0;
        // Of the daemon before, which may have died while it took one.
        sweep::tidy(&self.env, &self.order).await;
        loop {
            self.wait_until_due().await;
            let taken = self.take_one().await;
            sweep::tidy(&self.env, &self.order).await;
            if taken {
                failures = 0;
                continue;
            }
            let wait = RETRY_AFTER.saturating_mul(1 << failures.min(7)).min(RETRY_AFTER_MAX);
            failures += 1;
            self.rest(wait).await;
        }
    }

    /// Waits after a failure. Whoever asks for a base is not kept waiting; a gap is.
    async fn rest(&self, wait: Duration) {
        let due = self.env.clock.tick().after(wait);
        while !self.wants.lock().unwrap_or_else(PoisonError::into_inner).demanded {
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = self.env.clock.sleep_until(due) => return,
            }
        }
    }

    async fn wait_until_due(&self) {
        loop {
            let woken = self.wake.notified();
            let Some(wait) = self.due_in() else {
                woken.await;
                continue;
            };
            if wait.is_zero() {
                return;
            }
            tokio::select! {
                biased;
                () = woken => {}
                () = sleep(&*self.env.clock, wait) => {}
            }
        }
    }

    /// How long until a base is due; `None` if only a wish can make it so.
    fn due_in(&self) -> Option<Duration> {
        let wants = *self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.env.clock.tick();
        if wants.demanded {
            return Some(Duration::ZERO);
        }
        let gap = wants
            .latest
            .zip(wants.first)
            .map(|(latest, first)| latest.after(self.rule.quiet).min(first.after(self.rule.wait_max)).since(now));
        let newest = self.newest().map(|newest| newest.taken_at).or(self.seen.map(|(time, _)| time));
        let scheduled = self.rule.every.map(|every| match newest {
            None => Duration::ZERO,
            Some(taken_at) => schedule::base_due_in(every, Some(taken_at), self.env.clock.now()),
        });
        gap.into_iter().chain(scheduled).min()
    }

    /// Whether it went well.
    async fn take_one(&self) -> bool {
        *self.wants.lock().unwrap_or_else(PoisonError::into_inner) = Wants::default();
        self.board.update(&self.order.source, |state| state.base_running = true);
        let begun = self.env.clock.tick();
        let progress: Arc<dyn BaseProgress> = Arc::new(NoProgress);
        let system_id = self.newest().map(|newest| newest.server.system_id);
        let order = BaseOrder { system_id, ..self.order.clone() };
        let taken = base::take(&self.env, &order, &progress).await;
        self.board.update(&self.order.source, |state| state.base_running = false);
        let source = &self.order.source;
        let ended = match taken {
            Ok(manifest) => {
                let took = self.env.clock.tick().since(begun);
                tracing::info!(source = %source, base = %manifest.base, point = %manifest.point, ?took, "base taken");
                let manifest = Arc::new(manifest);
                self.remember(Some(Arc::clone(&manifest)));
                self.gap_may_be_closed();
                Ok(manifest)
            }
            Err(error) => {
                let causes = crate::daemon::chain(&error);
                tracing::warn!(source = %source, error = causes, "a base could not be taken; again later");
                metrics::counter!(BASE_FAILURES.name, "source" => source.to_string()).increment(1);
                self.still_wanted();
                Err(causes)
            }
        };
        let is_ok = ended.is_ok();
        self.ended.send_modify(|state| *state = Ended { number: state.number + 1, last: Some(ended) });
        is_ok
    }

    /// A gap that was told of while the base was taken may lie behind its snapshot, and wants another one.
    fn gap_may_be_closed(&self) {
        let wants = *self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        if wants.first.is_none() {
            self.board.update(&self.order.source, |state| state.gap = None);
        }
    }

    fn still_wanted(&self) {
        let now = self.env.clock.tick();
        let mut wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        wants.first.get_or_insert(now);
        wants.latest = Some(now);
    }

    /// Takes a base now, or joins the one under way; waits for it.
    pub async fn demand(&self) -> Result<Arc<Manifest>, String> {
        let mut ended = self.ended.subscribe();
        let before = ended.borrow_and_update().number;
        let running = self.board.of(&self.order.source).base_running;
        if !running {
            self.wants.lock().unwrap_or_else(PoisonError::into_inner).demanded = true;
            self.wake.notify_one();
        }
        let done = ended.wait_for(|state| state.number > before).await;
        done.ok().and_then(|state| state.last.clone()).unwrap_or_else(|| Err("the daemon is stopping".to_owned()))
    }

    /// Whose bases.
    pub fn source(&self) -> &str {
        self.order.source.as_str()
    }
}

impl Bases for BaseKeeper {
    fn newest_knows(&self) -> BaseKnows {
        let Some(newest) = self.newest() else {
            return BaseKnows { point: self.seen.map(|(_, point)| point), ..BaseKnows::default() };
        };
        BaseKnows {
            shapes: Some(newest.tables.iter().map(|table| (table.relid, relation(table))).collect()),
            passed_over: newest.passed_over.iter().copied().collect(),
            system_id: Some(newest.server.system_id),
            point: Some(newest.point),
            timeline: Some(newest.server.timeline),
        }
    }

    fn wanted(&self) {
        self.still_wanted();
        self.wake.notify_one();
    }
}

/// When and where the newest base was taken, and whether a gap lies behind it, by clear headers alone.
async fn seen(env: &LogEnv, source: &SourceName) -> (Option<(Timestamp, Lsn)>, bool) {
    let (Ok(Some(base)), Ok(history)) = (bases::newest_clear(env, source).await, History::load(env, source).await)
    else {
        return (None, true);
    };
    let gap = history.live().any(|entry| entry.flags.has(Flags::HOLDS_GAP) && entry.to >= base.to);
    tracing::warn!(%source, "this process may not open bases: their schedule goes by clear headers");
    (Some((base.to_time, Lsn::from(base.to))), gap)
}

/// A table of a manifest as the stream would describe it. The letter of its identity plays no part in the comparison.
fn relation(table: &Table) -> Relation {
    let published = table.columns.iter().filter(|column| !column.generated);
    let column = |column: &crate::codec::base::TableColumn| RelationColumn {
        in_key: column.in_key,
        name: column.name.clone(),
        type_oid: column.type_oid,
        typmod: column.typmod,
    };
    Relation {
        relid: table.relid,
        namespace: table.schema.clone(),
        name: table.name.clone(),
        identity: ReplicaIdentity::Default,
        columns: published.map(column).collect(),
    }
}
