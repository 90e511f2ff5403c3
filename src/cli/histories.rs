//! The logs as verbs find them: with the help of the catalog that verbs and the daemon share.
//!
//! ```text
//!   a daemon runs: its catalog, over control.sock ──┐
//!   none runs:     state_dir/catalog, opened here ──┼──▶ entries, perhaps old ──▶ History::load_from
//!   no state_dir, or trouble: nothing ──────────────┘
//! ```
//! L7: whatever is known, the store has the last word: the log must confirm the entries, their objects must be there, and
//! what is behind them is read. So the answer is the same with each of the three; only the time it takes differs. What
//! was opened here is brought up to date for the next verb, and for the daemon.

use std::error::Error;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::task::block_in_place;

use crate::catalog::{Catalog, IndexError, Opened, Why};
use crate::cli::out;
use crate::cli::scene::Scene;
use crate::daemon::keeper::Place;
use crate::daemon::{assemble, chain, control, entries};
use crate::log::{Entry, History, LogEnv, LogError};
use crate::model::SourceName;

/// What the store holds of these logs.
pub async fn histories(
    scene: &Scene,
    env: &LogEnv,
    sources: Vec<SourceName>,
) -> Result<Vec<(SourceName, History)>, LogError> {
    // Closed when this returns: a daemon that starts meanwhile wants it.
    let mut kept = Kept::find(scene).await;
    let mut histories = Vec::new();
    for source in sources {
        let history = kept.history(env, &source).await?;
        histories.push((source, history));
    }
    Ok(histories)
}

/// Where entries are known from before.
enum Kept {
    /// To the daemon of this state folder.
    Asked(PathBuf),
    /// In the catalog, opened here.
    Opened(Catalog),
    /// Nowhere: the store alone tells.
    Nowhere,
}

impl Kept {
    /// Looks for the catalog. What is wrong with it is no trouble of the verb.
    async fn find(scene: &Scene) -> Self {
        // The catalog is the first store's.
        if scene.from_mirror {
            return Self::Nowhere;
        }
        let Some(state_dir) = scene.config.service.state_dir.as_deref() else { return Self::Nowhere };
        match control::is_there(state_dir).await {
            Ok(true) => Self::Asked(state_dir.to_owned()),
            // Another user, root perhaps, would leave files there that the daemon cannot open.
            Ok(false) if is_ours(state_dir) => match block_in_place(|| open(scene, state_dir)) {
                Ok(catalog) => Self::Opened(catalog),
                Err(error) => without(&error),
            },
            Ok(false) => Self::Nowhere,
            Err(error) => without(&error),
        }
    }

    async fn history(&mut self, env: &LogEnv, source: &SourceName) -> Result<History, LogError> {
        let known = self.known(source).await.unwrap_or_else(|trouble| {
            *self = without(&*trouble);
            Vec::new()
        });
        tracing::debug!(%source, known = known.len(), "the catalog knows so many entries");
        let history = History::load_from(env, source, known).await?;
        if let Err(trouble) = self.keep(source, &history.entries) {
            *self = without(&trouble);
        }
        Ok(history)
    }

    async fn known(&self, source: &SourceName) -> Result<Vec<Entry>, Box<dyn Error + Send + Sync>> {
        Ok(match self {
            // A daemon that has just ended keeps nothing.
            Self::Asked(state_dir) => entries::ask(state_dir, source).await?.unwrap_or_default(),
            Self::Opened(catalog) => block_in_place(|| catalog.entries(source))?,
            Self::Nowhere => Vec::new(),
        })
    }

    fn keep(&self, source: &SourceName, entries: &[Entry]) -> Result<(), IndexError> {
        let Self::Opened(catalog) = self else { return Ok(()) };
        block_in_place(|| catalog.replace(source, entries).and_then(|()| catalog.flush()))
    }
}

fn without(error: &dyn Error) -> Kept {
    out::note(&format!("the catalog is of no help, the store alone answers: {}", chain(error)));
    Kept::Nowhere
}

fn is_ours(state_dir: &Path) -> bool {
    std::fs::metadata(state_dir).is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw())
}

fn open(scene: &Scene, state_dir: &Path) -> Result<Catalog, IndexError> {
    let (index, opened) = assemble::catalog_place(state_dir, &scene.clock).open()?;
    match opened {
        Opened::Kept | Opened::Fresh { why: Why::New } => {}
        Opened::Fresh { why: Why::OtherIdentity | Why::Damaged { .. } | Why::NoAnswer } => {
            out::note("the catalog was unfit and was set aside; it begins anew, from the store");
        }
    }
    Ok(Catalog::new(index))
}
