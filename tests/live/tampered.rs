//! What the program says where somebody with too many rights deleted objects of a versioned bucket and put others there.

use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;

use crate::bucket::{WHO, store};
use crate::s3::servers;
use crate::site::Site;

/// Somebody who may do everything in the bucket.
struct Intruder {
    s3: aws_sdk_s3::Client,
    bucket: String,
}

impl Intruder {
    async fn delete(&self, name: &str) {
        self.s3.delete_object().bucket(&self.bucket).key(format!("site/a/{name}")).send().await.unwrap();
    }

    async fn replace(&self, name: &str, with: &[u8]) {
        self.delete(name).await;
        let put = self.s3.put_object().bucket(&self.bucket).key(format!("site/a/{name}"));
        put.body(ByteStream::from(with.to_vec())).send().await.unwrap();
    }

    async fn first(&self, prefix: &str) -> String {
        let listed = self.s3.list_objects_v2().bucket(&self.bucket).prefix(format!("site/a/{prefix}"));
        let listed = listed.send().await.unwrap();
        listed.contents()[0].key().unwrap().strip_prefix("site/a/").unwrap().to_owned()
    }
}

/// Object and verdict of each finding in a report.
fn found(report: &Value) -> Vec<(String, String)> {
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap_or_else(|| panic!("no findings: {report}"));
    findings.iter().map(|finding| (text(finding, "object"), text(finding, "verdict"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_l4_verify_and_rebuild_name_what_was_hidden_or_replaced_and_read_what_was_put_first() {
    let server = servers::seaweed().await;
    let bucket = server.bucket().await;
    server.keep_versions(&bucket).await;
    let site =
        Site::storing(&store(&server.endpoint, &bucket, ""), &WHO, "heartbeat = \"1s\"", "segment_age = \"100ms\"");
    for round in 0..4 {
        site.server
            .psql("postgres", &format!("insert into load select {round} * 100 + i, 'x' from generate_series(1, 50) i"));
        site.must(&["run", "--until-caught-up"]);
    }
    site.must(&["backup"]);
    site.must(&["keys", "rotate", "--file"]);
    site.must(&["keys", "rewrap"]);
    let sound = site.json(&["verify"]);
    assert_eq!(sound["outcome"], "sound");
    assert!(sound["keys"]["objects_checked"].as_u64().unwrap() > 0, "{sound}");
    let entries = site.json(&["catalog", "rebuild"])["entries"].clone();

    let intruder = Intruder { s3: server.plain(), bucket };
    let (hidden, replaced) = ("log/main/0000000000000003.seg", "log/main/0000000000000004.seg");
    let (part, wrap) = (intruder.first("base/main/").await, intruder.first("keys/").await);
    intruder.delete(hidden).await;
    intruder.replace(replaced, b"something else").await;
    intruder.replace(&part, b"something else").await;
    intruder.replace(&wrap, b"something else").await;

    let ran = site.holdfast.run(&["--json", "verify"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let damaged = |name: &str| (name.to_owned(), "damaged".to_owned());
    let log = vec![(hidden.to_owned(), "missing".to_owned()), damaged(replaced)];
    assert_eq!(found(&told["sources"][0]["log"]), log, "{told:#}");
    assert_eq!(found(&told["sources"][0]["bases"][0]["report"]), [damaged(&part)], "{told:#}");
    assert_eq!(found(&told["keys"]), [damaged(&wrap)], "{told:#}");
    let ran = site.holdfast.run(&["--json", "catalog", "rebuild"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&told["entries"], found(&told)), (&entries, log), "the same entries, and the alarm");
    let ran = site.holdfast.run(&["verify"]);
    assert!(ran.stdout.contains(hidden) && ran.stdout.contains("a delete marker hides it; version "), "{ran:?}");
}
