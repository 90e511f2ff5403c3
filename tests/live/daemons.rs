//! Daemons in bad company: two at once, servers that come and go, slots that are lost or moved, and schemas that change.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::program::{Holdfast, Output};
use crate::running::eventually;
use crate::scale::scale;
use crate::shop::{Shop, exit, files};
use crate::workload::{Client, clients, schema};

const TABLE: &str = "create table t (id int primary key, v text)";
const SUM: &str = "select count(*), coalesce(sum(id), 0) from t";

fn rows(shop: &Shop, from: i32, to: i32) {
    for id in from..to {
        shop.sql(&format!("insert into t values ({id}, 'row')"));
    }
}

#[test]
fn l5_of_two_daemons_on_one_log_one_goes_on_and_the_other_stops_with_nothing_lost_or_doubled() {
    let shop = Shop::ready(TABLE, &[]);
    let other = shop.configure("other.toml", "other-state");
    let mut first = shop.capturing();
    rows(&shop, 0, 20);
    let mut second = shop.daemon_with(&other, &["run"]);
    second.wait_for("capturing");
    rows(&shop, 20, 40);
    let (code, said) = first.ended();
    assert_eq!(code, exit::FENCED, "{said}");
    assert!(said.contains("epoch"), "it says why: {said}");
    rows(&shop, 40, 60);
    shop.settle();
    assert!(second.is_running(), "{}", second.said());
    let (code, said) = second.stop();
    assert_eq!(code, exit::DONE, "{said}");
    assert_eq!(shop.restored("latest", "after_two", SUM), "60|1770");
    assert!(shop.gaps().is_empty());
}

#[test]
fn l5_two_daemons_that_start_together_leave_one() {
    let shop = Shop::ready(TABLE, &[]);
    let other = shop.configure("other.toml", "other-state");
    let mut both = [shop.daemon(), shop.daemon_with(&other, &["run"])];
    rows(&shop, 0, 30);
    let loser = eventually(
        "one of them stops",
        || both.iter_mut().position(|daemon| !daemon.is_running()),
        || "both run".to_owned(),
    );
    let (code, said) = both[loser].ended();
    assert_eq!(code, exit::FENCED, "{said}");
    rows(&shop, 30, 60);
    shop.settle();
    let [first, second] = both;
    let winner = if loser == 0 { second } else { first };
    assert_eq!(winner.stop().0, exit::DONE);
    assert_eq!(shop.restored("latest", "after_race", SUM), "60|1770");
}

#[test]
fn l5_a_second_daemon_with_the_same_state_folder_is_refused_and_told_why() {
    let shop = Shop::ready(TABLE, &[]);
    let daemon = shop.capturing();
    let refused = shop.expect(&["run"], exit::FENCED);
    assert!(refused.stderr.contains("another daemon runs with state_dir"), "{refused:?}");
    // Draining is capture too: it waits for the slot, and gives up.
    let other = shop.configure("other.toml", "other-state");
    let refused = other.run(&["run", "--until-caught-up"]);
    assert_eq!(refused.code, exit::FENCED, "{refused:?}");
    rows(&shop, 0, 3);
    shop.settle();
    assert_eq!(daemon.stop().0, exit::DONE);
    assert_eq!(shop.restored("latest", "one", SUM), "3|3");
}

