//! Expiry killed at every step, refused by the store, and met by those who slept or looked meanwhile.

use bytes::Bytes;

use super::*;
use crate::log::checkpoint::Checkpoint;
use crate::log::context::NoContext;
use crate::log::fence;
use crate::log::fixture::{Fixture, RULE, main_source, transaction, write_segment};
use crate::log::hold::{self, Hold};
use crate::log::scrub::{Depth, Order, Outcome, scrub};
use crate::log::writer::{SLEPT_AFTER, Writer};
use crate::model::{Epoch, Timestamp};
use crate::store::{Fate, Op, Refusal, Store};

const NO_RIGHTS: StoreErrorKind = StoreErrorKind::Refused(Refusal::NoRights);
const OLD: BaseId = BaseId::from_bytes([1; 16]);
const YOUNG: BaseId = BaseId::from_bytes([2; 16]);

fn doomed(first: u64) -> Doomed {
    Doomed { first: Slot::new(first), bases: vec![OLD] }
}

fn segment(slot: u64) -> ObjectKey {
    layout::segment(&main_source(), Slot::new(slot))
}

/// Three reigns: fences in slots 1, 4 and 9, data up to 12; a checkpoint at 3 and one at 6, and two bases.
async fn three_reigns(seed: u64) -> Fixture {
    let fixture = Fixture::new(seed);
    let mut number = 0;
    for many in [2, 4, 3] {
        let mut writer = fixture.writer().await;
        for _ in 0..many {
            number += 1;
            write_segment(&mut writer, &transaction(number)).await;
        }
    }
    let history = History::load(&fixture.env, &main_source()).await.unwrap();
    let mut seal = Seal::begin(&fixture.env, *history.log.unwrap().as_bytes(), Epoch::new(3)).await.unwrap();
    for (previous, last) in [(0, 3), (3, 6)] {
        let entries = history.entries[previous..last].to_vec();
        let checkpoint = Checkpoint { previous: Slot::new(previous as u64), entries };
        let sealed = checkpoint.seal(&mut seal).unwrap();
        fixture.store.tamper(&layout::checkpoint(&main_source(), checkpoint.slot()), Some(sealed.bytes()));
    }
    for base in [OLD, YOUNG] {
        let parts = (1..4).map(|number| layout::base_part(&main_source(), base, number));
        for key in parts.chain([layout::manifest(&main_source(), base)]) {
            fixture.store.tamper(&key, Some(Bytes::from_static(b"sealed")));
        }
    }
    fixture
}

async fn names(store: &dyn Store) -> Vec<String> {
    let mut keys = Keys::new(store, "", None);
    let mut names = Vec::new();
    while let Some(key) = keys.next().await.unwrap() {
        names.push(key.to_string());
    }
    names
}

/// A log with whose store something happens before it is asked to do this with the log for the first time.
fn meanwhile(fixture: &Fixture, op: Op, happens: impl Future<Output = ()> + Send + 'static) -> LogEnv {
    let mut happens = Some(happens);
    fixture.fated(move |asked| happens.take_if(|_| asked.is(op, "log/")).map_or(Fate::Done, Fate::first))
}

async fn sound(env: &LogEnv, when: &str) {
    for depth in [Depth::Quick, Depth::Full] {
        let report = scrub(env, &main_source(), Order::all(depth), &mut ()).await;
        assert_eq!(report.outcome(), Outcome::Sound, "{when}: {:?}", report.findings);
    }
}

#[tokio::test]
async fn s15_l10_an_expiry_killed_anywhere_leaves_a_log_that_opens_and_is_begun_again() {
    let whole = three_reigns(61).await;
    let before = History::load(&whole.env, &main_source()).await.unwrap();
    let done = carry_out(&whole.env, &main_source(), &before, &doomed(7)).await.unwrap();
    assert_eq!((done.bases, done.parts, done.segments, done.others), (1, 3, 4, 2));
    assert_eq!(done.refused, []);
    let left = names(&*whole.store).await;
    let fences = left.iter().filter(|name| name.starts_with("log/")).take(3).cloned().collect::<Vec<_>>();
    assert_eq!(fences, [segment(1).to_string(), segment(4).to_string(), segment(7).to_string()], "fences stay");
    for kill_at in 0..11 {
        let fixture = three_reigns(61).await;
        let mut steps = 0;
        let dying = fixture.fated(move |asked| {
            steps += usize::from(matches!(asked.op, Op::Put | Op::Delete));
            Fate::Fails(StoreErrorKind::Unavailable).when(steps > kill_at)
        });
        let killed = carry_out(&dying, &main_source(), &before, &doomed(7)).await;
        assert_eq!(killed.is_err(), kill_at < 11, "{kill_at}");
        let history = History::load(&fixture.env, &main_source()).await.unwrap();
        let first = if history.boundary.is_some() { 6 } else { 0 };
        let slots = |entries: &[Entry]| entries.iter().map(|entry| entry.slot).collect::<Vec<_>>();
        assert_eq!(slots(&history.entries), slots(&before.entries[first..]), "killed at {kill_at}");
        sound(&fixture.env, &format!("killed at {kill_at}")).await;
        carry_out(&fixture.env, &main_source(), &history, &doomed(7)).await.unwrap();
        let mut again = names(&*fixture.store).await;
        // A base that lost its manifest is none; the sweep takes its parts.
        again.retain(|name| !name.contains(&OLD.to_string()));
        assert_eq!(again, left, "killed at {kill_at}");
        sound(&fixture.env, &format!("begun again after {kill_at}")).await;
        let writer = fixture.writer().await;
        assert_eq!((writer.epoch(), writer.durable()), (Epoch::new(4), before.last().unwrap().to));
    }
}

