//! Keeps the catalog beside capture: what becomes durable is noted, and whatever is in doubt is asked from the store.
//!
//! ```text
//!   pipeline ── note: never waits, never fails ──▶ bounded queue ──▶ keeper ──▶ Catalog
//!                       full? stale ─────────────────────────────▶   │  ▲
//!                       apart, damaged, gone, panicked? ─▶ reopen ───┘  └── the log's tail, from the store
//! ```
//! * L7: every doubt ends in asking the store; what was in the index is believed only where the log confirms it.
//! * L8: the queue is bounded; what does not fit makes the log's entries stale, and they are read back from the store.
//! * L9: nothing that happens here reaches the pipeline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::catalog::entries::IDENTITY;
use crate::catalog::{Catalog, Index, IndexError, MemoryIndex, Noted, Opened, SledIndex};
use crate::clock::Clock;
use crate::daemon::metrics as words;
use crate::log::scrub::{self, Finding, Verdict};
use crate::log::{Entry, History, LogEnv, LogError};
use crate::model::{Slot, SourceName, Tick};

/// Entries that may wait for the keeper. At one segment a second that is a quarter of an hour.
const QUEUE_MAX: usize = 1024;
/// How often what was noted is made durable, and the index looked after.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// How long after a failure the store is asked again, or an index that another process has open.
const RETRY_AFTER: Duration = Duration::from_secs(15);
/// How often a catalog in memory looks whether there is a place on disk for it.
const DISK_EVERY: Duration = Duration::from_mins(5);
/// After so many indexes that broke, none of them flushed in between, the disk is left alone for that long (L8).
const BREAKS_MAX: u32 = 3;

/// Where an index comes from. Both calls block.
pub trait Place: Send + Sync {
    /// Opens the index, or sets aside what is unfit and starts an empty one.
    fn open(&self) -> Result<(Box<dyn Index>, Opened), IndexError>;
    /// Whether what was opened is still there.
    fn is_there(&self) -> bool;
}

/// A folder with sled in it.
#[derive(Debug)]
pub struct SledPlace {
    /// The folder.
    pub folder: PathBuf,
    /// Time, for the name of what is set aside.
    pub clock: Arc<dyn Clock>,
}

impl Place for SledPlace {
    fn open(&self) -> Result<(Box<dyn Index>, Opened), IndexError> {
        if let Some(parent) = self.folder.parent() {
            // If that fails opening fails too, and says why.
            drop(std::fs::create_dir_all(parent));
        }
        let (index, opened) = SledIndex::open(&self.folder, IDENTITY, &*self.clock)?;
        Ok((Box::new(index), opened))
    }

    fn is_there(&self) -> bool {
        self.folder.join("db").is_file()
    }
}

/// How many entries a rebuild found.
pub type Counts = BTreeMap<SourceName, u64>;

/// What a rebuild found.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// How many entries.
    pub counts: Counts,
    /// What somebody put over objects of the logs; what was put first was taken.
    pub put_over: Vec<Finding>,
}

/// What a rebuild found, as an answer tells it.
pub fn counted(rebuilt: &Rebuilt) -> serde_json::Value {
    let counts = rebuilt.counts.iter();
    let logs: BTreeMap<_, _> = counts.map(|(source, entries)| (source.to_string(), *entries)).collect();
    let found = rebuilt.put_over.iter().map(|finding| {
        let (object, verdict) = (finding.object.as_str(), finding.verdict.name());
        serde_json::json!({ "object": object, "verdict": verdict, "what": finding.what })
    });
    let found: Vec<_> = found.collect();
    let damaged = rebuilt.put_over.iter().any(|finding| finding.verdict != Verdict::Unreadable);
    let outcome = match (found.is_empty(), damaged) {
        (true, _) => "sound",
        (false, true) => "damaged",
        (false, false) => "could not tell",
    };
    serde_json::json!({ "entries": logs, "findings": found, "outcome": outcome })
}

enum Request {
    Note(SourceName, Box<Entry>),
    Page(SourceName, Slot, oneshot::Sender<Vec<Entry>>),
    Rebuild(oneshot::Sender<Result<Rebuilt, LogError>>),
}

/// The keeper, as the others see it.
#[derive(Clone)]
pub struct Keeper {
    requests: mpsc::Sender<Request>,
    stale: Arc<BTreeMap<SourceName, AtomicBool>>,
}

impl Keeper {
    /// A keeper of these logs, and the work that it stands for: to be run beside capture.
    pub fn new(env: &LogEnv, sources: Vec<SourceName>, place: Arc<dyn Place>) -> (Self, Keeping) {
        let (requests, receive) = mpsc::channel(QUEUE_MAX);
        let stale = Arc::new(sources.into_iter().map(|source| (source, AtomicBool::new(true))).collect());
        let keeper = Self { requests, stale: Arc::clone(&stale) };
        let (env, retry_at) = (env.clone(), Tick::default());
        let (catalog, disk_at, breaks) = (None, None, 0);
        (keeper, Keeping { env, place, requests: receive, stale, catalog, disk_at, retry_at, breaks })
    }

