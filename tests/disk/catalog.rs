//! Rows D2 and D4 for the catalog: a disk that fails one call on its files and is well again stops no capture and loses
//! nothing, and the catalog is made anew by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast::clock::{Clock, ManualClock};
use holdfast::codec::segment::Suite;
use holdfast::crypto::Keyring;
use holdfast::crypto::file::FileKey;
use holdfast::daemon::keeper::{Keeper, SledPlace};
use holdfast::entropy::OsEntropy;
use holdfast::log::context::NoContext;
use holdfast::log::{CutRule, Entry, History, LogEnv, Writer, fence};
use holdfast::model::{Commit, Position, Record, Role, Slot, SourceName, Timestamp, Xid};
use holdfast::store::MemoryStore;

use crate::shim::Watched;

const CHILD: &str = "catalog::the_child_whose_catalogs_disk_fails";
const RULE: CutRule = CutRule { segment_bytes: 1 << 20, segment_age: Duration::from_secs(1) };
/// Longer than the catalog waits for a place on disk, and than it rests between two flushes.
const LONG: Duration = Duration::from_mins(6);

/// Run by itself it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child_whose_catalogs_disk_fails() {
    let Some(folder) = std::env::var_os("DISK_ROOT").map(PathBuf::from) else { return };
    if std::env::var("DISK_PART").unwrap() != "catalog" {
        return;
    }
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
    let told: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let keys = Arc::new(Keyring::of_file(FileKey::fresh(&OsEntropy)));
    let store = Arc::new(MemoryStore::new());
    let env = LogEnv { store, keys, suite: Suite::default(), clock: Arc::clone(&told), entropy: Arc::new(OsEntropy) };
    let source: SourceName = "main".parse().unwrap();
    let reign = fence::take(&env, &source, None).await.unwrap();
    let mut writer = Writer::new(&env, &source, reign, RULE, Box::new(NoContext));
    let mut number = 0;
    // Three lives of the keeper: one begins, one finds what the first left, one what the second did.
    for _ in 0..3 {
        let place = SledPlace { folder: folder.join("catalog"), clock: Arc::clone(&told) };
        let (keeper, keeping) = Keeper::new(&env, vec![source.clone()], Arc::new(place));
        let kept = tokio::spawn(keeping.run());
        for _ in 0..12 {
            number += 1;
            let commit = Commit { position: Position::new(number), time: Timestamp::from_micros(7) };
            writer.append(&Record::wire(Role::Opens(Xid::new(1)), Bytes::from_static(b"begin"))).unwrap();
            writer.append(&Record::wire(Role::Commits(commit), Bytes::from_static(b"commit"))).unwrap();
            for durable in writer.flush().await.unwrap() {
                keeper.note(&source, &durable.entry);
            }
            clock.advance(Duration::from_secs(3));
        }
        // What is noted knows its own hash and its size, which a header does not.
        let places = |entries: Vec<Entry>| -> Vec<_> {
            entries.into_iter().map(|entry| (entry.slot, entry.epoch, entry.from, entry.to)).collect()
        };
        let expected = places(History::load(&env, &source).await.unwrap().entries);
        let mut held = Vec::new();
        for _ in 0..400 {
            held = places(page(&keeper, &source).await);
            if held == expected && folder.join("catalog/db").is_file() {
                break;
            }
            clock.advance(LONG / 20);
        }
        assert!(held == expected, "the catalog holds {} of {} entries", held.len(), expected.len());
        assert!(folder.join("catalog/db").is_file(), "it is not on disk again");
        drop(keeper);
        kept.await.unwrap();
    }
}

/// What the keeper answers, within a time in which anybody would.
async fn page(keeper: &Keeper, source: &SourceName) -> Vec<Entry> {
    let asked = tokio::time::timeout(Duration::from_secs(5), keeper.page(source, Slot::NONE)).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    asked.expect("the keeper hangs")
}

/// Fails the first calls of a kind and some later ones; in a long run (`ops/test-long`) each of them.
fn next(number: u32) -> u32 {
    let short = std::env::var_os("HOLDFAST_ROUND").is_none();
    if short && number >= 2 { number * 3 } else { number + 1 }
}

#[test]
fn d2_d4_l7_l9_one_failed_call_on_the_catalogs_files_stops_no_capture_and_it_is_made_anew() {
    let mut fired = Vec::new();
    for call in ["create", "write", "writeat", "read", "resize", "sync", "syncrange", "mkdir", "rename", "unlink"] {
        let mut number = 1;
        loop {
            let fail = format!("{call}:{number}");
            let watched = Watched::run_as(CHILD, "catalog", Some(&fail));
            if watched.failed_at().is_none() {
                assert!(watched.succeeded, "nothing failed, and yet: {}", watched.said);
                break;
            }
            assert!(watched.succeeded, "{fail}: {}", watched.said);
            fired.push(fail);
            number = next(number);
        }
    }
    println!("{} faults: {fired:?}", fired.len());
    for call in ["create", "writeat", "read", "mkdir"] {
        assert!(fired.iter().any(|fail| fail.starts_with(call)), "{call} never failed");
    }
}
