//! What a rebuild asks of the store: the checkpoints and the tail behind the newest, however long the log is.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use holdfast::clock::ManualClock;
use holdfast::codec::segment::Suite;
use holdfast::crypto::file::FileKey;
use holdfast::crypto::{Keyring, Sealed};
use holdfast::entropy::SeededEntropy;
use holdfast::log::context::NoContext;
use holdfast::log::{CutRule, History, LogEnv, Writer, fence};
use holdfast::model::limits::CHECKPOINT_EVERY_SLOTS;
use holdfast::model::{Commit, ObjectKey, Position, Record, Role, SourceName, Timestamp, Xid};
use holdfast::store::{MemoryStore, Part, PutNew, Store, StoreError};

/// Counts what is asked, by the first word of the name.
#[derive(Default)]
struct Counting {
    inner: MemoryStore,
    asked: Mutex<BTreeMap<(&'static str, String), u64>>,
}

impl Counting {
    fn count(&self, what: &'static str, name: &str) {
        let kind = name.split('/').next().unwrap_or_default().to_owned();
        *self.asked.lock().unwrap().entry((what, kind)).or_default() += 1;
    }
}

#[async_trait::async_trait]
impl Store for Counting {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        self.inner.put_new(key, body).await
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        self.count("get", key.as_str());
        self.inner.get(key, part).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        self.count("list", prefix);
        self.inner.list(prefix, after).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.count("size", key.as_str());
        self.inner.size(key).await
    }
}

#[tokio::test]
async fn l7_a_rebuild_reads_checkpoints_and_the_tail_and_no_other_segment() {
    let store = Arc::new(Counting::default());
    let entropy = Arc::new(SeededEntropy::new(1));
    let env = LogEnv {
        store: Arc::<Counting>::clone(&store),
        keys: Arc::new(Keyring::of_file(FileKey::fresh(&*entropy))),
        suite: Suite::default(),
        clock: Arc::new(ManualClock::new(Timestamp::from_micros(1))),
        entropy,
    };
    let source: SourceName = "main".parse().unwrap();
    let reign = fence::take(&env, &source, None).await.unwrap();
    let rule = CutRule { segment_bytes: 1 << 20, segment_age: Duration::from_secs(1) };
    let mut writer = Writer::new(&env, &source, reign, rule, Box::new(NoContext));
    let mut tails = Vec::new();
    let (checkpoints, tail) = (12, 7);
    for number in 1..checkpoints * CHECKPOINT_EVERY_SLOTS + tail {
        let commit = Commit { position: Position::new(number * 10), time: Timestamp::from_micros(7) };
        writer.append(&Record::wire(Role::Opens(Xid::new(number)), Bytes::from_static(b"begin"))).unwrap();
        writer.append(&Record::wire(Role::Commits(commit), Bytes::from_static(b"commit"))).unwrap();
        writer.flush().await.unwrap();
        let slot = number + 1;
        if [4, checkpoints].iter().any(|many| slot == many * CHECKPOINT_EVERY_SLOTS + tail) {
            store.asked.lock().unwrap().clear();
            let history = History::load(&env, &source).await.unwrap();
            assert_eq!(u64::try_from(history.entries.len()).unwrap(), slot);
            tails.push(std::mem::take(&mut *store.asked.lock().unwrap()));
        }
    }
    let asked = |tail: &BTreeMap<(&'static str, String), u64>, what, kind: &str| tail[&(what, kind.to_owned())];
    assert_eq!(asked(&tails[0], "get", "log"), asked(&tails[1], "get", "log"), "a long log's tail is no longer");
    assert!(
        asked(&tails[1], "get", "log") <= tail + 1,
        "headers of the tail, and one to confirm the checkpoint: {tails:?}"
    );
    assert_eq!(asked(&tails[1], "get", "checkpoint"), checkpoints, "each checkpoint once");
    assert!(asked(&tails[1], "list", "log") <= 4, "only the tail is listed: {tails:?}");
    let all: u64 = tails[1].values().sum();
    assert!(all <= tail + checkpoints + 10, "{tails:?}");
}
