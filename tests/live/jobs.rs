//! Jobs beside capture and under another role: verified by itself, alarmed aloud, and the slot asked for the log's end.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rustix::process::Signal;

use crate::site::{Load, Site};

const QUICK: &str = "segment_age = \"50ms\"\n[verify]\nquick = \"1s\"\nfull = \"1s\"";
const BY_HAND: &str = "segment_age = \"50ms\"\n[verify]\nquick = \"never\"\nfull = \"never\"";

fn job(status: &serde_json::Value, name: &str) -> serde_json::Value {
    let jobs = status["jobs"].as_array().unwrap();
    jobs.iter().find(|job| job["job"] == name).unwrap_or_else(|| panic!("no job {name}: {status}")).clone()
}

/// The oldest data object of the log that is no fence.
fn victim(site: &Site) -> PathBuf {
    let mut all: Vec<_> =
        fs::read_dir(site.path("store/log/main")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all.remove(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn l11_the_daemon_verifies_by_itself_and_damage_is_an_alarm_until_it_is_mended() {
    let site = Site::new("heartbeat = \"1s\"", QUICK);
    let mut daemon = site.capturing();
    let load = Load::start(&site, &Arc::new(AtomicU64::new(1)), 1, 1);
    let status = || site.json(&["status"]);
    daemon.wait_until("both verifications succeeded", || {
        let status = status();
        job(&status, "verify")["last_success"].is_string() && job(&status, "quick-verify")["last_success"].is_string()
    });
    let said = job(&status(), "quick-verify")["said"].as_str().unwrap().to_owned();
    assert!(said.contains("1 of 1 slots agree"), "{said}");
    load.stop().await;
    let (path, whole) = (victim(&site), fs::read(victim(&site)).unwrap());
    let mut broken = whole.clone();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    fs::write(&path, &broken).unwrap();
    daemon.wait_until("damage is an alarm", || status()["alarms"].to_string().contains("A job found damage"));
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(status()["alarms"].to_string().contains(&name), "{}", status());
    assert_eq!(status()["ready"], true, "capture goes on, and is ready: {}", status());
    let (_, metrics) = site.get("/metrics").unwrap();
    assert!(metrics.contains("holdfast_job_failed{job=\"verify\"} 1"), "{metrics}");
    assert!(metrics.contains("holdfast_job_failures_total{job=\"verify\",kind=\"damaged\"}"), "{metrics}");
    assert!(daemon.logged().contains("A job found damage in the store"), "{}", daemon.logged());
    assert!(site.must(&["status"]).stdout.contains("attention: A job found damage"));
    fs::write(&path, &whole).unwrap();
    daemon.wait_until("it is mended", || !status()["alarms"].to_string().contains("A job found damage"));
    let before = job(&status(), "verify");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ends_within(Duration::from_secs(20)).code(), Some(0), "{}", daemon.logged());
    let kept = fs::read_to_string(site.path("state/jobs/verify.json")).unwrap();
    assert!(before["last_success"].is_string() && kept.contains("succeeded_micros"), "{kept}");
}

#[test]
fn jobs_run_under_another_role_beside_the_daemon_and_say_by_their_exit_code_what_they_found() {
    let site = Site::new("", BY_HAND);
    let nothing = site.holdfast.run(&["run", "--jobs", "verify"]);
    assert_eq!(nothing.code, Some(7), "there is nothing to verify: {nothing:?}");
    let mut daemon = site.capturing();
    site.server.psql("postgres", "insert into public.load values (1, 'x')");
    site.caught_up(&mut daemon);
    let done = site.json(&["run", "--jobs", "sweep,verify"]);
    assert_eq!((&done["jobs"][0]["outcome"], &done["jobs"][1]["outcome"]), (&"done".into(), &"done".into()), "{done}");
    let drill = site.holdfast.run(&["run", "--jobs", "verify,drill"]);
    assert!(drill.code == Some(2) && drill.stderr.contains("not in this version"), "{drill:?}");
    let (path, whole) = (victim(&site), fs::read(victim(&site)).unwrap());
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let found = site.holdfast.run(&["run", "--jobs", "verify,sweep"]);
    assert!(found.code == Some(4) && found.stdout.contains("sweep: 0 objects"), "{found:?}");
    fs::write(&path, &whole).unwrap();
    assert!(site.status_of("phase") == Some("capturing".into()), "the daemon was left alone");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ends_within(Duration::from_secs(20)).code(), Some(0), "{}", daemon.logged());
}

#[test]
fn l4_the_slot_knows_of_a_lost_end_and_verify_says_whom_it_asked() {
    let mut site = Site::new("", BY_HAND);
    for id in 1..=3 {
        site.server.psql("postgres", &format!("insert into public.load values ({id}, 'x')"));
        site.must(&["run", "--until-caught-up"]);
    }
    let report = site.path("report.jsonl");
    let report_name = report.to_str().unwrap();
    for args in [&["verify", "--report", report_name][..], &["verify", "--quick"], &["verify", "--since", "1h"]] {
        let sound = site.json(args);
        assert!(sound["sources"][0]["slot"].as_str().unwrap().contains("which the log holds"), "{sound}");
    }
    let lines: Vec<serde_json::Value> =
        fs::read_to_string(&report).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let folder = site.path("store/log/main");
    let objects = fs::read_dir(&folder).unwrap().count();
    assert_eq!((lines.len(), &lines[objects]["outcome"]), (objects + 1, &"sound".into()), "{lines:?}");
    assert!(lines[..objects].iter().all(|line| line["verdict"] == "sound" && line["sha256"].is_string()), "{lines:?}");
    let mut all: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    for lost in all.iter().rev().take(3) {
        fs::rename(lost, site.path(lost.file_name().unwrap().to_str().unwrap())).unwrap();
    }
    for args in [&["verify"][..], &["verify", "--quick"]] {
        let found = site.holdfast.run(args);
        assert!(found.code == Some(4) && found.stdout.contains("newer objects are lost"), "{found:?}");
    }
    site.server.stop_fast();
    let alone = site.must(&["verify"]);
    assert!(alone.stdout.contains("the slot could not tell"), "nobody knows, and that is said: {alone:?}");
}
