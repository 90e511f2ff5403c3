//! Puts whose replies get lost, stores that stay away, rivals: what the caller is told in the end.

use super::*;
use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;

use crate::clock::ManualClock;
use crate::entropy::SeededEntropy;
use crate::model::Timestamp;
use crate::store::error::Refusal;
use crate::store::memory::MemoryStore;

/// What happens to one call.
#[derive(Clone, Copy)]
enum Fate {
    /// As asked.
    Done,
    /// Not done, and said so.
    Refused(StoreErrorKind),
    /// Done, and the reply is lost.
    ReplyLost,
    /// Neither done nor answered.
    Hangs,
}

/// A memory store whose puts and gets meet what is scripted, then work.
struct Scripted {
    inner: MemoryStore,
    fates: Mutex<VecDeque<Fate>>,
    bodies: Mutex<Vec<Sealed>>,
}

impl Scripted {
    fn new(fates: &[Fate]) -> Arc<Self> {
        let fates = Mutex::new(fates.iter().copied().collect());
        Arc::new(Self { inner: MemoryStore::new(), fates, bodies: Mutex::default() })
    }

    async fn meet<T>(&self, op: Op, done: Result<T, StoreError>, fate: Fate) -> Result<T, StoreError> {
        match fate {
            Fate::Done => done,
            Fate::ReplyLost => Err(StoreError::new(op, "x", StoreErrorKind::Unanswered)),
            Fate::Refused(kind) => Err(StoreError::new(op, "x", kind)),
            Fate::Hangs => std::future::pending().await,
        }
    }

    fn fate(&self) -> Fate {
        self.fates.lock().unwrap().pop_front().unwrap_or(Fate::Done)
    }
}

#[async_trait::async_trait]
impl Store for Scripted {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        self.bodies.lock().unwrap().push(body.clone());
        let fate = self.fate();
        let done = match fate {
            Fate::Done | Fate::ReplyLost => self.inner.put_new(key, body).await,
            Fate::Refused(_) | Fate::Hangs => Ok(PutNew::Created),
        };
        self.meet(Op::Put, done, fate).await
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        self.meet(Op::Get, self.inner.get(key, part).await, self.fate()).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        self.inner.list(prefix, after).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.inner.size(key).await
    }
}

const RULE: RetryRule = RetryRule {
    first_wait: Duration::from_millis(100),
    wait_max: Duration::from_secs(2),
    deadline: Duration::from_secs(10),
};

fn key() -> ObjectKey {
    "log/main/0000000000000001.seg".parse().unwrap()
}

fn body(text: &'static str) -> Sealed {
    Sealed::stored(Bytes::from_static(text.as_bytes()))
}

/// Runs `work` on a clock that is moved on whenever everybody waits; gives the time it took as well.
async fn run<T>(clock: &ManualClock, work: impl Future<Output = T>) -> (T, Duration) {
    tokio::pin!(work);
    loop {
        if let std::task::Poll::Ready(done) = futures::poll!(work.as_mut()) {
            return (done, clock.tick().elapsed());
        }
        clock.advance(Duration::from_millis(10));
    }
}

fn retrying(store: &Arc<Scripted>) -> (Retrying, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
    let inner: Arc<dyn Store> = Arc::<Scripted>::clone(store);
    let own_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    (Retrying::new(inner, own_clock, Arc::new(SeededEntropy::new(7)), RULE), clock)
}

type Case = (&'static [Fate], bool, Result<PutNew, StoreErrorKind>, &'static str);

#[tokio::test]
async fn a_put_ends_as_what_happened_however_its_replies_are_lost() {
    use Fate::{Done, Hangs, Refused, ReplyLost};
    const LATER: Fate = Refused(StoreErrorKind::Unavailable);
    const FULL: Fate = Refused(StoreErrorKind::Refused(Refusal::NoSpace));
    let no_space = StoreErrorKind::Refused(Refusal::NoSpace);
    #[rustfmt::skip]
    let cases: &[Case] = &[
        // fates of the calls     rival  answer                              why
        (&[Done],                 false, Ok(PutNew::Created),                "nothing went wrong"),
        (&[Done],                 true,  Ok(PutNew::AlreadyThere),           "a rival was first"),
        (&[LATER, LATER, Done],   false, Ok(PutNew::Created),                "a store that comes back"),
        (&[ReplyLost],            false, Ok(PutNew::Created),                "our own earlier put is ours"),
        (&[ReplyLost, ReplyLost], false, Ok(PutNew::Created),                "however often the reply is lost"),
        (&[ReplyLost],            true,  Ok(PutNew::AlreadyThere),           "a rival's object is never ours"),
        (&[LATER],                true,  Ok(PutNew::AlreadyThere),           "nor after a plain failure"),
        (&[ReplyLost, Done, LATER], false, Ok(PutNew::Created),              "the look itself may fail and is repeated"),
        (&[FULL],                 false, Err(no_space),                      "a person must act: no second try"),
        (&[ReplyLost, FULL],      false, Err(StoreErrorKind::Unanswered),    "it may have landed: not 'not done'"),
        (&[Hangs],                false, Err(StoreErrorKind::Unanswered),    "silence until the deadline"),
        (&[LATER; 99],            false, Err(StoreErrorKind::Unavailable),   "a store that stays away"),
    ];
    for (fates, rival, answer, why) in cases {
        let store = Scripted::new(fates);
        if *rival {
            store.inner.put_new(&key(), body("theirs")).await.unwrap();
        }
        let (retrying, clock) = retrying(&store);
        let (found, took) = run(&clock, retrying.put_new(&key(), body("ours.."))).await;
        assert_eq!(found.map_err(|error| error.kind), *answer, "{why}");
        assert!(took <= RULE.deadline, "{why}: {took:?}");
        assert!(store.bodies.lock().unwrap().iter().all(|sent| *sent == body("ours..")), "{why}: other bytes");
    }
}

