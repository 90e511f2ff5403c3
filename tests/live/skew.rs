//! Row S13 with the program itself: its machine's clock is minutes or days off, and the server refuses what it signs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bucket::{WHO, store};
use crate::program::{Holdfast, Output};
use crate::s3::{ACCESS, SECRET, servers};
use crate::site::Site;

/// What S3 allows is a quarter of an hour.
const SKEWS: [&str; 4] = ["1200", "-1200", "172800", "-172800"];

/// A client of somebody else's that asks once and corrects nothing: what the server says to such a clock.
const ASK_ONCE: &str = "
import sys, boto3
from botocore.config import Config
config = Config(retries={'total_max_attempts': 1}, s3={'addressing_style': 'path'})
s3 = boto3.client('s3', endpoint_url=sys.argv[1], aws_access_key_id=sys.argv[2], aws_secret_access_key=sys.argv[3],
                  region_name='us-east-1', config=config)
try:
    print(s3.list_objects_v2(Bucket=sys.argv[4])['KeyCount'])
except Exception as error:
    print(error)
";

fn shim(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/skew.c");
    let made = folder.join("skew.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&made).arg(source).arg("-ldl");
    let ran = cc.output().expect("this test compiles with cc, as the cryptographic library does");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_live_a_daemon_whose_clock_is_minutes_or_days_off_captures_into_a_bucket_that_checks_signatures() {
    let server = servers::seaweed().await;
    let bucket = server.bucket().await;
    let site =
        Site::storing(&store(&server.endpoint, &bucket, ""), &WHO, "heartbeat = \"1s\"", "segment_age = \"100ms\"");
    let insert = |id: usize| site.server.psql("postgres", &format!("insert into public.load values ({id}, 'x')"));
    site.must(&["run", "--until-caught-up"]);
    site.must(&["backup"]);
    let folder = tempfile::tempdir().unwrap();
    let shim = shim(folder.path()).to_str().unwrap().to_owned().leak();
    for (id, skew) in (1..).zip(SKEWS) {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".servers/s3/bin/python");
        let mut asked = Command::new(python);
        asked.args(["-c", ASK_ONCE, &server.endpoint, ACCESS, SECRET, &bucket]);
        let asked = asked.env("LD_PRELOAD", &*shim).env("SKEW_SECONDS", skew).output().unwrap();
        let told = String::from_utf8_lossy(&asked.stdout);
        assert!(told.contains("RequestTimeTooSkewed"), "the server does not look at the time: {asked:?}");

        let variables = [&WHO[..], &[("LD_PRELOAD", &*shim), ("SKEW_SECONDS", skew)]].concat();
        let skewed = Holdfast::new(site.path("holdfast.toml")).with(&variables);
        insert(id);
        let done = |args: &[&str]| -> Output {
            let ran = skewed.run(args);
            assert_eq!(ran.code, Some(0), "{skew} s off, {args:?}: {ran:#?}");
            ran
        };
        done(&["run", "--until-caught-up"]);
        let checked = done(&["check"]);
        assert!(checked.stdout.contains("put if absent"), "{checked:#?}");
        done(&["verify"]);
    }
    // What was sealed by four clocks is one history.
    site.must(&["verify"]);
    assert_eq!(site.json(&["list"])["sources"][0]["gaps"].as_array().unwrap().len(), 0);
    site.server.psql("postgres", "create database after_skews");
    let into = format!("main={}", site.server.url("after_skews"));
    site.must(&["restore", "--to", "latest", "--into", &into, "--yes"]);
    assert_eq!(site.server.psql("after_skews", "select count(*), sum(id) from public.load"), "4|10");
}
