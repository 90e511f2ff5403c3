//! Several stores: a mirror alone restores, an outage is made good, and of two stores one decides.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::Holdfast;
use crate::running::eventually;
use crate::shop::{Shop, exit, files};

const TABLE: &str = "create table t (id int primary key, v text)";
const SUM: &str = "select count(*), coalesce(sum(id), 0) from t";

/// A configuration with two stores in this order.
pub(crate) fn configure(shop: &Shop, file: &str, stores: [&str; 2], required: bool) -> Holdfast {
    let [first, second] = stores;
    let required = if required { "required = true\n" } else { "" };
    let text = format!(
        "[service]\nstate_dir = \"state\"\n[key]\nfile = \"key\"\n[[store]]\nfolder = \"{first}\"\n\
         [[store]]\nfolder = \"{second}\"\n{required}[[source]]\nname = \"main\"\npostgres = \"{}\"\nheartbeat = \"1s\"\n\
         [log]\nsegment_age = \"100ms\"\n[base]\nevery = \"never\"\n",
        shop.server.url("shop")
    );
    shop.write(file, &text)
}

/// A shop with the stores `one` and `two`, initialised, with a base.
pub(crate) fn with_mirror(required: bool) -> Shop {
    let shop = Shop::with(&[]);
    configure(&shop, "holdfast.toml", ["one", "two"], required);
    shop.sql(TABLE);
    shop.ok(&["init"]);
    shop.ok(&["backup"]);
    shop
}

pub(crate) fn rows(shop: &Shop, from: i32, to: i32) {
    for id in from..to {
        shop.sql(&format!("insert into t values ({id}, 'row')"));
    }
}

pub(crate) fn objects(store: &Path) -> Vec<String> {
    let all = files(store).into_iter().map(|path| path.strip_prefix(store).unwrap().to_str().unwrap().to_owned());
    all.filter(|name| !name.starts_with(".holdfast")).collect()
}

fn mirror(shop: &Shop) -> Value {
    shop.json(&["status"])["mirrors"][0].clone()
}

fn wait_for_phase(shop: &Shop, phase: &str) {
    eventually(phase, || (mirror(shop)["phase"] == phase).then_some(()), || mirror(shop).to_string());
}

#[test]
fn a_mirror_alone_restores_verifies_and_makes_the_catalog_anew() {
    let shop = with_mirror(false);
    let daemon = shop.capturing();
    rows(&shop, 0, 20);
    shop.settle();
    wait_for_phase(&shop, "in step");
    assert_eq!(daemon.stop().0, exit::DONE);
    fs::remove_dir_all(shop.path("one")).unwrap();
    shop.expect(&["list"], exit::UNAVAILABLE);
    for verb in [
        vec!["verify", "--store", "two"],
        vec!["list", "--store", "two"],
        vec!["find", "--table", "t", "--store", "two"],
        vec!["catalog", "rebuild", "--store", "two"],
    ] {
        shop.ok(&verb);
    }
    let into = shop.destination("from_mirror");
    shop.ok(&["restore", "--store", "two", "--to", "latest", "--into", &into, "--yes"]);
    assert_eq!(shop.server.psql("from_mirror", SUM), "20|190");
    let unknown = shop.expect(&["list", "--store", "three"], exit::USAGE);
    assert!(unknown.stderr.contains("one of: one, two"), "{unknown:?}");
}

#[test]
fn l9_a_mirror_that_is_away_holds_nothing_up_and_catches_up_by_itself() {
    let shop = with_mirror(false);
    fs::rename(shop.path("two"), shop.path("unmounted")).unwrap();
    let daemon = shop.capturing();
    rows(&shop, 0, 10);
    shop.settle();
    wait_for_phase(&shop, "away");
    let alarms = shop.json(&["status"])["alarms"].to_string();
    assert!(alarms.contains("A mirror cannot be reached"), "{alarms}");
    assert!(mirror(&shop)["behind_seconds"].as_f64().unwrap() > 0.0);
    fs::rename(shop.path("unmounted"), shop.path("two")).unwrap();
    wait_for_phase(&shop, "in step");
    rows(&shop, 10, 20);
    shop.settle();
    assert_eq!(daemon.stop().0, exit::DONE);
    // What became durable in the last moments is brought by the next process.
    shop.drain();
    assert_eq!(objects(&shop.path("one")), objects(&shop.path("two")));
    assert_eq!(shop.restored("latest", "after_outage", SUM), "20|190");
}

