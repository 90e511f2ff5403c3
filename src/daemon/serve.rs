//! The daemon as a whole: every source captured, and everything beside capture, until told to stop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::clock::{Clock, sleep};
use crate::config::{Config, NeedError, SourceSettings};
use crate::crypto::Keyring;
use crate::daemon::assemble::{self, AssembleError};
use crate::daemon::bases::{BaseKeeper, BaseRule};
use crate::daemon::board::Board;
use crate::daemon::control::{Control, ControlError, Handlers, Refused};
use crate::daemon::entries;
use crate::daemon::guard::Guard;
use crate::daemon::http::{Http, HttpError, Showing};
use crate::daemon::jobs::memory::Memory;
use crate::daemon::jobs::{self, Jobs};
use crate::daemon::keeper::{self, Keeper};
use crate::daemon::keywatch;
use crate::daemon::lastserver::LastServer;
use crate::daemon::mirrors::{self, Deletes};
use crate::daemon::notify;
use crate::daemon::status::Sight;
use crate::daemon::supervise::{Capture, Outcome, Until};
use crate::entropy::Entropy;
use crate::log::LogEnv;
use crate::model::SourceName;
use crate::source::postgres::base::BaseOrder;
use crate::source::postgres::names::slot as slot_name;
use crate::store::Mirrored;
use crate::store::order::OrderError;

