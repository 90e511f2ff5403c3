//! Rows S7, S8, S10, S11 and S16: what is read and listed is whole, in order and true, or is an error.

use holdfast::log::scrub::{Scrubber, Verdict};
use holdfast::log::{History, LogError, fence};
use holdfast::model::Slot;
use holdfast::store::s3::{Tampering, Versioning};
use holdfast::store::{Part, PutNew, Refusal, Store, StoreErrorKind, layout};

use crate::bed::{BUCKET, Bed, key};
use crate::s3::plan::{Fault, On};

#[tokio::test]
async fn s7_l4_a_page_with_a_hole_is_a_hole_and_never_a_short_log() {
    let bed = Bed::new().await;
    let (env, source) = bed.log(5).await;
    assert!(History::load(&env, &source).await.unwrap().missing.is_empty());
    // One page of checkpoints is asked for before the one of segments.
    bed.double.plan.add(On::List, Fault::ListHole, 9);
    let history = History::load(&env, &source).await;
    bed.double.plan.clear();
    assert!(bed.double.plan.fired(Fault::ListHole) > 0);
    match history {
        Ok(history) => assert_eq!(history.missing, [Slot::new(3)], "the slot that the page left out"),
        Err(error) => assert!(matches!(error, LogError::Missing { .. } | LogError::Object(_)), "{error}"),
    }
}

#[tokio::test]
async fn s7_a_page_that_is_out_of_order_or_comes_twice_is_refused() {
    for fault in [Fault::ListReordered, Fault::ListRepeated] {
        let bed = Bed::new().await;
        for name in ["a/1", "a/2", "a/3"] {
            bed.put(name, "x").await.unwrap();
        }
        bed.double.plan.add(On::List, fault, 1);
        let error = bed.store.list("a/", Some(&key("a/1"))).await.unwrap_err();
        bed.fired(fault, 1);
        assert_eq!(error.kind, StoreErrorKind::Refused(Refusal::ContractBroken), "{fault:?}");
    }
}

#[tokio::test]
async fn s7_l5_a_stale_page_lets_nobody_take_a_slot_twice() {
    let bed = Bed::new().await;
    // Without versions a second put would leave no trace.
    bed.double.keep_versions(BUCKET);
    let (env, source) = bed.log(3).await;
    bed.double.plan.add(On::List, Fault::ListStale, 9);
    let taken = fence::take(&env, &source, None).await;
    bed.double.plan.clear();
    assert!(bed.double.plan.fired(Fault::ListStale) > 0);
    drop(taken);
    let history = History::load(&env, &source).await.unwrap();
    assert!(history.missing.is_empty());
    for slot in 1..=3 {
        let versions = bed.bare.versions(&layout::segment(&source, Slot::new(slot))).await.unwrap();
        assert_eq!(versions.0.len(), 1, "slot {slot} was put once");
    }
}

/// Taken for "missing" it would pass a hold over, and let `expire` delete what it keeps.
#[tokio::test]
async fn s14_l10_a_404_that_is_not_the_stores_own_is_an_outage_and_never_a_missing_object() {
    let bed = Bed::new().await;
    bed.put("a/1", "still there").await.unwrap();
    let name = key("a/1");
    for on in [On::Get, On::Head, On::List, On::Delete] {
        bed.double.plan.add(on, Fault::NoRoute, 1);
    }
    // A HEAD says no code, so that a GET is asked for it.
    bed.double.plan.add(On::Get, Fault::NoRoute, 1);
    let kinds = [
        bed.bare.get(&name, Part::Whole).await.unwrap_err().kind,
        bed.bare.size(&name).await.unwrap_err().kind,
        bed.bare.list("a/", None).await.unwrap_err().kind,
        bed.bare.delete(&name).await.unwrap_err().kind,
    ];
    assert_eq!(kinds[..3], [StoreErrorKind::Unavailable; 3]);
    assert_eq!(kinds[3], StoreErrorKind::Unanswered);
    bed.fired(Fault::NoRoute, 5);
    for on in [On::Get, On::Head, On::List, On::Delete] {
        bed.double.plan.add(on, Fault::NoRoute, 3);
    }
    assert_eq!(bed.text("a/1").await, "still there", "tried again");
    assert_eq!(bed.store.size(&name).await.unwrap(), 11);
    assert_eq!(bed.store.list("a/", None).await.unwrap(), std::slice::from_ref(&name));
    bed.store.delete(&name).await.unwrap();
    assert_eq!(bed.bare.get(&name, Part::Whole).await.unwrap_err().kind, StoreErrorKind::Missing, "S3's own word");
    assert_eq!(bed.bare.size(&name).await.unwrap_err().kind, StoreErrorKind::Missing, "by the GET behind the HEAD");
}

