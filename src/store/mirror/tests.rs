//! A mirror that is away, slow, foreign or required: what it gets, in which order, and who waits for it.

mod expired;
mod others;

use super::*;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;

use crate::clock::SystemClock;
use crate::codec::segment::{Flags, Header, ObjectKind, Suite};
use crate::model::{BaseId, Epoch, Position, Slot, SourceName, Timestamp};
use crate::store::layout;
use crate::store::memory::MemoryStore;

const UP: u8 = 0;
const DOWN: u8 = 1;
const HANGS: u8 = 2;
/// Everything but deleting works.
const LOCKED: u8 = 3;

/// A memory store that can be taken away, and remembers the order of what it took.
#[derive(Default)]
struct Far {
    inner: MemoryStore,
    mode: AtomicU8,
    taken: Mutex<Vec<ObjectKey>>,
}

impl Far {
    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().iter().map(ToString::to_string).collect()
    }

    async fn meet(&self, op: Op, what: &str) -> Result<(), StoreError> {
        match self.mode.load(Ordering::SeqCst) {
            UP | LOCKED => Ok(()),
            DOWN => Err(StoreError::new(op, what, StoreErrorKind::Unavailable)),
            _hangs => std::future::pending().await,
        }
    }
}

#[async_trait::async_trait]
impl Store for Far {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        self.meet(Op::Put, key.as_str()).await?;
        let put = self.inner.put_new(key, body).await?;
        if put == PutNew::Created {
            self.taken.lock().unwrap().push(key.clone());
        }
        Ok(put)
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        self.meet(Op::Get, key.as_str()).await?;
        self.inner.get(key, part).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        self.meet(Op::List, prefix).await?;
        self.inner.list(prefix, after).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.meet(Op::Delete, key.as_str()).await?;
        if self.mode.load(Ordering::SeqCst) == LOCKED {
            return Err(StoreError::new(Op::Delete, key, StoreErrorKind::Refused(Refusal::NoRights)));
        }
        self.inner.delete(key).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.meet(Op::Size, key.as_str()).await?;
        self.inner.size(key).await
    }

    async fn holds(&self, key: &ObjectKey, body: &Sealed) -> Result<bool, StoreError> {
        self.meet(Op::Size, key.as_str()).await?;
        self.inner.holds(key, body).await
    }
}

/// Takes a boundary's word for it, and holds these bases for expired.
struct Believes(Vec<BaseId>);

#[async_trait::async_trait]
impl Retention for Believes {
    async fn proved(&self, store: &dyn Store, source: &SourceName) -> Option<Slot> {
        forget::newest_boundary(store, source).await.ok()
    }

    async fn expired(&self, _mirror: &Arc<dyn Store>, _source: &SourceName) -> Vec<BaseId> {
        self.0.clone()
    }
}

/// The base that has expired, if any has.
const EXPIRED: BaseId = BaseId::from_bytes([8; 16]);

const RULE: MirrorRule = MirrorRule {
    answer_within: Duration::from_millis(60),
    first_wait: Duration::from_millis(2),
    wait_max: Duration::from_millis(10),
    whole_every: Duration::from_hours(1),
};
const PATIENCE: Duration = Duration::from_secs(20);

/// A first store and one mirror, followed.
struct World {
    first: Arc<Far>,
    far: Arc<Far>,
    store: Mirrored,
    follower: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own task")]
fn world_of(first: &Arc<Far>, far: &Arc<Far>, duty: Duty, rule: MirrorRule) -> World {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (deposed, retention): (_, Option<Arc<dyn Retention>>) =
        (Deposed::default(), Some(Arc::new(Believes(vec![EXPIRED]))));
    let store: Arc<dyn Store> = Arc::<Far>::clone(far);
    let place = MirrorPlace { name: "second".to_owned(), duty, store, retention, sources: Vec::new() };
    let mirror = Arc::new(Mirror::new(place, rule, &deposed, &clock));
    let (follows, decides) = (Arc::clone(&mirror), Arc::<Far>::clone(first));
    let decides: Arc<dyn Store> = decides;
    let follower = tokio::spawn(async move { follows.follow(&decides).await });
    let (first, far) = (Arc::clone(first), Arc::clone(far));
    let store = Mirrored::new(Arc::<Far>::clone(&first), vec![mirror], deposed);
    World { first, far, store, follower }
}

fn world(duty: Duty) -> World {
    world_of(&Arc::default(), &Arc::default(), duty, RULE)
}

impl World {
    fn mirror(&self) -> &Arc<Mirror> {
        &self.store.mirrors()[0]
    }

