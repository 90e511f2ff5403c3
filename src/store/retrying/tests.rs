//! Puts whose replies get lost, stores that stay away, rivals: what the caller is told in the end.

use super::*;
use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;

use crate::clock::ManualClock;
use crate::entropy::SeededEntropy;
use crate::model::Timestamp;
use crate::store::error::Refusal;
use crate::store::fated::{Fate, Fated};
use crate::store::memory::MemoryStore;

/// What becomes of one put or get.
type Meets = fn() -> Fate;
const DONE: Meets = || Fate::Done;
const LATER: Meets = || Fate::Fails(StoreErrorKind::Unavailable);
const FULL: Meets = || Fate::Fails(StoreErrorKind::Refused(Refusal::NoSpace));
const LOST: Meets = || Fate::ReplyLost;
const HANGS: Meets = Fate::hangs;

/// A memory store whose puts and gets meet what is scripted, then work.
struct Scripted {
    inner: Arc<dyn Store>,
    script: Arc<Mutex<VecDeque<Meets>>>,
    bodies: Arc<Mutex<Vec<Sealed>>>,
}

impl Scripted {
    fn new(script: &[Meets]) -> Self {
        let script = Arc::new(Mutex::new(script.iter().copied().collect()));
        Self { inner: Arc::new(MemoryStore::new()), script, bodies: Arc::default() }
    }

    fn store(&self) -> Arc<dyn Store> {
        let (script, bodies) = (Arc::clone(&self.script), Arc::clone(&self.bodies));
        Fated::over(&self.inner, move |asked| {
            bodies.lock().unwrap().extend(asked.body.cloned());
            let scripted = matches!(asked.op, Op::Put | Op::Get);
            let next = if scripted { script.lock().unwrap().pop_front() } else { None };
            next.unwrap_or(DONE)()
        })
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

fn retrying(store: &Scripted) -> (Retrying, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
    let own_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    (Retrying::new(store.store(), own_clock, Arc::new(SeededEntropy::new(7)), RULE), clock)
}

type Case = (&'static [Meets], bool, Result<PutNew, StoreErrorKind>, &'static str);

#[tokio::test]
async fn a_put_ends_as_what_happened_however_its_replies_are_lost() {
    let no_space = StoreErrorKind::Refused(Refusal::NoSpace);
    #[rustfmt::skip]
    let cases: &[Case] = &[
        // what calls meet        rival  answer                              why
        (&[DONE],                 false, Ok(PutNew::Created),                "nothing went wrong"),
        (&[DONE],                 true,  Ok(PutNew::AlreadyThere),           "a rival was first"),
        (&[LATER, LATER, DONE],   false, Ok(PutNew::Created),                "a store that comes back"),
        (&[LOST],                 false, Ok(PutNew::Created),                "our own earlier put is ours"),
        (&[LOST, LOST],           false, Ok(PutNew::Created),                "however often the reply is lost"),
        (&[LOST],                 true,  Ok(PutNew::AlreadyThere),           "a rival's object is never ours"),
        (&[LATER],                true,  Ok(PutNew::AlreadyThere),           "nor after a plain failure"),
        (&[LOST, DONE, LATER],    false, Ok(PutNew::Created),                "the look itself may fail and is repeated"),
        (&[FULL],                 false, Err(no_space),                      "a person must act: no second try"),
        (&[LOST, FULL],           false, Err(StoreErrorKind::Unanswered),    "it may have landed: not 'not done'"),
        (&[HANGS],                false, Err(StoreErrorKind::Unanswered),    "silence until the deadline"),
        (&[LATER; 99],            false, Err(StoreErrorKind::Unavailable),   "a store that stays away"),
    ];
    for (script, rival, answer, why) in cases {
        let store = Scripted::new(script);
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
    let store = Scripted::new(&[LATER; 99]);
    let (retrying, clock) = retrying(&store);
    let (_, took) = run(&clock, retrying.get(&key(), Part::Whole)).await;
    let tries = 99 - store.script.lock().unwrap().len();
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
        let store = Scripted::new(&[HANGS]);
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
    let store = Scripted::new(&[LATER; 999]);
    let (retrying, clock) = retrying(&store);
    let (_, took) = run(&clock, retrying.on_a_road(1_000_000).get(&key(), Part::Whole)).await;
    assert!(took <= RULE.deadline + seconds(16 * MIB) * 2, "{took:?}");
}
