//! Every kind of store, new and empty, with what must live as long as it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast::clock::{Clock, SystemClock};
use holdfast::entropy::OsEntropy;
use holdfast::store::mirror::{Deposed, Duty, MirrorPlace, MirrorRule};
use holdfast::store::s3::S3Settings;
use holdfast::store::{FolderStore, MemoryStore, Mirror, Mirrored, RetryRule, Retrying, S3Store, Store};
use tempfile::TempDir;

use crate::s3;
use crate::s3::double::Double;

/// A new store, and what must live as long as it does.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    folders: Vec<TempDir>,
    doubles: Vec<Double>,
}

impl Fixture {
    fn of(store: impl Store + 'static) -> Self {
        Self { store: Arc::new(store), folders: Vec::new(), doubles: Vec::new() }
    }
}

pub(crate) async fn memory() -> Fixture {
    Fixture::of(MemoryStore::new())
}

pub(crate) async fn folder() -> Fixture {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    FolderStore::create(&path).await.unwrap();
    let store = FolderStore::open(&path, Arc::new(SystemClock::new())).await.unwrap();
    Fixture { folders: vec![folder], ..Fixture::of(store) }
}

async fn bucket(settings: S3Settings) -> Fixture {
    Fixture::of(S3Store::open(settings, Arc::new(SystemClock::new())).await.unwrap())
}

pub(crate) async fn double() -> Fixture {
    let double = Double::start("backups").await;
    let fixture = retrying(bucket(s3::settings(&double.endpoint, "backups", "site/")).await);
    Fixture { doubles: vec![double], ..fixture }
}

/// A prefix of its own in the one bucket of a real server.
async fn prefix_of(server: &s3::servers::Server) -> Fixture {
    static PREFIXES: AtomicU64 = AtomicU64::new(0);
    let prefix = format!("site-{}/", PREFIXES.fetch_add(1, Ordering::Relaxed));
    retrying(bucket(s3::settings(&server.endpoint, "ready", &prefix)).await)
}

pub(crate) async fn seaweed() -> Fixture {
    prefix_of(s3::servers::seaweed().await).await
}

pub(crate) async fn moto() -> Fixture {
    prefix_of(s3::servers::moto().await).await
}

fn retrying(inner: Fixture) -> Fixture {
    let rule = RetryRule {
        first_wait: Duration::from_millis(5),
        wait_max: Duration::from_millis(50),
        deadline: Duration::from_secs(30),
    };
    let store = Retrying::new(inner.store, Arc::new(SystemClock::new()), Arc::new(OsEntropy), rule);
    Fixture { store: Arc::new(store), ..inner }
}

pub(crate) async fn retrying_memory() -> Fixture {
    retrying(memory().await)
}

pub(crate) async fn retrying_folder() -> Fixture {
    retrying(folder().await)
}

/// One store that decides, a required mirror and one that catches up; what both must hold is asked of the whole.
fn mirrored([first, second, third]: [Fixture; 3]) -> Fixture {
    let (clock, deposed): (Arc<dyn Clock>, _) = (Arc::new(SystemClock::new()), Deposed::default());
    let rule = MirrorRule {
        answer_within: Duration::from_secs(10),
        first_wait: Duration::from_millis(5),
        wait_max: Duration::from_millis(50),
        whole_every: Duration::from_hours(1),
    };
    let follow = |(name, duty, mirror): (&str, Duty, &Fixture)| {
        let store = Arc::clone(&mirror.store);
        let place = MirrorPlace { name: name.to_owned(), duty, store, retention: None, sources: Vec::new() };
        let mirror = Arc::new(Mirror::new(place, rule, &deposed, &clock));
        let (follows, decides) = (Arc::clone(&mirror), Arc::clone(&first.store));
        tokio::spawn(async move { follows.follow(&decides).await });
        mirror
    };
    let mirrors = [("second", Duty::Required, &second), ("third", Duty::BestEffort, &third)].map(follow);
    let whole = Fixture::of(Mirrored::new(Arc::clone(&first.store), mirrors.into(), deposed));
    [first, second, third].into_iter().fold(whole, |mut whole, part| {
        whole.folders.extend(part.folders);
        whole.doubles.extend(part.doubles);
        whole
    })
}

pub(crate) async fn mirrored_memory() -> Fixture {
    mirrored([memory().await, memory().await, memory().await])
}

pub(crate) async fn mirrored_folder() -> Fixture {
    mirrored([folder().await, folder().await, folder().await])
}

/// A real server decides; a folder is required, and another bucket catches up. The bucket is this store's alone: moto does
/// not say whether it keeps versions, and to list them it walks through every name of the bucket.
pub(crate) async fn mirrored_bucket() -> Fixture {
    let server = s3::servers::moto().await;
    let first = bucket(s3::settings(&server.endpoint, &server.bucket().await, "site/")).await;
    mirrored([retrying(first), retrying_folder().await, double().await])
}
