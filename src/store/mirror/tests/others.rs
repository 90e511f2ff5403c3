//! A mirror into which somebody else wrote, or from which somebody deleted: what is left alone, and who stops.

use super::*;

use crate::store::order::{self, Claim};

#[tokio::test]
async fn l4_a_foreign_object_in_a_mirrors_slot_is_named_and_never_overwritten() {
    let world = world(Duty::BestEffort);
    let foreign = Sealed::stored(Bytes::from_static(b"not ours"));
    world.far.inner.put_new(&segment(2), foreign.clone()).await.unwrap();
    for slot in 1..=4 {
        world.put(&segment(slot), &body(slot, 1, 1)).await.unwrap();
    }
    world.until("the damage is named", |sight| sight.damaged == [segment(2)]).await;
    world.until("the others arrive", |sight| sight.behind_objects == 0).await;
    assert_eq!(world.far.inner.get(&segment(2), Part::Whole).await.unwrap(), foreign);
    assert!(world.far.inner.size(&segment(4)).await.is_ok());
    // A person takes it away; what belongs there comes by itself.
    world.far.inner.tamper(&segment(2), None);
    world.catches_up().await;
    assert_eq!(world.far.inner.get(&segment(2), Part::Whole).await.unwrap(), body(2, 1, 1));
}

#[tokio::test]
async fn l4_a_foreign_object_in_a_required_mirror_is_not_acknowledged() {
    let world = world(Duty::Required);
    world.far.inner.put_new(&layout::checkpoint(&main(), Slot::new(1)), body(1, 1, 9)).await.unwrap();
    world.put(&segment(1), &body(1, 1, 1)).await.unwrap();
    let checkpoint = layout::checkpoint(&main(), Slot::new(1));
    assert_eq!(world.put(&checkpoint, &body(1, 1, 1)).await, Err(StoreErrorKind::Unanswered));
    assert_eq!(world.put(&segment(2), &body(2, 1, 1)).await, Err(StoreErrorKind::Unavailable), "it waits for a person");
    world.far.inner.tamper(&checkpoint, None);
    world.catches_up().await;
    assert_eq!(world.put(&segment(2), &body(2, 1, 1)).await, Ok(Put::Ours));
}

#[tokio::test]
async fn l1_what_stands_in_front_of_an_acknowledged_object_is_in_a_required_mirror_whoever_put_it() {
    let world = world(Duty::Required);
    world.catches_up().await;
    // Another daemon put it and died before its mirror had it; our fence stands behind it.
    world.first.inner.put_new(&segment(1), body(1, 1, 9)).await.unwrap();
    world.put(&segment(2), &object(ObjectKind::Fence, 2, 2, 1)).await.unwrap();
    assert_eq!(world.far.taken(), [segment(1), segment(2)].map(|key| key.to_string()));
    // A late put takes the next slot: it counts for nothing, and without it the log would have a hole.
    world.first.inner.put_new(&segment(3), body(3, 1, 9)).await.unwrap();
    assert!(matches!(world.put(&segment(3), &body(3, 2, 1)).await, Ok(Put::Taken(_))));
    assert!(world.far.taken().contains(&segment(3).to_string()), "before anything is put behind it");
    world.far.set(DOWN);
    world.first.inner.put_new(&segment(4), body(4, 1, 9)).await.unwrap();
    assert_eq!(world.put(&segment(4), &body(4, 2, 1)).await, Err(StoreErrorKind::Unavailable), "it was not done");
    assert_eq!(world.put(&segment(5), &object(ObjectKind::Fence, 5, 3, 1)).await, Err(StoreErrorKind::Unavailable));
    world.far.set(UP);
    assert_eq!(world.put(&segment(5), &object(ObjectKind::Fence, 5, 3, 1)).await, Ok(Put::Ours));
    assert_eq!(all(&world.far.inner).await, all(&world.first.inner).await);
}