#[tokio::test]
async fn s8_s11_l4_a_body_that_breaks_off_is_read_again_and_never_shorter() {
    let bed = Bed::new().await;
    bed.put("a/1", "a text that breaks").await.unwrap();
    bed.double.plan.add(On::Get, Fault::TruncatedBody, 2);
    assert_eq!(bed.text("a/1").await, "a text that breaks");
    for part in [Part::Range { at: 2, bytes: 8 }, Part::Last { bytes: 6 }, Part::First { bytes: 6 }] {
        bed.double.plan.add(On::Get, Fault::TruncatedBody, 1);
        let whole = b"a text that breaks";
        let (at, bytes) = part.within(18).unwrap();
        let expected = &whole[usize::try_from(at).unwrap()..usize::try_from(at + bytes).unwrap()];
        assert_eq!(bed.store.get(&key("a/1"), part).await.unwrap().as_bytes(), expected);
    }
    bed.fired(Fault::TruncatedBody, 5);
    bed.double.plan.add(On::Get, Fault::TruncatedBody, 1);
    let error = bed.bare.get(&key("a/1"), Part::Whole).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn s10_l4_a_flipped_bit_never_passes() {
    let bed = Bed::new().await;
    bed.put("a/1", "a text of some length").await.unwrap();
    bed.double.plan.add(On::Get, Fault::FlippedBit, 1);
    assert_eq!(
        bed.text("a/1").await,
        "a text of some length",
        "a whole body is compared with its checksum, and read again"
    );
    bed.fired(Fault::FlippedBit, 1);
    // Of a part only the seal can tell.
    let (env, source) = bed.log(2).await;
    bed.double.plan.add(On::Get, Fault::FlippedBit, 1);
    let truth = History::load(&env, &source).await;
    bed.fired(Fault::FlippedBit, 2);
    let error = truth.expect_err("a flipped bit in a header is noticed");
    let LogError::Object(error) = error else { panic!("not about an object: {error}") };
    assert!(error.to_string().contains("log/main/"), "it names the object: {error}");
}

/// A read that fails for ever would be an outage (exit 7), and the restore that needs the object would wait for it.
#[tokio::test]
async fn s10_l4_bytes_that_changed_in_the_bucket_are_damage_and_no_silence() {
    let bed = Bed::new().await;
    let (env, source) = bed.log(2).await;
    bed.double.plan.add(On::Get, Fault::FlippedBit, u64::MAX);
    let key = layout::segment(&source, Slot::new(2));
    let before = bed.double.plan.asked(On::Get);
    let error = Scrubber::new(&env, 1).object(&key).await.unwrap_err();
    assert_eq!((error.verdict, error.object), (Verdict::Damaged, key));
    assert_eq!(bed.double.plan.asked(On::Get) - before, 3, "read again first");
}

#[tokio::test]
async fn s11_l4_other_bytes_than_were_asked_for_are_refused() {
    let bed = Bed::new().await;
    bed.put("a/1", "0123456789").await.unwrap();
    bed.double.plan.add(On::Get, Fault::RangeOffByOne, 1);
    let error = bed.store.get(&key("a/1"), Part::Range { at: 2, bytes: 4 }).await.unwrap_err();
    bed.fired(Fault::RangeOffByOne, 1);
    assert_eq!(error.kind, StoreErrorKind::Refused(Refusal::ContractBroken));
    assert!(error.to_string().contains("a/1"), "{error}");
    let short = bed.store.get(&key("a/1"), Part::Range { at: 8, bytes: 4 }).await.unwrap_err();
    assert_eq!(short.kind, StoreErrorKind::Short { size: 10 });
    let behind = bed.store.get(&key("a/1"), Part::Range { at: 80, bytes: 4 }).await.unwrap_err();
    assert_eq!(behind.kind, StoreErrorKind::Short { size: 10 });
}

#[tokio::test]
async fn s16_a_second_version_or_a_delete_marker_is_told_and_the_oldest_is_the_true_one() {
    let bed = Bed::new().await;
    bed.double.keep_versions(BUCKET);
    bed.put("log/1", "the true one").await.unwrap();
    bed.put("log/10", "another name").await.unwrap();
    let sound = bed.bare.versions(&key("log/1")).await.unwrap();
    assert_eq!((sound.0.len(), sound.tampering()), (1, None));
    bed.store.delete(&key("log/1")).await.unwrap();
    let deleted = bed.bare.versions(&key("log/1")).await.unwrap();
    assert_eq!((deleted.oldest(), deleted.tampering()), (sound.oldest(), Some(Tampering::Deleted)));
    assert_eq!(bed.store.list("", None).await.unwrap(), [key("log/10")], "a listing does not mind the marker");
    assert_eq!(bed.put("log/1", "a second one").await, Ok(PutNew::Created), "as on AWS: the condition sees no object");
    let twice = bed.bare.versions(&key("log/1")).await.unwrap();
    assert_eq!((twice.oldest(), twice.tampering()), (sound.oldest(), Some(Tampering::SecondVersion)));
    assert_eq!(bed.bare.protection().await.unwrap().versioning, Versioning::On);
}

#[tokio::test]
async fn a_prefix_that_holds_other_things_is_refused() {
    let bed = Bed::new().await;
    bed.bare.refuse_foreign().await.unwrap();
    bed.put("holiday/1.jpg", "x").await.unwrap();
    let error = bed.bare.refuse_foreign().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Refused(Refusal::NotEmpty));
    bed.put("log/main/0000000000000001.seg", "x").await.unwrap();
    bed.bare.refuse_foreign().await.unwrap();
}
