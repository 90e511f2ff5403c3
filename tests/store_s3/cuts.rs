//! Rows S8 and S14 on the wire: a connection that ends or falls silent at each byte of a request and of its answer.

use std::time::{Duration, Instant};

use holdfast::model::limits::HEADER_BYTES_MAX;
use holdfast::store::s3::S3Settings;
use holdfast::store::{Part, PutNew, Store, StoreErrorKind};

use crate::bed::{BUCKET, Bed, key, sweep_step};
use crate::s3::double::Double;
use crate::s3::road::{Break, Road, Way};
use crate::s3::{settings, short};

const TEXT: &str = "a text that is on its way";

/// A store behind a road; the bucket keeps versions, so that a second landing would show.
async fn behind_a_road() -> (Bed, Road) {
    let double = Double::start(BUCKET).await;
    double.keep_versions(BUCKET);
    let road = Road::to(&double.endpoint).await;
    let settings = S3Settings { patience: short(), ..settings(&road.endpoint, BUCKET, "site/") };
    (Bed::with(double, settings).await, road)
}

#[tokio::test]
async fn s8_l1_l5_a_put_whose_connection_ends_at_any_byte_lands_whole_and_once() {
    let (bed, road) = behind_a_road().await;
    for way in [Way::Up, Way::Down] {
        let mut at = 0;
        loop {
            road.breaks(way, Break::Cut, at);
            let name = format!("log/{way:?}/{at}").to_lowercase();
            assert_eq!(bed.put(&name, TEXT).await, Ok(PutNew::Created), "{way:?} at {at}");
            let beyond = road.calm();
            assert_eq!(bed.text(&name).await, TEXT, "{way:?} at {at}");
            let versions = bed.bare.versions(&key(&name)).await.unwrap();
            assert_eq!((versions.0.len(), versions.tampering()), (1, None), "{way:?} at {at}");
            if beyond {
                break;
            }
            at += sweep_step(9);
        }
        assert!(at > 100, "{way:?}: only {at} bytes were swept");
    }
    assert!(road.broke() > 60, "it broke {} times", road.broke());
}

#[tokio::test]
async fn s8_l4_an_answer_that_ends_at_any_byte_is_read_again_and_never_shorter() {
    let (bed, road) = behind_a_road().await;
    bed.put("log/1", TEXT).await.unwrap();
    let parts = [Part::Whole, Part::Last { bytes: 6 }, Part::Range { at: 2, bytes: 8 }];
    for part in parts {
        let (at, bytes) = part.within(u64::try_from(TEXT.len()).unwrap()).unwrap();
        let expected = &TEXT.as_bytes()[usize::try_from(at).unwrap()..usize::try_from(at + bytes).unwrap()];
        let mut at = 0;
        loop {
            road.breaks(Way::Down, Break::Cut, at);
            let body = bed.store.get(&key("log/1"), part).await.unwrap();
            assert_eq!(body.as_bytes(), expected, "{part:?} cut at {at}");
            road.breaks(Way::Down, Break::Cut, at);
            assert_eq!(bed.store.list("log/", None).await.unwrap(), [key("log/1")], "the list, cut at {at}");
            if road.calm() {
                break;
            }
            at += sweep_step(13);
        }
        assert!(at > 100, "{part:?}: only {at} bytes were swept");
    }
    assert!(road.broke() > 60, "it broke {} times", road.broke());
}

#[tokio::test]
async fn s8_l1_a_put_that_is_cut_each_time_is_never_told_as_not_done() {
    let (bed, road) = behind_a_road().await;
    // Behind the request and before the answer: it has landed, and nobody was told.
    road.breaks(Way::Down, Break::Cut, 0);
    let lost = bed.bare.put_new(&key("log/1"), crate::bed::body(TEXT)).await.unwrap_err();
    assert_eq!((lost.kind, road.broke()), (StoreErrorKind::Unanswered, 1), "{lost}");
    assert_eq!(bed.text("log/1").await, TEXT);
}

#[tokio::test]
async fn s14_l8_a_road_that_falls_silent_costs_one_attempt_wherever_it_does() {
    let (bed, road) = behind_a_road().await;
    let large = "x".repeat(4 * HEADER_BYTES_MAX);
    for (number, (way, at)) in [(Way::Up, 0), (Way::Up, 6_000), (Way::Down, 0), (Way::Down, 40)].into_iter().enumerate()
    {
        let (name, started) = (format!("log/{number}"), Instant::now());
        road.breaks(way, Break::Silence, at);
        assert_eq!(bed.put(&name, &large).await, Ok(PutNew::Created), "{way:?} at {at}");
        let took = started.elapsed();
        assert!((Duration::from_millis(500)..Duration::from_millis(2500)).contains(&took), "{way:?} at {at}: {took:?}");
        let started = Instant::now();
        road.breaks(Way::Down, Break::Silence, 9_000);
        assert_eq!(bed.text(&name).await, large, "a body that stops coming");
        assert!(started.elapsed() > Duration::from_millis(500), "it did not stop");
    }
    assert_eq!(road.broke(), 8);
}
