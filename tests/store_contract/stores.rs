//! Every kind of store, new and empty, with what must live as long as it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast::clock::SystemClock;
use holdfast::entropy::OsEntropy;
use holdfast::store::s3::S3Settings;
use holdfast::store::{FolderStore, MemoryStore, RetryRule, Retrying, S3Store, Store};
use tempfile::TempDir;

use crate::s3;
use crate::s3::double::Double;

/// A new store, and what must live as long as it does.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    _folder: Option<TempDir>,
    _double: Option<Double>,
}

pub(crate) async fn memory() -> Fixture {
    Fixture { store: Arc::new(MemoryStore::new()), _folder: None, _double: None }
}

pub(crate) async fn folder() -> Fixture {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    FolderStore::create(&path).await.unwrap();
    let store = FolderStore::open(&path, Arc::new(SystemClock::new())).await.unwrap();
    Fixture { store: Arc::new(store), _folder: Some(folder), _double: None }
}

async fn bucket(settings: S3Settings) -> Fixture {
    let store = S3Store::open(settings, Arc::new(SystemClock::new())).await.unwrap();
    Fixture { store: Arc::new(store), _folder: None, _double: None }
}

pub(crate) async fn double() -> Fixture {
    let double = Double::start("backups").await;
    let fixture = retrying(bucket(s3::settings(&double.endpoint, "backups", "site/")).await);
    Fixture { _double: Some(double), ..fixture }
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
