//! Row S16 as mirrors meet it: what somebody put over our objects in a bucket, or hid there, never reaches a mirror (L4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast::clock::{Clock, SystemClock};
use holdfast::crypto::Sealed;
use holdfast::crypto::stream::sha256;
use holdfast::log::object::Seal;
use holdfast::log::{History, LogEnv, boundary};
use holdfast::model::{BaseId, ObjectKey, Slot, SourceName};
use holdfast::store::mirror::{Deposed, Duty, MirrorPlace, MirrorRule};
use holdfast::store::{Fate, Fated, Keys, MemoryStore, Mirror, Mirrored, Op, Part, PutNew, Store, layout};
use tokio::sync::watch;

use crate::bed::{BUCKET, Bed, body};
use crate::s3::plan::{Fault, On};
use crate::s3::servers;

const PATIENCE: Duration = Duration::from_secs(20);

/// A mirror whose puts wait while it is closed.
struct Gate {
    inner: Arc<dyn Store>,
    closed: watch::Sender<bool>,
    waiting: watch::Sender<bool>,
}

impl Gate {
    fn new() -> Self {
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
        Self { inner, closed: watch::Sender::new(false), waiting: watch::Sender::new(false) }
    }

    fn store(&self) -> Arc<Fated> {
        let (closed, waiting) = (self.closed.clone(), self.waiting.clone());
        Fated::over(&self.inner, move |asked| {
            let (waiting, mut open) = (waiting.clone(), closed.subscribe());
            let waits = async move {
                waiting.send_replace(true);
                open.wait_for(|closed| !closed).await.unwrap();
            };
            Fate::first(waits).when(asked.op == Op::Put && *closed.borrow())
        })
    }
}

