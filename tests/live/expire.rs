//! Retention through the program: what is promised stays, what expired is refused by name, a hold keeps it, and a kill
//! in the middle harms nothing.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::running::Daemon;
use crate::shop::{Shop, exit, files};

const SUM: &str = "select count(*), coalesce(sum(id), 0) from t";

/// The server's clock, as a target.
fn now(shop: &Shop) -> String {
    shop.sql("select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
}

fn insert(shop: &Shop, ids: std::ops::Range<u32>) {
    for id in ids {
        shop.sql(&format!("insert into t values ({id})"));
        std::thread::sleep(Duration::from_millis(120));
    }
}

fn expire(shop: &Shop, args: &[&str]) -> Value {
    shop.json(&[&["expire"], args].concat())["sources"][0].clone()
}

fn sealed(shop: &Shop) -> usize {
    files(&shop.path("store")).len()
}

fn sound(shop: &Shop) {
    shop.ok(&["verify", "--quick"]);
    shop.ok(&["verify"]);
}

/// Rows and bases over some seconds; gives an instant that will have expired, and one that is promised: with the first
/// eight rows, and with the first twenty. The daemon goes on.
fn some_days(shop: &Shop) -> (Daemon, String, String) {
    let config = fs::read_to_string(shop.path("holdfast.toml")).unwrap();
    shop.write("holdfast.toml", &format!("{config}[retention]\nlog = \"2s\"\nbases = \"1s\"\n"));
    let daemon = shop.capturing();
    insert(shop, 0..8);
    let early = now(shop);
    insert(shop, 8..12);
    shop.settle();
    shop.ok(&["backup"]);
    insert(shop, 12..16);
    shop.settle();
    shop.ok(&["backup"]);
    std::thread::sleep(Duration::from_secs(3));
    insert(shop, 16..20);
    let late = now(shop);
    insert(shop, 20..22);
    shop.settle();
    (daemon, early, late)
}

#[test]
fn l10_what_is_promised_stays_what_expired_is_refused_and_a_hold_keeps_it() {
    let shop = Shop::ready("create table t (id int primary key)", &[]);
    let (daemon, early, late) = some_days(&shop);

    // Held, nothing that leads to the early instant goes.
    shop.ok(&["hold", "add", "case-1", "--since", &early]);
    shop.expect(&["hold", "add", "case-1", "--since", &late], exit::FAILED);
    assert_eq!(shop.json(&["hold", "list"])["holds"][0]["name"], "case-1");
    let held = expire(&shop, &["--yes"]);
    assert_eq!(held["bases"], Value::Array(Vec::new()), "{held:#}");
    assert_eq!(shop.restored(&early, "held", SUM), "8|28");
    shop.expect(&["hold", "remove", "case-1"], exit::USAGE);
    shop.ok(&["hold", "remove", "case-1", "--yes"]);
    shop.expect(&["hold", "remove", "case-1", "--yes"], exit::FAILED);

    // Shown, and nothing done.
    let before = sealed(&shop);
    let shown = expire(&shop, &[]);
    assert!(shown["segments"].as_u64().unwrap() > 5, "{shown:#}");
    assert_eq!(shown["bases"].as_array().unwrap().len(), 2, "{shown:#}");
    assert!(shown["bytes"].as_u64().unwrap() > 0 && shown["done"].is_null());
    assert!(shown["oldest_before"]["time"].as_str() < shown["oldest_after"]["time"].as_str());
    assert!(sealed(&shop) >= before, "a dry run deletes nothing");

    // Killed behind the boundary, and in the middle of deleting.
    for step in ["boundary", "deleted:2", "deleted:4"] {
        let killed = shop.run(&["--die-at", step, "expire", "--yes"]);
        assert_eq!(killed.code, None, "{step}: {killed:#?}");
        sound(&shop);
        assert_eq!(shop.restored(&late, &format!("killed_{}", step.replace(':', "_")), SUM), "20|190");
    }
    let done = expire(&shop, &["--yes"]);
    assert!(done["done"]["segments"].as_u64().unwrap() > 0, "{done:#}");
    assert_eq!(done["done"]["refused"], Value::Array(Vec::new()));
    assert!(sealed(&shop) < before);
    sound(&shop);
    let again = expire(&shop, &["--yes"]);
    assert_eq!((&again["done"]["segments"], &again["done"]["bases"]), (&0.into(), &0.into()), "{again:#}");

    let listed = shop.listed();
    assert_eq!((shop.bases(), listed["restorable"].as_array().unwrap().len()), (1, 1), "{listed:#}");
    let oldest = listed["restorable"][0]["from_time"].as_str().unwrap();
    assert!(oldest > early.as_str(), "{oldest} {early}");
    let refused = shop.restore(&early, "too_early");
    assert_eq!(refused.code, exit::NOT_RESTORABLE, "{refused:#?}");
    let point = listed["bases"][0]["point"].as_str().unwrap();
    assert!(refused.stderr.contains(&format!("the first restorable instant is lsn:{point}")), "{refused:#?}");
    assert_eq!(shop.restored(&late, "late", SUM), "20|190");
    assert_eq!(shop.restored(&format!("lsn:{point}"), "at_the_base", SUM), "16|120");

    // Capture went on all the while, and goes on in a new life.
    insert(&shop, 22..24);
    shop.settle();
    let (code, said) = daemon.stop();
    assert_eq!(code, exit::DONE, "{said}");
    shop.sql("insert into t values (24)");
    shop.drain();
    sound(&shop);
    assert_eq!(shop.restored("latest", "latest", SUM), "25|300");
}

#[test]
fn l10_nothing_goes_while_what_stays_is_not_whole_and_a_hold_that_came_too_late_says_so() {
    let shop = Shop::ready("create table t (id int primary key)", &[]);
    let (daemon, early, late) = some_days(&shop);
    assert_eq!(daemon.stop().0, exit::DONE);
    let newest = shop.listed()["bases"].as_array().unwrap().last().unwrap()["base"].as_str().unwrap().to_owned();
    let parts = files(&shop.path("store"));
    let mut parts = parts.iter().filter(|file| file.extension().is_some_and(|kind| kind == "part"));
    let part = parts.find(|file| file.to_string_lossy().contains(&newest)).unwrap();
    let body = fs::read(part).unwrap();
    let before = sealed(&shop);
    for (why, damage) in [("lost", None), ("cut", body.split_last().map(|(_, rest)| rest))] {
        fs::remove_file(part).unwrap();
        if let Some(damaged) = damage {
            fs::write(part, damaged).unwrap();
        }
        let refused = shop.expect(&["expire", "--yes"], exit::DAMAGED);
        assert!(refused.stderr.contains(&newest) && refused.stderr.contains("is not whole"), "{why}: {refused:#?}");
        fs::write(part, &body).unwrap();
        assert_eq!(sealed(&shop), before, "{why}: nothing was deleted");
    }
    let done = expire(&shop, &["--yes"]);
    assert!(done["done"]["segments"].as_u64().unwrap() > 0, "{done:#}");
    let late_hold = shop.expect(&["hold", "add", "case-9", "--since", &early], exit::NOT_RESTORABLE);
    assert!(late_hold.stdout.contains("history begins at"), "{late_hold:#?}");
    shop.ok(&["hold", "add", "case-10", "--since", &late]);
    sound(&shop);
    assert_eq!(shop.restored(&late, "late", SUM), "20|190");
}
