//! Rows S1, S2, S3, S5, S6, S9, S12 and S14: what becomes of a put, and of everything when the store stays away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_credential_types::provider::future;
use aws_sdk_s3::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use holdfast::store::s3::{Identity, S3Patience, S3Settings};
use holdfast::store::{Part, PutNew, Refusal, Store, StoreErrorKind};

use crate::bed::{BUCKET, Bed, body, key};
use crate::s3::double::Double;
use crate::s3::plan::{Fault, On};
use crate::s3::{ACCESS, SECRET, settings, short};

#[tokio::test]
async fn s1_every_operation_outlives_a_store_that_fails_at_first() {
    for status in [500, 502, 503, 504] {
        let bed = Bed::new().await;
        bed.each_meets(Fault::FailBefore(status), 3);
        bed.works(&status.to_string()).await;
        bed.fired(Fault::FailBefore(status), 15);
    }
}

#[tokio::test]
async fn s1_a_store_that_stays_away_is_an_error_within_the_deadline() {
    let bed = Bed::new().await;
    bed.double.plan.add(On::Get, Fault::FailBefore(500), u64::MAX);
    let started = Instant::now();
    let error = bed.store.get(&key("a/1"), Part::Whole).await.unwrap_err();
    // The deadline may find the last try between its question and its answer.
    assert!(matches!(error.kind, StoreErrorKind::Unavailable | StoreErrorKind::Unanswered), "{error}");
    assert!(started.elapsed() < Duration::from_secs(4), "bounded");
    let tries = bed.double.plan.asked(On::Get);
    assert!((20..1000).contains(&tries), "{tries} tries with waits of up to 20 ms in 3 s");
}

#[tokio::test]
async fn s2_l8_a_storm_of_slow_down_lowers_the_rate_and_drops_nothing() {
    let bed = Bed::new().await;
    bed.double.plan.add(On::Put, Fault::SlowDown, 6);
    let puts = (0..4).map(|number| {
        let bed = &bed;
        async move { bed.put(&format!("a/{number}"), "text").await }
    });
    assert_eq!(futures::future::join_all(puts).await, vec![Ok(PutNew::Created); 4], "nothing is dropped");
    bed.fired(Fault::SlowDown, 6);
    assert_eq!(bed.bare.pace().told(), 6);
    assert!(bed.bare.pace().gap() > Duration::from_millis(200), "slower: {:?}", bed.bare.pace().gap());
    let before = bed.bare.pace().gap();
    bed.put("a/more", "text").await.unwrap();
    assert!(bed.bare.pace().gap() < before, "and faster again with each answer");
}

#[tokio::test]
async fn s3_l5_a_lost_reply_is_told_from_a_rival() {
    for fault in [Fault::ReplyLost, Fault::LandThenFail] {
        let bed = Bed::new().await;
        bed.double.plan.add(On::Put, fault, 1);
        assert_eq!(bed.put("log/1", "ours").await, Ok(PutNew::Created), "{fault:?}: it landed, and is ours");
        bed.fired(fault, 1);
        assert_eq!((bed.double.plan.asked(On::Head), bed.double.plan.asked(On::Get)), (1, 0), "one HEAD, no body");
        // The rival was first, and our own reply is lost as well.
        bed.double.plan.add(On::Put, fault, 1);
        assert_eq!(bed.put("log/1", "them").await, Ok(PutNew::AlreadyThere), "{fault:?}: of the same size, not ours");
        bed.fired(fault, 2);
        assert_eq!(bed.text("log/1").await, "ours");
    }
}

#[tokio::test]
async fn s3_a_bare_412_is_never_success() {
    let bed = Bed::new().await;
    let ours = body("ours");
    assert_eq!(bed.bare.put_new(&key("log/1"), ours.clone()).await.unwrap(), PutNew::Created);
    assert_eq!(bed.bare.put_new(&key("log/1"), ours.clone()).await.unwrap(), PutNew::AlreadyThere);
    assert!(bed.bare.holds(&key("log/1"), &ours).await.unwrap());
    assert!(!bed.bare.holds(&key("log/1"), &body("them")).await.unwrap());
}

#[tokio::test]
async fn s5_a_conflict_is_tried_again_with_the_same_bytes() {
    let bed = Bed::new().await;
    bed.double.plan.add(On::Put, Fault::Conflict, 3);
    assert_eq!(bed.put("log/1", "ours").await, Ok(PutNew::Created));
    bed.fired(Fault::Conflict, 3);
    assert_eq!((bed.text("log/1").await.as_str(), bed.double.plan.asked(On::Put)), ("ours", 4));
}

#[tokio::test]
async fn s6_l5_a_put_that_arrives_late_overwrites_nobody() {
    let bed = Bed::new().await;
    bed.double.keep_versions(BUCKET);
    bed.double.plan.add(On::Put, Fault::LateDuplicate, 1);
    let lost = bed.bare.put_new(&key("log/1"), body("late")).await.unwrap_err();
    assert_eq!(lost.kind, StoreErrorKind::Unanswered, "it may yet land");
    assert_eq!(bed.put("log/1", "new writer").await, Ok(PutNew::Created));
    bed.double.land_late().await;
    bed.fired(Fault::LateDuplicate, 1);
    assert_eq!(bed.text("log/1").await, "new writer");
    assert_eq!(bed.bare.versions(&key("log/1")).await.unwrap().tampering(), None, "nor is there a second version");
}

