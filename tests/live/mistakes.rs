//! Mistakes and damage through the program itself: each ends in its own exit code, says what to do, and leaves nothing
//! half done.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::program::{Holdfast, Output};
use crate::running::eventually;
use crate::shop::{Shop, exit, files};

const TABLE: &str = "create table t (id int primary key, v text)";
const SUM: &str = "select count(*), coalesce(sum(id), 0) from t";

/// A shop with rows 0 to 9 in the log, over several segments.
fn filled() -> Shop {
    let shop = Shop::ready(TABLE, &[]);
    for id in 0..10 {
        shop.sql(&format!("insert into t values ({id}, 'row')"));
        if id % 3 == 0 {
            shop.drain();
        }
    }
    shop.drain();
    shop
}

/// The objects of the log, in order.
fn segments(shop: &Shop) -> Vec<PathBuf> {
    files(&shop.path("store")).into_iter().filter(|path| path.extension().is_some_and(|end| end == "seg")).collect()
}

fn says(ran: &Output, text: &str) {
    assert!(ran.stderr.contains(text), "{text:?} is not in {ran:#?}");
}

fn exists(shop: &Shop, database: &str) -> bool {
    shop.server.psql("postgres", &format!("select count(*) from pg_database where datname = '{database}'")) == "1"
}

#[test]
fn without_the_key_or_the_store_a_verb_ends_in_six() {
    let shop = filled();
    let verbs: [&[&str]; 5] = [
        &["list"],
        &["find", "--table", "t"],
        &["verify"],
        &["restore", "--to", "latest", "--dry-run"],
        &["run", "--until-caught-up"],
    ];
    let (key, store) = (shop.path("key"), shop.path("store"));
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    // A store that holds a log wants the key that sealed it: init makes no other one.
    let refused = shop.expect(&["init"], exit::UNAVAILABLE);
    says(&refused, "holds a log");
    assert!(!key.exists(), "a key was made");
    for verb in verbs {
        shop.expect(verb, exit::UNAVAILABLE);
    }
    shop.ok(&["keys", "new"]);
    for verb in verbs {
        // What a wrong key cannot open is not damaged: verify could not tell.
        let code = if verb == ["verify"] { exit::COULD_NOT_TELL } else { exit::UNAVAILABLE };
        shop.expect(verb, code);
    }
    let refused = shop.expect(&["keys", "new"], exit::FAILED);
    says(&refused, "key");
    fs::write(&key, kept).unwrap();
    fs::rename(&store, shop.path("elsewhere")).unwrap();
    for verb in verbs {
        shop.expect(verb, exit::UNAVAILABLE);
    }
    fs::create_dir(&store).unwrap();
    for verb in verbs {
        // An empty folder may be a mount point that is not mounted: it is never taken for a store.
        shop.expect(verb, exit::UNAVAILABLE);
    }
    fs::remove_dir(&store).unwrap();
    fs::rename(shop.path("elsewhere"), &store).unwrap();
    assert_eq!(shop.restored("latest", "whole", SUM), "10|45");
}

#[test]
fn l4_damage_in_the_log_ends_a_restore_in_four_and_nothing_is_written_after_it() {
    let shop = filled();
    let other = filled();
    let all = segments(&shop);
    let middle = all[all.len() / 2].clone();
    let whole = fs::read(&middle).unwrap();
    let foreign = fs::read(&segments(&other)[all.len() / 2]).unwrap();
    let mut flipped = whole.clone();
    let at = flipped.len() / 2;
    flipped[at] ^= 1;
    let truncated = whole[..whole.len() - 1].to_vec();
    let cases =
        [("flipped", Some(flipped)), ("truncated", Some(truncated)), ("foreign", Some(foreign)), ("missing", None)];
    for (name, bytes) in cases {
        fs::remove_file(&middle).unwrap();
        if let Some(bytes) = bytes {
            fs::write(&middle, bytes).unwrap();
        }
        let ran = shop.restore("latest", name);
        assert_eq!(ran.code, exit::DAMAGED, "{name}: {ran:#?}");
        let object = middle.file_name().unwrap().to_str().unwrap();
        says(&ran, object);
        shop.expect(&["verify"], exit::DAMAGED);
        if exists(&shop, name) {
            let tables = shop.server.psql(name, "select count(*) from pg_class where relname = 't'");
            let rows = if tables == "0" { "0".to_owned() } else { shop.server.psql(name, "select count(*) from t") };
            assert!(rows.parse::<usize>().unwrap() < 10, "{name}: {rows} rows were restored beyond the damage");
            let again = shop.restore("latest", name);
            assert_ne!(again.code, exit::DONE, "{name}: an incomplete database is not taken for an empty one");
        }
        fs::write(&middle, &whole).unwrap();
    }
    let found = shop.expect(&["verify"], exit::DONE);
    assert_eq!(shop.restored("latest", "healed", SUM), "10|45", "{found:?}");
}

