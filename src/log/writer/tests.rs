//! What was appended is read back whole and in order, across segments, epochs and crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::clock::ManualClock;
use crate::codec::gap::{Gap, Reason};
use crate::codec::segment::Suite;
use crate::crypto::Keyring;
use crate::crypto::file::FileKey;
use crate::entropy::SeededEntropy;
use crate::log::assemble::{Assembler, Item};
use crate::log::context::NoContext;
use crate::log::fence;
use crate::log::history::History;
use crate::log::reader::Reader;
use crate::model::{Commit, Role, Xid};
use crate::store::{Fate, Fated, MemoryStore, Part};

const RULE: CutRule = CutRule { segment_bytes: 4000, segment_age: Duration::from_secs(1) };

fn env() -> LogEnv {
    let entropy = Arc::new(SeededEntropy::new(7));
    LogEnv {
        store: Arc::new(MemoryStore::default()),
        keys: Arc::new(Keyring::of_file(FileKey::fresh(&*entropy))),
        suite: Suite::ChaCha20Poly1305,
        clock: Arc::new(ManualClock::new(Timestamp::from_micros(1_000_000))),
        entropy,
    }
}

fn main_source() -> SourceName {
    "main".parse().unwrap()
}

async fn writer(env: &LogEnv) -> Writer {
    let reign = fence::take(env, &main_source(), None).await.unwrap();
    Writer::new(env, &main_source(), reign, RULE, Box::new(NoContext))
}

/// One transaction of three records.
fn transaction(number: u64) -> Vec<Record> {
    let wire = |text: &str| Bytes::from(format!("{text} {number} {}", "x".repeat(200)));
    let commit = Commit { position: Position::new(number * 10), time: Timestamp::from_micros(number as i64) };
    vec![
        Record::wire(Role::Opens(Xid::new(number)), wire("begin")),
        Record::wire(Role::Inside, wire("change")),
        Record::wire(Role::Commits(commit), wire("commit")),
    ]
}

async fn commits(env: &LogEnv) -> Vec<u64> {
    let history = History::load(env, &main_source()).await.unwrap();
    let live: Vec<_> = history.live().cloned().collect();
    let mut reader = Reader::new(env, &main_source(), history.log.unwrap(), live);
    let mut assembler = Assembler::new(Position::ZERO);
    let (mut items, mut found) = (Vec::new(), Vec::new());
    while let Some(mut segment) = reader.next().await.unwrap() {
        if segment.header().kind == ObjectKind::Fence {
            items.extend(assembler.fence());
        }
        while let Some(records) = segment.next_frame().unwrap() {
            for record in records {
                assembler.push(record, &mut items).unwrap();
            }
        }
    }
    for item in items {
        if let Item::Commit(commit) = item {
            found.push(commit.position.get() / 10);
        }
    }
    found
}

#[tokio::test]
async fn l1_what_became_durable_is_read_back_in_order_by_a_new_process() {
    let env = env();
    let mut writer = writer(&env).await;
    for number in 1..=2000 {
        for record in transaction(number) {
            writer.append(&record).unwrap();
        }
        if !writer.has_room() {
            writer.next_durable().await.unwrap();
        }
    }
    let last = writer.flush().await.unwrap().pop().unwrap();
    assert_eq!(last.position(), Position::new(20_000));
    assert!(last.entry.slot > Slot::new(CHECKPOINT_EVERY_SLOTS / 4), "it cut often: {}", last.entry.slot);
    assert_eq!(commits(&env).await, (1..=2000).collect::<Vec<_>>());
}

#[tokio::test]
async fn l2_a_transaction_cut_off_by_a_crash_is_void_and_comes_again_whole() {
    let env = env();
    let mut first = writer(&env).await;
    for record in transaction(1).iter().chain(&transaction(2)[..2]) {
        first.append(record).unwrap();
    }
    first.flush().await.unwrap();
    drop(first);
    let mut second = writer(&env).await;
    let stands = Cursor { to: Position::new(10), to_time: Timestamp::from_micros(1), open: None };
    assert_eq!(second.cursor(), stands, "what was open is not");
    for record in transaction(2) {
        second.append(&record).unwrap();
    }
    let last = second.flush().await.unwrap().pop().unwrap().entry;
    assert_eq!(last.needs_from, last.slot, "it is whole behind the fence");
    assert_eq!(commits(&env).await, vec![1, 2]);
}