    async fn catches_up(&self) {
        assert!(self.mirror().wait_for(PATIENCE, State::is_in_step).await, "{:?}", self.mirror().sight());
    }

    async fn until(&self, what: &str, so: impl Fn(&MirrorSight) -> bool) {
        assert!(
            self.mirror().wait_for(PATIENCE, |state| so(&state.sight("", Duty::BestEffort))).await,
            "{what}: {:?}",
            self.mirror().sight()
        );
    }

    async fn put(&self, key: &ObjectKey, body: &Sealed) -> Result<Put, StoreErrorKind> {
        put_own(&self.store, key, body).await.map_err(|error| error.kind)
    }
}

fn main() -> SourceName {
    "main".parse().unwrap()
}

fn segment(slot: u64) -> ObjectKey {
    layout::segment(&main(), Slot::new(slot))
}

/// An object of a log as far as its header tells.
fn body(slot: u64, epoch: u64, salt: u8) -> Sealed {
    object(ObjectKind::Data, slot, epoch, salt)
}

fn object(kind: ObjectKind, slot: u64, epoch: u64, salt: u8) -> Sealed {
    let header = Header {
        kind,
        suite: Suite::ChaCha20Poly1305,
        flags: Flags::from_nothing(),
        stream: [1; 16],
        epoch: Epoch::new(epoch),
        slot: Slot::new(slot),
        from: Position::ZERO,
        to: Position::ZERO,
        from_time: Timestamp::MIN,
        to_time: Timestamp::MIN,
        needs_from: Slot::new(slot),
        sealed_at: Timestamp::from_micros(i64::try_from(slot).unwrap()),
        previous: [0; 32],
        salt: [salt; 32],
        commitment: [0; 32],
        wraps: Vec::new(),
    };
    Sealed::stored(Bytes::from(header.encode()))
}

async fn all(store: &MemoryStore) -> Vec<String> {
    let mut keys = crate::store::Keys::new(store, "", None);
    let mut names = Vec::new();
    while let Some(key) = keys.next().await.unwrap() {
        names.push(key.to_string());
    }
    names
}

#[tokio::test]
async fn l1_a_required_mirror_that_is_down_holds_up_the_acknowledgement_and_nothing_is_lost() {
    let world = world(Duty::Required);
    assert_eq!(world.put(&segment(1), &body(1, 1, 1)).await, Ok(Put::Ours));
    assert_eq!(world.far.taken(), [segment(1).to_string()], "before the answer");
    world.far.set(DOWN);
    assert_eq!(world.put(&segment(2), &body(2, 1, 2)).await, Err(StoreErrorKind::Unanswered), "it may be in one store");
    assert!(world.mirror().sight().holds_up);
    // From then on nothing new begins: an outage of a day leaves no trail of fences.
    for _ in 0..3 {
        assert_eq!(world.put(&segment(3), &body(3, 2, 3)).await, Err(StoreErrorKind::Unavailable));
    }
    assert_eq!(all(&world.first.inner).await.len(), 2, "segments 1 and 2");
    world.far.set(UP);
    assert_eq!(world.put(&segment(2), &body(2, 1, 2)).await, Ok(Put::Ours), "our own, now in both");
    assert_eq!(world.put(&segment(3), &body(3, 2, 3)).await, Ok(Put::Ours));
    assert_eq!(all(&world.far.inner).await, all(&world.first.inner).await);
    assert!(!world.mirror().sight().holds_up);
}

#[tokio::test]
async fn l1_an_object_whose_put_a_required_mirror_broke_counts_only_once_the_mirror_has_it() {
    let world = world(Duty::Required);
    world.catches_up().await;
    world.first.inner.put_new(&segment(1), body(1, 1, 1)).await.unwrap();
    assert_eq!(world.put(&segment(1), &body(1, 1, 1)).await, Ok(Put::Ours), "it stood in the first store already");
    assert_eq!(all(&world.far.inner).await, [segment(1).to_string()]);
}

#[tokio::test]
async fn l8_l9_a_mirror_that_is_away_for_long_holds_nothing_up_and_catches_up_in_order() {
    for away in [DOWN, HANGS] {
        let world = world(Duty::BestEffort);
        world.catches_up().await;
        world.far.set(away);
        let many = u64::try_from(sight::NOTES_MAX).unwrap() + 300;
        let begun = world.mirror().clock.tick();
        for slot in 1..=many {
            assert_eq!(world.put(&segment(slot), &body(slot, 1, 1)).await, Ok(Put::Ours));
        }
        assert!(world.mirror().clock.tick().since(begun) < Duration::from_secs(10), "it waited for the mirror");
        let sight = world.mirror().sight();
        assert!(sight.behind_objects >= many && sight.behind_since.is_some(), "{sight:?}");
        assert!(sight.behind_bytes >= many * 100, "{sight:?}");
        if away == HANGS {
            // What hangs is let go of by whoever wraps the store; here the follower alone would wait for ever.
            continue;
        }
        world.far.set(UP);
        world.catches_up().await;
        let sight = world.mirror().sight();
        assert_eq!((sight.behind_objects, sight.behind_bytes, sight.behind_since), (0, 0, None), "{sight:?}");
        let expected: Vec<_> = (1..=many).map(|slot| segment(slot).to_string()).collect();
        assert_eq!(world.far.taken(), expected, "in order, each once");
    }
}

#[tokio::test]
async fn after_a_restart_a_mirror_catches_up_from_its_last_checkpoint() {
    let (first, far): (Arc<Far>, Arc<Far>) = Default::default();
    for slot in 1..=600 {
        first.inner.put_new(&segment(slot), body(slot, 1, 1)).await.unwrap();
        if slot <= 520 {
            far.inner.put_new(&segment(slot), body(slot, 1, 1)).await.unwrap();
        }
    }
    let checkpoint = layout::checkpoint(&main(), Slot::new(512));
    for store in [&first.inner, &far.inner] {
        store.put_new(&checkpoint, object(ObjectKind::Checkpoint, 512, 1, 1)).await.unwrap();
    }
    // Lost in the mirror's old part: the tail's comparison does not see it, that of everything does.
    far.inner.tamper(&segment(3), None);
    let world = world_of(&first, &far, Duty::BestEffort, RULE);
    world.catches_up().await;
    let expected: Vec<_> = (521..=600).map(|slot| segment(slot).to_string()).collect();
    assert_eq!(far.taken(), expected);
    drop(world);
    let world = world_of(&first, &far, Duty::BestEffort, MirrorRule { whole_every: Duration::ZERO, ..RULE });
    world.catches_up().await;
    world.until("the lost one comes back", |sight| sight.copied == 1).await;
    assert_eq!(all(&far.inner).await, all(&first.inner).await);
}

#[tokio::test]
async fn a_mirror_never_shows_a_base_before_its_parts() {
    let world = world(Duty::BestEffort);
    world.catches_up().await;
    let base = BaseId::from_bytes([7; 16]);
    world.far.set(DOWN);
    let part = |number| layout::base_part(&main(), base, number);
    for number in [2, 0, 1] {
        world.put(&part(number), &body(u64::from(number) + 1, 1, 1)).await.unwrap();
    }
    world.put(&layout::manifest(&main(), base), &body(9, 1, 1)).await.unwrap();
    // A note alone, without its parts' notes, brings the parts along.
    let manifest = layout::manifest(&main(), base);
    world.mirror().change(|state| {
        while let Some(note) = state.note_within(state.doubts()).filter(|note| note.key != manifest) {
            state.done(&note);
        }
    });
    world.far.set(UP);
    world.catches_up().await;
    let expected = [part(0), part(1), part(2), layout::manifest(&main(), base)].map(|key| key.to_string());
    assert_eq!(world.far.taken(), expected);
}

#[tokio::test]
async fn a_put_that_nobody_waits_for_any_more_still_reaches_the_mirror() {
    let world = world(Duty::BestEffort);
    world.catches_up().await;
    // It lands in the first store although its caller was told nothing.
    world.first.inner.put_new(&segment(1), body(1, 1, 1)).await.unwrap();
    world.first.set(HANGS);
    let (key, sealed) = (segment(1), body(1, 1, 1));
    assert!(futures::poll!(world.store.put_new(&key, sealed)).is_pending());
    world.first.set(UP);
    world.until("it arrives", |sight| sight.copied == 1).await;
}

/// Hangs, and counts who hangs.
#[derive(Default)]
struct Stuck(AtomicU8);

#[async_trait::async_trait]
impl Opener for Stuck {
    async fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test]
async fn l9_a_mirror_that_hangs_takes_a_few_threads_and_no_more() {
    let stuck = Arc::new(Stuck::default());
    let distant = Distant::new(Arc::<Stuck>::clone(&stuck));
    let clock = SystemClock::new();
    for _ in 0..30 {
        let asked = clock::timeout(&clock, Duration::from_millis(3), distant.list("", None)).await;
        assert!(asked.is_err(), "it hangs");
    }
    assert_eq!(stuck.0.load(Ordering::SeqCst), 8, "calls that nobody waits for keep their places");
}