#[tokio::test]
async fn the_waits_grow_to_their_bound_and_are_not_alike() {
    let store = Scripted::new(&[Fate::Refused(StoreErrorKind::Unavailable); 99]);
    let (retrying, clock) = retrying(&store);
    let (_, took) = run(&clock, retrying.get(&key(), Part::Whole)).await;
    let tries = 99 - store.fates.lock().unwrap().len();
    assert!(
        (6..=14).contains(&tries),
        "{tries} tries in {took:?}: 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, … each up to half shorter"
    );
}

#[tokio::test]
async fn what_cannot_work_is_not_tried_again() {
    let store = Scripted::new(&[]);
    let (retrying, clock) = retrying(&store);
    let (missing, took) = run(&clock, retrying.get(&key(), Part::Whole)).await;
    assert_eq!(missing.unwrap_err().kind, StoreErrorKind::Missing);
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test]
async fn put_own_tells_ours_from_a_rivals() {
    let long = |last: u8| {
        let mut bytes = vec![7; HEADER_BYTES_MAX + 10];
        bytes[HEADER_BYTES_MAX - 1] = last;
        Sealed::stored(Bytes::from(bytes))
    };
    #[rustfmt::skip]
    let cases = [
        // there                        ours            whose    why
        (None,                          body("ours"),   true,    "the name was free"),
        (Some(body("ours")),            body("ours"),   true,    "an earlier put of ours"),
        (Some(body("their")),           body("ours"),   false,   "another object"),
        (Some(body("our")),             body("ours"),   false,   "a beginning of ours is not ours"),
        (Some(body("ours and more")),   body("ours"),   false,   "nor is more than ours"),
        (Some(long(1)),                 long(1),        true,    "longer than a header"),
        (Some(long(1)),                 long(2),        false,   "differs in the header's last byte"),
    ];
    for (there, ours, whose, why) in cases {
        let store = MemoryStore::new();
        if let Some(there) = there {
            store.put_new(&key(), there).await.unwrap();
        }
        assert_eq!(put_own(&store, &key(), &ours).await.unwrap() == Put::Ours, whose, "{why}");
    }
}

#[tokio::test]
async fn the_deadline_follows_the_bytes_where_the_road_is_known_to_be_slow() {
    const MIB: u64 = 1024 * 1024;
    let seconds = |bytes: u64| Duration::from_millis(bytes * 1000 / 1_000_000);
    let large = Sealed::stored(Bytes::from(vec![7; 8 << 20]));
    let small = body("a heartbeat");
    let rest = seconds(OBJECT_BYTES_MAX - 16 * MIB);
    #[rustfmt::skip]
    let cases = [
        // put or part                                 ends after                                   why
        (Err(small),                                   RULE.deadline,                               "a heartbeat must not hold a shutdown back"),
        (Err(large),                                   RULE.deadline + seconds(8 * MIB) * 2,        "the largest has a second chance"),
        (Ok(Part::First { bytes: 4096 }),              RULE.deadline + seconds(4096) * 2,           "a header"),
        (Ok(Part::Whole),                              RULE.deadline + seconds(16 * MIB) * 2 + rest, "whatever it is, it may come to its end"),
    ];
    for (asked, ends, why) in cases {
        let store = Scripted::new(&[Fate::Hangs]);
        let (retrying, clock) = retrying(&store);
        let retrying = retrying.on_a_road(1_000_000);
        let (error, took) = match asked {
            Err(body) => run(&clock, async { retrying.put_new(&key(), body).await.map(drop).unwrap_err() }).await,
            Ok(part) => run(&clock, async { retrying.get(&key(), part).await.map(drop).unwrap_err() }).await,
        };
        assert_eq!(error.kind, StoreErrorKind::Unanswered, "{why}");
        assert!((ends..ends + Duration::from_millis(20)).contains(&took), "{why}: {took:?} instead of {ends:?}");
    }
    // No try begins once the time of the usual is over.
    let store = Scripted::new(&[Fate::Refused(StoreErrorKind::Unavailable); 999]);
    let (retrying, clock) = retrying(&store);
    let (_, took) = run(&clock, retrying.on_a_road(1_000_000).get(&key(), Part::Whole)).await;
    assert!(took <= RULE.deadline + seconds(16 * MIB) * 2, "{took:?}");
}
