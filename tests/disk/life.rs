//! The child whose disk is watched: it makes a store, captures into a log over two reigns, lets some of it expire, and notes
//! each promise that it was given; and the judge of what is left of all that after a power cut.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast::clock::{Clock, SystemClock};
use holdfast::codec::segment::{ObjectKind, Suite};
use holdfast::crypto::Keyring;
use holdfast::crypto::file::FileKey;
use holdfast::entropy::{Entropy, OsEntropy};
use holdfast::log::context::NoContext;
use holdfast::log::retention::Doomed;
use holdfast::log::scrub::{Depth, Order, Outcome, scrub};
use holdfast::log::{CutRule, History, LogEnv, LogError, Writer, expiry, fence};
use holdfast::model::{Commit, Epoch, Position, Record, Role, SourceName, Timestamp, Xid};
use holdfast::store::{FolderStore, RetryRule, Retrying};

/// The test that is the child.
pub(crate) const CHILD: &str = "life::the_child_whose_disk_is_watched";
/// How often a life that breaks begins again.
const LIVES: u32 = 9;
/// What the process may rely on once it has a store.
pub(crate) const MADE: &str = "made";

const RULE: CutRule = CutRule { segment_bytes: 1 << 20, segment_age: Duration::from_secs(1) };

/// Run by itself it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child_whose_disk_is_watched() {
    let Some(folder) = std::env::var_os("DISK_ROOT").map(PathBuf::from) else { return };
    let key = FileKey::fresh(&OsEntropy);
    key.write_new(&folder.join("key")).unwrap();
    let (store, ack) = (folder.join("store"), folder.join("ack"));
    let mut tries = 0;
    while let Err(error) = FolderStore::create(&store).await {
        tries += 1;
        assert!(tries < LIVES, "{error}");
    }
    fs::write(ack.join(MADE), "").unwrap();
    let env = env(&store, key).await;
    let mut epoch = None;
    capture(&env, &mut epoch, 9, &ack).await;
    // Another daemon after it.
    capture(&env, &mut None, 12, &ack).await;
    let mut tries = 0;
    while let Err(error) = expire(&env).await {
        tries += 1;
        assert!(tries < LIVES, "{error}");
    }
    capture(&env, &mut None, 14, &ack).await;
}

fn source() -> SourceName {
    "main".parse().unwrap()
}

/// The log's surroundings as the daemon has them.
async fn env(store: &Path, key: FileKey) -> LogEnv {
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock::new()), Arc::new(OsEntropy));
    let folder = FolderStore::open(store, Arc::clone(&clock)).await.unwrap();
    let (first_wait, wait_max) = (Duration::from_millis(1), Duration::from_millis(5));
    let rule = RetryRule { first_wait, wait_max, deadline: Duration::from_secs(20) };
    let store = Arc::new(Retrying::new(Arc::new(folder), Arc::clone(&clock), Arc::clone(&entropy), rule));
    LogEnv { store, keys: Arc::new(Keyring::of_file(key)), suite: Suite::default(), clock, entropy }
}

/// Captures up to transaction `last`, several puts at once, and begins again after trouble as the daemon does.
async fn capture(env: &LogEnv, epoch: &mut Option<Epoch>, last: u64, ack: &Path) {
    let mut last_trouble = None;
    for _ in 0..LIVES {
        match live(env, epoch, last, ack).await {
            Ok(()) => return,
            Err(LogError::FenceUndecided { epoch: ours, .. }) => *epoch = Some(ours),
            Err(error) => last_trouble = Some(error),
        }
    }
    panic!("it does not recover: {last_trouble:?}");
}

async fn live(env: &LogEnv, epoch: &mut Option<Epoch>, last: u64, ack: &Path) -> Result<(), LogError> {
    let reign = fence::take(env, &source(), *epoch).await?;
    *epoch = Some(reign.epoch);
    let mut next = reign.cursor.to.get() + 1;
    let mut writer = Writer::new(env, &source(), reign, RULE, Box::new(NoContext));
    while next <= last || !writer.is_idle() {
        while next <= last && writer.has_room() {
            let commit = Commit { position: Position::new(next), time: Timestamp::from_micros(7) };
            writer.append(&Record::wire(Role::Opens(Xid::new(next)), Bytes::from_static(b"begin")))?;
            writer.append(&Record::wire(Role::Commits(commit), Bytes::from_static(b"commit")))?;
            writer.cut()?;
            next += 1;
        }
        let durable = writer.next_durable().await?.position();
        // What may be told to the source now, which forgets it.
        fs::write(ack.join(durable.get().to_string()), "").unwrap();
    }
    Ok(())
}

async fn expire(env: &LogEnv) -> Result<(), LogError> {
    let history = History::load(env, &source()).await?;
    let data: Vec<_> = history.live().filter(|entry| entry.kind == ObjectKind::Data).collect();
    let first = data[data.len() - 3].slot;
    expiry::carry_out(env, &source(), &history, &Doomed { first, bases: Vec::new() }).await.map(drop)
}

/// What a process was told is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Promised {
    /// There is a store.
    pub(crate) store: bool,
    /// Everything up to here is in its log.
    pub(crate) upto: u64,
}

/// Holds L1, L4 and L7 against what is left: a new process opens it, finds what was promised and nothing damaged, and
/// goes on.
pub(crate) async fn judge(folder: &Path, key: FileKey, promised: Promised) -> Result<(), String> {
    let store = folder.join("store");
    if !promised.store {
        FolderStore::create(&store).await.map_err(|error| format!("no store can be made any more: {error}"))?;
    } else if let Err(error) = FolderStore::open(&store, Arc::new(SystemClock::new())).await {
        return Err(format!("the store is lost: {error}"));
    }
    let env = env(&store, key).await;
    let history = History::load(&env, &source()).await.map_err(|error| format!("the log: {error:?}"))?;
    let end = history.last().map_or(0, |last| last.to.get());
    if end < promised.upto || !history.missing.is_empty() {
        return Err(format!(
            "{} was promised, the log ends at {end}, {:?} are missing",
            promised.upto, history.missing
        ));
    }
    if !history.entries.is_empty() {
        let report = scrub(&env, &source(), Order::all(Depth::Full), &mut ()).await;
        if report.outcome() != Outcome::Sound {
            return Err(format!("{:?}", report.findings));
        }
    }
    let reign = fence::take(&env, &source(), None).await.map_err(|error| format!("nobody can go on: {error:?}"))?;
    if reign.cursor.to.get() < promised.upto { Err("the next reign begins too early".to_owned()) } else { Ok(()) }
}