#[test]
fn l7_on_a_new_machine_the_store_and_the_key_are_enough() {
    let shop = Shop::ready(TABLE, &[]);
    let daemon = shop.capturing();
    rows(&shop, 0, 10);
    shop.settle();
    daemon.kill();
    fs::remove_dir_all(shop.path("state")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut copy = Command::new("cp");
    let copied = copy.arg("-a").args([shop.path("store"), shop.path("key")]).arg(elsewhere.path()).status();
    assert!(copied.unwrap().success());
    let config = "[key]\nfile = \"key\"\n[[store]]\nfolder = \"store\"\n";
    fs::write(elsewhere.path().join("holdfast.toml"), config).unwrap();
    let there = Holdfast::new(elsewhere.path().join("holdfast.toml"));
    for verb in [vec!["list"], vec!["find", "--table", "t"], vec!["verify"]] {
        let ran = there.run(&verb);
        assert_eq!(ran.code, exit::DONE, "{verb:?}: {ran:#?}");
    }
    let ran = there.run(&["restore", "--to", "latest", "--into", &shop.destination("elsewhere"), "--yes"]);
    assert_eq!(ran.code, exit::DONE, "{ran:#?}");
    assert_eq!(shop.server.psql("elsewhere", SUM), "10|45");
    // And capture goes on where it was, with a state folder that is made anew.
    rows(&shop, 10, 20);
    shop.drain();
    assert_eq!(shop.restored("latest", "goes_on", SUM), "20|190");
    assert!(shop.gaps().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_under_load_loses_nothing() {
    let mut shop = Shop::ready(&schema(), &[]);
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..clients())
        .map(|id| tokio::spawn(Client::new(id, shop.server.url("shop"), 7).live(Arc::clone(&over))))
        .collect();
    let daemon = shop.capturing();
    for fast in [true, false, false, true].repeat(usize::try_from(scale()).unwrap()) {
        tokio::time::sleep(Duration::from_millis(400)).await;
        if fast {
            shop.server.stop_fast();
        } else {
            shop.server.stop_immediate();
        }
        shop.server.restart();
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    over.store(true, Ordering::Relaxed);
    let mut committed = 0;
    for client in clients {
        committed += client.await.unwrap().history.len();
    }
    shop.settle();
    let (code, said) = daemon.stop();
    assert_eq!(code, exit::DONE, "{said}");
    let sum = "select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) from markers t";
    assert_eq!(shop.restored("latest", "restarted", sum), shop.sql(sum));
    assert_eq!(shop.sql("select count(*) from markers"), committed.to_string());
    assert!(shop.gaps().is_empty(), "{:?}", shop.gaps());
}

/// The instants that a refusal names.
fn nearest(refused: &Output) -> (String, String) {
    let named: Vec<_> = refused.stderr.split("lsn:").skip(1).map(|rest| rest.split(' ').next().unwrap()).collect();
    let named: Vec<_> = named.iter().map(|lsn| lsn.trim_end_matches(';').to_owned()).collect();
    let [.., before, after] = named.as_slice() else { panic!("{named:?}") };
    (before.clone(), after.clone())
}

/// A stretch that was not captured: listed, refused with the nearest instants, and ended by a base that comes by itself.
fn must_heal(shop: &Shop, lost: &str, reason: &str) {
    let daemon = shop.capturing();
    let healed = || (shop.bases() == 2).then_some(());
    eventually("a new base", healed, || daemon.said());
    shop.sql("insert into t values (100, 'after')");
    shop.settle();
    assert_eq!(daemon.stop().0, exit::DONE);
    assert_eq!(shop.gaps(), [reason]);
    assert_eq!(shop.restored("latest", "after_gap", SUM), shop.sql(SUM));
    let refused = shop.restore(lost, "inside_gap");
    assert_eq!(refused.code, exit::NOT_RESTORABLE, "{refused:#?}");
    assert!(refused.stderr.contains("restorable are lsn:"), "it names the nearest: {refused:?}");
    assert!(refused.stderr.contains(reason), "it says why: {refused:?}");
    let (before, after) = nearest(&refused);
    assert_eq!(shop.restored(&format!("lsn:{before}"), "just_before", "select max(id) from t"), "9");
    assert_eq!(shop.restored(&format!("lsn:{after}"), "just_after", SUM), "20|190");
}

#[test]
fn l3_a_lost_slot_is_a_gap_and_a_new_base_comes_by_itself() {
    let shop =
        Shop::ready(TABLE, &[("max_slot_wal_keep_size", "1MB"), ("min_wal_size", "32MB"), ("max_wal_size", "32MB")]);
    rows(&shop, 0, 10);
    shop.drain();
    rows(&shop, 10, 20);
    let lost = shop.sql("select pg_current_wal_insert_lsn()");
    for _ in 0..3 {
        shop.sql("select pg_switch_wal()");
        shop.sql("create temporary table x as select 1; checkpoint");
    }
    let slot = "select wal_status from pg_replication_slots where slot_name = 'holdfast_main'";
    shop.server.wait_for("postgres", slot, "lost");
    let refused = shop.restore(&format!("lsn:{lost}"), "too_new");
    assert_eq!(refused.code, exit::NOT_RESTORABLE, "{refused:#?}");
    must_heal(&shop, &format!("lsn:{lost}"), "slot lost");
}

#[test]
fn l3_a_slot_that_somebody_moved_on_is_a_gap() {
    let shop = Shop::ready(TABLE, &[]);
    rows(&shop, 0, 10);
    shop.drain();
    rows(&shop, 10, 20);
    let lost = shop.sql("select pg_current_wal_insert_lsn()");
    shop.sql("select pg_replication_slot_advance('holdfast_main', pg_current_wal_insert_lsn())");
    must_heal(&shop, &format!("lsn:{lost}"), "slot ahead of the log");
}

#[test]
fn l3_a_slot_that_somebody_dropped_is_a_gap() {
    let shop = Shop::ready(TABLE, &[]);
    rows(&shop, 0, 10);
    shop.drain();
    rows(&shop, 10, 20);
    let lost = shop.sql("select pg_current_wal_insert_lsn()");
    shop.sql("select pg_drop_replication_slot('holdfast_main')");
    must_heal(&shop, &format!("lsn:{lost}"), "slot lost");
}

#[test]
fn l3_ddl_under_capture_is_a_gap_until_the_base_that_follows_by_itself() {
    let shop = Shop::ready(TABLE, &[]);
    let daemon = shop.capturing();
    rows(&shop, 0, 10);
    let before = shop.sql("select pg_current_wal_insert_lsn()");
    shop.sql("alter table t add column more int default 7");
    shop.sql("insert into t values (10, 'between', 8)");
    let inside = shop.sql("select pg_current_wal_insert_lsn()");
    eventually("a new base", || (shop.bases() == 2).then_some(()), || daemon.said());
    shop.sql("insert into t values (11, 'after', 9)");
    shop.settle();
    assert_eq!(daemon.stop().0, exit::DONE);
    assert_eq!(shop.gaps(), ["schema changed"]);
    assert_eq!(shop.restored(&format!("lsn:{before}"), "before_ddl", SUM), "10|45");
    let refused = shop.restore(&format!("lsn:{inside}"), "inside_ddl");
    assert_eq!(refused.code, exit::NOT_RESTORABLE, "{refused:#?}");
    assert!(refused.stderr.contains("restorable are lsn:"), "{refused:?}");
    let no_such = shop.server.psql("postgres", "select count(*) from pg_database where datname = 'inside_ddl'");
    assert_eq!(no_such, "0", "a refusal makes nothing");
    let all = "select count(*), sum(id), sum(more) from t";
    assert_eq!(shop.restored("latest", "after_ddl", all), "12|66|87");
}

/// An object in the middle of the log is deleted while the daemon runs. It finds out where it takes up the log again, says
/// so, and takes a base by itself; what lies behind the hole and before that base is refused, with the nearest instants.
#[test]
fn l3_a_lost_object_shows_on_the_board_and_a_new_base_comes_by_itself() {
    let mut shop = Shop::ready(TABLE, &[]);
    rows(&shop, 0, 5);
    shop.drain();
    let daemon = shop.capturing();
    let (mut objects, mut ends) = (Vec::new(), Vec::new());
    // Behind the lost one stand more objects than a dying writer could leave there: else the hole would be the log's end,
    // and what is behind it would come once more from the server.
    for (from, to) in [(5, 10), (10, 15)].into_iter().chain((15..25).map(|row| (row, row + 1))) {
        rows(&shop, from, to);
        shop.settle();
        objects.push(files(&shop.path("store/log/main")).pop().unwrap());
        ends.push(shop.sql("select pg_current_wal_insert_lsn()"));
    }
    let behind = &ends[2];
    let lost = objects[1].clone();
    fs::remove_file(&lost).unwrap();
    shop.server.stop_fast();
    shop.server.restart();
    let number = lost.file_stem().unwrap().to_str().unwrap().trim_start_matches('0').to_owned();
    let number = u64::from_str_radix(&number, 16).unwrap();
    let said = format!("object {number} of the log is missing");
    let seen = || {
        let status = shop.json(&["status"]);
        let alarms = status["alarms"].to_string();
        (status["sources"][0]["missing_objects"] == 1 && alarms.contains(&said)).then_some(())
    };
    eventually("it is on the board", seen, || daemon.said());
    eventually("a new base", || (shop.bases() == 2).then_some(()), || daemon.said());
    let healed = || shop.json(&["status"])["sources"][0]["gap"].is_null().then_some(());
    eventually("the base ends it", healed, || daemon.said());
    rows(&shop, 25, 30);
    shop.settle();
    assert_eq!(daemon.stop().0, exit::DONE);
    assert_eq!(shop.restored("latest", "behind_the_hole", SUM), "30|435");
    let dry = ["restore", "--to", &format!("lsn:{behind}"), "--dry-run"];
    let refused = shop.expect(&dry, exit::DAMAGED);
    assert!(refused.stderr.contains(lost.file_name().unwrap().to_str().unwrap()), "it names the object: {refused:?}");
    let sought = shop.json(&["find", "--table", "t"]);
    assert_eq!(sought["transactions"].as_array().unwrap().last().unwrap()["tables"][0]["inserts"], 1, "{sought:#}");
    assert!(sought["not_seen"].to_string().contains("is lost"), "{sought:#}");
    let nowhere = ["--json", "find", "--table", "t", "--op", "truncate"];
    assert!(shop.expect(&nowhere, exit::COULD_NOT_TELL).stdout.contains("is lost"));
    let crossing = shop.run(&[&dry[..], &["--allow-gap"]].concat());
    assert_eq!(crossing.code, exit::DAMAGED, "nothing leads across: {crossing:?}");
    let (before, after) = nearest(&refused);
    let count = shop.restored(&format!("lsn:{before}"), "before_the_hole", "select max(id) from t");
    assert!((9..15).contains(&count.parse::<i32>().unwrap()), "{count}");
    assert_eq!(shop.restored(&format!("lsn:{after}"), "after_the_hole", SUM), "25|300");
    // It is not taken for a new loss for ever.
    let again = shop.capturing();
    shop.settle();
    assert_eq!(shop.json(&["status"])["sources"][0]["gap"], serde_json::Value::Null);
    assert_eq!((again.stop().0, shop.bases()), (exit::DONE, 2));
    shop.expect(&["verify"], exit::DAMAGED);
}

/// After a failed base the keeper waits, longer each time; whoever asks for one is not kept waiting with it.
#[test]
fn a_base_that_is_asked_for_is_tried_at_once_however_often_one_failed_before() {
    let shop = Shop::ready(TABLE, &[]);
    let daemon = shop.capturing();
    fs::rename(shop.path("store/base"), shop.path("away")).unwrap();
    fs::write(shop.path("store/base"), "no folder").unwrap();
    let started = std::time::Instant::now();
    for _ in 0..4 {
        let failed = shop.run(&["backup"]);
        assert_ne!(failed.code, exit::DONE, "{failed:?}");
    }
    fs::remove_file(shop.path("store/base")).unwrap();
    fs::rename(shop.path("away"), shop.path("store/base")).unwrap();
    shop.ok(&["backup"]);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}\n{}", started.elapsed(), daemon.said());
    assert_eq!(daemon.stop().0, exit::DONE);
}

/// A service manager starts the daemon again and again: a slot that is lost each time is not renewed each time.
#[test]
fn l11_a_slot_that_is_lost_twice_within_an_hour_is_an_alarm_for_the_next_process_too() {
    let shop = Shop::ready(TABLE, &[]);
    rows(&shop, 0, 5);
    shop.drain();
    let lose = "select pg_drop_replication_slot('holdfast_main')";
    shop.sql(lose);
    shop.drain();
    assert_eq!(shop.gaps(), ["slot lost"]);
    shop.sql(lose);
    for _ in 0..2 {
        let refused = shop.expect(&["run", "--until-caught-up"], exit::FAILED);
        assert!(refused.stderr.contains("lost twice within an hour"), "{refused:?}");
    }
    assert_eq!(shop.sql("select count(*) from pg_replication_slots"), "0", "none was made");
}