#[tokio::test]
async fn what_a_lock_keeps_is_told_and_goes_the_next_time_and_a_base_is_never_half_deleted() {
    let fixture = three_reigns(62).await;
    let history = History::load(&fixture.env, &main_source()).await.unwrap();
    let locked = [layout::manifest(&main_source(), OLD), segment(2)];
    let locks = locked.clone();
    let env = fixture.fated(move |asked| {
        let locked = locks.iter().any(|key| key.as_str() == asked.name);
        Fate::Fails(NO_RIGHTS).when(asked.op == Op::Delete && locked)
    });
    let done = carry_out(&env, &main_source(), &history, &doomed(7)).await.unwrap();
    let refused: Vec<_> = done.refused.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(refused, locked);
    assert_eq!((done.bases, done.parts, done.segments), (0, 0, 3));
    assert!(names(&*fixture.store).await.iter().filter(|name| name.contains(&OLD.to_string())).count() == 4);
    sound(&fixture.env, "with a locked segment before the boundary").await;
    let history = History::load(&fixture.env, &main_source()).await.unwrap();
    let done = carry_out(&fixture.env, &main_source(), &history, &doomed(7)).await.unwrap();
    assert_eq!((done.bases, done.parts, done.segments, done.refused), (1, 3, 1, vec![]));
    let denied = fixture.fated(|asked| Fate::Fails(NO_RIGHTS).when(asked.op == Op::Delete));
    let done = carry_out(&denied, &main_source(), &history, &doomed(12)).await.unwrap();
    assert_eq!((done.segments, done.refused.len() >= 4), (0, true), "nothing may be deleted at all: it says so");
}

#[tokio::test]
async fn l4_what_stays_is_proved_before_anything_goes() {
    let fixture = three_reigns(63).await;
    let history = History::load(&fixture.env, &main_source()).await.unwrap();
    let mut bytes = fixture.object(7).await.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    fixture.store.tamper(&segment(7), Some(bytes.into()));
    let before = names(&*fixture.store).await;
    let refused = carry_out(&fixture.env, &main_source(), &history, &doomed(7)).await;
    assert!(matches!(refused, Err(LogError::Object(error)) if error.key == segment(7)));
    assert_eq!(names(&*fixture.store).await, before);
}

/// Others wrote while it slept, and what they wrote has expired: its next slots are free again.
#[tokio::test]
async fn s15_l5_a_writer_that_slept_through_an_expiry_stops() {
    #[rustfmt::skip]
    let cases = [
        // fence is there   clocks go on   why
        (true,              false,         "a machine that was paused, its clocks with it, meets the fence"),
        (true,              true,          "a process that was stopped meets it too"),
        (false,             true,          "somebody removed even the fence: the boundary tells"),
    ];
    for (fence_stays, clocks_go_on, why) in cases {
        let fixture = Fixture::new(64);
        let mut sleeper = fixture.writer().await;
        write_segment(&mut sleeper, &transaction(1)).await;
        let mut other = fixture.writer().await;
        for number in 2..8 {
            write_segment(&mut other, &transaction(number)).await;
        }
        let history = History::load(&fixture.env, &main_source()).await.unwrap();
        carry_out(&fixture.env, &main_source(), &history, &doomed(6)).await.unwrap();
        if !fence_stays {
            fixture.store.tamper(&segment(3), None);
        }
        if clocks_go_on {
            fixture.clock.advance(SLEPT_AFTER);
        }
        for record in transaction(2) {
            sleeper.append(&record).unwrap();
        }
        let stopped = sleeper.flush().await.unwrap_err();
        let slept = matches!(stopped, LogError::Slept { slot, boundary, .. } if (slot, boundary) == (Slot::new(3), Slot::new(6)));
        assert!(slept || fence_stays, "{why}: {stopped}");
        assert!(matches!(stopped, LogError::Fenced { .. }) || !fence_stays, "{why}: {stopped}");
        assert!(matches!(sleeper.cut(), Err(LogError::Latched)), "it stays stopped");
        sound(&fixture.env, why).await;
        write_segment(&mut other, &transaction(8)).await;
        let history = History::load(&fixture.env, &main_source()).await.unwrap();
        assert_eq!(history.entries.len(), 5, "the log goes on: {why}");
    }
}

