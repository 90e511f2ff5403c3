//! The whole tour with the log in a bucket of a real server and the key in KMS, and back from a second directory that
//! knows these two alone; and the same once KMS is gone, with the recovery key that lay offline.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use crate::bucket::{WHO, store};
use crate::keys::kms;
use crate::kms_moto::Moto;
use crate::program::{Holdfast, Output};
use crate::running::PATIENCE;
use crate::s3::servers;
use crate::site::{Load, Site};

/// What is compared: rows, and a sum of them by PostgreSQL itself.
const SUMS: &str = "select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) from public.load t";

/// A directory with nothing but a configuration that names a store and a key.
struct Elsewhere {
    folder: tempfile::TempDir,
    holdfast: Holdfast,
}

impl Elsewhere {
    fn knowing(key: &str, store: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("hf-elsewhere-").tempdir().unwrap();
        let config = folder.path().join("holdfast.toml");
        fs::write(&config, format!("[key]\n{key}\n[[store]]\n{store}\n")).unwrap();
        Self { holdfast: Holdfast::new(config).with(&WHO), folder }
    }

    fn must(&self, args: &[&str]) -> Output {
        let ran = self.holdfast.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        ran
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.must(&[&["--json"], args].concat()).stdout).unwrap()
    }

    /// Every name in it: no verb left anything behind, so none can have found anything.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }
}

/// A recovery key whose private half lies in `vault`; gives the public half.
fn recovery_key(vault: &Path) -> String {
    let config = vault.join("holdfast.toml");
    fs::write(&config, "[key]\nfile = \"recovery\"\n[[store]]\nfolder = \"none\"\n").unwrap();
    let path = vault.join("recovery");
    let made = Holdfast::new(config).run(&["--json", "keys", "new", "--recovery", path.to_str().unwrap()]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    made["recovery"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backbones_tour_on_a_bucket_and_a_key_in_kms_and_back_from_a_second_directory_that_knows_these_alone() {
    let (server, moto, vault) = (servers::seaweed().await, Moto::start().await, tempfile::tempdir().unwrap());
    let store = store(&server.endpoint, &server.bucket().await, "");
    let kms = kms(&moto.endpoint, &moto.make_key().await);
    let key = format!("{kms}\nrecovery = \"{}\"", recovery_key(vault.path()));
    let site = Site::keyed(&key, &store, &WHO, &["heartbeat = \"1s\"", "segment_age = \"100ms\""]);
    let psql = |sql: &str| site.server.psql("postgres", sql);
    let checked = site.must(&["check"]);
    assert!(checked.stdout.contains("put if absent"), "{checked:?}");

    let (mut daemon, next) = (site.capturing(), Arc::new(AtomicU64::new(1)));
    let load = Load::start(&site, &next, 2, 3);
    daemon.wait_until("clients work", || next.load(Ordering::Relaxed) > 200);
    site.must(&["backup"]);
    let rows = load.stop().await.len();
    let before = psql(SUMS);
    assert!(before.starts_with(&format!("{rows}|")), "{before}");
    let xid = psql("begin; delete from public.load; select pg_current_xact_id(); commit");
    psql("insert into public.load values (0, 'life goes on')");
    site.caught_up(&mut daemon);

    let there = Elsewhere::knowing(&kms, &store);
    let found = there.json(&["find", "--table", "public.load", "--op", "delete"]);
    assert_eq!(found["transactions"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["transactions"][0]["xid"].to_string().trim_matches('"'), xid, "{found}");
    let target = format!("before-xid:{xid}");
    let into = |database: &str| format!("main={}", site.server.url(database));
    there.must(&["restore", "--to", &target, "--into", &into("restored"), "--yes"]);
    assert_eq!(site.server.psql("restored", SUMS), before);
    assert_eq!(there.json(&["verify"])["outcome"], "sound");
    let listed = there.json(&["list"]);
    assert_eq!(listed["sources"][0]["bases"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(there.names(), ["holdfast.toml"], "no state, no catalog");
    daemon.signal(Signal::TERM);
    assert!(daemon.ends_within(PATIENCE).success(), "{}", daemon.logged());

    // KMS is gone for good; what lay offline comes out of its drawer.
    drop(moto);
    let ran = there.holdfast.run(&["restore", "--to", &target, "--into", &into("not_without_a_key"), "--yes"]);
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let offline = Elsewhere::knowing(&format!("file = \"{}\"", vault.path().join("recovery").display()), &store);
    offline.must(&["restore", "--to", &target, "--into", &into("without_kms"), "--yes"]);
    assert_eq!(site.server.psql("without_kms", SUMS), before);
    assert_eq!(offline.json(&["verify"])["outcome"], "sound");
    assert_eq!(offline.names(), ["holdfast.toml"]);
}
