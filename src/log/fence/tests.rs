//! A log is taken by whoever's fence stands first, and a store's lie on the way neither breaks the chain nor stops the
//! taker for good.

use bytes::Bytes;

use super::*;
use crate::log::fixture::{Fixture, RULE, main_source, spanning, transaction, write_segment};
use crate::log::scrub::{Depth, Order, Outcome, scrub};
use crate::log::writer::Writer;
use crate::store::{Fate, PutNew};

/// What a store does wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// The put lands and its reply is lost.
    ReplyLost,
    /// The put lands, is said to be there already, and its last bytes are read back wrong.
    ReplyLostAndReadWrong,
    /// A bit in the middle of what is read whole is wrong.
    BitFlip,
}

fn lying(fixture: &Fixture, lie: Lie) -> LogEnv {
    let mut left = Some(lie);
    fixture.fated(move |asked| match (left, asked.op, asked.part) {
        (Some(Lie::ReplyLost), Op::Put, _) => {
            left = None;
            Fate::ReplyLost
        }
        (Some(Lie::ReplyLostAndReadWrong), Op::Put, _) => Fate::Says(PutNew::AlreadyThere),
        (Some(Lie::ReplyLostAndReadWrong), Op::Get, Some(Part::Range { .. })) => {
            left = None;
            Fate::reads(|body| flipped(&body, body.len() - 1))
        }
        (Some(Lie::BitFlip), Op::Get, Some(Part::Whole)) => {
            left = None;
            Fate::reads(|body| flipped(&body, body.len() / 2))
        }
        _ => Fate::Done,
    })
}

fn flipped(body: &[u8], at: usize) -> Bytes {
    let mut flipped = body.to_vec();
    flipped[at] ^= 1;
    flipped.into()
}

/// The reply to a daemon's fence was lost. Its next try saw a higher epoch than its last one, and it stopped for good
/// before its own fence.
#[tokio::test]
async fn l9_a_daemon_is_not_fenced_by_its_own_fence() {
    for lie in [Lie::ReplyLost, Lie::ReplyLostAndReadWrong] {
        let fixture = Fixture::new(60);
        let env = lying(&fixture, lie);
        let before = Some(Epoch::new(0));
        let Err(LogError::FenceUndecided { epoch, .. }) = take(&env, &main_source(), before).await else {
            panic!("{lie:?}: a fence of unknown fate is no reign")
        };
        assert_eq!(epoch, Epoch::new(1));
        assert!(matches!(take(&env, &main_source(), before).await, Err(LogError::Fenced { .. })), "as it was");
        let reign = take(&env, &main_source(), Some(epoch)).await.unwrap();
        assert_eq!((reign.epoch, reign.next), (Epoch::new(2), Slot::new(3)), "{lie:?}");
    }
}

/// A segment of our own that was read back wrong looked like that of a second writer in the same epoch.
#[tokio::test]
async fn l9_a_segment_of_our_own_that_is_read_wrong_is_no_rival() {
    let fixture = Fixture::new(61);
    let reign = take(&fixture.env, &main_source(), None).await.unwrap();
    let env = lying(&fixture, Lie::ReplyLostAndReadWrong);
    let mut writer = Writer::new(&env, &main_source(), reign, RULE, Box::new(crate::log::context::NoContext));
    for record in transaction(1) {
        writer.append(&record).unwrap();
    }
    let error = writer.flush().await.unwrap_err();
    assert!(error.is_store_trouble(), "{error:?}");
    let reign = take(&env, &main_source(), Some(Epoch::new(1))).await.unwrap();
    assert_eq!(reign.cursor.to.get(), 10, "it had landed");
}

/// A bit of the last object was read wrong; its hash went into the fence, and the chain was broken there for ever.
#[tokio::test]
async fn l4_what_is_read_wrong_while_the_log_is_taken_does_not_get_into_the_chain() {
    let fixture = Fixture::new(62);
    write_segment(&mut fixture.writer().await, &spanning(1)).await;
    let env = lying(&fixture, Lie::BitFlip);
    let error = take(&env, &main_source(), None).await.unwrap_err();
    let key = layout::segment(&main_source(), Slot::new(2));
    assert!(matches!(error, LogError::Object(error) if error.key == key));
    let reign = take(&env, &main_source(), None).await.unwrap();
    assert_eq!(reign.epoch, Epoch::new(2));
    let report = scrub(&fixture.env, &main_source(), Order::all(Depth::Full), &mut ()).await;
    assert_eq!(report.outcome(), Outcome::Sound, "{:?}", report.findings);
}

/// A process slept between its fence and what it does to the server because of it.
#[tokio::test]
async fn l5_who_was_fenced_since_its_own_fence_can_tell_by_looking_behind_it() {
    let fixture = Fixture::new(63);
    let (env, source) = (&fixture.env, main_source());
    write_segment(&mut fixture.writer().await, &transaction(1)).await;
    let ours = take(env, &source, None).await.unwrap();
    assert_eq!((ours.epoch, ours.next), (Epoch::new(2), Slot::new(4)));
    fixture.store.tamper(&layout::segment(&source, Slot::new(4)), Some(fixture.object(2).await));
    still_ours(env, &source, ours.epoch, ours.next).await.expect("a late object of an older reign ends nothing");
    fixture.store.tamper(&layout::segment(&source, Slot::new(4)), None);
    still_ours(env, &source, ours.epoch, ours.next).await.expect("nobody came");
    let theirs = take(env, &source, None).await.unwrap();
    let told = still_ours(env, &source, ours.epoch, ours.next).await.unwrap_err();
    assert!(matches!(told, LogError::Fenced { theirs: epoch, .. } if epoch == theirs.epoch), "{told:?}");
    still_ours(env, &source, theirs.epoch, theirs.next).await.expect("they reign");
}