#[tokio::test]
async fn an_idle_writer_that_did_not_sleep_goes_on() {
    let fixture = three_reigns(65).await;
    let mut writer = fixture.writer().await;
    let history = History::load(&fixture.env, &main_source()).await.unwrap();
    carry_out(&fixture.env, &main_source(), &history, &doomed(12)).await.unwrap();
    for number in 20..23 {
        fixture.clock.advance(SLEPT_AFTER * 60);
        write_segment(&mut writer, &transaction(number)).await;
    }
    sound(&fixture.env, "after idle hours").await;
}

/// Between looking where the log ends and putting its fence there, a whole reign and its expiry pass.
#[tokio::test]
async fn s15_l5_who_slept_while_taking_a_fence_takes_another() {
    let fixture = Fixture::new(66);
    let mut first = fixture.writer().await;
    write_segment(&mut first, &transaction(1)).await;
    let env = fixture.env.clone();
    let others = async move {
        // The old reign writes on into the slot that the sleeper saw free; then another takes over, and all that expires.
        write_segment(&mut first, &transaction(2)).await;
        write_segment(&mut first, &transaction(3)).await;
        let reign = fence::take(&env, &main_source(), None).await.unwrap();
        let mut second = Writer::new(&env, &main_source(), reign, RULE, Box::new(NoContext));
        for number in 4..8 {
            write_segment(&mut second, &transaction(number)).await;
        }
        let history = History::load(&env, &main_source()).await.unwrap();
        carry_out(&env, &main_source(), &history, &doomed(7)).await.unwrap();
    };
    let sleepy = meanwhile(&fixture, Op::Put, others);
    let reign = fence::take(&sleepy, &main_source(), None).await.unwrap();
    assert_eq!((reign.epoch, reign.next), (Epoch::new(3), Slot::new(11)), "behind all that was written meanwhile");
    sound(&fixture.env, "with a stray fence before the boundary").await;
}

#[tokio::test]
async fn s15_l10_what_expires_while_somebody_looks_is_not_missing() {
    for seed in [67, 68] {
        let fixture = three_reigns(seed).await;
        for slot in [3, 6] {
            // With checkpoints the look would end before the expiry: what it found was so.
            fixture.store.tamper(&layout::checkpoint(&main_source(), Slot::new(slot)), None);
        }
        let env = fixture.env.clone();
        let expiring = async move {
            let history = History::load(&env, &main_source()).await.unwrap();
            carry_out(&env, &main_source(), &history, &doomed(7)).await.unwrap();
        };
        let looking = meanwhile(&fixture, Op::List, expiring);
        if seed == 67 {
            let history = History::load(&looking, &main_source()).await.unwrap();
            assert_eq!((history.boundary, history.missing), (Some(Slot::new(7)), vec![]));
        } else {
            sound(&looking, "expired under its eyes").await;
        }
    }
}

/// What it keeps would go, though its name is there for everybody to see.
#[tokio::test]
async fn s15_l10_a_hold_that_a_store_lists_and_says_is_missing_is_never_passed_over() {
    let fixture = three_reigns(69).await;
    let held = Hold { name: "case".parse().unwrap(), from: Timestamp::MIN, to: Timestamp::MAX };
    hold::add(&fixture.env, &main_source(), fixture.log().await, &held).await.unwrap();
    let env = fixture.fated(|asked| Fate::Fails(StoreErrorKind::Missing).when(asked.is(Op::Get, "hold/")));
    let listed = hold::list(&env, &main_source()).await;
    let lost = layout::hold(&main_source(), &held.name);
    assert!(matches!(&listed, Err(LogError::Missing { key }) if *key == lost), "{listed:?}");
    assert_eq!(hold::list(&fixture.env, &main_source()).await.unwrap(), [held]);
}
