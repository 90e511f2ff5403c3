//! The roles' policies, enforced by a server: each role tries every call, and does what it may and nothing else.
//!
//! moto enforces a user's policies by action and, for S3, by resource. It knows no conditions and no key of KMS by name, and
//! reads neither the bucket's policy nor the key's: so the key's name is a star here, what people may do without a
//! second factor is left out, and `ops/s3.md` says which promises stay untested.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fmt::Debug;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation, SharedCredentialsProvider};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, CreateBucketConfiguration, VersioningConfiguration};
use bytes::Bytes;
use holdfast::clock::{Clock, SystemClock};
use holdfast::crypto::Sealed;
use holdfast::model::{BaseId, ObjectKey, Slot};
use holdfast::store::mirror::{Deposed, Duty, MirrorPlace, MirrorRule, PassError};
use holdfast::store::order::{self, Claim};
use holdfast::store::s3::{Identity, S3Patience, S3Place, S3Settings, Style};
use holdfast::store::{Keys, Mirror, S3Store, Store, layout};
use serde_json::Value;

use crate::moto::Moto;

#[path = "kms/moto.rs"]
mod moto;

const BUCKET: &str = "vault";
const REGION: &str = "eu-central-1";

/// The bucket of a mirror.
const SECOND: &str = "second";

/// Everybody, in the order of the columns below; last what the writer may in the bucket of a mirror.
const ROLES: [&str; 7] = ["writer", "retention", "operator", "verifier", "restore", "auditor", "mirror"];

