//! The first store is a bucket that hangs, and then is gone with its region: the mirror restores alone, and is promoted.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::bucket::{WHO, store};
use crate::program::Output;
use crate::s3::servers::{self, Server};
use crate::site::Site;

const ROWS: &str = "select count(*), sum(id) from public.load";

fn insert(site: &Site, ids: std::ops::RangeInclusive<u32>) {
    let (from, to) = (ids.start(), ids.end());
    site.server
        .psql("postgres", &format!("insert into public.load select i, 'row' from generate_series({from}, {to}) i"));
}

/// Restores the latest instant into a new database, and gives what is in it.
fn restored(site: &Site, database: &str, more: &[&str]) -> String {
    site.server.psql("postgres", &format!("create database {database}"));
    let into = format!("main={}", site.server.url(database));
    site.must(&[&["restore", "--to", "latest", "--into", &into, "--yes"], more].concat());
    site.server.psql(database, ROWS)
}

fn gaps(site: &Site, more: &[&str]) -> Vec<Value> {
    site.json(&[&["list"], more].concat())["sources"][0]["gaps"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn l9_when_the_bucket_hangs_and_then_is_gone_the_mirror_restores_alone_and_takes_its_place() {
    let server = Server::seaweed().await;
    let bucket = server.bucket().await;
    let far = format!("name = \"far\"\n{}", store(&server.endpoint, &bucket, ""));
    let near = "name = \"near\"\nfolder = \"{at}/near\"\nrequired = true";
    let both = format!("{far}\n[[store]]\n{near}");
    let site = Site::storing(&both, &WHO, "heartbeat = \"1s\"", "segment_age = \"100ms\"");
    let mut daemon = site.capturing();
    insert(&site, 1..=100);
    site.must(&["backup"]);
    insert(&site, 101..=200);
    site.caught_up(&mut daemon);
    let mirror = || site.json(&["status"])["mirrors"][0].clone();
    daemon.wait_until("the mirror is in step", || mirror()["phase"] == "in step");

    // The region hangs: no answer, and no refusal either.
    servers::stop(&server, Signal::STOP);
    let began = Instant::now();
    assert_eq!(restored(&site, "while_it_hangs", &["--store", "near"]), "200|20100");
    site.must(&["verify", "--store", "near"]);
    site.must(&["list", "--store", "near"]);
    assert_eq!(gaps(&site, &["--store", "near"]), Vec::<Value>::new());
    assert!(began.elapsed() < Duration::from_secs(50), "something waited for the bucket: {:?}", began.elapsed());
    insert(&site, 201..=210);

    // It is gone for good.
    servers::stop(&server, Signal::KILL);
    assert_eq!(restored(&site, "when_it_is_gone", &["--store", "near"]), "200|20100");
    drop(daemon);
    let promoted: Output = site.must(&["store", "promote", "near", "--yes"]);
    assert!(promoted.stdout.contains("LOSS") && promoted.stdout.contains("far could not be told"), "{promoted:?}");
    let config = fs::read_to_string(site.path("holdfast.toml")).unwrap();
    let swapped = |text: &str| text.replace("{at}", site.path("").to_str().unwrap().trim_end_matches('/'));
    let (before, after) = (swapped(&both), swapped(&format!("{near}\n[[store]]\n{far}")));
    assert!(config.contains(&before), "{config}");
    fs::write(site.path("holdfast.toml"), config.replace(&before, &after)).unwrap();

    // What nobody had acknowledged comes again from the server: nothing is lost, and nothing is a gap.
    let mut daemon = site.capturing();
    insert(&site, 211..=220);
    site.caught_up(&mut daemon);
    assert_eq!(restored(&site, "after_promotion", &[]), "220|24310");
    assert_eq!(gaps(&site, &[]), Vec::<Value>::new());
    let status = site.json(&["status"]);
    assert_eq!((&status["mirrors"][0]["mirror"], &status["mirrors"][0]["required"]), (&"far".into(), &false.into()));
    daemon.signal(Signal::TERM);
    assert!(daemon.ends_within(crate::running::PATIENCE).success(), "{}", daemon.logged());
}

#[tokio::test(flavor = "multi_thread")]
async fn l9_a_mirror_in_a_bucket_that_hangs_holds_nothing_up_and_restores_alone_when_it_has_caught_up() {
    let server = Server::seaweed().await;
    let bucket = server.bucket().await;
    let stores =
        format!("folder = \"{{at}}/near\"\n[[store]]\nname = \"far\"\n{}", store(&server.endpoint, &bucket, ""));
    let site = Site::storing(&stores, &WHO, "heartbeat = \"1s\"", "segment_age = \"100ms\"");
    let mut daemon = site.capturing();
    let mirror = || site.json(&["status"])["mirrors"][0].clone();
    insert(&site, 1..=100);
    site.must(&["backup"]);
    daemon.wait_until("the mirror is in step", || mirror()["phase"] == "in step");
    servers::stop(&server, Signal::STOP);
    insert(&site, 101..=200);
    site.caught_up(&mut daemon);
    daemon.wait_until("its lag shows", || mirror()["behind_objects"].as_u64().unwrap() > 0);
    servers::stop(&server, Signal::CONT);
    daemon.wait_until("the mirror is in step again", || {
        let mirror = mirror();
        mirror["phase"] == "in step" && mirror["behind_objects"] == 0
    });
    daemon.signal(Signal::TERM);
    assert!(daemon.ends_within(crate::running::PATIENCE).success(), "{}", daemon.logged());
    site.must(&["run", "--until-caught-up"]);
    fs::remove_dir_all(site.path("near")).unwrap();
    site.must(&["verify", "--store", "far"]);
    assert_eq!(restored(&site, "from_the_bucket", &["--store", "far"]), "200|20100");
    assert_eq!(gaps(&site, &["--store", "far"]), Vec::<Value>::new());
}
