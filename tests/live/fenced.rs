//! A process that was fenced while it slept, between its own fence and what it does to the server: it does nothing there.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use holdfast::daemon::board::Board;
use holdfast::daemon::guard::Guard;
use holdfast::daemon::pipeline::PipelineError;
use holdfast::daemon::supervise::{BaseKnows, Bases, Capture, Outcome, Until};
use holdfast::log::tail::Tail;
use holdfast::log::{CutRule, LogEnv, LogError, fence};
use holdfast::model::SourceName;
use holdfast::source::postgres::names;
use holdfast::source::postgres::slot::{Found, Held};
use holdfast::source::postgres::stream::{Known, Opened, PostgresSettings, PostgresSource};
use holdfast::store::{Fate, Fated, Op};
use tokio::sync::{Notify, watch};

use crate::site::Site;

struct NoBases;

impl Bases for NoBases {
    fn newest_knows(&self) -> BaseKnows {
        BaseKnows::default()
    }

    fn wanted(&self) {}
}

fn main_source() -> SourceName {
    "main".parse().unwrap()
}

fn settings(site: &Site) -> PostgresSettings {
    let publications = vec![names::PUBLICATION.to_owned()];
    PostgresSettings {
        name: main_source(),
        target: site.server.target(),
        publications,
        heartbeat: Duration::from_secs(1),
    }
}

/// Captures with a sleep between fence and slot, in which a rival takes the log.
async fn sleep_and_wake(site: &Site) -> Outcome {
    let rival = site.env().await;
    // The first put, which is a fence, is answered only after a rival has taken the log.
    let mut sleeps = Some(rival.clone());
    let store = Fated::over(&rival.store, move |asked| match sleeps.take_if(|_| asked.op == Op::Put) {
        Some(rival) => Fate::then(async move { drop(fence::take(&rival, &main_source(), None).await.unwrap()) }),
        None => Fate::Done,
    });
    let capture = Arc::new(Capture {
        env: LogEnv { store, ..rival },
        settings: settings(site),
        rule: CutRule { segment_bytes: 1 << 20, segment_age: Duration::from_millis(50) },
        board: Arc::new(Board::default()),
        catalog: Arc::new(|_| {}),
        last_server: None,
        bases: Arc::new(NoBases),
        given_up: Arc::new(AtomicBool::new(false)),
        moved: Arc::new(Notify::new()),
    });
    let (_keep, stop) = watch::channel(false);
    capture.run(Until::Stopped, stop).await
}

/// The rival's stream.
async fn stream(site: &Site) -> PostgresSource {
    let env = site.env().await;
    let mut opened = Opened::connect(&settings(site), &env.clock).await.unwrap();
    let reign = fence::take(&env, &main_source(), None).await.unwrap();
    let held = Held { durable: reign.cursor.to.into(), latest: reign.cursor.to_time };
    let Found::Usable(start) = opened.reconcile(held).await.unwrap() else { panic!("the slot serves") };
    let passed_over = std::collections::BTreeSet::new();
    let known = Known { held, tail: Tail::Unknown, shapes: None, passed_over, drain: false };
    opened.stream(start, known).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_who_was_fenced_in_its_sleep_ends_drops_and_makes_nothing_on_the_server() {
    let site = Site::new("", "segment_age = \"50ms\"");
    site.must(&["run", "--until-caught-up"]);
    let fenced = |outcome| matches!(outcome, Outcome::Fenced(PipelineError::Log(LogError::Fenced { .. })));

    let rivals = stream(&site).await;
    let reader = "select active_pid from pg_replication_slots where slot_name = 'holdfast_main'";
    let before = site.server.psql("postgres", reader);
    assert_ne!(before, "", "somebody reads");
    assert!(fenced(sleep_and_wake(&site).await));
    assert_eq!(site.server.psql("postgres", reader), before, "the rival's session goes on");
    drop(rivals);

    site.server.wait_for("postgres", reader, "");
    site.server.psql("postgres", "select pg_drop_replication_slot('holdfast_main')");
    assert!(fenced(sleep_and_wake(&site).await));
    let slots = "select count(*) from pg_replication_slots";
    assert_eq!(site.server.psql("postgres", slots), "0", "what to do about the lost slot is the rival's business");
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_who_was_fenced_gives_no_slot_up() {
    let site = Site::new("", "segment_age = \"50ms\"");
    site.must(&["run", "--until-caught-up"]);
    let env = site.env().await;
    let ours = fence::take(&env, &main_source(), None).await.unwrap();
    let board = Arc::new(Board::default());
    board.update(&main_source(), |state| (state.epoch, state.slot) = (ours.epoch, ours.next.before()));
    let guard = || Guard {
        source: main_source(),
        target: site.server.target(),
        slot: names::slot(&main_source()),
        heartbeat: Duration::from_millis(100),
        slot_bytes_max: 0,
        board: Arc::clone(&board),
        given_up: Arc::new(AtomicBool::new(false)),
        env: env.clone(),
    };
    let theirs = fence::take(&env, &main_source(), None).await.unwrap();
    let ends = tokio::time::timeout(Duration::from_secs(30), guard().run()).await;
    ends.expect("it guards no more");
    let slots = "select count(*) from pg_replication_slots where slot_name = 'holdfast_main'";
    assert_eq!(site.server.psql("postgres", slots), "1", "it is another daemon's to guard");
    board.update(&main_source(), |state| (state.epoch, state.slot) = (theirs.epoch, theirs.next.before()));
    let guarding = tokio::spawn(guard().run());
    site.server.wait_for("postgres", slots, "0");
    guarding.abort();
}
