//! Checkpoints go on behind a lost object, none of them passes over it, and who reads them reads few headers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::log::scrub::{Depth, Order, scrub};
use crate::store::{Fate, Op};

const EVERY: u64 = CHECKPOINT_EVERY_SLOTS;

/// Reigns one after the other: each writes so many slots, its fence among them, and then loses one.
async fn reigns(seed: u64, all: &[(u64, u64)]) -> Fixture {
    let (fixture, mut number) = (Fixture::new(seed), 0);
    for (slots, lost) in all {
        let mut writer = fixture.writer().await;
        for _ in 1..*slots {
            number += 1;
            write_segment(&mut writer, &transaction(number)).await;
        }
        remove(&fixture, *lost);
    }
    fixture
}

fn plain(history: &History) -> Vec<Entry> {
    history.entries.iter().map(|entry| Entry { bytes: 0, hash: None, ..entry.clone() }).collect()
}

async fn without_checkpoints(fixture: &Fixture) -> History {
    let mut gone = Vec::new();
    for slot in checkpoints(&fixture.env, &main_source()).await.unwrap() {
        let key = layout::checkpoint(&main_source(), slot);
        let body = fixture.env.store.get(&key, Part::Whole).await.unwrap().bytes();
        fixture.store.tamper(&key, None);
        gone.push((key, body));
    }
    let history = load(fixture).await;
    for (key, body) in gone {
        fixture.store.tamper(&key, Some(body));
    }
    history
}

async fn missing_by_scrub(fixture: &Fixture, depth: Depth) -> Vec<ObjectKey> {
    let report = scrub(&fixture.env, &main_source(), Order::all(depth), &mut ()).await;
    report.findings.into_iter().map(|finding| finding.object).collect()
}

/// Slots and loss of each reign, where the newest checkpoint stands then, and why.
type Case = (&'static [(u64, u64)], u64, &'static str);

#[tokio::test]
async fn l4_behind_a_lost_object_checkpoints_begin_anew_and_who_reads_them_finds_it_missing() {
    #[rustfmt::skip]
    let cases: [Case; 5] = [
        // slots, lost                                             newest       why
        (&[(9, 5), (EVERY + 30, 0)],                               EVERY + 5,     "before there was any checkpoint"),
        (&[(EVERY + 40, EVERY + 20), (EVERY + 30, 0)],             2 * EVERY + 20, "behind a checkpoint"),
        (&[(EVERY + 40, EVERY + 1), (EVERY + 30, 0)],              2 * EVERY + 1, "right behind a checkpoint"),
        (&[(EVERY + 40, EVERY + 20), (EVERY + 30, 2 * EVERY + 40), (EVERY + 40, 0)], 3 * EVERY + 40, "twice"),
        (&[(20, 5), (20, 9), (EVERY + 40, 0)],                     EVERY + 9,     "twice, with too little between"),
    ];
    for (seed, (all, newest, why)) in (400..).zip(cases) {
        let fixture = reigns(seed, all).await;
        let lost: Vec<_> = all.iter().map(|(_, lost)| Slot::new(*lost)).filter(|lost| *lost != Slot::NONE).collect();
        let segments = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&segments);
        let counting = fixture.fated(move |asked| {
            counted.fetch_add(u64::from(asked.is(Op::Get, "log/")), Ordering::Relaxed);
            Fate::Done
        });
        let history = History::load(&counting, &main_source()).await.unwrap();
        let read = segments.load(Ordering::Relaxed);
        let listed = without_checkpoints(&fixture).await;
        assert_eq!((history.checkpoint, &history.missing), (Some(Slot::new(newest)), &lost), "{why}");
        assert_eq!((plain(&history), history.holes()), (plain(&listed), listed.holes()), "{why}");
        assert!((1..EVERY / 2).contains(&read), "{why}: {read} headers were read");
        let objects: Vec<_> = lost.iter().map(|slot| layout::segment(&main_source(), *slot)).collect();
        for depth in [Depth::Quick, Depth::Full] {
            assert_eq!(missing_by_scrub(&fixture, depth).await, objects, "{why}, {depth:?}");
        }
    }
}

/// A copy of what was lost may turn up: then nothing is missing, and no checkpoint either.
#[tokio::test]
async fn what_was_lost_and_is_put_back_is_missed_by_nobody() {
    let fixture = Fixture::new(410);
    let mut writer = fixture.writer().await;
    for number in 1..9 {
        write_segment(&mut writer, &transaction(number)).await;
    }
    let body = fixture.object(5).await;
    remove(&fixture, 5);
    let mut writer = fixture.writer().await;
    for number in 9..EVERY + 20 {
        write_segment(&mut writer, &transaction(number)).await;
    }
    fixture.store.tamper(&layout::segment(&main_source(), Slot::new(5)), Some(body));
    let history = load(&fixture).await;
    assert_eq!((history.missing.clone(), history.checkpoint), (vec![], Some(Slot::new(EVERY + 5))));
    assert_eq!(plain(&history), plain(&without_checkpoints(&fixture).await));
    for depth in [Depth::Quick, Depth::Full] {
        assert_eq!(missing_by_scrub(&fixture, depth).await, [], "{depth:?}");
    }
}
