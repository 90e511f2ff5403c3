//! Histories that do not fit together: a server that was put back, a slot that began late, tables that are not published.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::shop::{Shop, exit};

const TABLE: &str = "create table t (id int primary key, v text)";

fn rows(shop: &Shop, from: i32, to: i32) {
    shop.sql(&format!("insert into t select g, 'row' from generate_series({from}, {}) g", to - 1));
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// A volume is put back to a snapshot: same cluster, same timeline, same slot. Everything below the log's end would be
/// passed over as durable, and the rows of the new history glued onto rows that the server never had.
#[test]
fn l3_a_server_that_was_put_back_is_not_glued_to_the_history_that_it_lost() {
    let mut shop = Shop::ready(TABLE, &[]);
    rows(&shop, 0, 10);
    shop.drain();
    shop.server.stop_fast();
    let (data, snapshot) = (shop.server.data_dir(), shop.path("snapshot"));
    copy(&data, &snapshot);
    shop.server.restart();
    rows(&shop, 10, 5000);
    shop.drain();
    shop.server.stop_fast();
    fs::remove_dir_all(&data).unwrap();
    copy(&snapshot, &data);
    shop.server.restart();
    let refused = shop.expect(&["run", "--until-caught-up"], exit::FAILED);
    assert!(refused.stderr.contains("the server has only"), "{refused:?}");
    // Once it has written past the end of the log only what it sends again shows whose history it is.
    rows(&shop, 10, 9000);
    for _ in 0..2 {
        let refused = shop.expect(&["run", "--until-caught-up"], exit::FAILED);
        assert!(refused.stderr.contains("of the transactions behind the slot's position"), "{refused:?}");
    }
    assert_eq!(shop.gaps(), Vec::<String>::new(), "nothing of it was taken");
    let restored = shop.restored("latest", "kept", "select count(*) from t");
    assert_eq!(restored, "5000", "the history that the log holds is still whole");
}

/// A daemon dies before it has told the server what is durable: what the server sends again is the log's, and passed over.
#[test]
fn l3_what_is_sent_again_because_an_acknowledgement_was_lost_is_the_logs_own_history() {
    let shop = Shop::ready(TABLE, &[]);
    let confirmed = "select confirmed_flush_lsn from pg_replication_slots";
    let before = shop.sql(confirmed);
    rows(&shop, 0, 10);
    rows(&shop, 10, 20);
    let died = shop.run(&["run", "--until-caught-up", "--die-at", "catalogued:1"]);
    assert_eq!((died.code, shop.sql(confirmed)), (None, before), "{died:?}");
    rows(&shop, 20, 30);
    shop.drain();
    assert_eq!(shop.restored("latest", "again", "select count(*), count(distinct id) from t"), "30|30");
    assert_eq!(shop.gaps(), Vec::<String>::new());
}

/// A base, then another slot: what was committed between them is in neither.
#[test]
fn l3_a_base_from_before_the_slot_does_not_lead_into_its_log() {
    let shop = Shop::ready(TABLE, &[]);
    shop.ok(&["init", "--remove", "--yes"]);
    rows(&shop, 0, 10);
    shop.ok(&["init"]);
    rows(&shop, 10, 20);
    shop.drain();
    let xid = shop.json(&["find", "--table", "t"])["transactions"][0]["xid"].to_string();
    let refused = shop.expect(&["restore", "--to", &format!("xid:{xid}"), "--dry-run"], exit::NOT_RESTORABLE);
    assert!(refused.stderr.contains("not restorable"), "{refused:?}");
    shop.ok(&["backup"]);
    rows(&shop, 20, 30);
    shop.drain();
    assert_eq!(shop.restored("latest", "after", "select count(*) from t"), "30");
}

/// With `identity = "leave"` updates and deletes of a table without a key are not in the stream: behind a base nobody
/// knows its rows.
#[test]
fn l3_a_table_that_is_left_alone_is_a_gap_that_names_it() {
    let shop = Shop::with(&[]);
    let text = fs::read_to_string(shop.path("holdfast.toml")).unwrap();
    shop.write("holdfast.toml", &text.replace("heartbeat = \"1s\"", "heartbeat = \"1s\"\nidentity = \"leave\""));
    shop.sql("create table nokey (v text); insert into nokey values ('before'), ('gone')");
    shop.sql(TABLE);
    shop.ok(&["init"]);
    shop.ok(&["backup"]);
    rows(&shop, 0, 10);
    shop.sql("update nokey set v = 'after' where v = 'before'; delete from nokey where v = 'gone'");
    shop.sql("insert into nokey values ('another')");
    rows(&shop, 10, 20);
    shop.drain();
    assert_eq!(shop.gaps(), ["table not published"]);
    let listed = shop.listed();
    assert_eq!(listed["gaps"][0]["tables"], serde_json::json!(["public.nokey"]));
    assert_eq!(listed["restorable"][0]["without"], serde_json::json!(["public.nokey"]), "{listed}");
    assert_ne!(listed["restorable"][0]["from"], listed["restorable"][0]["to"], "the others are restorable: {listed}");
    let point = listed["bases"][0]["point"].as_str().unwrap().to_owned();
    let xid = shop.json(&["find", "--table", "nokey"])["transactions"][0]["xid"].to_string();
    let refused = shop.expect(&["restore", "--to", &format!("xid:{xid}"), "--dry-run"], exit::NOT_RESTORABLE);
    assert!(refused.stderr.contains("nokey") && refused.stderr.contains("--only"), "{refused:?}");
    let there =
        shop.restored(&format!("lsn:{point}"), "at_the_base", "select string_agg(v, ' ' order by v) from nokey");
    assert_eq!(there, "before gone", "the base itself is exact");

    let restore = |database: &str, more: &[&str]| {
        let into = shop.destination(database);
        shop.json(&[&["restore", "--to", "latest", "--into", &into, "--yes"], more].concat())["reports"][0].clone()
    };
    let report = restore("others", &["--only", "t"]);
    assert_eq!(report["inexact"], serde_json::json!([]), "{report}");
    assert_eq!(shop.server.psql("others", "select count(*), sum(id) from t"), "20|190");
    let report = restore("all", &["--allow-gap"]);
    assert_eq!(report["inexact"], serde_json::json!(["public.nokey"]), "{report}");
    assert_eq!(shop.server.psql("all", "select count(*), sum(id) from t"), "20|190", "the others are exact");
}

/// A refresh every few minutes is how materialized views are used; it was a gap of the whole database each time.
#[test]
fn l3_a_materialized_view_that_is_refreshed_and_an_index_that_is_rebuilt_are_no_gaps() {
    let view = "create materialized view many as select id % 3 as third, count(*) from t group by 1;
        create unique index on many (third)";
    let shop = Shop::ready(&format!("{TABLE}; {view}"), &[]);
    rows(&shop, 0, 10);
    for sql in ["refresh materialized view many", "refresh materialized view concurrently many", "reindex table t"] {
        shop.sql(sql);
    }
    shop.sql("reindex table concurrently t");
    rows(&shop, 10, 20);
    shop.drain();
    assert_eq!(shop.gaps(), Vec::<String>::new());
    assert_eq!(shop.restored("latest", "refreshed", "select count(*) from t"), "20");
    shop.sql("comment on table t is 'a change of what a restore brings back'");
    shop.drain();
    assert_eq!(shop.gaps(), ["schema changed"]);
}

/// `init` with another rule while a daemon captures that does not know of it: what is published to that daemon becomes less.
#[test]
fn l3_a_daemon_that_was_configured_for_everything_does_not_read_on_when_only_a_part_is_published() {
    let shop = Shop::ready(&format!("{TABLE}; create table nokey (v text)"), &[]);
    rows(&shop, 0, 10);
    let mut daemon = shop.capturing();
    let text = fs::read_to_string(shop.path("holdfast.toml")).unwrap();
    let text = text.replace("heartbeat = \"1s\"", "heartbeat = \"1s\"\nidentity = \"leave\"");
    let leave = shop.write("leave.toml", &text);
    let ran = leave.run(&["init"]);
    assert_eq!((ran.code, ran.stdout.contains("was not read")), (exit::DONE, false), "{ran:?}");
    shop.sql("update t set v = 'changed' where id < 5; delete from t where id = 9; insert into nokey values ('x')");
    let (code, said) = daemon.ended();
    assert_eq!(code, exit::FAILED);
    assert!(said.contains("does not publish what"), "{said}");
    let ran = leave.run(&["run", "--until-caught-up"]);
    assert_eq!(ran.code, exit::DONE, "{ran:?}");
    assert!(shop.gaps().contains(&"schema changed".to_owned()), "{:?}", shop.gaps());
    assert_eq!(leave.run(&["backup"]).code, exit::DONE);
    shop.sql("update t set v = 'again' where id = 7");
    assert_eq!(leave.run(&["run", "--until-caught-up"]).code, exit::DONE);
    let all = "select string_agg(id || v, ' ' order by id) from t";
    let into = shop.destination("left");
    shop.ok(&["restore", "--to", "latest", "--only", "t", "--into", &into, "--yes"]);
    assert_eq!(shop.server.psql("left", all), shop.sql(all));
    let refused = shop.expect(&["run", "--until-caught-up"], exit::FAILED);
    assert!(refused.stderr.contains("identity"), "{refused:?}");
}

/// The stream carries no generated column. By a key that has one no row can be found again; the first UPDATE ended the
/// restore as damage.
#[test]
fn l3_a_table_whose_key_has_a_generated_column_is_exact_or_a_gap_that_names_it() {
    let generated = "create table g (a int, twice int generated always as (a * 2) stored primary key, v text)";
    let changes = "update g set v = 'changed' where a = 2; delete from g where a = 3; update g set a = 40 where a = 4";
    let shop =
        Shop::ready(&format!("{generated}; insert into g (a, v) select g, 'row' from generate_series(1, 9) g"), &[]);
    shop.sql(changes);
    shop.sql("begin isolation level repeatable read; create table later (like g including all); insert into later (a) values (1); commit");
    shop.ok(&["backup"]);
    shop.sql("update later set v = 'changed'; update g set v = v || '!'");
    shop.drain();
    let all = "select string_agg(concat(a, twice, v), ' ' order by a) from (table g union all table later) x";
    assert_eq!(shop.restored("latest", "exact", all), shop.sql(all), "by all other columns");

    let shop = Shop::with(&[]);
    let text = fs::read_to_string(shop.path("holdfast.toml")).unwrap();
    shop.write("holdfast.toml", &text.replace("heartbeat = \"1s\"", "heartbeat = \"1s\"\nidentity = \"leave\""));
    shop.sql(generated);
    shop.sql("insert into g (a, v) select g, 'row' from generate_series(1, 9) g");
    shop.ok(&["init"]);
    shop.ok(&["backup"]);
    shop.sql(changes);
    shop.drain();
    assert_eq!(shop.listed()["gaps"][0]["tables"], serde_json::json!(["public.g"]));
}

/// Tables that belong to an extension come with it. Writing to them made every base useless, and said that the schema had
/// changed, which it had not.
#[test]
fn l3_a_table_of_an_extension_is_named_and_its_rows_make_no_gap() {
    let shop = Shop::with(&[]);
    shop.sql(TABLE);
    shop.sql("create extension hstore; create table job (id int primary key); alter extension hstore add table job");
    shop.ok(&["init"]);
    let told = shop.ok(&["backup"]).stdout;
    assert!(told.contains("public.job"), "the base says what it does not hold: {told}");
    shop.sql("insert into job values (1)");
    rows(&shop, 0, 10);
    shop.drain();
    assert!(shop.gaps().is_empty(), "{:?}", shop.gaps());
    assert_eq!(shop.restored("latest", "with_extension", "select count(*) from t"), "10");
}