#[tokio::test]
async fn s9_l1_an_answer_with_another_checksum_is_no_acknowledgement() {
    let bed = Bed::new().await;
    bed.double.plan.add(On::Put, Fault::WrongChecksum, 1);
    let error = bed.bare.put_new(&key("log/1"), body("ours")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unanswered);
    bed.double.plan.add(On::Put, Fault::WrongChecksum, 1);
    assert_eq!(bed.put("log/2", "ours").await, Ok(PutNew::Created), "what is stored is ours after all: a HEAD says so");
    bed.double.plan.add(On::Put, Fault::WrongChecksum, 1);
    bed.double.plan.add(On::Head, Fault::WrongChecksum, 1);
    let error = bed.put("log/3", "ours").await.unwrap_err();
    assert_ne!(error, StoreErrorKind::Unavailable, "a store that holds other bytes under our name: a person must look");
    bed.fired(Fault::WrongChecksum, 4);
}

/// Gives other credentials each time it is asked.
#[derive(Debug, Default)]
struct Rotating(AtomicU64);

impl ProvideCredentials for Rotating {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let access = if self.0.fetch_add(1, Ordering::Relaxed) == 0 { ACCESS } else { "AKFRESH" };
        let credentials = Credentials::new(access, SECRET, None, None, "test");
        future::ProvideCredentials::ready(Ok(credentials))
    }
}

#[tokio::test]
async fn s12_expired_credentials_are_asked_for_anew_and_the_put_goes_on() {
    let double = Double::start(BUCKET).await;
    let identity = Identity::Given(SharedCredentialsProvider::new(Rotating::default()));
    let settings = S3Settings { identity, patience: short(), ..settings(&double.endpoint, BUCKET, "") };
    let bed = Bed::with(double, settings).await;
    assert_eq!(bed.put("log/1", "before").await, Ok(PutNew::Created));
    bed.double.plan.expire(ACCESS);
    assert_eq!(bed.put("log/2", "after").await, Ok(PutNew::Created));
    assert_eq!(bed.text("log/2").await, "after");
    bed.fired(Fault::ExpiredCredentials, 1);
}

#[tokio::test]
async fn s12_l11_what_is_denied_is_told_at_once_and_names_the_remedy() {
    let bed = Bed::new().await;
    for on in [On::Put, On::Get, On::Head, On::List, On::Delete] {
        // A HEAD says no code, so that a GET is asked for it.
        bed.double.plan.add(on, Fault::Denied, if on == On::Get { 2 } else { 1 });
    }
    for error in bed.refusals().await {
        assert_eq!(error.kind, StoreErrorKind::Refused(Refusal::NoRights), "{error}");
        assert!(error.to_string().contains("not permitted; give"), "{error}");
    }
    bed.fired(Fault::Denied, 6);
}

#[tokio::test]
async fn s14_a_store_that_never_answers_costs_one_attempt_and_no_more() {
    let bed = Bed::new().await;
    bed.double.plan.add(On::Put, Fault::Blackhole, 1);
    let started = Instant::now();
    assert_eq!(bed.put("log/1", "ours").await, Ok(PutNew::Created), "the next attempt takes another connection");
    let took = started.elapsed();
    assert!((Duration::from_millis(500)..Duration::from_millis(2900)).contains(&took), "{took:?}");
    bed.double.plan.add(On::Put, Fault::Blackhole, u64::MAX);
    assert_eq!(bed.put("log/2", "ours").await, Err(StoreErrorKind::Unanswered), "it may have landed: not 'not done'");
    assert!(bed.double.plan.fired(Fault::Blackhole) >= 4);
}

/// How much a whole object carries is not known before: its time must not be spent on a server that says nothing.
#[tokio::test]
async fn s14_a_get_that_nobody_answers_costs_the_time_of_an_answer_and_not_of_the_largest_body() {
    let double = Double::start(BUCKET).await;
    let patience = S3Patience { bytes_per_second: S3Patience::default().bytes_per_second, ..short() };
    let settings = S3Settings { patience, ..settings(&double.endpoint, BUCKET, "site/") };
    let bed = Bed::with(double, settings).await;
    bed.put("a/1", "a text").await.unwrap();
    for fault in [Fault::Blackhole, Fault::StalledBody] {
        bed.double.plan.add(On::Get, fault, 1);
        let started = Instant::now();
        assert_eq!(bed.text("a/1").await, "a text", "{fault:?}");
        let took = started.elapsed();
        assert!((Duration::from_millis(450)..Duration::from_secs(2)).contains(&took), "{fault:?}: {took:?}");
        bed.fired(fault, 1);
    }
}

#[tokio::test]
async fn s14_l4_a_bucket_that_is_gone_is_an_error_and_never_empty() {
    let bed = Bed::new().await;
    bed.put("a/1", "x").await.unwrap();
    bed.double.remove(BUCKET);
    for error in bed.refusals().await {
        assert_eq!(error.kind, StoreErrorKind::Refused(Refusal::NoBucket), "{error}");
    }
}

#[tokio::test]
async fn s14_a_server_that_is_not_there_is_told_within_the_deadline() {
    let bed = Bed::new().await;
    let settings = S3Settings { patience: short(), ..settings("http://127.0.0.1:1", BUCKET, "") };
    let away = Bed::with(bed.double, settings).await;
    let error = away.store.list("", None).await.unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Unavailable | StoreErrorKind::Unanswered), "{error}");
    assert_eq!(away.put("a/1", "x").await, Err(StoreErrorKind::Unanswered));
}
