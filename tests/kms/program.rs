//! The program itself with a key in KMS: it does not start without one, and all opens with the recovery key alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use bytes::Bytes;
use holdfast::clock::ManualClock;
use holdfast::codec::segment::{Header, ObjectKind};
use holdfast::crypto::Keyring;
use holdfast::crypto::recovery::RecoveryKey;
use holdfast::log::LogEnv;
use holdfast::log::object::{Seal, draft};
use holdfast::model::{BaseId, Commit, Epoch, Kind, Position, Record, Role, Timestamp};
use holdfast::store::{FolderStore, layout};
use serde_json::Value;
use tempfile::TempDir;

use crate::client;
use crate::double::{Double, Fault, KeyIs};
use crate::faults::{env, writer};

/// A folder with a configuration, a store and a recovery key.
struct Site {
    folder: TempDir,
    double: Double,
    recovery: RecoveryKey,
}

impl Site {
    async fn new() -> Self {
        let (folder, double) = (TempDir::new().unwrap(), Double::start().await);
        let site = Self {
            folder,
            double,
            recovery: "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa".parse().unwrap(),
        };
        site.configure("");
        let path = site.path("recovery");
        let made = site.run(&["--json", "keys", "new", "--recovery", path.to_str().unwrap()]);
        assert!(made.status.success(), "{made:?}");
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let recovery: RecoveryKey = made["recovery"].as_str().unwrap().parse().unwrap();
        site.configure(&format!("recovery = \"{recovery}\""));
        FolderStore::create(&site.path("store")).await.unwrap();
        Self { recovery, ..site }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn kms(&self, key: &str, old: &str) -> String {
        let endpoint = &self.double.endpoint;
        format!(
            "kms = {{ key_id = \"{key}\", region = \"eu-central-1\", endpoint = \"{endpoint}\", old = \"{old}\" }}\n"
        )
    }

    fn configure(&self, more: &str) {
        self.write_key_section(&format!("{}{more}", self.kms("alias/holdfast", "")));
    }

    fn write_key_section(&self, key: &str) {
        let text = format!(
            "[service]\nstate_dir = \"state\"\n[key]\n{key}\n[[store]]\nfolder = \"store\"\n\
             [[source]]\nname = \"main\"\npostgres = \"postgres://nobody@127.0.0.1:1/none\"\n"
        );
        std::fs::write(self.path("holdfast.toml"), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(["-c", self.path("holdfast.toml").to_str().unwrap()])
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .output()
            .unwrap()
    }

    async fn env(&self) -> LogEnv {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let system = Arc::new(holdfast::clock::SystemClock::new());
        let store = Arc::new(FolderStore::open(&self.path("store"), system).await.unwrap());
        let ring = Keyring::default()
            .with_service(client(&self.double.endpoint, "alias/holdfast").await)
            .with_recovery(Some(self.recovery));
        LogEnv { keys: Arc::new(ring), ..env(&self.double, store, clock).await }
    }

    /// A log of a fence and three segments, wrapped for KMS and for the recovery key.
    async fn with_a_log() -> Self {
        let site = Self::new().await;
        let env = site.env().await;
        let mut writer = writer(&env).await.unwrap();
        for number in 1..=3 {
            let time = Timestamp::from_micros(1_700_000_000_000_000);
            let role = Role::Commits(Commit { position: Position::new(number * 10), time });
            writer.append(&Record { role, ..Record::own(Kind::Heartbeat, Bytes::new()) }).unwrap();
            writer.flush().await.unwrap();
        }
        site
    }
}

fn ends(output: &Output, code: i32, why: &str) -> String {
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{why}: {told}");
    told
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn m3_l8_a_daemon_that_starts_while_kms_is_out_does_not_and_leaves_the_log_as_it_was() {
    let site = Site::with_a_log().await;
    let before = files(&site.path("store"));
    site.double.fail(Some(Fault::Internal));
    let told = ends(&site.run(&["run"]), 6, "no daemon without a key");
    assert!(told.contains("no data key can be had") && told.contains("does not answer"), "{told}");
    assert!(site.double.fired() > 0, "the fault never struck");
    assert_eq!(files(&site.path("store")), before, "no fence, no epoch");
    ends(&site.run(&["verify"]), 7, "and what cannot be opened is not called sound or damaged");
    site.double.fail(None);
    ends(&site.run(&["verify"]), 0, "once KMS is back all is well");
}

#[tokio::test(flavor = "multi_thread")]
async fn l6_no_data_key_is_in_the_store_the_state_folder_or_what_the_program_says() {
    let site = Site::with_a_log().await;
    let mut said = Vec::new();
    for verb in [&["verify", "-vv"][..], &["keys", "list"], &["list"], &["catalog", "rebuild"], &["status"]] {
        let output = site.run(verb);
        said.extend([output.stdout, output.stderr].concat());
    }
    for file in files(site.folder.path()) {
        said.extend(std::fs::read(file).unwrap());
    }
    assert!(!site.double.plain_keys().is_empty());
    for key in site.double.plain_keys() {
        let shown = [key.clone(), hex::encode(&key).into_bytes(), aws_smithy_types::base64::encode(&key).into_bytes()];
        assert!(shown.iter().all(|shown| memchr::memmem::find(&said, shown).is_none()), "a data key was told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l7_with_kms_gone_the_recovery_key_alone_opens_everything() {
    let site = Site::with_a_log().await;
    site.double.destroy(&site.double.key());
    let told = ends(&site.run(&["verify"]), 7, "what cannot be unwrapped any more does not open");
    assert!(told.contains("kms") || told.contains("wrapped"), "{told}");
    site.write_key_section("file = \"recovery\"");
    ends(&site.run(&["verify"]), 0, "every byte");
    ends(&site.run(&["list"]), 0, "list");
    ends(&site.run(&["catalog", "rebuild"]), 0, "catalog rebuild");
    let told = ends(&site.run(&["run"]), 6, "and it only opens");
    assert!(told.contains("only open"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rewrap_the_new_kms_key_alone_opens_and_no_segment_was_written_again() {
    let site = Site::with_a_log().await;
    let (old, new) = (site.double.key(), site.double.make_key());
    let before = std::fs::read(site.path("store/log/main/0000000000000002.seg")).unwrap();
    site.write_key_section(&site.kms(&new, ""));
    ends(&site.run(&["verify"]), 7, "the new key did not seal this");
    site.write_key_section(&site.kms(&new, &old));
    let told = ends(&site.run(&["keys", "rewrap"]), 0, "both at hand");
    assert!(told.contains("1 data keys were wrapped again"), "{told}");
    site.double.destroy(&old);
    site.write_key_section(&site.kms(&new, ""));
    ends(&site.run(&["verify"]), 0, "the new one alone");
    let told = ends(&site.run(&["keys", "list"]), 0, "keys list");
    assert!(told.contains(&old) && told.contains("recovery"), "for whom the headers are: {told}");
    assert_eq!(std::fs::read(site.path("store/log/main/0000000000000002.seg")).unwrap(), before);
}

/// What `check` finds under this name.
fn found(site: &Site, name: &str) -> Value {
    let output = site.run(&["--json", "check"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = told["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["name"] == name).unwrap_or_else(|| panic!("{told}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn l11_check_says_how_the_key_is_and_warns_a_role_that_may_not_ask() {
    let site = Site::with_a_log().await;
    let is = |verdict: &str, told: &str| {
        let found = found(&site, "key service");
        assert_eq!(found["verdict"], verdict, "{found}");
        assert!(found.to_string().contains(told), "{found}");
    };
    is("ok", "can be used");
    site.double.set(&site.double.key(), KeyIs::PendingDeletion);
    is("failed", "going to be deleted");
    site.double.set(&site.double.key(), KeyIs::Enabled);
    site.double.deny("DescribeKey");
    is("warning", "grant kms:DescribeKey");
}

/// The role that is recommended for the daemon may seal and not open: a base in the store is no failure to it.
#[tokio::test(flavor = "multi_thread")]
async fn check_under_the_writers_role_tells_of_a_base_that_it_cannot_open_and_fails_over_nothing() {
    let site = Site::with_a_log().await;
    let env = site.env().await;
    let (source, base) = ("main".parse().unwrap(), BaseId::from_bytes([7; 16]));
    let mut seal = Seal::begin(&env, *base.as_bytes(), Epoch::new(0)).await.unwrap();
    let taken = Timestamp::from_micros(1_700_000_000_000_000);
    let header = Header { to_time: taken, ..draft(ObjectKind::Manifest) };
    let sealed = seal.seal(&header, &[], |_| Vec::new()).unwrap();
    env.store.put_new(&layout::manifest(&source, base), sealed).await.unwrap();
    site.double.deny("Decrypt");
    let base = found(&site, "base");
    assert_eq!(base["verdict"], "warning", "{base}");
    assert!(base["what"].as_str().unwrap().contains(&taken.to_string()), "{base}");
    assert_eq!(found(&site, "log")["verdict"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn l11_keys_list_says_to_a_machine_too_that_the_store_was_not_asked() {
    let site = Site::with_a_log().await;
    let list = || {
        let output = site.run(&["--json", "keys", "list"]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let asked = list();
    assert_eq!((asked["sealed"].as_array().unwrap().len(), &asked["store_not_asked"]), (1, &Value::Null), "{asked}");
    std::fs::remove_dir_all(site.path("store")).unwrap();
    let told = list();
    assert!(told["sealed"].is_null() && told["store_not_asked"].as_str().unwrap().contains("no store"), "{told}");
}