    /// Notes a segment that became durable. Returns at once, always.
    pub fn note(&self, source: &SourceName, entry: &Entry) {
        if self.requests.try_send(Request::Note(source.clone(), Box::new(entry.clone()))).is_err() {
            self.doubt(source);
        }
    }

    /// What is known of a log is not what the store holds any more, after an expiry for instance: it is read again.
    pub fn doubt(&self, source: &SourceName) {
        if let Some(stale) = self.stale.get(source) {
            stale.store(true, Ordering::Relaxed);
        }
    }

    /// A page of what the catalog holds of a log, from a slot on; none where it ends, or if the keeper has ended. It may
    /// lack what is newest: whoever asks lets the log confirm it.
    pub async fn page(&self, source: &SourceName, from: Slot) -> Vec<Entry> {
        let (answer, answered) = oneshot::channel();
        let asked = self.requests.send(Request::Page(source.clone(), from, answer)).await;
        if asked.is_ok() { answered.await.unwrap_or_default() } else { Vec::new() }
    }

    /// Makes the catalog anew from the store; `None` if the keeper has ended.
    pub async fn rebuild(&self) -> Option<Result<Rebuilt, LogError>> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Rebuild(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Whether the catalog holds less than the store.
    pub fn is_stale(&self) -> bool {
        self.stale.values().any(|stale| stale.load(Ordering::Relaxed))
    }
}

/// The keeper's work. It ends when the last [`Keeper`] is dropped.
pub struct Keeping {
    env: LogEnv,
    place: Arc<dyn Place>,
    requests: mpsc::Receiver<Request>,
    stale: Arc<BTreeMap<SourceName, AtomicBool>>,
    catalog: Option<Arc<Catalog>>,
    /// When to look for a place on disk; `None` while it has one.
    disk_at: Option<Tick>,
    retry_at: Tick,
    /// Indexes that broke since one was flushed.
    breaks: u32,
}

/// An index is of no more use: it was damaged, or it panicked.
struct Broken(String);

impl Keeping {
    /// Keeps the catalog.
    pub async fn run(mut self) {
        let clock = Arc::clone(&self.env.clock);
        let mut flush_at = clock.tick().after(FLUSH_EVERY);
        self.mend().await;
        loop {
            tokio::select! {
                biased;
                () = clock.sleep_until(flush_at) => {
                    flush_at = clock.tick().after(FLUSH_EVERY);
                    self.look_after().await;
                }
                request = self.requests.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => break,
                }
            }
        }
        self.on_index(Catalog::flush).await;
        self.close().await;
    }

    async fn serve(&mut self, request: Request) {
        match request {
            Request::Note(source, entry) => self.note(source, *entry).await,
            Request::Page(source, from, answer) => {
                let entries = self.on_index(move |catalog| catalog.page(&source, from)).await;
                // Whoever asked may have gone.
                drop(answer.send(entries.unwrap_or_default()));
            }
            Request::Rebuild(answer) => drop(answer.send(self.rebuild().await)),
        }
    }

    async fn note(&mut self, source: SourceName, entry: Entry) {
        if self.is_stale(&source) {
            // It will be found in the store with all the others.
            return self.mend().await;
        }
        let of = source.clone();
        if self.on_index(move |catalog| catalog.note(&of, &entry)).await == Some(Noted::Apart) {
            self.doubt(&source);
        }
        self.mend().await;
    }

    /// On schedule: flushes, and notices an index whose files are gone.
    async fn look_after(&mut self) {
        let place = Arc::clone(&self.place);
        let there = tokio::task::spawn_blocking(move || place.is_there()).await.unwrap_or(false);
        match self.disk_at {
            None if self.catalog.is_some() && !there => {
                self.give_up(&Broken("its files are gone".to_owned())).await;
            }
            Some(due) if due <= self.env.clock.tick() => self.close().await,
            None | Some(_) => {}
        }
        if self.on_index(Catalog::flush).await.is_some() {
            self.breaks = 0;
        }
        self.mend().await;
    }

    /// Opens the index if it is not open, and reads from the store whatever is in doubt.
    async fn mend(&mut self) {
        let now = self.env.clock.tick();
        if now < self.retry_at || (self.catalog.is_some() && !self.any_stale()) {
            return;
        }
        if self.catalog.is_none() {
            self.open().await;
        }
        let stale: Vec<_> = self.stale.keys().filter(|source| self.is_stale(source)).cloned().collect();
        for source in stale {
            if let Err(error) = self.refresh(&source).await {
                let causes = crate::daemon::chain(&error);
                tracing::warn!(source = %source, error = causes, "the catalog waits for the store");
                self.retry_at = self.env.clock.tick().after(RETRY_AFTER);
            }
        }
        metrics::gauge!(words::CATALOG_STALE.name).set(if self.any_stale() { 1.0 } else { 0.0 });
    }