#[test]
fn l1_while_a_required_mirror_is_away_nothing_is_acknowledged_and_nothing_is_lost() {
    let shop = with_mirror(true);
    let daemon = shop.capturing();
    rows(&shop, 0, 10);
    shop.settle();
    assert_eq!(shop.json(&["status"])["alarms"].as_array().unwrap().len(), 0);
    fs::rename(shop.path("two"), shop.path("unmounted")).unwrap();
    let held = shop.sql("select pg_current_wal_insert_lsn()");
    rows(&shop, 10, 20);
    daemon.wait_for("A required mirror holds up the acknowledgement");
    let sql = format!("select bool_or(confirmed_flush_lsn > '{held}') from pg_replication_slots");
    assert_eq!(shop.server.psql("postgres", &sql), "f");
    fs::rename(shop.path("unmounted"), shop.path("two")).unwrap();
    shop.settle();
    assert_eq!(daemon.stop().0, exit::DONE);
    let into = shop.destination("from_required");
    shop.ok(&["restore", "--store", "two", "--to", "latest", "--into", &into, "--yes"]);
    assert_eq!(shop.server.psql("from_required", SUM), "20|190");
    assert!(shop.gaps().is_empty());
}

#[test]
fn l5_a_promoted_mirror_decides_and_the_old_first_store_is_refused_until_it_agrees() {
    let shop = with_mirror(false);
    let mut daemon = shop.capturing();
    rows(&shop, 0, 10);
    shop.settle();
    let dry = shop.ok(&["store", "promote", "two", "--dry-run"]);
    assert!(dry.stdout.contains("two ends at slot"), "{dry:?}");
    let refused = shop.expect(&["store", "promote", "two"], exit::USAGE);
    assert!(refused.stderr.contains("--yes"), "{refused:?}");
    shop.ok(&["store", "promote", "two", "--yes"]);
    // The daemon on the old side stops, and does not come back while the old store is named first.
    rows(&shop, 10, 20);
    let (code, said) = daemon.ended();
    assert_eq!(code, exit::FENCED, "{said}");
    let refused = shop.expect(&["run", "--until-caught-up"], exit::FENCED);
    assert!(refused.stderr.contains("two was made the first one"), "{refused:?}");
    configure(&shop, "holdfast.toml", ["two", "one"], false);
    let daemon = shop.capturing();
    rows(&shop, 20, 30);
    shop.settle();
    wait_for_phase(&shop, "in step");
    assert_eq!(daemon.stop().0, exit::DONE);
    shop.drain();
    assert_eq!(shop.restored("latest", "after_promotion", SUM), "30|435");
    assert!(shop.gaps().is_empty(), "the old first store was there: nothing is lost");
    assert_eq!(objects(&shop.path("one")), objects(&shop.path("two")), "it agrees, and is a mirror now");
    // And back again.
    shop.ok(&["store", "promote", "one", "--yes"]);
    shop.expect(&["run", "--until-caught-up"], exit::FENCED);
    configure(&shop, "holdfast.toml", ["one", "two"], false);
    shop.drain();
    shop.ok(&["verify"]);
}

#[test]
fn l5_an_old_first_store_that_went_on_alone_is_told_as_another_history() {
    let shop = with_mirror(false);
    rows(&shop, 0, 10);
    shop.drain();
    // The mirror is away for the last rows, then the first store is gone for good, as it seems.
    fs::rename(shop.path("two"), shop.path("unmounted")).unwrap();
    rows(&shop, 10, 20);
    shop.drain();
    fs::rename(shop.path("unmounted"), shop.path("two")).unwrap();
    fs::rename(shop.path("one"), shop.path("gone")).unwrap();
    let promoted = shop.ok(&["store", "promote", "two", "--yes"]);
    assert!(promoted.stdout.contains("LOSS"), "{promoted:?}");
    configure(&shop, "holdfast.toml", ["two", "one"], false);
    let daemon = shop.capturing();
    eventually("the gap", || (!shop.gaps().is_empty()).then_some(()), || shop.listed().to_string());
    shop.ok(&["backup"]);
    rows(&shop, 20, 30);
    shop.settle();
    let before = objects(&shop.path("gone"));
    fs::rename(shop.path("gone"), shop.path("one")).unwrap();
    wait_for_phase(&shop, "refused");
    let alarms = shop.json(&["status"])["alarms"].to_string();
    assert!(alarms.contains("A mirror holds another history"), "{alarms}");
    assert_eq!(daemon.stop().0, exit::DONE);
    // Nothing was added to it but the word that it decides no more: a daemon that names it alone is refused.
    let mut after = objects(&shop.path("one"));
    after.retain(|name| !name.starts_with("first/"));
    assert_eq!(before, after);
    let config = fs::read_to_string(shop.path("holdfast.toml")).unwrap();
    let alone = config.replacen("[[store]]\nfolder = \"two\"\n", "", 1);
    let refused = shop.write("alone.toml", &alone).run(&["run", "--until-caught-up"]);
    assert_eq!(refused.code, exit::FENCED, "{refused:?}");
    assert_eq!(shop.restored("latest", "after_loss", SUM), "30|435", "the base after the gap holds all");
}

