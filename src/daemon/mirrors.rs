//! Puts the configured mirrors behind the first store, keeps them in step beside capture, and says aloud what is wrong.
//!
//! * L5: a store that was replaced as the first one is not written to until it is named again.
//! * L10: what expired leaves a mirror only where a boundary that opens with the key, or retention as the mirror itself
//!   bears it out, says so.
//! * L9: a mirror that is not there when the daemon starts does not keep it from starting, unless it is required.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::{self, Clock, sleep};
use crate::config::{Config, StorePlace, StoreSettings};
use crate::daemon::assemble;
use crate::daemon::board::Board;
use crate::daemon::chain;
use crate::daemon::expire::{self, Order};
use crate::daemon::metrics as words;
use crate::daemon::policy::{self, Verdict};
use crate::entropy::Entropy;
use crate::log::LogEnv;
use crate::log::boundary;
use crate::log::hold;
use crate::log::object::Object;
use crate::model::{BaseId, HoldName, Slot, SourceName};
use crate::store;
use crate::store::layout::{self, Named};
use crate::store::mirror::{
    Deposed, Distant, Duty, Mirror, MirrorPlace, MirrorRule, MirrorSight, Mirrored, Opener, Retention,
};
use crate::store::order::{self, Claim, OrderError};
use crate::store::probe::Verdict as Probed;
use crate::store::{
    Keys, Op, Part, Refusal, RetryRule, Retrying, Store, StoreError, StoreErrorKind, refuses_second_put,
};

/// A put to a required mirror is given up as early as one to a first store of its kind. Everything is compared once a day.
const fn rule(answer_within: Duration) -> MirrorRule {
    MirrorRule {
        answer_within,
        first_wait: Duration::from_millis(500),
        wait_max: Duration::from_secs(30),
        whole_every: Duration::from_hours(24),
    }
}

/// A mirror may be slow: what takes longer than this is taken to hang.
const MIRROR_RETRY: RetryRule = RetryRule {
    first_wait: Duration::from_millis(50),
    wait_max: Duration::from_secs(2),
    deadline: Duration::from_mins(1),
};

/// How long a mirror may take to answer a single question.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often what is true of the mirrors is shown anew.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Opens a configured store, again and again.
struct Configured {
    settings: StoreSettings,
    clock: Arc<dyn Clock>,
}

#[async_trait::async_trait]
impl Opener for Configured {
    async fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        assemble::plain_store(&self.settings, &self.clock).await
    }
}

/// Opens a mirror to be written to: a bucket that lets an object be put twice could lose what it holds, and is refused.
struct Proven {
    inner: Configured,
    entropy: Arc<dyn Entropy>,
}

#[async_trait::async_trait]
impl Opener for Proven {
    async fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        let store = self.inner.open().await?;
        let place = &self.inner.settings.place;
        match place {
            StorePlace::Folder(_) => Ok(store),
            StorePlace::S3(_) => match refuses_second_put(&*store, &*self.entropy).await {
                Ok(Probed::Sound) => Ok(store),
                Ok(Probed::OverwriteClaimed | Probed::Overwritten | Probed::Winners(_)) => {
                    Err(StoreError::new(Op::Put, place, StoreErrorKind::Refused(Refusal::Unfit)))
                }
                // A role that may put nothing there overwrites nothing either; it may well delete what expired.
                Err(error) if error.kind == StoreErrorKind::Refused(Refusal::NoRights) => Ok(store),
                Err(error) => Err(error),
            },
        }
    }
}

/// Opens boundaries with the key, and applies what is promised to what a mirror holds.
struct Promised {
    env: LogEnv,
    order: Order,
}

#[async_trait::async_trait]
impl Retention for Promised {
    async fn proved(&self, store: &dyn Store, source: &SourceName) -> Option<Slot> {
        let mut keys = Keys::new(store, layout::boundaries_prefix(source), None);
        let mut newest = None;
        while let Some(key) = keys.next().await.ok()? {
            if let Some(Named::Boundary { .. }) = layout::parse(&key) {
                newest = Some(key);
            }
        }
        let key = newest?;
        let bytes = store.get(&key, Part::Whole).await.ok()?.bytes();
        let header = boundary::read(Object::open(&self.env, &key, bytes).await.ok()?).ok()?;
        (layout::boundary(source, header.slot) == key).then_some(header.slot)
    }

    async fn expired(&self, mirror: &Arc<dyn Store>, source: &SourceName) -> Vec<BaseId> {
        let env = LogEnv { store: Arc::clone(mirror), ..self.env.clone() };
        // Where it cannot be told now, nothing has expired; the next comparison asks again.
        Box::pin(expire::expired_bases(&env, source, &self.order)).await.unwrap_or_default()
    }
}

