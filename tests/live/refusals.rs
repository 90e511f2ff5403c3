//! Stores that are not ours to write, or not what they were: each is refused, or told, with its own exit code.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use holdfast::clock::SystemClock;
use holdfast::crypto::Sealed;
use holdfast::store::{S3Store, Store};
use serde_json::Value;

use crate::program::{Holdfast, Output};
use crate::running::eventually;
use crate::s3::double::Double;
use crate::s3::plan::{Fault, On};
use crate::s3::{ACCESS, SECRET, settings};
use crate::servers::Postgres;
use crate::shop::{Shop, exit, files};

const TABLE: &str = "create table t (id int primary key, v text)";
const SUM: &str = "select count(*), coalesce(sum(id), 0) from t";
const WHO: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", ACCESS), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_EC2_METADATA_DISABLED", "true")];

fn rows(shop: &Shop, from: i32, to: i32) {
    shop.sql(&format!("insert into t select g, 'row' from generate_series({from}, {}) g", to - 1));
}

fn says(ran: &Output, text: &str) {
    assert!(ran.stderr.contains(text), "{text:?} is not in {ran:#?}");
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// This shop's program with its store, or its key, elsewhere, and a state folder of its own.
fn with(shop: &Shop, name: &str, key: &Path, store: &str) -> Holdfast {
    let text = format!(
        "[service]\nstate_dir = \"{name}-state\"\n[key]\nfile = \"{}\"\n[[store]]\n{store}\n[[source]]\nname = \"main\"\n\
         postgres = \"{}\"\nheartbeat = \"1s\"\n[log]\nsegment_age = \"100ms\"\n[schema_image]\nquiet = \"1s\"\n",
        key.display(),
        shop.server.url("shop")
    );
    shop.write(&format!("{name}.toml"), &text)
}

fn in_folder(path: &Path) -> String {
    format!("folder = \"{}\"", path.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn l11_a_bucket_of_somebody_else_ends_every_verb_in_six_and_nothing_is_made() {
    let double = Double::start("theirs").await;
    let shop = Shop::with(&[]);
    let store = format!("s3 = {{ bucket = \"theirs\", endpoint = \"{}\", path_style = true }}", double.endpoint);
    let key = shop.path("own-key");
    let holdfast = with(&shop, "theirs", &key, &store).with(&WHO);
    for on in [On::Put, On::Get, On::Head, On::List, On::Delete, On::Other] {
        double.plan.add(on, Fault::Denied, u64::MAX);
    }
    let refused = holdfast.run(&["init"]);
    assert_eq!(refused.code, exit::UNAVAILABLE, "{refused:#?}");
    says(&refused, "not permitted; give the daemon's user (or its role) the right to it");
    assert!(!key.exists(), "a key was made for a bucket that is not ours");
    assert_eq!(holdfast.run(&["keys", "new"]).code, exit::DONE);
    for verb in [
        &["init"][..],
        &["check"],
        &["list"],
        &["find", "--table", "t"],
        &["verify"],
        &["backup"],
        &["restore", "--to", "latest", "--dry-run"],
        &["run", "--until-caught-up"],
        &["run"],
    ] {
        let ran = holdfast.run(verb);
        assert_eq!(ran.code, exit::UNAVAILABLE, "{verb:?}: {ran:#?}");
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains("not permitted"), "{verb:?}: {ran:#?}");
    }
    assert_eq!(shop.sql("select count(*) from pg_replication_slots"), "0", "nothing was made on the source");
}

#[tokio::test(flavor = "multi_thread")]
async fn l11_a_place_that_holds_other_things_is_refused_in_six_and_left_as_it_is() {
    let shop = Shop::with(&[]);
    let (folder, key) = (shop.path("photos"), shop.path("own-key"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("holiday.jpg"), "a photo").unwrap();
    let double = Double::start("shared").await;
    let theirs = S3Store::open(settings(&double.endpoint, "shared", ""), Arc::new(SystemClock::new())).await.unwrap();
    let photo = Sealed::stored(Bytes::from_static(b"a photo"));
    theirs.put_new(&"holiday/1.jpg".parse().unwrap(), photo).await.unwrap();
    let bucket = format!("s3 = {{ bucket = \"shared\", endpoint = \"{}\", path_style = true }}", double.endpoint);
    for store in [in_folder(&folder), bucket] {
        let holdfast = with(&shop, "photos", &key, &store).with(&WHO);
        let refused = holdfast.run(&["init"]);
        assert_eq!(refused.code, exit::UNAVAILABLE, "{refused:#?}");
        says(&refused, "the place holds other things; name an empty or a new one");
        assert!(!key.exists(), "a key was made for a place that was refused");
    }
    assert_eq!(files(&folder), [folder.join("holiday.jpg")]);
    assert_eq!(theirs.list("", None).await.unwrap().len(), 1, "and nothing was put there");
    assert_eq!(shop.sql("select count(*) from pg_replication_slots"), "0");
    // A prefix of its own beside them is fine.
    let prefix = format!(
        "s3 = {{ bucket = \"shared\", prefix = \"holdfast\", endpoint = \"{}\", path_style = true }}",
        double.endpoint
    );
    let own = with(&shop, "own", &key, &prefix).with(&WHO).run(&["init"]);
    assert_eq!(own.code, exit::DONE, "{own:#?}");
}

#[test]
fn l11_what_a_newer_version_wrote_is_refused_by_that_name_and_never_taken_for_empty_or_rewritten() {
    let shop = Shop::ready(TABLE, &[]);
    rows(&shop, 0, 5);
    shop.drain();
    let marker = shop.path("store/.holdfast/format");
    fs::write(&marker, "holdfast folder store 2\n").unwrap();
    let before = files(&shop.path("store"));
    let verbs: [&[&str]; 7] = [
        &["init"],
        &["check"],
        &["list"],
        &["verify"],
        &["backup"],
        &["restore", "--to", "latest", "--dry-run"],
        &["run", "--until-caught-up"],
    ];
    for verb in verbs {
        let ran = shop.expect(verb, exit::UNAVAILABLE);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("made by a newer version of Holdfast; upgrade this one"), "{verb:?}: {ran:#?}");
    }
    assert_eq!(
        (fs::read_to_string(&marker).unwrap().as_str(), files(&shop.path("store"))),
        ("holdfast folder store 2\n", before)
    );
    fs::write(&marker, "holdfast folder store 1\n").unwrap();
    // One object of a newer format in a store of this one.
    let newest = files(&shop.path("store/log/main")).pop().unwrap();
    let whole = fs::read(&newest).unwrap();
    let mut newer = whole.clone();
    newer[8] = 2;
    fs::write(&newest, newer).unwrap();
    for verb in [&["verify"][..], &["run", "--until-caught-up"], &["restore", "--to", "latest", "--dry-run"]] {
        let ran = shop.run(verb);
        assert_eq!(ran.code, exit::DAMAGED, "{verb:?}: {ran:#?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("a format version that this program reads; a newer one does"), "{verb:?}: {ran:#?}");
        assert!(said.contains(newest.file_name().unwrap().to_str().unwrap()), "{verb:?}: {ran:#?}");
    }
    fs::write(&newest, whole).unwrap();
    assert_eq!(shop.restored("latest", "whole", SUM), "5|10");
}

/// The store comes back as it was some time ago, from a backup of the backups. What it lost was acknowledged, and only
/// somebody who saw it can tell: the slot.
#[test]
fn l3_l4_a_store_put_back_to_an_older_copy_is_told_and_what_it_lost_is_a_gap_and_never_glued_over() {
    let shop = Shop::ready(TABLE, &[]);
    rows(&shop, 0, 10);
    shop.drain();
    let (store, older) = (shop.path("store"), shop.path("older"));
    copy(&store, &older);
    rows(&shop, 10, 20);
    shop.drain();
    let lost = shop.sql("select pg_current_wal_lsn()");
    rows(&shop, 20, 30);
    shop.drain();
    fs::remove_dir_all(&store).unwrap();
    copy(&older, &store);
    let found = shop.expect(&["verify"], exit::DAMAGED);
    assert!(found.stdout.contains("newer objects are lost"), "{found:#?}");
    let refused = shop.restore(&format!("lsn:{lost}"), "lost");
    assert_eq!(refused.code, exit::NOT_RESTORABLE, "it lies beyond what the store holds: {refused:#?}");
    rows(&shop, 30, 35);
    shop.drain();
    assert!(!shop.gaps().is_empty(), "{}", shop.listed());
    let refused = shop.restore(&format!("lsn:{lost}"), "lost");
    assert_eq!(refused.code, exit::NOT_RESTORABLE, "it lies in the gap: {refused:#?}");
    shop.ok(&["backup"]);
    rows(&shop, 35, 40);
    shop.drain();
    assert_eq!(shop.restored("latest", "after", SUM), "40|780");
    let listed = shop.listed();
    assert_eq!(listed["gaps"].as_array().map(Vec::len), Some(1), "the gap stays told: {listed}");
}

/// Put back under a running daemon, which goes on behind what is lost: the verification names each object.
#[test]
fn l4_a_store_put_back_under_a_running_daemon_shows_what_is_missing() {
    let shop = Shop::ready(TABLE, &[]);
    let daemon = shop.capturing();
    rows(&shop, 0, 10);
    shop.settle();
    let log = shop.path("store/log/main");
    let older = files(&log);
    for id in 10..20 {
        rows(&shop, id, id + 1);
        shop.settle();
    }
    let lost: Vec<_> = files(&log).into_iter().filter(|path| !older.contains(path)).collect();
    for path in &lost {
        fs::remove_file(path).unwrap();
    }
    for id in 20..30 {
        rows(&shop, id, id + 1);
        shop.settle();
    }
    let verified = || {
        let found = shop.run(&["verify"]);
        let named = lost.iter().all(|path| found.stdout.contains(path.file_name().unwrap().to_str().unwrap()));
        (found.code == exit::DAMAGED && (named || found.stdout.contains("so are all up to slot"))).then_some(())
    };
    eventually("the verification names what is lost", verified, || format!("{:#?}", shop.run(&["verify"])));
    assert_eq!(daemon.stop().0, exit::DONE);
}

#[test]
fn l5_two_sites_at_one_prefix_with_one_key_are_refused_and_the_first_goes_on_untouched() {
    let another = Postgres::start_of_its_own(&[("wal_level", "logical")]);
    for (second, why) in [(Shop::on(another), "this is server"), (Shop::with(&[]), "the log in the store is durable")] {
        one_key_and_two_sites(&second, why);
    }
}

/// `second` is another server, or a copy of the first one that has gone its own way.
fn one_key_and_two_sites(second: &Shop, why: &str) {
    let first = Shop::ready(TABLE, &[]);
    second.sql(TABLE);
    let mut daemon = first.capturing();
    first.sql("select pg_switch_wal()");
    rows(&first, 0, 10);
    first.settle();
    // The second site's configuration was copied from the first, key and all.
    let misled = with(second, "misled", &first.path("key"), &in_folder(&first.path("store")));
    assert_eq!(misled.run(&["init"]).code, exit::DONE, "init cannot know which server the log is of");
    rows(second, 100, 110);
    let objects = |folder: &str| files(&first.path(folder)).len();
    let bases = objects("store/base");
    for verb in [&["run", "--until-caught-up"][..], &["run"]] {
        let refused = misled.run(verb);
        assert_eq!(refused.code, exit::FAILED, "{verb:?}: {refused:#?}");
        says(&refused, "server");
    }
    let refused = misled.run(&["backup"]);
    assert_eq!(refused.code, exit::FAILED, "{refused:#?}");
    says(&refused, "glued to a history that is not its own");
    says(&refused, why);
    assert_eq!(objects("store/base"), bases, "nothing of the second site is in the store");
    rows(&first, 10, 20);
    first.settle();
    assert!(daemon.is_running(), "{}", daemon.said());
    let status: Value = first.json(&["status"]);
    assert_eq!(status["sources"][0]["phase"], "capturing", "{status}");
    assert_eq!(daemon.stop().0, exit::DONE);
    assert_eq!(first.restored("latest", "whole", SUM), "20|190");
    first.expect(&["verify"], exit::DONE);
}

#[test]
fn l5_two_sites_at_one_prefix_with_keys_of_their_own_are_refused_in_six() {
    let (first, second) = (Shop::ready(TABLE, &[]), Shop::with(&[]));
    second.sql(TABLE);
    rows(&first, 0, 10);
    first.drain();
    let key = second.path("own-key");
    let misled = with(&second, "misled", &key, &in_folder(&first.path("store")));
    assert_eq!(misled.run(&["keys", "new"]).code, exit::DONE);
    let before = files(&first.path("store"));
    let refused = misled.run(&["init"]);
    assert_eq!(refused.code, exit::UNAVAILABLE, "{refused:#?}");
    says(&refused, "holds a log of main that another key sealed");
    for verb in [&["run", "--until-caught-up"][..], &["list"], &["restore", "--to", "latest", "--dry-run"]] {
        let ran = misled.run(verb);
        assert!(ran.code == exit::UNAVAILABLE || ran.code == exit::FAILED, "{verb:?}: {ran:#?}");
    }
    assert_eq!(second.sql("select count(*) from pg_replication_slots"), "0", "nothing was made on the source");
    assert_eq!(files(&first.path("store")), before, "nor in the store");
    rows(&first, 10, 20);
    first.drain();
    assert_eq!(first.restored("latest", "whole", SUM), "20|190");
}