#[test]
fn l4_a_damaged_base_ends_a_restore_in_four() {
    let shop = filled();
    let base: Vec<_> = files(&shop.path("store/base"));
    for (at, path) in base.iter().enumerate() {
        let whole = fs::read(path).unwrap();
        let mut flipped = whole.clone();
        let byte = flipped.len() * 2 / 3;
        flipped[byte] ^= 0x10;
        fs::write(path, flipped).unwrap();
        let ran = shop.restore("latest", &format!("base_{at}"));
        assert_eq!(ran.code, exit::DAMAGED, "{}: {ran:#?}", path.display());
        shop.expect(&["verify"], exit::DAMAGED);
        fs::write(path, whole).unwrap();
    }
    shop.expect(&["verify"], exit::DONE);
}

#[test]
fn d1_l1_a_full_disk_stops_acknowledgement_and_nothing_else_and_capture_recovers() {
    let shop = Shop::with(&[]);
    shop.sql(TABLE);
    fs::create_dir(shop.path("store")).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(shop.path("store")).status();
    assert!(mounted.unwrap().success(), "this test mounts a small disk, which takes root or a user namespace");
    let mount = Mounted(shop.path("store"));
    shop.ok(&["init"]);
    shop.ok(&["backup"]);
    let daemon = shop.capturing();
    shop.sql("insert into t values (0, 'fits')");
    shop.settle();
    let filler = shop.path("store/filler");
    let free = Command::new("sh").arg("-c").arg(format!("yes | head -c 2000000 > {}", filler.display())).status();
    assert!(!free.unwrap().success(), "the disk is full now");
    shop.sql("insert into t select g, repeat(md5(g::text), 30) from generate_series(1, 500) g");
    let end = shop.sql("select pg_current_wal_insert_lsn()");
    daemon.wait_for("The store does not take segments");
    let behind =
        format!("select confirmed_flush_lsn < '{end}' from pg_replication_slots where slot_name = 'holdfast_main'");
    assert_eq!(shop.sql(&behind), "t", "what is not durable is not acknowledged (L1)");
    shop.sql("insert into t values (1000, 'no commit waits for us')");
    fs::remove_file(filler).unwrap();
    shop.settle();
    assert_eq!(daemon.stop().0, exit::DONE);
    assert_eq!(shop.restored("latest", "recovered", SUM), shop.sql(SUM));
    assert!(shop.gaps().is_empty());
    drop(mount);
}

/// A mounted folder; let go of when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn five_mistakes_in_a_configuration_are_five_complaints_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("holdfast.toml");
    let text = "[key]\nfile = 7\n[[store]]\nfoldr = \"store\"\n[[source]]\nname = \"MAIN\"\npostgres = \"mysql://x\"\n\
                [log]\nsegment_age = \"soon\"\n";
    fs::write(&config, text).unwrap();
    let ran = Holdfast::new(&config).run(&["list"]);
    assert_eq!(ran.code, exit::USAGE, "{ran:#?}");
    for field in ["key.file", "foldr", "name", "postgres", "log.segment_age"] {
        says(&ran, field);
    }
    let complaints: Vec<_> = ran.stderr.lines().filter(|line| line.contains("holdfast.toml:")).collect();
    assert!(complaints.len() >= 5 && complaints.iter().all(|line| line.contains("; ")), "{complaints:#?}");
    for secret in ["mysql", "soon"] {
        assert!(!ran.stderr.contains(secret), "a value is repeated: {ran:#?}");
    }
}