/// Another store of the configuration, reached when it can be.
pub fn distant(env: &LogEnv, settings: &StoreSettings) -> Arc<dyn Store> {
    reached(env, Arc::new(configured(env, settings)))
}

fn configured(env: &LogEnv, settings: &StoreSettings) -> Configured {
    Configured { settings: settings.clone(), clock: Arc::clone(&env.clock) }
}

fn reached(env: &LogEnv, opener: Arc<dyn Opener>) -> Arc<dyn Store> {
    let distant = Arc::new(Distant::new(opener));
    Arc::new(Retrying::new(distant, Arc::clone(&env.clock), Arc::clone(&env.entropy), MIRROR_RETRY))
}

/// Whether a process may delete from mirrors what has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// It may: the configuration or a person says so.
    Expired,
    /// It may not.
    Nothing,
}

impl Deletes {
    /// As the configuration says.
    pub const fn of(config: &Config) -> Self {
        if config.retention.delete { Self::Expired } else { Self::Nothing }
    }
}

/// The first store of `env` with all its mirrors behind it. They must be followed ([`follow`]).
pub fn behind(env: &LogEnv, config: &Config, deletes: Deletes) -> Arc<Mirrored> {
    let deposed = Deposed::default();
    let mirror = |settings: &StoreSettings| {
        let place = MirrorPlace {
            name: settings.name.clone(),
            duty: if settings.required { Duty::Required } else { Duty::BestEffort },
            store: reached(
                env,
                Arc::new(Proven { inner: configured(env, settings), entropy: Arc::clone(&env.entropy) }),
            ),
            retention: match deletes {
                Deletes::Expired => Some(Arc::new(Promised { env: env.clone(), order: Order::of(config, false) })),
                Deletes::Nothing => None,
            },
            sources: config.sources.iter().map(|source| source.name.clone()).collect(),
        };
        Arc::new(Mirror::new(place, rule(assemble::retry_rule(&settings.place).deadline), &deposed, &env.clock))
    };
    let mirrors = config.mirrors.iter().map(mirror).collect();
    Arc::new(Mirrored::new(Arc::clone(&env.store), mirrors, deposed))
}

/// A mirror for one turn of catching up, as a person asked for.
pub fn for_once(env: &LogEnv, name: &str, store: Arc<dyn Store>) -> Mirror {
    let (duty, sources) = (Duty::BestEffort, Vec::new());
    let place = MirrorPlace { name: name.to_owned(), duty, store, retention: None, sources };
    Mirror::new(place, rule(MIRROR_RETRY.deadline), &Deposed::default(), &env.clock)
}

/// The sources that a store of this installation may hold logs of: those of the configuration, and those that the first store
/// holds already.
pub async fn own_sources(first: &dyn Store, config: &Config) -> Result<Vec<SourceName>, StoreError> {
    let mut ours = store::sources(first).await?;
    ours.extend(config.sources.iter().map(|source| source.name.clone()));
    Ok(ours)
}

/// What a mirror says about which store decides. What is another installation's by all its logs says nothing here; the
/// mirror is refused by whoever would copy into it.
async fn claimed(mirror: &dyn Store, ours: &[SourceName]) -> Result<Option<Claim>, OrderError> {
    let Some(claim) = order::newest(mirror).await? else { return Ok(None) };
    let theirs = store::sources(mirror).await?;
    let stranger = !theirs.is_empty() && !theirs.iter().any(|source| ours.contains(source));
    Ok((!stranger).then_some(claim))
}

/// Whether the configured first store may decide, as far as the stores can be asked; names those that could not.
pub async fn may_decide(env: &LogEnv, config: &Config) -> Result<Vec<String>, OrderError> {
    let ours = own_sources(&*env.store, config).await?;
    let mut said = vec![(config.store.name.clone(), order::newest(&*env.store).await?)];
    let mut silent = Vec::new();
    for settings in &config.mirrors {
        let store = distant(env, settings);
        match clock::timeout(&*env.clock, ANSWER_WITHIN, claimed(&*store, &ours)).await {
            Ok(Ok(claim)) => said.push((settings.name.clone(), claim)),
            Ok(Err(OrderError::Store(_))) | Err(_) => silent.push(settings.name.clone()),
            Ok(Err(error)) => return Err(error),
        }
    }
    order::judge(&config.store.name, &said).map(|_newest| silent)
}

/// The first store with its mirrors behind it, for a process that writes something and ends.
pub struct Behind {
    /// What to write with.
    pub env: LogEnv,
    mirrored: Arc<Mirrored>,
    _following: JoinSet<()>,
}