/// One call, of whoever makes it.
#[derive(Clone, Copy, Debug)]
enum Call {
    Put(&'static str),
    Get(&'static str),
    GetVersion(&'static str),
    Delete(&'static str),
    Erase(&'static str),
    List,
    ListVersions,
    GetVersioning,
    GetPolicy,
    SwitchVersionsOff,
    PutPolicy,
    DeletePolicy,
    DeleteBucket,
    GenerateDataKey,
    Decrypt,
    Encrypt,
    ReEncrypt,
    DescribeKey,
    GetKeyPolicy,
    PutKeyPolicy,
    DisableKey,
    ScheduleKeyDeletion,
    CreateGrant,
}

/// A server that asks nobody who he is, until it is told to.
struct World {
    moto: Moto,
    key: String,
    wrapped: Vec<u8>,
}

/// Whoever asks.
struct Somebody {
    s3: aws_sdk_s3::Client,
    kms: aws_sdk_kms::Client,
}

/// A POST over a connection of its own: its body, if it was answered with 200.
fn post(endpoint: &str, path: &str, kind: &str, body: &str) -> String {
    let host = endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let scope =
        format!("AWS4-HMAC-SHA256 Credential=x/20260101/{REGION}/iam/aws4_request, SignedHeaders=host, Signature=0");
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {scope}\r\nConnection: close\r\n\
         Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{body}: {answer}");
    answer
}

fn between<'a>(text: &'a str, tag: &str) -> &'a str {
    text.split(&format!("<{tag}>")).nth(1).unwrap().split('<').next().unwrap()
}

/// A role's policy for a bucket here. What moto cannot know is left out, and said above.
fn policy(role: &str, bucket: &str) -> String {
    let text = fs::read_to_string(format!("ops/iam/{role}.json")).unwrap();
    let text = text.replace("arn:aws:kms:REGION:ACCOUNT:key/KEY_ID", "*");
    let text = text.replace("BUCKET", bucket).replace("PREFIX", "site");
    let mut policy: Value = serde_json::from_str(&text).unwrap();
    let statements = policy["Statement"].as_array_mut().unwrap();
    statements.retain(|statement| statement["Sid"] != "NothingWithoutASecondFactor");
    policy.to_string()
}

impl World {
    async fn new() -> Self {
        let moto = Moto::start().await;
        let admin = moto.admin().await;
        let key = moto.make_key().await;
        let made = admin.generate_data_key().key_id(&key).key_spec(DataKeySpec::Aes256).send().await.unwrap();
        let wrapped = made.ciphertext_blob.unwrap().into_inner();
        let world = Self { moto, key, wrapped };
        let here = CreateBucketConfiguration::builder().location_constraint(REGION.into()).build();
        let admin = world.somebody("AKIAADMIN", "secret").s3;
        for bucket in [BUCKET, SECOND] {
            let creating = admin.create_bucket().bucket(bucket).create_bucket_configuration(here.clone());
            creating.send().await.unwrap();
            let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            admin.put_bucket_versioning().bucket(bucket).versioning_configuration(on).send().await.unwrap();
        }
        world
    }

    fn somebody(&self, access: &str, secret: &str) -> Somebody {
        let s3 = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(&self.moto.endpoint)
            .force_path_style(true)
            .region(Region::new(REGION))
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .credentials_provider(Credentials::new(access, secret, None, None, "test"))
            .build();
        let kms = aws_sdk_kms::Config::builder()
            .behavior_version(aws_sdk_kms::config::BehaviorVersion::latest())
            .endpoint_url(&self.moto.endpoint)
            .region(aws_sdk_kms::config::Region::new(REGION))
            .credentials_provider(aws_sdk_kms::config::Credentials::new(access, secret, None, None, "test"))
            .build();
        Somebody { s3: aws_sdk_s3::Client::from_conf(s3), kms: aws_sdk_kms::Client::from_conf(kms) }
    }

    /// A user with a role's policy for the bucket.
    fn hire(&self, role: &str) -> Somebody {
        let (access, secret) = self.hire_for(role, &[(role, BUCKET)]);
        self.somebody(&access, &secret)
    }

    /// A user with several policies, each for its bucket: the access key.
    fn hire_for(&self, user: &str, policies: &[(&str, &str)]) -> (String, String) {
        let iam = |action: &str, more: &[(&str, &str)]| {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("Action", action).append_pair("Version", "2010-05-08").append_pair("UserName", user);
            form.extend_pairs(more);
            post(&self.moto.endpoint, "/", "application/x-www-form-urlencoded", &form.finish())
        };
        iam("CreateUser", &[]);
        for (role, bucket) in policies {
            let name = format!("{role}-{bucket}");
            iam("PutUserPolicy", &[("PolicyName", &name), ("PolicyDocument", &policy(role, bucket))]);
        }
        let made = iam("CreateAccessKey", &[]);
        (between(&made, "AccessKeyId").to_owned(), between(&made, "SecretAccessKey").to_owned())
    }

    /// A bucket as somebody's own store.
    async fn store(&self, bucket: &str, (access, secret): &(String, String)) -> Arc<dyn Store> {
        let place = S3Place {
            bucket: bucket.to_owned(),
            prefix: "site/".to_owned(),
            region: Some(REGION.to_owned()),
            endpoint: Some(self.moto.endpoint.clone()),
            style: Style::Path,
        };
        let credentials = Credentials::new(access, secret, None, None, "test");
        let identity = Identity::Given(SharedCredentialsProvider::new(credentials));
        let settings = S3Settings { place, identity, patience: S3Patience::default() };
        Arc::new(S3Store::open(settings, Arc::new(SystemClock::new())).await.unwrap())
    }

    /// From now on everybody may what his policies say.
    fn enforce(&self) {
        post(&self.moto.endpoint, "/moto-api/reset-auth", "text/plain", "0");
    }

    /// Whether somebody may; whatever else the server has to say about the call.
    async fn may(&self, who: &Somebody, call: Call) -> bool {
        let (s3, kms) = (&who.s3, &who.kms);
        let (key, blob) = (&self.key, Blob::new(self.wrapped.clone()));
        match call {
            Call::Put(name) => {
                let put = s3.put_object().bucket(BUCKET).key(name).body(ByteStream::from_static(b"x"));
                allowed(put.if_none_match("*").send().await)
            }
            Call::Get(name) => allowed(s3.get_object().bucket(BUCKET).key(name).send().await),
            Call::GetVersion(name) => allowed(s3.get_object().bucket(BUCKET).key(name).version_id("x").send().await),
            Call::Delete(name) => allowed(s3.delete_object().bucket(BUCKET).key(name).send().await),
            Call::Erase(name) => allowed(s3.delete_object().bucket(BUCKET).key(name).version_id("x").send().await),
            Call::List => allowed(s3.list_objects_v2().bucket(BUCKET).prefix("site/").send().await),
            Call::ListVersions => allowed(s3.list_object_versions().bucket(BUCKET).prefix("site/").send().await),
            Call::GetVersioning => allowed(s3.get_bucket_versioning().bucket(BUCKET).send().await),
            Call::GetPolicy => allowed(s3.get_bucket_policy().bucket(BUCKET).send().await),
            Call::SwitchVersionsOff => {
                let off = VersioningConfiguration::builder().status(BucketVersioningStatus::Suspended).build();
                allowed(s3.put_bucket_versioning().bucket(BUCKET).versioning_configuration(off).send().await)
            }
            Call::PutPolicy => allowed(s3.put_bucket_policy().bucket(BUCKET).policy("{}").send().await),
            Call::DeletePolicy => allowed(s3.delete_bucket_policy().bucket(BUCKET).send().await),
            Call::DeleteBucket => allowed(s3.delete_bucket().bucket(BUCKET).send().await),
            Call::GenerateDataKey => {
                allowed(kms.generate_data_key().key_id(key).key_spec(DataKeySpec::Aes256).send().await)
            }
            Call::Decrypt => allowed(kms.decrypt().ciphertext_blob(blob).send().await),
            Call::Encrypt => allowed(kms.encrypt().key_id(key).plaintext(Blob::new(*b"x")).send().await),
            Call::ReEncrypt => allowed(kms.re_encrypt().ciphertext_blob(blob).destination_key_id(key).send().await),
            Call::DescribeKey => allowed(kms.describe_key().key_id(key).send().await),
            Call::GetKeyPolicy => allowed(kms.get_key_policy().key_id(key).policy_name("default").send().await),
            Call::PutKeyPolicy => allowed(kms.put_key_policy().key_id(key).policy("{}").send().await),
            Call::DisableKey => allowed(kms.disable_key().key_id(key).send().await),
            Call::ScheduleKeyDeletion => allowed(kms.schedule_key_deletion().key_id(key).send().await),
            Call::CreateGrant => {
                let grant = kms.create_grant().key_id(key).grantee_principal("arn:aws:iam::123456789012:user/x");
                allowed(grant.operations(aws_sdk_kms::types::GrantOperation::Decrypt).send().await)
            }
        }
    }
}

/// Whether the answer is anything but that it is not allowed, which moto says in its own way for some services. Who is not
/// known, or signs wrongly, has not been judged.
fn allowed<T, E: Debug>(answer: Result<T, SdkError<E, HttpResponse>>) -> bool {
    let Err(error) = answer else { return true };
    let raw = error.raw_response().unwrap_or_else(|| panic!("it was not answered: {error:?}"));
    let said = String::from_utf8_lossy(raw.body().bytes().unwrap_or_default());
    let denied = said.contains("AccessDenied");
    assert!(denied || raw.status().as_u16() != 403, "it was not judged: {error:?}");
    !denied
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_what_its_policy_allows_and_nothing_else_on_a_server_that_enforces_it() {
    let world = World::new().await;
    let people: Vec<_> = ROLES.iter().map(|role| world.hire(role)).collect();
    world.enforce();
    #[rustfmt::skip]
    let cases: [(Call, [u8; 7]); 44] = [
        // call                              writer retention operator verifier restore auditor mirror
        (Call::Put("site/log/x"),                   [1, 0, 0, 0, 0, 0, 1]),
        (Call::Put("site/checkpoint/x"),            [1, 0, 0, 0, 0, 0, 1]),
        (Call::Put("site/boundary/x"),              [0, 1, 0, 0, 0, 0, 1]),
        (Call::Put("site/hold/x"),                  [0, 0, 1, 0, 0, 0, 1]),
        (Call::Put("site/base/x"),                  [1, 0, 0, 0, 0, 0, 1]),
        (Call::Put("site/keys/x"),                  [0, 0, 1, 0, 0, 0, 1]),
        (Call::Put("site/first/x"),                 [0, 0, 1, 0, 0, 0, 1]),
        (Call::Put("site/probe/x"),                 [1, 0, 0, 0, 0, 0, 1]),
        (Call::Put("elsewhere/log/x"),              [0, 0, 0, 0, 0, 0, 0]),
        (Call::Get("site/log/x"),                   [1, 1, 1, 1, 1, 0, 1]),
        (Call::Get("site/keys/x"),                  [1, 1, 1, 1, 1, 0, 1]),
        (Call::Get("elsewhere/log/x"),              [0, 0, 0, 0, 0, 0, 0]),
        (Call::GetVersion("site/log/x"),            [1, 1, 0, 1, 1, 0, 1]),
        (Call::List,                                [1, 1, 1, 1, 1, 1, 1]),
        (Call::ListVersions,                        [1, 1, 0, 1, 1, 1, 1]),
        (Call::Delete("site/log/x"),                [0, 1, 0, 0, 0, 0, 0]),
        (Call::Delete("site/checkpoint/x"),         [0, 1, 0, 0, 0, 0, 0]),
        (Call::Delete("site/boundary/x"),           [0, 1, 0, 0, 0, 0, 0]),
        (Call::Delete("site/hold/x"),               [0, 0, 1, 0, 0, 0, 0]),
        (Call::Delete("site/base/x"),               [0, 1, 0, 0, 0, 0, 0]),
        (Call::Delete("site/keys/x"),               [0, 0, 0, 0, 0, 0, 0]),
        (Call::Delete("site/first/x"),              [0, 0, 0, 0, 0, 0, 0]),
        (Call::Delete("site/probe/x"),              [0, 0, 0, 0, 0, 0, 0]),
        (Call::Erase("site/log/x"),                 [0, 1, 0, 0, 0, 0, 0]),
        (Call::Erase("site/base/x"),                [0, 1, 0, 0, 0, 0, 0]),
        (Call::Erase("site/hold/x"),                [0, 0, 0, 0, 0, 0, 0]),
        (Call::Erase("site/keys/x"),                [0, 0, 0, 0, 0, 0, 0]),
        (Call::GetVersioning,                       [1, 1, 0, 0, 0, 1, 1]),
        (Call::GetPolicy,                           [0, 0, 0, 0, 0, 1, 0]),
        (Call::SwitchVersionsOff,                   [0, 0, 0, 0, 0, 0, 0]),
        (Call::PutPolicy,                           [0, 0, 0, 0, 0, 0, 0]),
        (Call::DeletePolicy,                        [0, 0, 0, 0, 0, 0, 0]),
        (Call::DeleteBucket,                        [0, 0, 0, 0, 0, 0, 0]),
        (Call::GenerateDataKey,                     [1, 1, 1, 0, 0, 0, 0]),
        (Call::Decrypt,                             [0, 1, 1, 1, 1, 0, 0]),
        (Call::Encrypt,                             [0, 0, 1, 0, 0, 0, 0]),
        (Call::ReEncrypt,                           [0, 0, 0, 0, 0, 0, 0]),
        (Call::DescribeKey,                         [1, 0, 0, 0, 0, 1, 0]),
        (Call::GetKeyPolicy,                        [0, 0, 0, 0, 0, 1, 0]),
        (Call::PutKeyPolicy,                        [0, 0, 0, 0, 0, 0, 0]),
        (Call::DisableKey,                          [0, 0, 0, 0, 0, 0, 0]),
        (Call::ScheduleKeyDeletion,                 [0, 0, 0, 0, 0, 0, 0]),
        (Call::CreateGrant,                         [0, 0, 0, 0, 0, 0, 0]),
        (Call::Get("site/hold/x"),                  [1, 1, 1, 1, 1, 0, 1]),
    ];
    let mut wrong = Vec::new();
    for (call, expected) in cases {
        for ((role, who), expected) in ROLES.iter().zip(&people).zip(expected) {
            let may = world.may(who, call).await;
            if may != (expected == 1) {
                wrong.push(format!("{role}: {call:?} is {}", if may { "allowed" } else { "denied" }));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// An object of each kind in a log's store.
async fn one_of_each(store: &dyn Store) {
    let source = "main".parse().unwrap();
    let (slot, base) = (Slot::new(1), BaseId::from_bytes([7; 16]));
    let names = [
        layout::segment(&source, slot),
        layout::checkpoint(&source, slot),
        layout::boundary(&source, slot),
        layout::hold(&source, &"case".parse().unwrap()),
        layout::base_part(&source, base, 1),
        layout::manifest(&source, base),
        layout::rewrap(&[1; 32], &[2; 32]),
    ];
    for name in names {
        store.put_new(&name, Sealed::stored(Bytes::copy_from_slice(name.as_str().as_bytes()))).await.unwrap();
    }
    order::write(store, &Claim { number: 1, name: "vault".to_owned() }).await.unwrap();
}

async fn names(store: &dyn Store) -> Vec<ObjectKey> {
    let (mut keys, mut all) = (Keys::new(store, "", None), Vec::new());
    while let Some(key) = keys.next().await.unwrap() {
        all.push(key);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_mirrors_copies_every_kind_of_object_under_the_policy_of_a_mirrors_bucket_and_not_under_the_writers() {
    let world = World::new().await;
    let admin = ("AKIAADMIN".to_owned(), "secret".to_owned());
    one_of_each(&*world.store(BUCKET, &admin).await).await;
    let writers = world.hire_for("as-writer", &[("writer", BUCKET), ("writer", SECOND)]);
    let mirrors = world.hire_for("as-mirror", &[("writer", BUCKET), ("mirror", SECOND)]);
    world.enforce();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let rule = MirrorRule {
        answer_within: Duration::from_secs(10),
        first_wait: Duration::from_millis(5),
        wait_max: Duration::from_millis(50),
        whole_every: Duration::from_hours(1),
    };
    for (who, may) in [(&writers, false), (&mirrors, true)] {
        let (first, second) = (world.store(BUCKET, who).await, world.store(SECOND, who).await);
        let place = MirrorPlace {
            name: SECOND.to_owned(),
            duty: Duty::BestEffort,
            store: Arc::clone(&second),
            retention: None,
            sources: Vec::new(),
        };
        let copied = Mirror::new(place, rule, &Deposed::default(), &clock).catch_up_once(&first).await;
        assert_eq!(copied.is_ok(), may, "{copied:?}");
        assert!(may || matches!(copied, Err(PassError::Mirror(_))), "{copied:?}");
        assert_eq!(names(&*second).await == names(&*first).await, may);
        for name in names(&*second).await {
            assert!(second.delete(&name).await.is_err(), "{name} was deleted");
        }
    }
}
