//! The main road with the store in a bucket of a real server, and what is said when the bucket cannot be used.

use std::fs;

use crate::program::{Holdfast, Output};
use crate::s3::{ACCESS, SECRET, servers};
use crate::site::Site;

/// Variables that say who asks.
type Who = &'static [(&'static str, &'static str)];

pub(crate) const WHO: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", ACCESS), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_EC2_METADATA_DISABLED", "true")];

const WRONG: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", ACCESS), ("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_EC2_METADATA_DISABLED", "true")];
const NOBODY: [(&str, &str); 2] = [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_PROFILE", "default")];

/// `[[store]]` in a bucket on a server here.
pub(crate) fn store(endpoint: &str, bucket: &str, more: &str) -> String {
    format!("s3 = {{ bucket = \"{bucket}\", prefix = \"site/a\", endpoint = \"{endpoint}\", path_style = true{more} }}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_road_on_a_bucket_and_back_from_another_directory_with_nothing_but_bucket_and_key() {
    let server = servers::seaweed().await;
    let bucket = server.bucket().await;
    let store = store(&server.endpoint, &bucket, "");
    let site = Site::storing(&store, &WHO, "heartbeat = \"1s\"", "segment_age = \"100ms\"");
    let psql = |sql: &str| site.server.psql("postgres", sql);
    psql("insert into public.load select i, 'before' from generate_series(1, 1000) i");
    let mut daemon = site.daemon(&[]);
    daemon.wait_until("it captures", || site.status_of("phase") == Some("capturing".into()));
    site.must(&["backup"]);
    psql("update public.load set pad = 'after' where id % 3 = 0");
    psql("delete from public.load where id > 990");
    site.caught_up(&mut daemon);
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.ends_within(crate::running::PATIENCE).success(), "{}", daemon.logged());
    let checked = site.holdfast.run(&["check"]);
    assert!(checked.stdout.contains("versions and lock") && checked.stdout.contains("put if absent"), "{checked:?}");
    site.must(&["verify"]);

    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(site.path("key"), elsewhere.path().join("key")).unwrap();
    fs::write(elsewhere.path().join("holdfast.toml"), format!("[key]\nfile = \"key\"\n[[store]]\n{store}\n")).unwrap();
    let there = Holdfast::new(elsewhere.path().join("holdfast.toml")).with(&WHO);
    let into = format!("main={}", site.server.url("restored"));
    let ran = there.run(&["restore", "--to", "latest", "--into", &into, "--yes"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let rows =
        "select count(*), count(*) filter (where pad = 'after'), md5(string_agg(id || pad, ',' order by id)) from load";
    let expected = site.server.psql("postgres", rows);
    assert!(expected.starts_with("990|330|"), "{expected}");
    assert_eq!(site.server.psql("restored", rows), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn l11_a_bucket_that_cannot_be_used_ends_in_6_and_says_what_to_do() {
    let server = servers::seaweed().await;
    let bucket = server.bucket().await;
    let folder = tempfile::tempdir().unwrap();
    let list = |store: &str, variables: Who| -> Output {
        let config = folder.path().join("holdfast.toml");
        fs::write(&config, format!("[key]\nfile = \"key\"\n[[store]]\n{store}\n")).unwrap();
        let holdfast = Holdfast::new(config).with(variables);
        if !folder.path().join("key").exists() {
            assert_eq!(holdfast.run(&["keys", "new"]).code, Some(0));
        }
        holdfast.run(&["list"])
    };
    #[rustfmt::skip]
    let cases: [(String, Who, &str); 4] = [
        // store                                            who      told
        (store(&server.endpoint, "no-such-bucket", ""),     &WHO,    "there is no such bucket; make it"),
        (store(&server.endpoint, &bucket, ""),              &WRONG,  "no credentials that the store knows"),
        (store(&server.endpoint, &bucket, ""),              &NOBODY, "no credentials that the store knows"),
        (format!("s3 = {{ bucket = \"{bucket}\" }}"),       &WHO,    "set region in [[store]] s3"),
    ];
    for (store, who, told) in cases {
        let ran = list(&store, who);
        assert_eq!(ran.code, Some(6), "{told}: {ran:?}");
        assert!(ran.stderr.contains(told), "{told}: {ran:?}");
        assert!(!ran.stderr.contains(SECRET), "a secret was told: {ran:?}");
    }
    assert_eq!(list(&store(&server.endpoint, &bucket, ""), &WHO).code, Some(0), "and with all of it right it works");
}
