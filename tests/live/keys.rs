//! A whole platform with its key in KMS: captured by a writer that may not decrypt, restored when KMS is gone.

use std::process::Stdio;

use crate::kms_double::Double;
use crate::program::{Output, output};
use crate::site::Site;

const CREDENTIALS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "AKIATEST"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_EC2_METADATA_DISABLED", "true")];

fn run(site: &Site, args: &[&str]) -> Output {
    let mut command = site.holdfast.command(args);
    output(command.envs(CREDENTIALS).stdin(Stdio::null()).output().unwrap())
}

fn must(site: &Site, args: &[&str]) -> Output {
    let ran = run(site, args);
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    ran
}

/// `[key]` in a key service on a server here.
pub(crate) fn kms(endpoint: &str, key: &str) -> String {
    format!("kms = {{ key_id = \"{key}\", region = \"eu-central-1\", endpoint = \"{endpoint}\" }}")
}

/// Puts `key` in the place of what the section says.
fn with_key(site: &Site, key: &str) {
    let path = site.path("holdfast.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("[key]\n").unwrap();
    let (_, after) = rest.split_once("[[store]]").unwrap();
    std::fs::write(path, format!("{before}[key]\n{key}\n[[store]]{after}")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn l7_what_a_writer_captured_that_may_not_decrypt_is_restored_with_the_recovery_key_when_kms_is_gone() {
    let (site, double) = (Site::new("", ""), Double::start().await);
    let recovery = site.path("recovery");
    let made = must(&site, &["--json", "keys", "new", "--recovery", recovery.to_str().unwrap()]);
    let made: serde_json::Value = serde_json::from_str(&made.stdout).unwrap();
    let kms = kms(&double.endpoint, "alias/holdfast");
    with_key(&site, &format!("{kms}\nrecovery = {}", made["recovery"]));
    must(&site, &["init"]);
    double.deny("Decrypt");
    site.server.psql("postgres", "insert into load select i, 'before the base' from generate_series(1, 100) i");
    must(&site, &["run", "--until-caught-up"]);
    must(&site, &["backup"]);
    site.server.psql("postgres", "insert into load select i, 'behind the base' from generate_series(101, 200) i");
    must(&site, &["run", "--until-caught-up"]);
    site.server.psql("postgres", "update load set pad = 'changed' where id > 150");
    let ran = must(&site, &["run", "--until-caught-up"]);
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert!(!told.contains("is not compared"), "the state folder knows the server: {told}");

    double.destroy(&double.key());
    with_key(&site, &format!("file = \"{}\"", recovery.display()));
    must(&site, &["verify"]);
    must(&site, &["list"]);
    must(&site, &["catalog", "rebuild"]);
    site.server.psql("postgres", "create database restored");
    let into = format!("main={}", site.server.url("restored"));
    must(&site, &["restore", "--to", "latest", "--into", &into, "--yes"]);
    let rows = "select count(*), sum(id), md5(string_agg(pad, ',' order by id)) from load";
    assert_eq!(site.server.psql("restored", rows), site.server.psql("postgres", rows));
}
