//! What a rebuild asks of the store: the checkpoints and the tail behind the newest, however long the log is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use holdfast::clock::ManualClock;
use holdfast::codec::segment::Suite;
use holdfast::crypto::Keyring;
use holdfast::crypto::file::FileKey;
use holdfast::entropy::SeededEntropy;
use holdfast::log::context::NoContext;
use holdfast::log::{CutRule, History, LogEnv, Writer, fence};
use holdfast::model::limits::CHECKPOINT_EVERY_SLOTS;
use holdfast::model::{Commit, Position, Record, Role, SourceName, Timestamp, Xid};
use holdfast::store::{Fate, Fated, MemoryStore, Op, Store};

/// How often what was asked, by the first word of the name.
type Counts = BTreeMap<(Op, String), u64>;

#[tokio::test]
async fn l7_a_rebuild_reads_checkpoints_and_the_tail_and_no_other_segment() {
    let (memory, counts): (Arc<dyn Store>, _) = (Arc::new(MemoryStore::new()), Arc::new(Mutex::new(Counts::new())));
    let counting = Arc::clone(&counts);
    let store = Fated::over(&memory, move |asked| {
        let kind = asked.name.split('/').next().unwrap_or_default().to_owned();
        *counting.lock().unwrap().entry((asked.op, kind)).or_default() += 1;
        Fate::Done
    });
    let entropy = Arc::new(SeededEntropy::new(1));
    let env = LogEnv {
        store,
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
            counts.lock().unwrap().clear();
            let history = History::load(&env, &source).await.unwrap();
            assert_eq!(u64::try_from(history.entries.len()).unwrap(), slot);
            tails.push(std::mem::take(&mut *counts.lock().unwrap()));
        }
    }
    let asked = |tail: &Counts, op, kind: &str| tail[&(op, kind.to_owned())];
    assert_eq!(asked(&tails[0], Op::Get, "log"), asked(&tails[1], Op::Get, "log"), "a long log's tail is no longer");
    assert!(
        asked(&tails[1], Op::Get, "log") <= tail + 1,
        "headers of the tail, and one to confirm the checkpoint: {tails:?}"
    );
    assert_eq!(asked(&tails[1], Op::Get, "checkpoint"), checkpoints, "each checkpoint once");
    assert!(asked(&tails[1], Op::List, "log") <= 4, "only the tail is listed: {tails:?}");
    let all: u64 = tails[1].values().sum();
    assert!(all <= tail + checkpoints + 10, "{tails:?}");
}
