//! A double, and a store in it as the daemon has it: tried again within a deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast::clock::{Clock, SystemClock};
use holdfast::codec::segment::Suite;
use holdfast::crypto::file::FileKey;
use holdfast::crypto::{Keyring, Sealed};
use holdfast::entropy::OsEntropy;
use holdfast::log::{LogEnv, fence};
use holdfast::model::{ObjectKey, SourceName};
use holdfast::store::s3::S3Settings;
use holdfast::store::{Part, PutNew, RetryRule, Retrying, S3Store, Store, StoreError, StoreErrorKind};

use crate::s3::double::Double;
use crate::s3::plan::{Fault, On};
use crate::s3::{settings, short};

pub(crate) const BUCKET: &str = "backups";

/// A double, and a store in it as the daemon has it: tried again within a deadline.
pub(crate) struct Bed {
    pub(crate) double: Double,
    pub(crate) bare: Arc<S3Store>,
    pub(crate) store: Arc<dyn Store>,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        let double = Double::start(BUCKET).await;
        let settings = S3Settings { patience: short(), ..settings(&double.endpoint, BUCKET, "site/") };
        Self::with(double, settings).await
    }

    pub(crate) async fn with(double: Double, settings: S3Settings) -> Self {
        Self::trying_for(double, settings, Duration::from_secs(3)).await
    }

    /// A store in a bucket of a real server, which may take its time; the double is idle.
    pub(crate) async fn real(endpoint: &str, bucket: &str) -> Self {
        let settings = settings(endpoint, bucket, "site/");
        Self::trying_for(Double::start(BUCKET).await, settings, Duration::from_mins(1)).await
    }

    async fn trying_for(double: Double, settings: S3Settings, deadline: Duration) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let bare = Arc::new(S3Store::open(settings, Arc::clone(&clock)).await.unwrap());
        let rule = RetryRule { first_wait: Duration::from_millis(2), wait_max: Duration::from_millis(20), deadline };
        let inner: Arc<dyn Store> = Arc::<S3Store>::clone(&bare);
        let store = Arc::new(Retrying::new(inner, clock, Arc::new(OsEntropy), rule));
        Self { double, bare, store }
    }

    /// The fault has struck, or the test shows nothing.
    pub(crate) fn fired(&self, fault: Fault, times: u64) {
        assert_eq!(self.double.plan.fired(fault), times, "{fault:?} struck another number of times");
    }

    /// The next so many of each operation meet this.
    pub(crate) fn each_meets(&self, fault: Fault, times: u64) {
        for on in [On::Put, On::Get, On::Head, On::List, On::Delete] {
            self.double.plan.add(on, fault, times);
        }
    }

    /// Every operation works, on an object that is not there before or afterwards.
    pub(crate) async fn works(&self, why: &str) {
        assert_eq!(self.put("a/1", "text").await, Ok(PutNew::Created), "{why}");
        assert_eq!(self.text("a/1").await, "text", "{why}");
        assert_eq!(self.store.size(&key("a/1")).await.unwrap(), 4, "{why}");
        assert_eq!(self.store.list("a/", None).await.unwrap(), [key("a/1")], "{why}");
        self.store.delete(&key("a/1")).await.unwrap();
    }

    /// What each operation says, none of which works.
    pub(crate) async fn refusals(&self) -> [StoreError; 5] {
        let name = key("a/1");
        [
            self.store.put_new(&name, body("x")).await.unwrap_err(),
            self.store.get(&name, Part::Whole).await.unwrap_err(),
            self.store.size(&name).await.unwrap_err(),
            self.store.list("", None).await.unwrap_err(),
            self.store.delete(&name).await.unwrap_err(),
        ]
    }

    pub(crate) async fn put(&self, name: &str, text: &str) -> Result<PutNew, StoreErrorKind> {
        self.store.put_new(&key(name), body(text)).await.map_err(|error| error.kind)
    }

    pub(crate) async fn text(&self, name: &str) -> String {
        let body = self.store.get(&key(name), Part::Whole).await.unwrap();
        String::from_utf8(body.as_bytes().to_vec()).unwrap()
    }

    /// A log of so many fences in this store.
    pub(crate) async fn log(&self, slots: u64) -> (LogEnv, SourceName) {
        let env = LogEnv {
            store: Arc::clone(&self.store),
            keys: Arc::new(Keyring::of_file(FileKey::fresh(&OsEntropy))),
            suite: Suite::default(),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(OsEntropy),
        };
        let source: SourceName = "main".parse().unwrap();
        for _ in 0..slots {
            fence::take(&env, &source, None).await.unwrap();
        }
        (env, source)
    }
}

pub(crate) fn key(name: &str) -> ObjectKey {
    name.parse().unwrap()
}

pub(crate) fn body(text: &str) -> Sealed {
    Sealed::stored(Bytes::copy_from_slice(text.as_bytes()))
}

/// From one byte of a sweep to the next: so many, or each of them in a long run (`ops/test-long`).
pub(crate) fn sweep_step(short: usize) -> usize {
    if std::env::var_os("HOLDFAST_ROUND").is_some() { 1 } else { short }
}