fn mirror_in(store: Arc<dyn Store>, deposed: &Deposed) -> Arc<Mirror> {
    let rule = MirrorRule {
        answer_within: Duration::from_secs(10),
        first_wait: Duration::from_millis(5),
        wait_max: Duration::from_millis(50),
        whole_every: Duration::from_hours(1),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let place =
        MirrorPlace { name: "second".to_owned(), duty: Duty::BestEffort, store, retention: None, sources: Vec::new() };
    Arc::new(Mirror::new(place, rule, deposed, &clock))
}

/// Everything that a store shows, by name.
async fn shown(store: &dyn Store) -> BTreeMap<ObjectKey, Vec<u8>> {
    let (mut keys, mut all) = (Keys::new(store, "", None), BTreeMap::new());
    while let Some(key) = keys.next().await.unwrap() {
        let body = store.get(&key, Part::Whole).await.unwrap();
        all.insert(key, body.as_bytes().to_vec());
    }
    all
}

fn segment(source: &SourceName, slot: u64) -> ObjectKey {
    layout::segment(source, Slot::new(slot))
}

async fn replace(store: &dyn Store, key: &ObjectKey, with: Sealed) {
    store.delete(key).await.unwrap();
    assert_eq!(store.put_new(key, with).await.unwrap(), PutNew::Created, "as on AWS: the condition sees no object");
}

/// Lets the first three objects of a log go behind a boundary, as an expiry does.
async fn expire_three(env: &LogEnv, source: &SourceName) {
    let history = History::load(env, source).await.unwrap();
    let first = history.entries[3].clone();
    let mut seal = Seal::begin(env, *history.log.unwrap().as_bytes(), first.epoch).await.unwrap();
    let before = env.store.get(&segment(source, 3), Part::Whole).await.unwrap();
    let sealed = boundary::seal(&first, sha256(before.as_bytes()), &mut seal).unwrap();
    env.store.put_new(&layout::boundary(source, first.slot), sealed).await.unwrap();
    for slot in 1..=3 {
        env.store.delete(&segment(source, slot)).await.unwrap();
    }
}

/// A bucket in which objects were replaced and hidden, and two mirrors: one that begins then, and one that had begun before.
async fn the_oldest_is_copied_from(bed: &Bed) {
    let (env, source) = bed.log(9).await;
    let (part, hold) =
        (layout::base_part(&source, BaseId::from_bytes([7; 16]), 1), layout::hold(&source, &"case".parse().unwrap()));
    env.store.put_new(&part, body("a part")).await.unwrap();
    env.store.put_new(&hold, body("a hold")).await.unwrap();
    let begun = Arc::new(MemoryStore::new());
    mirror_in(Arc::<MemoryStore>::clone(&begun), &Deposed::default()).catch_up_once(&env.store).await.unwrap();
    expire_three(&env, &source).await;
    env.store.delete(&hold).await.unwrap();
    let as_put = shown(&*env.store).await;

    // Far from the end, and the newest: by that one two stores are told to hold one history.
    let other = env.store.get(&segment(&source, 4), Part::Whole).await.unwrap();
    env.store.delete(&segment(&source, 5)).await.unwrap();
    replace(&*env.store, &segment(&source, 6), other.clone()).await;
    replace(&*env.store, &segment(&source, 9), other).await;
    replace(&*env.store, &part, body("another part")).await;
    assert_ne!(shown(&*env.store).await, as_put);

    let fresh = Arc::new(MemoryStore::new());
    mirror_in(Arc::<MemoryStore>::clone(&fresh), &Deposed::default()).catch_up_once(&env.store).await.unwrap();
    assert_eq!(shown(&*fresh).await, as_put, "what was put first, and nothing of what expired");
    let begun = mirror_in(begun, &Deposed::default());
    begun.catch_up_once(&env.store).await.expect("it holds the same history");
    assert!(begun.sight().damaged.is_empty(), "{:?}", begun.sight());
}

#[tokio::test]
async fn s16_l4_a_mirror_that_compares_copies_what_was_put_first_and_nothing_that_expired() {
    let bed = Bed::new().await;
    bed.double.keep_versions(BUCKET);
    the_oldest_is_copied_from(&bed).await;
}

#[tokio::test]
async fn s16_l4_a_mirror_of_a_versioned_bucket_of_a_real_server_copies_what_was_put_first() {
    let server = servers::seaweed().await;
    let bucket = server.bucket().await;
    server.keep_versions(&bucket).await;
    the_oldest_is_copied_from(&Bed::real(&server.endpoint, &bucket).await).await;
}

#[tokio::test]
async fn s16_l4_what_is_replaced_or_hidden_before_a_mirror_has_taken_it_arrives_as_it_was_put() {
    let bed = Bed::new().await;
    bed.double.keep_versions(BUCKET);
    let (far, deposed) = (Gate::new(), Deposed::default());
    let mirror = mirror_in(far.store(), &deposed);
    let store = Mirrored::new(Arc::clone(&bed.store), vec![Arc::clone(&mirror)], deposed);
    let (follows, decides) = (Arc::clone(&mirror), Arc::clone(&bed.store));
    let follower = tokio::spawn(async move { follows.follow(&decides).await });
    assert!(mirror.in_step(PATIENCE).await, "{:?}", mirror.sight());
    let source: SourceName = "main".parse().unwrap();
    far.closed.send_replace(true);
    for slot in 1..=4 {
        store.put_new(&segment(&source, slot), body(&format!("true {slot}"))).await.unwrap();
    }
    // It has read the first one, and none of the others.
    far.waiting.subscribe().wait_for(|waiting| *waiting).await.unwrap();
    replace(&*bed.store, &segment(&source, 2), body("false")).await;
    bed.store.delete(&segment(&source, 3)).await.unwrap();
    let asked = bed.double.plan.asked(On::Versions);
    far.closed.send_replace(false);
    assert!(mirror.in_step(PATIENCE).await, "{:?}", mirror.sight());
    let expected: Vec<_> = (1..=4).map(|slot| format!("true {slot}").into_bytes()).collect();
    assert_eq!(shown(&*far.inner).await.into_values().collect::<Vec<_>>(), expected);
    assert!(bed.double.plan.asked(On::Versions) > asked, "versions were asked for");
    let asked = bed.double.plan.asked(On::Versions);
    store.put_new(&segment(&source, 5), body("true 5")).await.unwrap();
    assert!(mirror.in_step(PATIENCE).await, "{:?}", mirror.sight());
    assert_eq!(bed.double.plan.asked(On::Versions), asked, "what nobody touched costs no request more than it did");
    follower.abort();
}

#[tokio::test]
async fn l9_where_versions_may_not_be_listed_a_mirror_gets_what_everybody_reads() {
    let bed = Bed::new().await;
    bed.double.keep_versions(BUCKET);
    let (env, _) = bed.log(3).await;
    bed.double.plan.add(On::Versions, Fault::Denied, 99);
    let far = Arc::new(MemoryStore::new());
    mirror_in(Arc::<MemoryStore>::clone(&far), &Deposed::default()).catch_up_once(&env.store).await.unwrap();
    assert!(bed.double.plan.fired(Fault::Denied) > 0);
    assert_eq!(shown(&*far).await, shown(&*env.store).await);
}