/// Row of a mirror: the first store's verification says nothing about it, and it says nothing about the first store.
#[test]
fn l11_a_mirror_is_verified_by_itself_and_its_damage_is_an_alarm_that_stops_no_expiry() {
    let shop = with_mirror(false);
    let config = fs::read_to_string(shop.path("holdfast.toml")).unwrap();
    shop.write(
        "holdfast.toml",
        &format!("{config}[verify]\nquick = \"1s\"\nfull = \"1s\"\n[retention]\ndelete = true\n"),
    );
    let daemon = shop.capturing();
    rows(&shop, 0, 10);
    shop.settle();
    wait_for_phase(&shop, "in step");
    let job = |name: &str, mirror: Value| {
        let status = shop.json(&["status"]);
        let found = status["jobs"].as_array().unwrap().iter().find(|job| job["job"] == name && job["mirror"] == mirror);
        found.cloned().unwrap_or(Value::Null)
    };
    let succeeded =
        || ["quick-verify", "verify"].iter().all(|name| job(name, "two".into())["last_success"].is_string());
    eventually("the mirror was verified", || succeeded().then_some(()), || shop.json(&["status"]).to_string());
    let victim = shop.path("two/log/main").join("0000000000000002.seg");
    let whole = fs::read(&victim).unwrap();
    let mut broken = whole.clone();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    fs::write(&victim, &broken).unwrap();
    let alarms = || shop.json(&["status"])["alarms"].to_string();
    let damaged = || alarms().contains("A job found damage in the store (verify of mirror two");
    eventually("its damage is an alarm", || damaged().then_some(()), alarms);
    assert!(alarms().contains("0000000000000002.seg"), "{}", alarms());
    assert!(job("verify", Value::Null)["last_failure"].is_null(), "the first store is sound");
    assert!(shop.ok(&["status"]).stdout.contains("job verify of mirror two: "));
    assert_eq!(daemon.stop().0, exit::DONE);
    let found = shop.expect(&["run", "--jobs", "verify"], exit::DAMAGED);
    assert!(found.stdout.contains("verify of mirror two: A job found damage in the store"), "{found:?}");
    assert!(found.stdout.contains("`holdfast verify --store two` names all"), "{found:?}");
    // The first store lets go what has expired, as it would without a mirror.
    shop.ok(&["run", "--jobs", "expire"]);
    fs::write(&victim, &whole).unwrap();
    shop.ok(&["run", "--jobs", "verify"]);
}

fn holds(shop: &Shop, more: &[&str]) -> Value {
    shop.json(&[&["hold", "list"], more].concat())["holds"].clone()
}

