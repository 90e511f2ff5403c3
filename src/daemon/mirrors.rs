//! Puts the configured mirrors behind the first store, keeps them in step beside capture, and says aloud what is wrong.
//!
//! * L5: a store that was replaced as the first one is not written to until it is named again.
//! * L9: a mirror that is not there when the daemon starts does not keep it from starting, unless it is required.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::{self, Clock, sleep};
use crate::config::{Config, StoreSettings};
use crate::daemon::assemble;
use crate::daemon::board::Board;
use crate::daemon::metrics as words;
use crate::daemon::policy::{self, Verdict};
use crate::log::LogEnv;
use crate::log::boundary;
use crate::log::object::Object;
use crate::model::{Slot, SourceName};
use crate::store::layout::{self, Named};
use crate::store::mirror::{Boundaries, Deposed, Distant, Duty, Mirror, MirrorPlace, MirrorRule, Mirrored, Opener};
use crate::store::order::{self, OrderError};
use crate::store::{Keys, Part, RetryRule, Retrying, Store, StoreError};

/// A put to a required mirror is given up as early as one to the first store. Everything is compared once a day.
const RULE: MirrorRule = MirrorRule {
    answer_within: Duration::from_secs(10),
    first_wait: Duration::from_millis(500),
    wait_max: Duration::from_secs(30),
    whole_every: Duration::from_hours(24),
};

/// A mirror may be slow: what takes longer than this is taken to hang.
const MIRROR_RETRY: RetryRule = RetryRule {
    first_wait: Duration::from_millis(50),
    wait_max: Duration::from_secs(2),
    deadline: Duration::from_mins(1),
};

/// How long a mirror may take to say which store decides, when the daemon starts.
const ORDER_WITHIN: Duration = Duration::from_secs(5);
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
        assemble::open_store(&self.settings, &self.clock).await
    }
}

/// Opens boundaries with the key.
struct Proved(LogEnv);

#[async_trait::async_trait]
impl Boundaries for Proved {
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
        let header = boundary::read(Object::open(&self.0, &key, bytes).await.ok()?).ok()?;
        (layout::boundary(source, header.slot) == key).then_some(header.slot)
    }
}

/// Another store of the configuration, reached when it can be.
pub fn distant(env: &LogEnv, settings: &StoreSettings) -> Arc<dyn Store> {
    let opener = Configured { settings: settings.clone(), clock: Arc::clone(&env.clock) };
    let distant = Arc::new(Distant::new(Arc::new(opener)));
    Arc::new(Retrying::new(distant, Arc::clone(&env.clock), Arc::clone(&env.entropy), MIRROR_RETRY))
}

/// The first store of `env` with all its mirrors behind it. They must be followed ([`follow`]).
pub fn behind(env: &LogEnv, config: &Config) -> Arc<Mirrored> {
    let deposed = Deposed::default();
    let mirror = |settings: &StoreSettings| {
        let place = MirrorPlace {
            name: settings.name.clone(),
            duty: if settings.required { Duty::Required } else { Duty::BestEffort },
            store: distant(env, settings),
            boundaries: config.retention.delete.then(|| -> Arc<dyn Boundaries> { Arc::new(Proved(env.clone())) }),
        };
        Arc::new(Mirror::new(place, RULE, &deposed, &env.clock))
    };
    let mirrors = config.mirrors.iter().map(mirror).collect();
    Arc::new(Mirrored::new(Arc::clone(&env.store), mirrors, deposed))
}

/// A mirror for one turn of catching up, as a person asked for.
pub fn for_once(env: &LogEnv, name: &str, store: Arc<dyn Store>) -> Mirror {
    let place = MirrorPlace { name: name.to_owned(), duty: Duty::BestEffort, store, boundaries: None };
    Mirror::new(place, RULE, &Deposed::default(), &env.clock)
}

/// Whether the configured first store may decide, as far as the stores can be asked; names those that could not.
pub async fn may_decide(env: &LogEnv, config: &Config) -> Result<Vec<String>, OrderError> {
    let mut said = vec![(config.store.name.clone(), order::newest(&*env.store).await?)];
    let mut silent = Vec::new();
    for settings in &config.mirrors {
        let store = distant(env, settings);
        match clock::timeout(&*env.clock, ORDER_WITHIN, order::newest(&*store)).await {
            Ok(Ok(claim)) => said.push((settings.name.clone(), claim)),
            Ok(Err(OrderError::Store(_))) | Err(_) => silent.push(settings.name.clone()),
            Ok(Err(error)) => return Err(error),
        }
    }
    order::judge(&config.store.name, &said).map(|_newest| silent)
}

/// Keeps every mirror in step, and shows how they are, until it is dropped.
pub fn follow(env: &LogEnv, mirrored: &Arc<Mirrored>, board: &Arc<Board>, beside: &mut JoinSet<()>) {
    for mirror in mirrored.mirrors() {
        let (mirror, first) = (Arc::clone(mirror), Arc::clone(&env.store));
        beside.spawn(async move { mirror.follow(&*first).await });
    }
    if !mirrored.mirrors().is_empty() {
        beside.spawn(watch(Arc::clone(mirrored), Arc::clone(board), Arc::clone(&env.clock)));
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