#[tokio::test]
async fn l5_of_two_writers_the_older_one_stops() {
    let env = env();
    let mut old = writer(&env).await;
    let mut new = writer(&env).await;
    old.append(&transaction(1)[0]).unwrap();
    assert!(matches!(old.flush().await, Err(LogError::Fenced { .. })));
    assert!(matches!(old.append(&transaction(1)[1]), Err(LogError::Latched)), "it stays stopped");
    for record in transaction(1) {
        new.append(&record).unwrap();
    }
    new.flush().await.unwrap();
    let back = fence::take(&env, &main_source(), Some(Epoch::new(1))).await;
    assert!(matches!(back, Err(LogError::Fenced { .. })), "it does not take the log back");
    assert_eq!(commits(&env).await, vec![1]);
}

/// A source may hand over many segments' worth at once; a rebuild relies on how many puts can be under way.
#[tokio::test]
async fn l8_few_puts_are_under_way_however_much_is_appended_at_once() {
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (plain, its_most) = (env(), Arc::clone(&most));
    let counting = Fated::over(&plain.store, move |asked| {
        if asked.op != Op::Put {
            return Fate::Done;
        }
        its_most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let under_way = Arc::clone(&under_way);
        Fate::then(async move {
            tokio::task::yield_now().await;
            under_way.fetch_sub(1, Ordering::SeqCst);
        })
    });
    let env = LogEnv { store: counting, ..plain };
    let mut writer = writer(&env).await;
    for expected in [1, IN_FLIGHT_PUTS_MAX] {
        most.store(0, Ordering::SeqCst);
        let from = writer.cursor().to.get() / 10;
        for number in from + 1..=from + IN_FLIGHT_PUTS_MAX as u64 + 1 {
            for record in transaction(number) {
                writer.append(&record).unwrap();
            }
            writer.cut().unwrap();
        }
        assert!(!writer.has_room());
        writer.flush().await.unwrap();
        assert_eq!(most.load(Ordering::SeqCst), expected, "alone behind the fence, then side by side");
    }
}

/// An older writer's late put took the slot behind the fence. Had the next segment been put meanwhile, it would look
/// live and continue nothing, and what the lost slot held would be missing before it.
#[tokio::test]
async fn l1_nothing_is_lost_when_a_late_put_takes_a_slot_behind_the_fence() {
    let env = env();
    let late = {
        let elsewhere = LogEnv { store: Arc::new(MemoryStore::new()), ..env.clone() };
        let mut old = writer(&elsewhere).await;
        for record in &transaction(1)[..2] {
            old.append(record).unwrap();
            old.flush().await.unwrap();
        }
        let key = layout::segment(&main_source(), Slot::new(3));
        elsewhere.store.get(&key, Part::Whole).await.unwrap()
    };
    drop(writer(&env).await);
    let mut new = writer(&env).await;
    assert_eq!(new.epoch(), Epoch::new(2));
    for number in 1..=3 {
        for record in transaction(number) {
            new.append(&record).unwrap();
        }
        new.cut().unwrap();
    }
    env.store.put_new(&layout::segment(&main_source(), Slot::new(3)), late).await.unwrap();
    assert!(matches!(new.flush().await, Err(LogError::Overtaken { slot, .. }) if slot == Slot::new(3)));
    let keys = env.store.list("log/", None).await.unwrap();
    assert_eq!(keys.len(), 3, "two fences and the late one: nothing was put behind it");
}

/// A segment that was just full could be cut between a commit and the gap behind it; had the process died then, the
/// transaction would have been acknowledged, never sent again, and its gap forgotten.
#[tokio::test]
async fn l3_a_gap_is_durable_with_the_commit_that_it_is_about() {
    let env = env();
    let mut writer = writer(&env).await;
    let full = Bytes::from((0..200_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    let mut records = transaction(1);
    records[2].wire = full.slice(..100_000);
    for record in &records {
        writer.append(record).unwrap();
    }
    let gap = Gap {
        exact_until: Position::ZERO,
        time: Timestamp::from_micros(1),
        reason: Reason::SchemaChanged,
        tables: Vec::new(),
        detail: String::new(),
    };
    writer.append(&Record::own(Kind::Gap, gap.encode())).unwrap();
    for record in transaction(2) {
        writer.append(&record).unwrap();
    }
    let durable = writer.flush().await.unwrap();
    assert!(durable.len() > 1, "the segment was full before the gap came");
    let first = &durable.first().unwrap().entry;
    assert_eq!(first.to, Position::new(10));
    assert!(first.flags.has(crate::codec::segment::Flags::HOLDS_GAP), "the gap went with its commit");
}