    async fn open(&mut self) {
        if self.breaks >= BREAKS_MAX {
            self.breaks = 0;
            return self.open_in_memory("one index after another broke", DISK_EVERY);
        }
        let place = Arc::clone(&self.place);
        let opened = tokio::task::spawn_blocking(move || place.open()).await;
        let (trouble, again_after) = match opened {
            Ok(Ok((index, opened))) => {
                if let Opened::Fresh { why } = &opened {
                    tracing::info!(why = ?why, "the catalog begins anew, from the store");
                }
                self.disk_at = None;
                self.catalog = Some(Arc::new(Catalog::new(index)));
                return self.doubt_all();
            }
            // A verb that found no daemon has it open for a moment.
            Ok(Err(error @ IndexError::Locked { .. })) => (crate::daemon::chain(&error), RETRY_AFTER),
            Ok(Err(error)) => (crate::daemon::chain(&error), DISK_EVERY),
            Err(_panicked) => ("opening it panicked".to_owned(), DISK_EVERY),
        };
        self.open_in_memory(&trouble, again_after);
    }

    fn open_in_memory(&mut self, trouble: &str, again_after: Duration) {
        tracing::warn!(error = trouble, "the catalog is kept in memory");
        self.disk_at = Some(self.env.clock.tick().after(again_after));
        self.catalog = Some(Arc::new(Catalog::new(Box::<MemoryIndex>::default())));
        self.doubt_all();
    }

    /// Reads from the store what the index may lack. A note that comes meanwhile waits in the queue, and continues.
    async fn refresh(&mut self, source: &SourceName) -> Result<u64, LogError> {
        self.set_stale(source, false);
        let of = source.clone();
        let known = self.on_index(move |catalog| catalog.entries(&of)).await.unwrap_or_default();
        let history = History::load_from(&self.env, source, known).await.inspect_err(|_| self.doubt(source))?;
        Ok(self.replace(source, history).await)
    }

    /// Puts what the store holds of a log in the place of what the index holds of it.
    async fn replace(&mut self, source: &SourceName, history: History) -> u64 {
        let of = source.clone();
        let entries = history.entries;
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        if self.on_index(move |catalog| catalog.replace(&of, &entries)).await.is_none() {
            self.doubt(source);
        }
        count
    }

    async fn rebuild(&mut self) -> Result<Rebuilt, LogError> {
        self.close().await;
        self.breaks = 0;
        self.open().await;
        self.on_index(Catalog::clear).await;
        let mut rebuilt = Rebuilt::default();
        for source in self.stale.keys().cloned().collect::<Vec<_>>() {
            self.set_stale(&source, false);
            let looked = scrub::first_put(&self.env, &source).await.inspect_err(|_| self.doubt(&source));
            let (history, found) = looked?;
            rebuilt.counts.insert(source.clone(), self.replace(&source, history).await);
            rebuilt.put_over.extend(found);
        }
        self.on_index(Catalog::flush).await;
        metrics::counter!(words::CATALOG_REBUILDS.name).increment(1);
        Ok(rebuilt)
    }

    /// Runs blocking work on the index, where a panic ends nothing else. `None` if it failed: then the index is given up.
    async fn on_index<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Catalog) -> Result<T, IndexError> + Send + 'static,
    ) -> Option<T> {
        let catalog = Arc::clone(self.catalog.as_ref()?);
        let done = tokio::task::spawn_blocking(move || work(&catalog)).await;
        let broken = match done {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => Broken(crate::daemon::chain(&error)),
            Err(_panicked) => Broken("it panicked".to_owned()),
        };
        self.give_up(&broken).await;
        None
    }

    async fn give_up(&mut self, broken: &Broken) {
        tracing::warn!(why = broken.0, "the catalog is given up and made anew from the store");
        metrics::counter!(words::CATALOG_REBUILDS.name).increment(1);
        self.breaks = self.breaks.saturating_add(1);
        self.doubt_all();
        self.close().await;
    }

    /// Closes the index, which blocks.
    async fn close(&mut self) {
        let closed = self.catalog.take();
        // A panic while closing changes nothing: it is closed or left behind.
        drop(tokio::task::spawn_blocking(move || drop(closed)).await);
    }

    fn set_stale(&self, source: &SourceName, stale: bool) {
        if let Some(flag) = self.stale.get(source) {
            flag.store(stale, Ordering::Relaxed);
        }
    }

    fn doubt(&self, source: &SourceName) {
        self.set_stale(source, true);
    }

    fn doubt_all(&self) {
        self.stale.keys().for_each(|source| self.doubt(source));
    }

    fn is_stale(&self, source: &SourceName) -> bool {
        self.stale.get(source).is_some_and(|stale| stale.load(Ordering::Relaxed))
    }

    fn any_stale(&self) -> bool {
        self.stale.keys().any(|source| self.is_stale(source))
    }
}

#[cfg(test)]
mod tests;
