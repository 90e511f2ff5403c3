//! The daemon killed at each of its steps, stopped in order, and left by its server: nothing is lost, nothing repeated.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use holdfast::model::Lsn;
use holdfast::step::Step;
use rustix::process::Signal;

use crate::running::PATIENCE;
use crate::scale::scale;
use crate::site::{Load, Site};

/// The steps of capture, and the pass at which to die: late enough that a session is well under way.
fn deaths() -> Vec<(Step, u32)> {
    let pass = |step| match step {
        Step::RecordRead => Some(400),
        Step::Cut | Step::Sealed | Step::PutSent | Step::ObjectLinked | Step::FolderSynced => Some(7),
        Step::Catalogued | Step::Acknowledged => Some(9),
        Step::Fence | Step::Checkpoint => Some(1),
        Step::BaseObject | Step::Manifest | Step::InitStatement | Step::Boundary | Step::Deleted => None,
    };
    Step::ALL.into_iter().filter_map(|step| Some((step, pass(step)?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn l1_killed_at_each_step_nothing_is_lost_or_repeated() {
    // Small and young segments: a checkpoint comes within seconds.
    let site = Site::new("", "segment_age = \"10ms\"\nsegment_bytes = \"64KiB\"");
    let (next, mut recorded) = (Arc::new(AtomicU64::new(1)), Vec::new());
    for (step, pass) in deaths().repeat(usize::try_from(scale()).unwrap()) {
        let load = Load::start(&site, &next, 3, 8);
        let mut daemon = site.daemon(&["--die-at", &format!("{step}:{pass}")]);
        let status = daemon.ends_within(PATIENCE);
        assert_eq!(status.signal(), Some(9), "{step}: {status}\n{}", daemon.logged());
        recorded.extend(load.stop().await);
        site.must(&["run", "--until-caught-up"]);
        let captured = site.captured().await;
        captured.must_be(recorded.clone(), step.name());
        assert_eq!(captured.gaps, [], "{step}");
    }
}

fn confirmed(site: &Site) -> Lsn {
    let sql = "select confirmed_flush_lsn from pg_replication_slots where slot_name = 'holdfast_main'";
    site.server.psql("postgres", sql).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn l1_sigterm_under_load_flushes_and_acknowledges_and_leaves_with_zero() {
    let site = Site::new("", "segment_age = \"200ms\"");
    let (next, mut recorded) = (Arc::new(AtomicU64::new(1)), Vec::new());
    for round in 0..3 * scale() {
        let load = Load::start(&site, &next, 3, 8);
        let mut daemon = site.capturing();
        std::thread::sleep(Duration::from_millis(700));
        daemon.signal(Signal::TERM);
        let status = daemon.ends_within(Duration::from_secs(10));
        assert_eq!(status.code(), Some(0), "{}", daemon.logged());
        assert_eq!(site.captured().await.end, confirmed(&site), "round {round}");
        assert!(!site.path("state/control.sock").exists());
        recorded.extend(load.stop().await);
    }
    site.must(&["run", "--until-caught-up"]);
    site.captured().await.must_be(recorded, "after all");
}

#[tokio::test(flavor = "multi_thread")]
async fn l12_a_servers_fast_shutdown_does_not_wait_for_us_and_capture_goes_on_when_it_is_back() {
    let mut site = Site::new("", "segment_age = \"500ms\"");
    let next = Arc::new(AtomicU64::new(1));
    let load = Load::start(&site, &next, 3, 8);
    let mut daemon = site.capturing();
    std::thread::sleep(Duration::from_millis(500));
    let stopping = Instant::now();
    site.server.stop_fast();
    assert!(stopping.elapsed() < Duration::from_secs(5), "{:?}\n{}", stopping.elapsed(), daemon.logged());
    let mut recorded = load.stop().await;
    site.server.restart();
    // A client that was told nothing may have committed all the same: the server knows.
    let rows = site.server.psql("postgres", "select id from public.load order by id");
    let rows: Vec<u64> = rows.lines().map(|id| id.parse().unwrap()).collect();
    assert!(recorded.iter().all(|id| rows.binary_search(id).is_ok()));
    recorded = rows;
    let load = Load::start(&site, &next, 1, 1);
    site.caught_up(&mut daemon);
    recorded.extend(load.stop().await);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ends_within(Duration::from_secs(10)).code(), Some(0), "{}", daemon.logged());
    site.must(&["run", "--until-caught-up"]);
    let captured = site.captured().await;
    captured.must_be(recorded, "after the restart");
    assert_eq!(captured.gaps, []);
}
