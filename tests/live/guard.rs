//! A store that is gone while the source is busy: the slot is given up before it fills the source's disk, and no earlier.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use holdfast::clock::SystemClock;
use holdfast::codec::gap::Reason;
use holdfast::connect::{Mode, Session};
use holdfast::daemon::board::Board;
use holdfast::daemon::guard::Guard;
use holdfast::source::SourceErrorKind;
use holdfast::source::postgres::init::IdentityRule;
use holdfast::source::postgres::slot;
use holdfast::store::MemoryStore;
use rustix::process::Signal;

use crate::base::env;
use crate::init::{LOGICAL, initialised};
use crate::servers::Postgres;
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
    assert_eq!(daemon.ends_within(std::time::Duration::from_secs(10)).code(), Some(0), "{}", daemon.logged());
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
    assert_eq!(daemon.ends_within(std::time::Duration::from_secs(10)).code(), Some(0), "{}", daemon.logged());
    let captured = site.captured().await;
    captured.must_be(recorded, "after the store was away");
    assert_eq!(captured.gaps, []);
}

/// Two databases of one cluster, both captured as `main`: the slots have one name, and only one of the two is there.
#[tokio::test(flavor = "multi_thread")]
async fn l12_a_slot_of_another_database_is_not_given_up_for_ours() {
    let server = Postgres::start_with(&LOGICAL);
    initialised(&server, IdentityRule::Full).await;
    server.psql("postgres", "create database other");
    server.psql("postgres", "create table t (a int); insert into t select generate_series(1, 10000)");
    let guard = Guard {
        source: "main".parse().unwrap(),
        target: server.target().with_database("other"),
        slot: "holdfast_main".to_owned(),
        heartbeat: Duration::from_secs(1),
        slot_bytes_max: 1,
        board: Arc::new(Board::default()),
        given_up: Arc::new(AtomicBool::new(false)),
        env: env(Arc::new(MemoryStore::new())),
    };
    drop(tokio::time::timeout(Duration::from_secs(4), guard.run()).await);
    let other = server.target().with_database("other");
    let mut session = Session::connect(&other, Mode::Sql, &SystemClock::new(), &[]).await.unwrap();
    let error = slot::give_up(&mut session, "holdfast_main", &SystemClock::new()).await.unwrap_err();
    assert!(matches!(error.kind, SourceErrorKind::Unfit { .. }), "{error:?}");
    assert_eq!(server.psql("postgres", "select count(*) from pg_replication_slots"), "1");
}
