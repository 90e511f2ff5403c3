//! The daemon as a whole: every source captured, and everything beside capture, until told to stop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::{Config, NeedError, SourceSettings};
use crate::daemon::assemble::{self, AssembleError};
use crate::daemon::bases::{BaseKeeper, BaseRule};
use crate::daemon::board::Board;
use crate::daemon::supervise::{Capture, Outcome, Until};
use crate::entropy::Entropy;
use crate::log::LogEnv;
use crate::source::postgres::base::BaseOrder;

/// The daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A part cannot be put together.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// The configuration lacks something.
    #[error(transparent)]
    Need(#[from] NeedError),
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
}

/// Everything that capture needs, opened.
pub struct Platform {
    config: Config,
    env: LogEnv,
    board: Arc<Board>,
    _lock: File,
}

impl Platform {
    /// Opens store, key and state folder.
    pub async fn open(config: &Config, clock: &Arc<dyn Clock>, entropy: &Arc<dyn Entropy>) -> Result<Self, ServeError> {
        config.need_sources()?;
        let lock = lock(config.need_state_dir()?)?;
        let env = assemble::log_env(config, clock, entropy).await?;
        Ok(Self { config: config.clone(), env, board: Arc::new(Board::default()), _lock: lock })
    }

    /// Captures every source until the end; gives how each ended.
    pub async fn serve(&self, until: Until, stop: watch::Receiver<bool>) -> Result<Vec<Outcome>, ServeError> {
        let mut captures = JoinSet::new();
        let mut beside = JoinSet::new();
        for source in &self.config.sources {
            let bases = Arc::new(self.bases(source).await?);
            let capture = Arc::new(self.capture(source, &bases)?);
            captures.spawn(capture.run(until, stop.clone()));
            if until == Until::Stopped {
                beside.spawn(bases.run());
            }
        }
        // What runs beside capture ends with it: a base that is cut off is none.
        Ok(captures.join_all().await)
    }

    async fn bases(&self, source: &SourceSettings) -> Result<BaseKeeper, ServeError> {
        let (config, env) = (&self.config, &self.env);
        let target = assemble::target(source)?;
        let order = BaseOrder { source: source.name.clone(), target, jobs: config.base.jobs, log: None };
        let rule = BaseRule {
            every: config.base.every,
            quiet: config.schema_image.quiet,
            wait_max: config.schema_image.max_wait,
        };
        Ok(BaseKeeper::open(env, order, rule, &self.board).await)
    }

    fn capture(&self, source: &SourceSettings, bases: &Arc<BaseKeeper>) -> Result<Capture, ServeError> {
        Ok(Capture {
            env: self.env.clone(),
            settings: assemble::capture_settings(source)?,
            rule: assemble::cut_rule(&self.config),
            board: Arc::clone(&self.board),
            catalog: Arc::new(|_durable| {}),
            bases: Arc::<BaseKeeper>::clone(bases),
            given_up: Arc::new(AtomicBool::new(false)),
            moved: Arc::new(Notify::new()),
        })
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
