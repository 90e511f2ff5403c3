//! A hold that is added while an expiry deletes bases is seen by the expiry, or told what it does not keep.

use std::sync::{Arc, Mutex};

use super::*;
use crate::daemon::fixture::put_base;

/// A hold that was put behind the expiry's last look was confirmed by a base that was deleted a moment later. No boundary
/// told of it, since none moves where bases alone expire.
#[tokio::test]
async fn l10_a_hold_is_never_confirmed_by_a_base_that_is_about_to_go() {
    #[rustfmt::skip]
    let cases: [Case; 2] = [
        // before the expiry does this                                   it ends    the hold is told       why
        (|named| matches!(named, layout::Named::Doomed { .. }),          false,     Held::All,             "the expiry sees the hold"),
        (|named| matches!(named, layout::Named::Manifest { .. }),        true,      Held::From(micros(50_001)), "the hold sees the notice"),
    ];
    for (seed, (before, goes, expected, why)) in (80..).zip(cases) {
        let fixture = Fixture::new(seed);
        write_commits(&fixture, 1..9).await;
        let (env, source, log) = (fixture.env.clone(), main_source(), fixture.log().await);
        let old = put_base(&fixture, log, 2).await.base;
        put_base(&fixture, log, 5).await;
        let hold = Hold { name: "case-1".parse().unwrap(), from: micros(30_000), to: Timestamp::MAX };
        let told = Arc::new(Mutex::new(None));
        let (tell, adder, wanted) = (Arc::clone(&told), env.clone(), hold.clone());
        let adding = async move {
            hold::add(&adder, &main_source(), log, &wanted).await.unwrap();
            *tell.lock().unwrap() = Some(held(&adder, &main_source(), &wanted).await.unwrap());
        };
        let mut adding = Some(adding);
        let late = fixture.fated(move |asked| {
            let changes = matches!(asked.op, Op::Put | Op::Delete);
            let named = layout::parse(&asked.name.parse().unwrap_or_else(|_| layout::first(0)));
            let now = changes && named.as_ref().is_some_and(before);
            if now { adding.take().map_or(Fate::Done, Fate::first) } else { Fate::Done }
        });
        let mut looked = Looked::at(&late, &source, &[]).await.unwrap();
        let doomed = Doomed { first: Slot::FIRST, bases: vec![old] };
        let done = looked.delete(&late, &source, &at_once(), &doomed).await;
        assert_eq!((done.is_ok(), told.lock().unwrap().clone()), (goes, Some(expected)), "{why}: {done:?}");
        let stays = env.store.size(&layout::manifest(&source, old)).await.is_ok();
        assert_eq!(stays, !goes, "{why}");
        assert_eq!(notice::list(&env, &source).await.unwrap(), [], "{why}: nothing is left of it");
        if !goes {
            assert_eq!(held(&env, &source, &hold).await.unwrap(), Held::All, "{why}");
        }
    }
}

/// Which act it comes before, whether the expiry goes on, what the hold is told, and why.
type Case = (fn(&layout::Named) -> bool, bool, Held, &'static str);

#[tokio::test]
async fn a_notice_that_somebody_left_behind_is_forgotten_after_a_day() {
    let fixture = Fixture::new(82);
    write_commits(&fixture, 1..5).await;
    let (env, source) = (&fixture.env, main_source());
    let base = put_base(&fixture, fixture.log().await, 2).await.base;
    notice::give(env, &source, &[base]).await.unwrap();
    let nothing = Doomed { first: Slot::FIRST, bases: Vec::new() };
    for (hours, left) in [(0, 1), (23, 1), (2, 0)] {
        fixture.clock.advance(Duration::from_hours(hours));
        let mut looked = Looked::at(env, &source, &[]).await.unwrap();
        looked.delete(env, &source, &at_once(), &nothing).await.unwrap();
        assert_eq!(notice::list(env, &source).await.unwrap().len(), left, "{hours} hours later");
    }
}
