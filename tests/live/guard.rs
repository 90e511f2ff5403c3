//! A store that is gone while the source is busy: the slot is given up before it fills the source's disk, and no earlier.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use holdfast::codec::gap::Reason;
use rustix::process::Signal;

use crate::site::{Load, Site};

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn l12_a_slot_is_given_up_while_the_store_is_away_and_the_gap_is_told() {
    let site = Site::new("slot_bytes_max = \"8MiB\"\nheartbeat = \"1s\"", "segment_age = \"100ms\"");
    let next = Arc::new(AtomicU64::new(1));
    let mut daemon = site.capturing();
    let before = Load::start(&site, &next, 2, 1);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let before = before.stop().await;
    site.caught_up(&mut daemon);
    let oldest = "select min(name) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'";
    let oldest_before = site.server.psql("postgres", oldest);
    fs::rename(site.path("store"), site.path("away")).unwrap();
    // Rows that hardly compress, and WAL in plenty: far more than the slot may hold back.
    let load = Load::start(&site, &next, 2, 300);
    site.server.wait_for("postgres", "select count(*) from pg_replication_slots", "0");
    load.stop().await;
    let held = "select count(*) from pg_stat_activity where application_name = 'holdfast_main' and backend_type = 'walsender' and state = 'active'";
    assert_eq!(site.server.psql("postgres", held), "0", "nobody streams");
    for _ in 0..2 {
        site.server.psql("postgres", "select pg_switch_wal()");
        site.server.psql("postgres", "checkpoint");
    }
    assert!(site.server.psql("postgres", oldest) > oldest_before, "the server forgets what only we needed");
    fs::rename(site.path("away"), site.path("store")).unwrap();
    site.server.wait_for("postgres", "select count(*) from pg_replication_slots where active", "1");
    daemon.wait_until("the gap is shown", || site.status_of("gap") == Some("slot given up".into()));
    let after = Load::start(&site, &next, 2, 1);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let after = after.stop().await;
    site.caught_up(&mut daemon);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(std::time::Duration::from_secs(10)).code(), Some(0), "{}", daemon.logged());
    let captured = site.captured().await;
    assert_eq!(captured.gaps.iter().map(|gap| gap.reason).collect::<Vec<_>>(), [Reason::SlotGivenUp]);
    for id in before.iter().chain(&after) {
        assert!(captured.ids.contains(id), "{id} is on a side of the gap and was lost");
    }
    assert!(daemon.logged().contains("given up"), "{}", daemon.logged());
}

#[tokio::test(flavor = "multi_thread")]
async fn l12_a_slot_that_holds_back_less_than_its_limit_is_kept_while_the_store_is_away() {
    let site = Site::new("slot_bytes_max = \"256MiB\"\nheartbeat = \"1s\"", "segment_age = \"100ms\"");
    let next = Arc::new(AtomicU64::new(1));
    let mut daemon = site.capturing();
    fs::rename(site.path("store"), site.path("away")).unwrap();
    let load = Load::start(&site, &next, 2, 100);
    daemon.wait_until("the slot holds much back", || {
        site.status_of("retained_bytes").and_then(|bytes| bytes.as_u64()).is_some_and(|bytes| bytes > 24 * MIB)
    });
    let recorded = load.stop().await;
    assert!(site.status_of("lag_seconds").unwrap().as_f64().unwrap() > 0.0, "what is not durable is behind");
    assert_eq!(site.get("/live").unwrap().0, 200, "trouble with the store is no death");
    fs::rename(site.path("away"), site.path("store")).unwrap();
    site.caught_up(&mut daemon);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(std::time::Duration::from_secs(10)).code(), Some(0), "{}", daemon.logged());
    let captured = site.captured().await;
    captured.must_be(recorded, "after the store was away");
    assert_eq!(captured.gaps, []);
}