impl Behind {
    /// Puts the mirrors behind `alone`, and keeps them in step as long as this lives. Refused if another store was made
    /// the first one (L5).
    pub async fn put(alone: &LogEnv, config: &Config, deletes: Deletes) -> Result<Self, OrderError> {
        // One that is silent gets what it lacks from the next process.
        let _silent = may_decide(alone, config).await?;
        let mirrored = behind(alone, config, deletes);
        let mut following = JoinSet::new();
        keep_in_step(alone, &mirrored, &mut following);
        let env = LogEnv { store: Arc::<Mirrored>::clone(&mirrored), ..alone.clone() };
        Ok(Self { env, mirrored, _following: following })
    }

    /// Has every mirror compared from the beginning, so that it lets go of what an earlier expiry left there.
    pub fn compare_everything(&self) {
        self.mirrored.mirrors().iter().for_each(|mirror| mirror.want_whole());
    }

    /// Waits until the mirrors hold what was written; gives those that do not yet.
    pub async fn settled(&self, patience: Duration) -> Vec<MirrorSight> {
        in_step(&self.env, &self.mirrored, patience).await
    }
}

/// Waits until all mirrors hold what the first store holds; gives those that do not yet. Nobody waits for long (L9).
pub async fn in_step(env: &LogEnv, mirrored: &Mirrored, patience: Duration) -> Vec<MirrorSight> {
    let due = env.clock.tick().after(patience);
    let mut late = Vec::new();
    for mirror in mirrored.mirrors() {
        if !mirror.in_step(due.since(env.clock.tick())).await {
            late.push(mirror.sight());
        }
    }
    late
}

/// Takes a hold off in every mirror; gives whether there was one, or why that cannot be told.
pub async fn remove_hold(
    env: &LogEnv,
    config: &Config,
    source: &SourceName,
    name: &HoldName,
) -> Vec<(String, Result<bool, String>)> {
    let mut all = Vec::new();
    for settings in &config.mirrors {
        let env = LogEnv { store: distant(env, settings), ..env.clone() };
        let removing = clock::timeout(&*env.clock, ANSWER_WITHIN, hold::remove(&env, source, name)).await;
        let removed = match removing {
            Ok(Ok(removed)) => Ok(removed),
            Ok(Err(error)) => Err(chain(&error)),
            Err(elapsed) => Err(elapsed.to_string()),
        };
        all.push((settings.name.clone(), removed));
    }
    all
}

/// Keeps every mirror in step, and shows how they are, until it is dropped.
pub fn follow(env: &LogEnv, mirrored: &Arc<Mirrored>, board: &Arc<Board>, beside: &mut JoinSet<()>) {
    keep_in_step(env, mirrored, beside);
    if !mirrored.mirrors().is_empty() {
        beside.spawn(watch(Arc::clone(mirrored), Arc::clone(board), Arc::clone(&env.clock)));
    }
}

fn keep_in_step(env: &LogEnv, mirrored: &Mirrored, beside: &mut JoinSet<()>) {
    for mirror in mirrored.mirrors() {
        let (mirror, first) = (Arc::clone(mirror), Arc::clone(&env.store));
        beside.spawn(async move { mirror.follow(&first).await });
    }
}

/// Says once when a trouble begins, and counts it (L11).
async fn watch(mirrored: Arc<Mirrored>, board: Arc<Board>, clock: Arc<dyn Clock>) {
    let mut known = BTreeSet::new();
    loop {
        let sights: Vec<_> = mirrored.mirrors().iter().map(|mirror| mirror.sight()).collect();
        let mut now = BTreeSet::new();
        for sight in &sights {
            for (verdict, sentence) in policy::mirror_verdicts(sight) {
                let (mirror, why) = (sight.name.clone(), sight.trouble.clone().unwrap_or_default());
                if !known.contains(&(mirror.clone(), sentence)) {
                    metrics::counter!(words::MIRROR_TROUBLES.name, "mirror" => mirror.clone(), "kind" => sentence)
                        .increment(1);
                    match verdict {
                        Verdict::Again(_) => tracing::warn!(mirror, why, "{sentence}"),
                        Verdict::Fenced | Verdict::Busy | Verdict::GiveUp => {
                            let damaged = sight.damaged.first().map(ToString::to_string).unwrap_or_default();
                            tracing::error!(mirror, why, damaged, "{sentence}");
                        }
                    }
                }
                now.insert((mirror, sentence));
            }
        }
        known = now;
        board.see_mirrors(sights);
        sleep(&*clock, LOOK_EVERY).await;
    }
}