#[tokio::test]
async fn a_mirror_that_follows_brings_what_a_listing_left_out_before_what_stands_behind_it() {
    let (first, far): (Arc<Far>, Arc<Far>) = Default::default();
    for slot in [1, 2, 5, 6] {
        first.inner.put_new(&segment(slot), body(slot, 1, 1)).await.unwrap();
    }
    let world = world_of(&first, &far, Duty::BestEffort, RULE);
    world.catches_up().await;
    // Puts of one writer end in any order: the third and fourth end after a listing, and a fence stands behind them.
    for slot in [3, 4] {
        first.inner.put_new(&segment(slot), body(slot, 1, 1)).await.unwrap();
    }
    world.put(&segment(7), &object(ObjectKind::Fence, 7, 2, 1)).await.unwrap();
    world.catches_up().await;
    let place = |slot| far.taken().iter().position(|name| *name == segment(slot).to_string()).unwrap();
    assert!(place(3) < place(7) && place(4) < place(7), "{:?}", far.taken());
}

#[tokio::test]
async fn l5_a_store_that_holds_another_history_is_left_as_it_is() {
    #[rustfmt::skip]
    let cases = [
        // salt in the mirror   claim in the first store        claim arrives   why
        (7,                     None,                           false,          "an older epoch's objects above the fork"),
        (7,                     Some("first"),                  true,           "an old first store must agree before it serves again"),
    ];
    for (salt, claim, arrives, why) in cases {
        let (first, far): (Arc<Far>, Arc<Far>) = Default::default();
        for slot in 1..=9 {
            first.inner.put_new(&segment(slot), body(slot, if slot < 5 { 1 } else { 2 }, 1)).await.unwrap();
            let theirs = if slot < 5 { body(slot, 1, 1) } else { body(slot, 1, salt) };
            if slot < 8 {
                far.inner.put_new(&segment(slot), theirs).await.unwrap();
            }
        }
        if let Some(name) = claim {
            order::write(&first.inner, &Claim { number: 1, name: name.to_owned() }).await.unwrap();
        }
        let world = world_of(&first, &far, Duty::BestEffort, RULE);
        world.until("it is refused", |sight| sight.phase == Phase::Refused).await;
        world.put(&segment(10), &body(10, 2, 1)).await.expect(why);
        tokio::task::yield_now().await;
        assert!(world.far.inner.size(&segment(8)).await.is_err(), "{why}");
        assert_eq!(order::newest(&world.far.inner).await.unwrap().is_some(), arrives, "{why}");
    }
}

#[tokio::test]
async fn l5_somebody_elses_store_gets_nothing_not_even_our_order_of_stores() {
    let (first, far): (Arc<Far>, Arc<Far>) = Default::default();
    first.inner.put_new(&segment(1), body(1, 1, 1)).await.unwrap();
    order::write(&first.inner, &Claim { number: 1, name: "first".to_owned() }).await.unwrap();
    far.inner.put_new(&layout::segment(&"other".parse().unwrap(), Slot::FIRST), body(1, 1, 3)).await.unwrap();
    let world = world_of(&first, &far, Duty::BestEffort, RULE);
    world.until("it is refused", |sight| sight.phase == Phase::Refused).await;
    assert_eq!(world.far.taken(), Vec::<String>::new());
}

/// One key, sources of other names: the key does not tell the two apart, and neither does the order of stores.
#[tokio::test]
async fn l5_another_sites_place_is_told_as_that_whenever_it_shows_and_its_order_of_stores_deposes_nobody() {
    for before in [true, false] {
        let (first, far): (Arc<Far>, Arc<Far>) = Default::default();
        first.inner.put_new(&segment(1), body(1, 1, 1)).await.unwrap();
        let world = if before { None } else { Some(world_of(&first, &far, Duty::BestEffort, RULE)) };
        if let Some(world) = &world {
            world.catches_up().await;
        }
        far.inner.put_new(&layout::segment(&"other".parse().unwrap(), Slot::FIRST), body(1, 1, 3)).await.unwrap();
        if before {
            order::write(&far.inner, &Claim { number: 3, name: "theirs".to_owned() }).await.unwrap();
        }
        let world = world.unwrap_or_else(|| world_of(&first, &far, Duty::BestEffort, RULE));
        let told = |sight: &MirrorSight| {
            let why = sight.trouble.clone().unwrap_or_default();
            sight.phase == Phase::Refused && why.contains("source other") && why.contains("a prefix of its own")
        };
        world.until("it is told", told).await;
        world.put(&segment(2), &body(2, 1, 1)).await.expect("capture goes on");
        assert!(!far.taken().iter().any(|name| *name == segment(2).to_string()), "nothing more goes there");
    }
}