#[test]
fn l10_what_expires_leaves_a_mirror_too_also_one_that_was_away() {
    let shop = with_mirror(false);
    let config = fs::read_to_string(shop.path("holdfast.toml")).unwrap();
    shop.write("holdfast.toml", &format!("{config}[retention]\nlog = \"2s\"\nbases = \"1s\"\n"));
    let daemon = shop.capturing();
    rows(&shop, 0, 10);
    shop.settle();
    shop.ok(&["backup"]);
    wait_for_phase(&shop, "in step");
    let pause = || std::thread::sleep(std::time::Duration::from_secs(3));

    // With the mirror there: a hold arrives before the verb ends, and what expires goes from both.
    let soon =
        shop.sql("select to_char(now() at time zone 'utc' + interval '1 hour', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
    shop.ok(&["hold", "add", "later", "--since", &soon]);
    assert_eq!(holds(&shop, &["--store", "two"])[0]["name"], "later");
    pause();
    rows(&shop, 10, 12);
    shop.settle();
    let done = shop.json(&["expire", "--yes"]);
    assert_eq!(done["sources"][0]["bases"].as_array().unwrap().len(), 1, "{done:#}");
    // The daemon goes on: what it writes this very moment is in the first store first.
    let both = || ["one", "two"].map(|store| objects(&shop.path(store)));
    eventually("both stores hold the same", || (both()[0] == both()[1]).then_some(()), || format!("{:?}", both()));

    // And with the mirror away: what it missed goes with the next expiry that finds it there.
    fs::rename(shop.path("two"), shop.path("unmounted")).unwrap();
    rows(&shop, 12, 14);
    shop.settle();
    shop.ok(&["backup"]);
    pause();
    rows(&shop, 14, 20);
    shop.settle();
    let late = shop.ok(&["expire", "--yes"]);
    assert!(late.stderr.contains("mirror two has not caught up"), "{late:#?}");
    let removed = shop.ok(&["hold", "remove", "later", "--yes"]);
    assert!(removed.stderr.contains("the hold stays in mirror two for now"), "{removed:#?}");
    assert_eq!(daemon.stop().0, exit::DONE);
    fs::rename(shop.path("unmounted"), shop.path("two")).unwrap();
    shop.drain();
    let left = |of: &str| objects(&shop.path(of)).into_iter().filter(|name| name.contains(".seg")).count();
    assert!(left("two") > left("one"), "a process that may not delete copies and no more");
    shop.ok(&["expire", "--yes"]);
    let kept: Vec<_> = objects(&shop.path("two")).into_iter().filter(|name| !name.starts_with("hold/")).collect();
    assert_eq!(objects(&shop.path("one")), kept);

    // A hold that was taken off while the mirror was away stays there until it is taken off there, too.
    assert_eq!(holds(&shop, &["--store", "two"])[0]["name"], "later");
    let checked = shop.run(&["check"]);
    assert!(checked.stdout.contains("keeps holds that the first store does not have: later"), "{checked:#?}");
    shop.ok(&["hold", "remove", "later", "--yes"]);
    shop.expect(&["hold", "remove", "later", "--yes"], exit::FAILED);
    shop.ok(&["verify", "--store", "two"]);
    let into = shop.destination("from_mirror");
    shop.ok(&["restore", "--store", "two", "--to", "latest", "--into", &into, "--yes"]);
    assert_eq!(shop.server.psql("from_mirror", SUM), "20|190");

    // The same by the job of an installation that may delete.
    let config = fs::read_to_string(shop.path("holdfast.toml")).unwrap();
    shop.write("holdfast.toml", &config.replace("bases = \"1s\"", "bases = \"1s\"\ndelete = true"));
    shop.ok(&["backup"]);
    rows(&shop, 20, 22);
    shop.drain();
    pause();
    rows(&shop, 22, 24);
    shop.drain();
    let ran = shop.ok(&["run", "--jobs", "expire,sweep,verify"]);
    assert_eq!(shop.bases(), 1);
    assert_eq!(objects(&shop.path("one")), objects(&shop.path("two")), "{ran:#?}");
    shop.ok(&["verify", "--store", "two"]);
}

#[test]
fn l5_two_sites_that_are_pointed_at_one_place_are_told_so_and_neither_writes_into_the_others_history() {
    let shop = with_mirror(false);
    rows(&shop, 0, 10);
    shop.drain();
    let before = objects(&shop.path("one"));
    let config = fs::read_to_string(shop.path("holdfast.toml")).unwrap();
    #[rustfmt::skip]
    let cases = [
        // of the other site        instead         why
        ("name = \"main\"",         "name = \"main\"",  "a source of the same name: two writers of one log"),
        ("name = \"main\"",         "name = \"shop\"",  "another name: its retention would be applied to ours"),
    ];
    for (ours, theirs, why) in cases {
        let other = config.replace("file = \"key\"", "file = \"key2\"").replace("\"state\"", "\"state2\"");
        let other = other.replace("[[store]]\nfolder = \"two\"\n", "").replace(ours, theirs);
        let other = shop.write("other.toml", &other);
        if !shop.path("key2").exists() {
            assert_eq!(other.run(&["keys", "new"]).code, exit::DONE);
        }
        for verb in [&["init"][..], &["run", "--until-caught-up"]] {
            let refused = other.run(verb);
            assert_eq!(refused.code, exit::UNAVAILABLE, "{why}: {refused:#?}");
            assert!(refused.stderr.contains("give each installation a folder or a prefix of its own"), "{refused:#?}");
        }
    }
    assert_eq!(objects(&shop.path("one")), before);
    shop.ok(&["verify"]);
}

#[test]
fn what_was_wrapped_again_opens_in_the_mirror_too_when_the_old_key_is_gone() {
    let shop = with_mirror(false);
    rows(&shop, 0, 10);
    shop.drain();
    shop.ok(&["keys", "rotate", "--file"]);
    shop.ok(&["keys", "rewrap"]);
    let keys = fs::read_to_string(shop.path("key")).unwrap();
    let newest = keys.lines().find(|line| !line.starts_with('#')).unwrap();
    fs::write(shop.path("key"), newest).unwrap();
    fs::remove_dir_all(shop.path("one")).unwrap();
    shop.ok(&["verify", "--store", "two"]);
    let into = shop.destination("with_the_new_key");
    shop.ok(&["restore", "--store", "two", "--to", "latest", "--into", &into, "--yes"]);
    assert_eq!(shop.server.psql("with_the_new_key", SUM), "10|45");
}
