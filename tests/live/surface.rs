//! What the daemon shows and answers: pages, metrics, the control socket, the service manager; and the verbs that ask.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rustix::process::Signal;

use crate::site::{Load, Site};

const QUICK: &str = "segment_age = \"50ms\"";

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_show_what_is_true() {
    let stores = "folder = \"{at}/store\"\n[[store]]\nfolder = \"{at}/mirror\"";
    let mut site = Site::storing(stores, &[], "heartbeat = \"1s\"", QUICK);
    assert!(site.get("/live").is_none(), "no daemon, no page");
    let mut daemon = site.capturing();
    let load = Load::start(&site, &Arc::new(AtomicU64::new(1)), 1, 1);
    daemon.wait_until("it is ready", || site.get("/ready").is_some_and(|(code, _)| code == 200));
    std::thread::sleep(Duration::from_millis(300));
    load.stop().await;
    daemon.wait_until("the mirror has all of it", || site.json(&["status"])["mirrors"][0]["phase"] == "in step");
    assert_eq!(site.get("/live").unwrap(), (200, "{\"live\":true}".to_owned()));
    let status: serde_json::Value = serde_json::from_str(&site.get("/status").unwrap().1).unwrap();
    assert_eq!((&status["ready"], &status["sources"][0]["phase"]), (&true.into(), &"capturing".into()), "{status}");
    let (code, page) = site.get("/").unwrap();
    assert!(code == 200 && page.contains("a &lt;test&gt;") && page.contains("capturing"), "{page}");
    let (code, metrics) = site.get("/metrics").unwrap();
    assert_eq!(code, 200);
    for metric in holdfast::daemon::metrics::ALL {
        // What has not happened yet is not counted yet, and without a base there is no age of one.
        let silent = ["errors", "gaps", "slots_given_up", "base_", "restorable", "rebuilds"];
        let silent = [&silent[..], &["_troubles", "key_seals", "failures_total", "job_s"]].concat();
        let expected = !silent.iter().any(|part| metric.name.contains(part));
        assert!(!expected || metrics.contains(&format!("\n{}", metric.name)), "{}:\n{metrics}", metric.name);
    }
    assert!(metrics.contains("holdfast_source_up{source=\"main\"} 1"), "{metrics}");
    assert!(metrics.contains("holdfast_put_seconds_bucket"), "{metrics}");
    site.server.stop_fast();
    daemon.wait_until("it is not ready any more", || site.get("/ready").is_some_and(|(code, _)| code == 503));
    assert_eq!(site.get("/live").unwrap().0, 200, "a server that is down is no death of ours");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ends_within(Duration::from_secs(10)).code(), Some(0), "{}", daemon.logged());
}

