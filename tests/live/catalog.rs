//! The catalog that verbs share with the daemon: whatever becomes of it, they answer what the store says.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use crate::program::{Holdfast, Output};
use crate::shop::{Shop, exit, files};

/// A shop whose log stands still while nobody works, and its store as one sees it who has no state folder.
fn shop() -> (Shop, Holdfast) {
    let shop = Shop::ready("create table t (id int primary key, v text)", &[]);
    let text = fs::read_to_string(shop.path("holdfast.toml")).unwrap();
    shop.write("holdfast.toml", &text.replace("heartbeat = \"1s\"", "heartbeat = \"5min\""));
    let bare = shop.write("bare.toml", "[key]\nfile = \"key\"\n[[store]]\nfolder = \"store\"\n");
    (shop, bare)
}

/// Some segments.
fn work(shop: &Shop) {
    for _ in 0..6 {
        shop.sql("insert into t select coalesce(max(id), 0) + 1, 'a word' from t; update t set v = 'another'");
        shop.drain();
    }
}

/// `list` and `find` answer as they do without a state folder; gives what each said on the side. An answer counts where
/// the store stood still: a daemon may note the server's own progress at any time.
fn same(shop: &Shop, bare: &Holdfast, when: &str) -> String {
    let mut said = String::new();
    for verb in [&["list", "--json", "-v"][..], &["find", "--table", "t", "--json", "-v"]] {
        let tries = (0..50).map(|_| (bare.run(verb), shop.run(verb), bare.run(verb)));
        let mut still = tries.filter(|(before, _, after)| before.stdout == after.stdout);
        let (_, with, without) = still.next().expect("the store stands still for a moment");
        assert_eq!(
            (with.code, &with.stdout),
            (without.code, &without.stdout),
            "{when}: {verb:?}\n{with:?}\n{without:?}"
        );
        said.push_str(&with.stderr);
        assert_eq!(known(&without), 0, "{when}: {without:?}");
    }
    assert!(!said.contains("panicked"), "{when}: {said}");
    said
}

/// How many entries the catalog knew before the store was asked.
fn known(ran: &Output) -> u64 {
    let told = ran.stderr.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    told.filter_map(|line| line["fields"]["known"].as_u64()).max().unwrap_or_else(|| panic!("{ran:?}"))
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn l7_list_and_find_answer_the_same_from_the_daemon_from_the_catalog_and_from_the_store() {
    let (shop, bare) = shop();
    work(&shop);
    let catalog = shop.path("state/catalog");
    let daemon = shop.capturing();
    shop.sql("insert into t values (0, 'while it runs')");
    shop.settle();
    same(&shop, &bare, "asked of the daemon");
    assert!(known(&shop.ok(&["list", "--json", "-v"])) > 6, "the daemon was asked");
    fs::remove_dir_all(&catalog).unwrap();
    same(&shop, &bare, "deleted under the daemon");
    shop.ok(&["catalog", "rebuild"]);
    fs::write(catalog.join("db"), vec![0x5A; 200_000]).unwrap();
    same(&shop, &bare, "damaged under the daemon");
    assert_eq!(daemon.stop().0, exit::DONE);

    shop.ok(&["list"]);
    same(&shop, &bare, "opened here");
    assert!(known(&shop.ok(&["list", "--json", "-v"])) > 6, "the catalog was opened");
    fs::remove_dir_all(&catalog).unwrap();
    same(&shop, &bare, "deleted");
    assert!(known(&shop.ok(&["list", "--json", "-v"])) > 6, "a verb fills it for the next");
    fs::write(catalog.join("db"), vec![0x5A; 200_000]).unwrap();
    assert!(same(&shop, &bare, "damaged").contains("set aside"), "and says so");

    let lock = File::open(shop.path("state/catalog.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert!(same(&shop, &bare, "held by another").contains("another process has it open"));
    drop(lock);
    fs::rename(&catalog, shop.path("elsewhere")).unwrap();
    fs::write(&catalog, "no folder").unwrap();
    same(&shop, &bare, "no folder");
}

/// What is known from before must hide neither what came after nor what was lost since.
#[test]
fn l7_a_stale_catalog_makes_no_answer_shorter_and_hides_no_loss() {
    let (shop, bare) = shop();
    work(&shop);
    shop.sql("alter table t add column w int");
    work(&shop);
    assert!(!shop.gaps().is_empty(), "a change of schema without an image of it");
    same(&shop, &bare, "fresh");
    copy(&shop.path("state"), &shop.path("old"));
    work(&shop);
    shop.ok(&["backup"]);
    let (newest, state) = (shop.path("newest"), shop.path("state"));
    fs::rename(&state, &newest).unwrap();
    fs::rename(shop.path("old"), &state).unwrap();
    same(&shop, &bare, "it ends six segments ago");
    copy(&state, &shop.path("old"));
    let log = files(&shop.path("store/log/main"));
    let (middle, body) = (&log[4], fs::read(&log[4]).unwrap());
    fs::remove_file(middle).unwrap();
    same(&shop, &bare, "an object is missing");
    assert_eq!(shop.listed()["missing"], 5, "and is named");
    fs::write(middle, body).unwrap();
    same(&shop, &bare, "and is back");
    for newer in &log[8..] {
        fs::remove_file(newer).unwrap();
    }
    same(&shop, &bare, "the newest are lost");
}