#[tokio::test]
async fn l5_two_daemons_one_on_each_side_never_both_go_on() {
    #[rustfmt::skip]
    let cases = [
        // what the other side did to the mirror     why
        (true,                                       "it promoted the mirror: its claim is there"),
        (false,                                      "it writes there already: an object of a later epoch in our slot"),
    ];
    for (claims, why) in cases {
        let world = world(Duty::BestEffort);
        world.put(&segment(1), &body(1, 1, 1)).await.unwrap();
        world.catches_up().await;
        world.far.set(DOWN);
        world.put(&segment(2), &body(2, 1, 1)).await.expect("out of sight of each other both may go on");
        world.until("it is away", |sight| sight.phase == Phase::Away).await;
        if claims {
            order::write(&world.far.inner, &Claim { number: 1, name: "second".to_owned() }).await.unwrap();
        } else {
            world.far.inner.put_new(&segment(2), body(2, 2, 5)).await.unwrap();
        }
        world.far.set(UP);
        world.until("it is noticed", |sight| sight.phase == Phase::Refused).await;
        let refused = world.put(&segment(3), &body(3, 1, 1)).await;
        assert_eq!(refused, Err(StoreErrorKind::Refused(Refusal::Deposed)), "{why}");
        assert!(world.first.inner.size(&segment(3)).await.is_err(), "{why}");
    }
}

#[tokio::test]
async fn l5_a_promotion_is_noticed_even_where_nothing_happens() {
    let world = world(Duty::BestEffort);
    world.put(&segment(1), &body(1, 1, 1)).await.unwrap();
    world.catches_up().await;
    order::write(&world.far.inner, &Claim { number: 1, name: "second".to_owned() }).await.unwrap();
    world.until("it is noticed", |sight| sight.phase == Phase::Refused).await;
}

#[tokio::test]
async fn l10_a_mirror_forgets_what_was_expired_and_keeps_what_the_first_store_lost() {
    let (first, far): (Arc<Far>, Arc<Far>) = Default::default();
    for slot in 1..=20 {
        far.inner.put_new(&segment(slot), body(slot, 1, 1)).await.unwrap();
        // Expired up to 9; 15 is lost.
        if slot >= 10 && slot != 15 {
            first.inner.put_new(&segment(slot), body(slot, 1, 1)).await.unwrap();
        }
    }
    let boundary = layout::boundary(&main(), Slot::new(10));
    first.inner.put_new(&boundary, object(ObjectKind::Boundary, 10, 1, 1)).await.unwrap();
    let world = world_of(&first, &far, Duty::BestEffort, MirrorRule { whole_every: Duration::ZERO, ..RULE });
    world.until("the loss is noticed", |sight| sight.first_lacks == 1).await;
    let mut expected: Vec<_> = (10..=20).map(|slot| segment(slot).to_string()).collect();
    expected.insert(0, boundary.to_string());
    assert_eq!(all(&far.inner).await, expected);
}

#[tokio::test]
async fn l10_deletions_reach_a_mirror_that_is_there_and_never_before_its_boundary() {
    let world = world(Duty::BestEffort);
    for slot in 1..=3 {
        world.put(&segment(slot), &body(slot, 1, 1)).await.unwrap();
    }
    world.catches_up().await;
    world.store.delete(&segment(1)).await.unwrap();
    assert!(world.far.inner.size(&segment(1)).await.is_ok(), "no boundary says that it was expired");
    world.put(&layout::boundary(&main(), Slot::new(3)), &object(ObjectKind::Boundary, 3, 1, 1)).await.unwrap();
    world.catches_up().await;
    world.store.delete(&segment(2)).await.unwrap();
    assert!(world.far.inner.size(&segment(2)).await.is_err());
    assert!(world.far.inner.size(&segment(3)).await.is_ok());
}