#[test]
fn a_port_that_is_taken_is_an_error_at_the_start_and_until_caught_up_needs_none() {
    let site = Site::new("", QUICK);
    let _taken = std::net::TcpListener::bind(site.http).unwrap();
    let ran = site.holdfast.run(&["run"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("listen.http"), "{ran:?}");
    site.must(&["run", "--until-caught-up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_mark_ask_the_daemon_and_do_without_one() {
    let site = Site::new("", QUICK);
    let asleep = site.json(&["status"]);
    assert_eq!((&asleep["daemon"], &asleep["sources"][0]["durable"]), (&false.into(), &serde_json::Value::Null));
    let early = site.json(&["mark", "before the daemon"]);
    assert_eq!(early["sources"][0]["durable"], false, "{early}");
    let mut daemon = site.capturing();
    let socket = fs::metadata(site.path("state/control.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let mark = site.json(&["mark", "release 1.0"]);
    assert_eq!(mark["sources"][0]["durable"], true, "{mark}");
    assert!(mark["sources"][0]["xid"].as_str().unwrap().parse::<u64>().is_ok());
    for name in ["release 1.0", "before the daemon"] {
        let again = site.holdfast.run(&["mark", name]);
        assert_eq!(again.code, Some(1), "a name points to one place: {again:?}");
    }
    let text = site.must(&["status"]).stdout;
    assert!(text.contains("main: capturing"), "{text}");
    let second = site.holdfast.run(&["run"]);
    assert_eq!(second.code, Some(5), "one daemon for one state folder: {second:?}");
    assert!(site.status_of("phase").is_some(), "and the first one still answers");
    daemon.signal(Signal::KILL);
    daemon.ends_within(Duration::from_secs(10));
    let dead = site.json(&["status"]);
    assert_eq!(dead["daemon"], false, "a dead daemon's socket is nobody's: {dead}");
    assert!(dead["sources"][0]["durable"].is_string(), "{dead}");
    let mut daemon = site.capturing();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ends_within(Duration::from_secs(10)).code(), Some(0), "{}", daemon.logged());
}

fn objects(site: &Site) -> u64 {
    u64::try_from(fs::read_dir(site.path("store/log/main")).unwrap().count()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_l7_a_catalog_deleted_or_damaged_under_the_daemon_is_made_anew_while_capture_goes_on() {
    let site = Site::new("", QUICK);
    let load = Load::start(&site, &Arc::new(AtomicU64::new(1)), 1, 1);
    let mut daemon = site.capturing();
    let db = site.path("state/catalog/db");
    daemon.wait_until("there is a catalog", || db.is_file());
    fs::remove_dir_all(site.path("state/catalog")).unwrap();
    daemon.wait_until("there is a catalog again", || db.is_file());
    let garbage = vec![0x5A; 200_000];
    fs::write(&db, &garbage).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let rebuilt = site.json(&["catalog", "rebuild"]);
    assert!(rebuilt["entries"]["main"].as_u64().unwrap() > 5, "{rebuilt}");
    let recorded = load.stop().await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ends_within(Duration::from_secs(20)).code(), Some(0), "{}", daemon.logged());
    // Damaged while nobody has it open: the next daemon notices, and starts anew.
    fs::write(&db, &garbage).unwrap();
    site.must(&["run", "--until-caught-up"]);
    assert!(db.is_file());
    let alone = site.json(&["catalog", "rebuild"]);
    assert_eq!(alone["entries"]["main"], objects(&site), "without a daemon it is rebuilt here");
    site.captured().await.must_be(recorded, "with a catalog in trouble");
}

#[test]
fn the_service_manager_hears_of_readiness_trouble_life_and_the_end() {
    let site = Site::new("", QUICK);
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let hear = |what: &str| {
        let mut bytes = [0; 4096];
        loop {
            let length = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
            if String::from_utf8_lossy(&bytes[..length]).contains(what) {
                return;
            }
        }
    };
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "1000000")];
    let mut daemon = site.daemon_with(&[], &variables);
    hear("READY=1");
    hear("STATUS=main capturing at ");
    hear("WATCHDOG=1");
    site.server.psql("postgres", "select pg_terminate_backend(active_pid) from pg_replication_slots");
    daemon.signal(Signal::TERM);
    hear("STOPPING=1");
    assert_eq!(daemon.ends_within(Duration::from_secs(10)).code(), Some(0), "{}", daemon.logged());
}

/// The files of the store under a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_verify_names_every_object_that_is_damaged_and_says_when_it_cannot_tell() {
    let site = Site::new("", QUICK);
    let nothing = site.holdfast.run(&["verify"]);
    assert_eq!(nothing.code, Some(7), "nothing was verified: {nothing:?}");
    let load = Load::start(&site, &Arc::new(AtomicU64::new(1)), 1, 1);
    std::thread::sleep(Duration::from_millis(300));
    load.stop().await;
    site.must(&["run", "--until-caught-up"]);
    site.must(&["backup"]);
    for args in [&["verify"][..], &["verify", "--quick"], &["verify", "--since", "2026-01-01T00:00:00Z"]] {
        let sound = site.json(args);
        assert_eq!(
            (&sound["outcome"], &sound["sources"][0]["unfinished_bases"]),
            (&"sound".into(), &0.into()),
            "{sound}"
        );
        assert_eq!(sound["sources"][0]["bases"].as_array().unwrap().len(), 1, "{sound}");
    }
    let store = site.path("store");
    for folder in ["log", "base"] {
        for victim in files(&store.join(folder)) {
            let whole = fs::read(&victim).unwrap();
            let mut broken = whole.clone();
            let middle = broken.len() / 2;
            broken[middle] ^= 1;
            fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(&victim, &broken).unwrap();
            let found = site.holdfast.run(&["verify", "--json"]);
            let name = victim.strip_prefix(&store).unwrap().to_str().unwrap();
            assert_eq!(found.code, Some(4), "{name}: {found:?}");
            assert!(found.stdout.contains(name), "{name} is not named: {found:?}");
            fs::write(&victim, &whole).unwrap();
        }
    }
    let part = files(&store.join("base")).into_iter().find(|file| file.extension().is_some()).unwrap();
    fs::rename(&part, site.path("gone")).unwrap();
    for args in [&["verify"][..], &["verify", "--quick"]] {
        let found = site.holdfast.run(args);
        assert_eq!(found.code, Some(4), "{found:?}");
        assert!(found.stdout.contains("missing: base/main/"), "{found:?}");
    }
    fs::rename(site.path("gone"), &part).unwrap();
    fs::rename(site.path("key"), site.path("key.old")).unwrap();
    site.must(&["keys", "new"]);
    let other = site.holdfast.run(&["verify"]);
    assert_eq!(other.code, Some(7), "with another key nothing can be told: {other:?}");
}
