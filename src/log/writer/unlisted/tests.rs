//! A store that takes no checkpoints is told of once, asked rarely, and costs a bounded memory.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::log::fixture::{Fixture, main_source, transaction, write_segment};
use crate::log::history::History;
use crate::store::{Fate, Op, Refusal, StoreErrorKind};

const EVERY: u64 = CHECKPOINT_EVERY_SLOTS;

#[tokio::test]
async fn l11_a_store_that_takes_no_checkpoints_is_told_of_once_and_asked_once_a_minute() {
    let mut fixture = Fixture::new(420);
    let (asked, refuses) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
    let (counted, stubborn) = (Arc::clone(&asked), Arc::clone(&refuses));
    fixture.env = fixture.fated(move |asked| {
        let checkpoint = asked.is(Op::Put, "checkpoint/");
        counted.fetch_add(u64::from(checkpoint), Ordering::Relaxed);
        let denied = Fate::Fails(StoreErrorKind::Refused(Refusal::NoRights));
        denied.when(checkpoint && stubborn.load(Ordering::Relaxed))
    });
    let mut writer = fixture.writer().await;
    let (mut number, mut told) = (0, 0);
    let times = [(0, EVERY + 20, true), (1, 5, true), (1, 5, true), (1, 5, false), (0, EVERY, true), (1, 5, true)];
    for (minutes, segments, refusing) in times {
        refuses.store(refusing, Ordering::Relaxed);
        fixture.clock.advance(CHECKPOINT_AGAIN * minutes);
        for _ in 0..segments {
            number += 1;
            write_segment(&mut writer, &transaction(number)).await;
            told += u64::from(writer.checkpoint_trouble().is_some());
        }
    }
    assert_eq!(
        (asked.load(Ordering::Relaxed), told),
        (6, 2),
        "asked once a minute and never more; told once in each of two outages"
    );
    let history = History::load(&fixture.env, &main_source()).await.unwrap();
    assert_eq!(history.checkpoint, Some(Slot::new(EVERY + 20 + 1 + 11)), "the one between the outages");
    assert_eq!(history.missing, []);
}

#[tokio::test]
async fn l8_what_waits_for_a_checkpoint_is_bounded_however_long_the_store_takes_none() {
    let fixture = Fixture::with_a_log(421).await;
    let one = fixture.entry(2).await;
    let entry = |slot: u64| Entry { slot: Slot::new(slot), hash: Some([1; 32]), ..one.clone() };
    let denied = || StoreError::new(Op::Put, "checkpoint/", StoreErrorKind::Refused(Refusal::NoRights));
    let mut unlisted = Unlisted::new(Slot::new(9), Vec::new());
    for slot in 10..10 + 5 * CHECKPOINT_SLOTS_MAX as u64 {
        unlisted.push(entry(slot));
        unlisted.ended((Slot::NONE, Err(denied())), Tick::default());
        assert!(unlisted.entries.len() <= CHECKPOINT_SLOTS_MAX);
    }
    // What gave way is in no checkpoint: the next one says so.
    let first = unlisted.entries.first().unwrap().slot;
    let (anew, checkpoint) = unlisted.next().unwrap();
    assert_eq!((anew, checkpoint.previous, checkpoint.entries.len()), (true, first.before(), unlisted.entries.len()));
    // What stood there from the beginning is listed a checkpoint at a time, and nothing of it gives way.
    let many = 3 * CHECKPOINT_SLOTS_MAX as u64;
    let mut unlisted = Unlisted::new(Slot::NONE, (1..=many).map(entry).collect());
    let mut newest = Slot::NONE;
    while let Some((anew, checkpoint)) = unlisted.next() {
        assert_eq!((anew, checkpoint.previous), (false, newest));
        assert!(checkpoint.entries.len() <= CHECKPOINT_SLOTS_MAX);
        newest = checkpoint.slot();
        unlisted.ended((newest, Ok(())), Tick::default());
    }
    assert_eq!(newest, Slot::new(many));
}
