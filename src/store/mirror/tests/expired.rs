//! What expired while a mirror was there, away, or asleep: it goes there too, in an order in which it may break off
//! anywhere, and nothing that is not proved to be expired does.

use super::*;

fn boundary(slot: u64) -> (ObjectKey, Sealed) {
    (layout::boundary(&main(), Slot::new(slot)), object(ObjectKind::Boundary, slot, 1, 1))
}

fn checkpoint(slot: u64) -> (ObjectKey, Sealed) {
    (layout::checkpoint(&main(), Slot::new(slot)), object(ObjectKind::Checkpoint, slot, 1, 1))
}

fn hold(name: &str) -> (ObjectKey, Sealed) {
    (layout::hold(&main(), &name.parse().unwrap()), object(ObjectKind::Hold, 1, 0, 1))
}

/// A base of two parts, complete.
fn base(base: BaseId) -> [(ObjectKey, Sealed); 3] {
    let part = |number| (layout::base_part(&main(), base, number), body(u64::from(number) + 1, 1, 1));
    [part(0), part(1), (layout::manifest(&main(), base), body(9, 1, 1))]
}

async fn fill(store: &MemoryStore, objects: impl IntoIterator<Item = (ObjectKey, Sealed)>) {
    for (key, body) in objects {
        store.put_new(&key, body).await.unwrap();
    }
}

const KEPT: BaseId = BaseId::from_bytes([7; 16]);
const TORN: BaseId = BaseId::from_bytes([9; 16]);

#[tokio::test]
async fn l10_a_mirror_that_slept_through_an_expiry_lets_go_of_what_expired_and_of_nothing_else() {
    let (first, far): (Arc<Far>, Arc<Far>) = Default::default();
    let segments = |slots: std::ops::Range<u64>| {
        slots.map(|slot| {
            let kind = if slot == 5 { ObjectKind::Fence } else { ObjectKind::Data };
            (segment(slot), object(kind, slot, 1, 1))
        })
    };
    let [torn, _, _] = base(TORN);
    fill(&far.inner, segments(1..21).chain([boundary(2), checkpoint(4), checkpoint(15), hold("taken-off"), torn]))
        .await;
    fill(&far.inner, base(EXPIRED).into_iter().chain(base(KEPT))).await;
    let kept = segments(10..23).chain(segments(5..6)).chain([boundary(10), checkpoint(15), hold("new")]);
    fill(&first.inner, kept.chain(base(KEPT))).await;
    // A new process compares the tail alone at first; what it finds at the head makes it compare everything.
    let world = world_of(&first, &far, Duty::BestEffort, RULE);
    world.catches_up().await;
    let mut expected = all(&first.inner).await;
    expected.push(hold("taken-off").0.to_string());
    expected.sort();
    assert_eq!(all(&far.inner).await, expected);
    let taken: Vec<_> = [hold("new").0, boundary(10).0, segment(21), segment(22)].map(|key| key.to_string()).into();
    assert_eq!(far.taken(), taken, "the hold before the boundary, and nothing that expired was made again");
    assert_eq!(world.mirror().sight().first_lacks, 0);
}

#[tokio::test]
async fn l10_what_a_mirror_that_is_away_misses_goes_when_it_comes_back() {
    let world = world(Duty::BestEffort);
    for slot in 1..=6 {
        world.put(&segment(slot), &body(slot, 1, 1)).await.unwrap();
    }
    let (older, older_sealed) = boundary(2);
    for (key, body) in base(EXPIRED).into_iter().chain([(older.clone(), older_sealed)]) {
        world.put(&key, &body).await.unwrap();
    }
    world.catches_up().await;
    world.far.set(DOWN);
    let (key, sealed) = boundary(5);
    world.put(&key, &sealed).await.unwrap();
    let [first_part, second_part, manifest] = base(EXPIRED).map(|(key, _)| key);
    // A walk through the names meets the older boundary, which is gone, before the newer one, which proves that.
    for key in [&manifest, &first_part, &second_part, &older, &segment(1), &segment(2)] {
        world.store.delete(key).await.unwrap();
    }
    world.far.set(UP);
    world.catches_up().await;
    // The rest of that expiry, with the mirror there.
    for slot in [3, 4] {
        world.store.delete(&segment(slot)).await.unwrap();
    }
    world.catches_up().await;
    assert_eq!(all(&world.far.inner).await, [key, segment(5), segment(6)].map(|key| key.to_string()));
}

#[tokio::test]
async fn l10_in_a_mirror_too_no_part_goes_before_its_manifest() {
    let world = world(Duty::BestEffort);
    for (key, body) in base(KEPT) {
        world.put(&key, &body).await.unwrap();
    }
    world.catches_up().await;
    let [part, _, manifest] = base(KEPT).map(|(key, _)| key);
    world.store.delete(&part).await.unwrap();
    assert!(world.far.inner.size(&part).await.is_ok(), "the mirror's base is whole as long as its manifest is there");
    world.catches_up().await;
    world.store.delete(&manifest).await.unwrap();
    world.store.delete(&part).await.unwrap();
    assert!(world.far.inner.size(&manifest).await.is_err() && world.far.inner.size(&part).await.is_err());
}

#[tokio::test]
async fn what_a_mirror_refuses_to_delete_stays_and_keeps_nothing_else_from_it() {
    let world = world(Duty::BestEffort);
    for slot in 1..=3 {
        world.put(&segment(slot), &body(slot, 1, 1)).await.unwrap();
    }
    world.catches_up().await;
    world.far.set(LOCKED);
    let (key, sealed) = boundary(3);
    world.put(&key, &sealed).await.unwrap();
    for slot in [1, 2] {
        world.store.delete(&segment(slot)).await.unwrap();
    }
    world.put(&segment(4), &body(4, 1, 1)).await.unwrap();
    world.catches_up().await;
    assert!(world.far.inner.size(&segment(4)).await.is_ok());
    let sight = world.mirror().sight();
    assert_eq!((sight.undeleted, sight.first_lacks, sight.phase), (2, 0, Phase::InStep), "{sight:?}");
}

#[tokio::test]
async fn a_boundary_that_was_taken_back_leaves_a_mirror_and_one_that_was_lost_does_not() {
    let world = world(Duty::BestEffort);
    for slot in 1..=6 {
        let kind = if slot == 4 { ObjectKind::Fence } else { ObjectKind::Data };
        world.put(&segment(slot), &object(kind, slot, 1, 1)).await.unwrap();
    }
    let (key, sealed) = boundary(5);
    for away in [false, true] {
        world.put(&key, &sealed).await.unwrap();
        world.catches_up().await;
        assert!(world.far.inner.size(&key).await.is_ok());
        world.far.set(if away { DOWN } else { UP });
        world.store.delete(&key).await.unwrap();
        world.far.set(UP);
        world.catches_up().await;
        assert!(world.far.inner.size(&key).await.is_err(), "away: {away}; the next one of that name is another object");
    }
    // What stood in front of it has gone: then it was no hold that came meanwhile.
    world.put(&key, &sealed).await.unwrap();
    world.catches_up().await;
    for slot in 1..=3 {
        world.first.inner.tamper(&segment(slot), None);
    }
    world.first.inner.tamper(&key, None);
    world.mirror().want_whole();
    world.until("the loss is noticed", |sight| sight.first_lacks > 0).await;
    assert!(world.far.inner.size(&key).await.is_ok() && world.far.inner.size(&segment(1)).await.is_ok());
}