#[test]
fn points_that_cannot_be_restored_end_in_three_and_questions_that_cannot_be_understood_in_two() {
    let shop = filled();
    let nobody = [
        // target                    code                    what it says
        ("1999-12-31T23:59:59Z", exit::NOT_RESTORABLE, "lies before the first base"),
        ("lsn:0/100", exit::NOT_RESTORABLE, "the first restorable instant is lsn:"),
        ("2199-12-31T23:59:59Z", exit::NOT_RESTORABLE, "beyond the last durable commit"),
        ("lsn:FF/0", exit::NOT_RESTORABLE, "beyond the last durable commit"),
        ("xid:4000000000", exit::NOT_RESTORABLE, "is not in the log"),
        ("mark:never", exit::NOT_RESTORABLE, "is not in the log"),
        ("2026-11-23T10:15:00", exit::USAGE, "has no zone"),
        ("yesterday", exit::USAGE, "not a target"),
        ("lsn:here", exit::USAGE, "not an LSN"),
    ];
    for (to, code, what) in nobody {
        let ran = shop.restore(to, "nowhere");
        assert_eq!(ran.code, code, "{to}: {ran:#?}");
        says(&ran, what);
        assert!(!exists(&shop, "nowhere"), "{to}");
    }
}

#[test]
fn a_database_that_is_not_empty_is_refused_and_nobody_is_asked_without_a_terminal() {
    let shop = filled();
    let ran = shop.restore("latest", "shop");
    assert_eq!(ran.code, exit::NOT_RESTORABLE, "{ran:#?}");
    says(&ran, "not empty");
    assert_eq!(shop.sql(SUM), "10|45");
    shop.sql("create database taken");
    shop.server.psql("taken", "create function f() returns int language sql as 'select 1'");
    let ran = shop.restore("latest", "taken");
    assert_eq!(ran.code, exit::NOT_RESTORABLE, "{ran:#?}");
    let ran = shop.run(&["restore", "--to", "latest", "--into", &shop.destination("unasked")]);
    assert_eq!(ran.code, exit::USAGE, "{ran:#?}");
    says(&ran, "--yes");
    assert!(!exists(&shop, "unasked"));
    let ran = shop.expect(&["init", "--remove"], exit::USAGE);
    says(&ran, "--yes");
    let ran = shop.run(&["restore", "--to", "latest", "--into", "other=postgres://nowhere/x", "--yes"]);
    assert_eq!(ran.code, exit::NOT_RESTORABLE, "a source that the store does not know: {ran:#?}");
}

#[test]
fn a_base_that_was_interrupted_is_none_and_the_next_one_is() {
    let shop = Shop::with(&[]);
    shop.sql(TABLE);
    shop.sql("insert into t select g, repeat(md5(g::text), 10) from generate_series(0, 999) g");
    shop.ok(&["init"]);
    let killed = shop.run(&["--die-at", "base-object:2", "backup"]);
    assert_eq!(killed.code, None, "{killed:#?}");
    assert!(!files(&shop.path("store/base")).is_empty(), "something was left behind");
    shop.drain();
    assert_eq!(shop.bases(), 0);
    let ran = shop.restore("latest", "too_early");
    assert_eq!(ran.code, exit::NOT_RESTORABLE, "{ran:#?}");
    shop.ok(&["backup"]);
    assert_eq!(shop.bases(), 1);
    assert_eq!(shop.base_folders(), 1, "what was left behind is gone: whoever took it is dead");
    assert_eq!(shop.restored("latest", "after_kill", SUM), "1000|499500");
    shop.expect(&["verify"], exit::DONE);
}

