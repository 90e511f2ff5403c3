//! Every data key is found, whatever is damaged, has gone meanwhile or came late; and what is damaged is named.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::log::fixture::{Fixture, main_source, transaction, write_segment};
use crate::store::{Fate, Op};

fn segment(slot: u64) -> ObjectKey {
    layout::segment(&main_source(), Slot::new(slot))
}

/// First and last slot of each stretch.
fn slots(found: &Wrapped) -> Vec<(String, String)> {
    found.stretches.iter().map(|stretch| (stretch.first.to_string(), stretch.last.to_string())).collect()
}

/// Three reigns of three objects each.
async fn three_reigns(seed: u64) -> Fixture {
    let fixture = Fixture::new(seed);
    for number in [1, 3, 5] {
        let mut writer = fixture.writer().await;
        write_segment(&mut writer, &transaction(number)).await;
        write_segment(&mut writer, &transaction(number + 1)).await;
    }
    fixture
}

#[tokio::test]
async fn each_data_key_has_its_stretch() {
    let fixture = three_reigns(70).await;
    let found = stretches(&fixture.env, &main_source()).await.unwrap();
    let named = |(first, last): (u64, u64)| (segment(first).to_string(), segment(last).to_string());
    assert_eq!(slots(&found), [(1, 3), (4, 6), (7, 9)].map(named));
    assert!(found.closed.is_empty());
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_named_and_hides_no_data_key() {
    for slot in 1..=9 {
        let fixture = three_reigns(71).await;
        fixture.store.tamper(&segment(slot), Some(Bytes::from_static(b"no object of ours")));
        let found = stretches(&fixture.env, &main_source()).await.unwrap();
        assert_eq!(found.stretches.len(), 3, "slot {slot}");
        let named = |error: &LogError| matches!(error, LogError::Object(error) if error.key == segment(slot));
        assert!(found.closed.len() <= 1 && found.closed.iter().all(named), "slot {slot}: {:?}", found.closed);
        let at_an_end = slot % 3 != 2;
        assert!(!at_an_end || found.closed.len() == 1, "slot {slot} was looked at");
    }
}

#[tokio::test]
async fn what_expires_between_the_listing_and_the_reading_is_no_trouble_and_what_is_missing_is_named() {
    for (lies, missing) in [(false, 0), (true, 4)] {
        let fixture = three_reigns(72).await;
        // Objects go between a listing and the reading; where it lies, its listings do not learn of it.
        let below = Arc::clone(&fixture.store);
        let expiring = fixture.fated(move |asked| {
            if !asked.is(Op::Get, "log/") {
                return Fate::Done;
            }
            let gone = [1, 2, 3, 4].map(segment);
            if !lies {
                for key in &gone {
                    below.tamper(key, None);
                }
            } else if gone.iter().any(|key| key.as_str() == asked.name) {
                return Fate::Fails(StoreErrorKind::Missing);
            }
            Fate::Done
        });
        let found = stretches(&expiring, &main_source()).await.unwrap();
        let named = |(first, last): (u64, u64)| (segment(first).to_string(), segment(last).to_string());
        assert_eq!(slots(&found), [(5, 6), (7, 9)].map(named));
        assert_eq!(found.closed.len(), missing, "{:?}", found.closed);
        assert!(found.closed.iter().all(|error| matches!(error, LogError::Missing { .. })));
    }
}

/// Where a run ended with it, the fence's data key between would be passed over, and closed once the old key goes.
#[tokio::test]
async fn an_older_writers_late_object_behind_a_fence_hides_no_data_key() {
    let fixture = Fixture::new(73);
    let mut writer = fixture.writer().await;
    for number in 1..=5 {
        write_segment(&mut writer, &transaction(number)).await;
    }
    let late = fixture.object(6).await;
    fixture.store.tamper(&segment(6), None);
    fixture.writer().await;
    fixture.store.tamper(&segment(7), Some(late));
    let found = stretches(&fixture.env, &main_source()).await.unwrap();
    let epochs: Vec<_> = found.stretches.iter().map(|stretch| stretch.header.epoch.get()).collect();
    assert_eq!((epochs, found.closed.len()), (vec![1, 2], 0));
}