/// The daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A part cannot be put together.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// The configuration lacks something.
    #[error(transparent)]
    Need(#[from] NeedError),
    /// The configured first store may not decide.
    #[error("this store may not decide")]
    Order(#[from] OrderError),
    /// Another daemon runs on the same state folder.
    #[error("another daemon runs with state_dir {path}; stop it first", path = path.display())]
    Running {
        /// The folder.
        path: PathBuf,
    },
    /// The state folder cannot be used.
    #[error("state_dir {path} cannot be used", path = path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The status page cannot be shown.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Verbs cannot ask.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// How often samples of histograms are counted.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// How long a drained process stays for its mirrors.
const MIRRORS_WITHIN: Duration = Duration::from_secs(10);

/// Everything that capture needs, opened.
pub struct Platform {
    config: Config,
    env: LogEnv,
    /// The first store without its mirrors.
    alone: LogEnv,
    mirrored: Arc<Mirrored>,
    board: Arc<Board>,
    state_dir: PathBuf,
    _lock: File,
}

impl Platform {
    /// Opens store, key and state folder.
    pub async fn open(config: &Config, clock: &Arc<dyn Clock>, entropy: &Arc<dyn Entropy>) -> Result<Self, ServeError> {
        config.need_sources()?;
        let state_dir = config.need_state_dir()?.to_owned();
        let lock = lock(&state_dir)?;
        let alone = assemble::log_env(config, clock, entropy).await?;
        alone.keys.prove(&**clock, &**entropy).await.map_err(AssembleError::from)?;
        assemble::prove(config, &alone).await?;
        for silent in mirrors::may_decide(&alone, config).await? {
            tracing::warn!(mirror = silent, "a mirror could not be asked which store decides");
        }
        let mirrored = mirrors::behind(&alone, config, Deletes::of(config));
        let env = LogEnv { store: Arc::<Mirrored>::clone(&mirrored), ..alone.clone() };
        let board = Arc::new(Board::default());
        Ok(Self { config: config.clone(), env, alone, mirrored, board, state_dir, _lock: lock })
    }

    /// Captures every source until the end; gives how each ended. What runs beside capture ends after it, in order.
    pub async fn serve(&self, until: Until, stop: watch::Receiver<bool>) -> Result<Vec<Outcome>, ServeError> {
        let names = self.config.sources.iter().map(|source| source.name.clone()).collect();
        let place = assemble::catalog_place(&self.state_dir, &self.env.clock);
        let (keeper, keeping) = Keeper::new(&self.env, names, Arc::new(place));
        let (mut kept, mut beside, mut captures) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        let mut all_bases = Vec::new();
        for source in &self.config.sources {
            all_bases.push(Arc::new(self.bases(source).await?));
        }
        mirrors::follow(&self.alone, &self.mirrored, &self.board, &mut beside);
        if until == Until::Stopped {
            self.surface(&keeper, &all_bases, &mut beside, &stop).await?;
            beside.spawn(self.jobs(&keeper).run());
        }
        for (source, bases) in self.config.sources.iter().zip(all_bases) {
            let capture = Arc::new(self.capture(source, &keeper, &bases)?);
            if until == Until::Stopped {
                beside.spawn(self.guard(source, &capture)?.run());
                beside.spawn(bases.run());
            }
            captures.spawn(capture.run(until, stop.clone()));
        }
        kept.spawn(keeping.run());
        drop(keeper);
        let outcomes = captures.join_all().await;
        if until == Until::CaughtUp {
            self.let_mirrors_catch_up().await;
        }
        beside.shutdown().await;
        // Nobody notes any more: the keeper flushes and closes.
        while kept.join_next().await.is_some() {}
        Ok(outcomes)
    }

    /// Nobody waits for a mirror for long; what it has not got by now it gets from the next process (L9).
    async fn let_mirrors_catch_up(&self) {
        for late in mirrors::in_step(&self.env, &self.mirrored, MIRRORS_WITHIN).await {
            tracing::warn!(mirror = late.name, "a mirror has not caught up; the next process goes on");
        }
    }

    /// What the daemon shows and answers.
    async fn surface(
        &self,
        keeper: &Keeper,
        bases: &[Arc<BaseKeeper>],
        beside: &mut JoinSet<()>,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), ServeError> {
        let clock = &self.env.clock;
        let keys = &self.env.keys;
        let showing = Showing { board: Arc::clone(&self.board), sight: self.sight(), clock: Arc::clone(clock) };
        if keys.asks_a_service() {
            beside.spawn(keywatch::run(Arc::clone(keys), Arc::clone(&self.board), Arc::clone(clock)));
        }
        if let Some(address) = self.config.http {
            let http = Http::bind(address).await?;
            beside.spawn(upkeep(http.metrics(), Arc::clone(clock)));
            beside.spawn(http.serve(showing.clone(), stop.clone()));
        }
        let handlers = Arc::new(handlers(&showing, keeper, bases, keys));
        beside.spawn(Control::bind(&self.state_dir)?.serve(handlers, Arc::clone(clock)));
        beside.spawn(notify::run(Arc::clone(&self.board), self.config.sources.len(), Arc::clone(clock)));
        let mut stop = stop.clone();
        beside.spawn(async move {
            if stop.wait_for(|stop| *stop).await.is_ok() {
                notify::stopping();
            }
        });
        Ok(())
    }

    /// What verifies, deletes and sweeps beside capture (L9). What expired leaves the catalog too.
    fn jobs(&self, keeper: &Keeper) -> Jobs {
        let keeper = keeper.clone();
        let expired = Arc::new(move |source: &SourceName| keeper.doubt(source));
        let (memory, planned) = (Memory::open(Some(&self.state_dir)), jobs::planned(&self.config, &self.env, expired));
        Jobs::new(&self.env, &self.board, memory, planned)
    }

    fn sight(&self) -> Sight {
        Sight {
            service: self.config.service.name.clone(),
            rpo: self.config.objectives.rpo,
            base_age_max: self.config.base.every.map(|every| every.saturating_mul(2)),
        }
    }

    fn guard(&self, source: &SourceSettings, capture: &Capture) -> Result<Guard, ServeError> {
        Ok(Guard {
            source: source.name.clone(),
            target: assemble::target(source)?,
            slot: slot_name(&source.name),
            heartbeat: source.heartbeat,
            slot_bytes_max: source.slot_bytes_max,
            board: Arc::clone(&self.board),
            given_up: Arc::clone(&capture.given_up),
            env: self.env.clone(),
        })
    }

    async fn bases(&self, source: &SourceSettings) -> Result<BaseKeeper, ServeError> {
        let (config, env) = (&self.config, &self.env);
        let target = assemble::target(source)?;
        let claims = Some(assemble::base_claims(&self.state_dir));
        let (source, jobs) = (source.name.clone(), config.base.jobs);
        let order = BaseOrder { source, target, jobs, log: None, system_id: None, claims };
        let rule = BaseRule {
            every: config.base.every,
            quiet: config.schema_image.quiet,
            wait_max: config.schema_image.max_wait,
        };
        Ok(BaseKeeper::open(env, order, rule, &self.board).await)
    }

    fn capture(
        &self,
        source: &SourceSettings,
        keeper: &Keeper,
        bases: &Arc<BaseKeeper>,
    ) -> Result<Capture, ServeError> {
        let (keeper, name) = (keeper.clone(), source.name.clone());
        Ok(Capture {
            env: self.env.clone(),
            settings: assemble::capture_settings(source)?,
            rule: assemble::cut_rule(&self.config),
            board: Arc::clone(&self.board),
            catalog: Arc::new(move |durable| keeper.note(&name, &durable.entry)),
            last_server: Some(LastServer::of(&self.state_dir, &source.name)),
            bases: Arc::<BaseKeeper>::clone(bases),
            given_up: Arc::new(AtomicBool::new(false)),
            moved: Arc::new(Notify::new()),
        })
    }
}

/// What verbs may ask of the daemon.
fn handlers(showing: &Showing, keeper: &Keeper, bases: &[Arc<BaseKeeper>], keys: &Arc<Keyring>) -> Handlers {
    let keys = Arc::clone(keys);
    let (showing, keeper, bases) = (showing.clone(), keeper.clone(), bases.to_vec());
    let status = move |_| {
        let showing = showing.clone();
        async move { Ok(showing.status()) }
    };
    let kept = keeper.clone();
    let entries = move |request| {
        let keeper = kept.clone();
        async move { entries::answer(&keeper, &request).await }
    };
    let rebuild = move |_| {
        let keeper = keeper.clone();
        async move {
            match keeper.rebuild().await {
                Some(Ok(counts)) => Ok(keeper::counted(&counts)),
                Some(Err(error)) => Err(Refused { sentence: crate::daemon::chain(&error), exit: 1 }),
                None => Err(Refused { sentence: "the daemon is stopping".to_owned(), exit: 1 }),
            }
        }
    };
    let backup = move |request: serde_json::Value| {
        let source = request.get("source").and_then(serde_json::Value::as_str).map(str::to_owned);
        let wanted = bases.iter().filter(|keeper| source.as_deref().is_none_or(|name| keeper.source() == name));
        let wanted: Vec<_> = wanted.cloned().collect();
        async move {
            let mut taken = Vec::new();
            for keeper in wanted {
                let base = keeper.demand().await.map_err(|sentence| Refused { sentence, exit: 1 })?;
                taken.push(serde_json::json!({ "source": keeper.source(), "base": base.base.to_string() }));
            }
            Ok(serde_json::json!({ "taken": taken }))
        }
    };
    let rotate = move |_| {
        keys.rotate();
        std::future::ready(Ok(serde_json::json!({ "rotated": true })))
    };
    let handlers = Handlers::default().on("status", status).on("backup", backup).on("keys_rotate", rotate);
    handlers.on("catalog_rebuild", rebuild).on(entries::VERB, entries)
}

/// Samples of histograms are counted now and then, or they would pile up until somebody asks (L8).
async fn upkeep(metrics: PrometheusHandle, clock: Arc<dyn Clock>) {
    loop {
        sleep(&*clock, UPKEEP_EVERY).await;
        metrics.run_upkeep();
    }
}

/// Takes the state folder for this process; the lock goes with the process, however it ends.
fn lock(state_dir: &Path) -> Result<File, ServeError> {
    let wrong = |source| ServeError::Io { path: state_dir.to_owned(), source };
    std::fs::create_dir_all(state_dir).map_err(wrong)?;
    let file = File::options().create(true).truncate(false).write(true).open(state_dir.join("lock")).map_err(wrong)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ServeError::Running { path: state_dir.to_owned() }),
        Err(error) => Err(wrong(error.into())),
    }
}