#[test]
fn a_restore_that_was_interrupted_leaves_a_database_that_says_so() {
    let shop = Shop::with(&[]);
    shop.sql(TABLE);
    shop.sql("insert into t select g, repeat(md5(g::text), 100) from generate_series(0, 9999) g");
    shop.ok(&["init"]);
    shop.ok(&["backup"]);
    shop.sql("insert into t select g, repeat(md5(g::text), 100) from generate_series(10000, 19999) g");
    shop.drain();
    let args = ["restore", "--to", "latest", "--into", &shop.destination("half"), "--yes"];
    let mut child = shop.holdfast().command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = || exists(&shop, "half") && shop.server.psql("half", "select to_regclass('t') is not null") == "t";
    eventually("the restore begins", || begun().then_some(()), || "no table".to_owned());
    child.kill().unwrap();
    child.wait().unwrap();
    let again = shop.restore("latest", "half");
    assert_eq!(again.code, exit::NOT_RESTORABLE, "{again:#?}");
    says(&again, "left incomplete by an earlier restore");
    assert_eq!(shop.restored("latest", "whole", SUM), "20000|199990000");
    shop.server.wait_for("postgres", "select count(*) from pg_stat_activity where datname = 'half'", "0");
    shop.sql("drop database half");
    assert_eq!(shop.restored("latest", "half", SUM), "20000|199990000");
}

#[test]
fn what_a_daemon_that_was_killed_in_a_base_left_is_swept_and_what_another_may_be_taking_is_not() {
    let shop = Shop::with(&[]);
    shop.sql(TABLE);
    shop.sql("insert into t select g, repeat(md5(g::text), 10) from generate_series(0, 999) g");
    shop.ok(&["init"]);
    shop.drain();
    // A log without a base: the daemon takes one by itself, and dies in it.
    let mut killed = shop.daemon_with(&shop.holdfast(), &["--die-at", "base-object:3", "run"]);
    assert_eq!(killed.ended().0, None, "{}", killed.said());
    let of_this = fs::read_dir(shop.path("store/base/main")).unwrap().next().unwrap().unwrap().path();
    let of_another = of_this.with_file_name("0".repeat(32));
    assert!(Command::new("cp").arg("-a").args([&of_this, &of_another]).status().unwrap().success());
    let daemon = shop.capturing();
    let swept = || (shop.bases() == 1 && files(&of_this).is_empty()).then_some(());
    eventually("a base, and no left-overs", swept, || daemon.said());
    assert!(daemon.said().contains("what a broken base left behind was removed"), "{}", daemon.said());
    assert_eq!(daemon.stop().0, exit::DONE);
    assert_eq!(files(&of_another).len(), 3, "nobody here knows who takes it");
    assert_eq!(shop.base_folders(), 2);
    assert_eq!(fs::read_dir(shop.path("state/bases")).unwrap().count(), 0, "no claim is left");
    shop.expect(&["verify"], exit::DONE);
    assert_eq!(shop.restored("latest", "swept", SUM), "1000|499500");
}

#[test]
fn what_was_restored_before_another_source_failed_is_told_all_the_same() {
    let shop = filled();
    shop.server.psql("postgres", "create database second");
    let text = fs::read_to_string(shop.path("holdfast.toml")).unwrap();
    let second = format!("[[source]]\nname = \"second\"\npostgres = \"{}\"\n[log]", shop.server.url("second"));
    shop.write("holdfast.toml", &text.replace("[log]", &second));
    shop.ok(&["init"]);
    shop.ok(&["backup", "second"]);
    shop.drain();
    let (first, full) = (shop.destination("first"), format!("second={}", shop.server.url("shop")));
    let report = shop.path("report.json");
    let arguments = ["restore", "--to", "latest", "--into", &first, "--into", &full, "--yes", "--report"];
    let ran = shop.expect(&[&["--json"], &arguments[..], &[report.to_str().unwrap()]].concat(), exit::NOT_RESTORABLE);
    says(&ran, "not empty");
    for told in [ran.stdout, fs::read_to_string(report).unwrap()] {
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!((&told["reports"][0]["source"], &told["failed"]), (&"main".into(), &"second".into()), "{told}");
    }
    assert_eq!(shop.server.psql("first", SUM), "10|45");
}
