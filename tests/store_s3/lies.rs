//! Rows S3, S4 and S13 for a whole log: fates that are unknown, acknowledgements of what is never kept, and clocks that
//! stand apart.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast::log::context::NoContext;
use holdfast::log::scrub::{Depth, Order, Outcome, Verdict, scrub};
use holdfast::log::{CutRule, History, LogEnv, LogError, Reader, Writer, fence};
use holdfast::model::limits::IN_FLIGHT_PUTS_MAX;
use holdfast::model::{Commit, Position, Record, Role, Slot, SourceName, Timestamp, Xid};
use holdfast::store::{PutNew, Refusal, S3Store, StoreErrorKind, layout};

use crate::bed::Bed;
use crate::s3::plan::{Fault, On};

const RULE: CutRule = CutRule { segment_bytes: 1 << 20, segment_age: Duration::from_secs(1) };

async fn writer(env: &LogEnv, source: &SourceName) -> Writer {
    let reign = fence::take(env, source, None).await.unwrap();
    Writer::new(env, source, reign, RULE, Box::new(NoContext))
}

/// One transaction in a segment of its own; gives up to where all is durable, as the writer believes.
async fn write(writer: &mut Writer, number: u64) -> Position {
    let commit = Commit { position: Position::new(number), time: Timestamp::from_micros(7) };
    writer.append(&Record::wire(Role::Opens(Xid::new(number)), Bytes::from_static(b"begin"))).unwrap();
    writer.append(&Record::wire(Role::Commits(commit), Bytes::from_static(b"commit"))).unwrap();
    writer.flush().await.unwrap().last().unwrap().position()
}

#[tokio::test]
async fn s4_l4_what_was_acknowledged_and_never_stored_is_named_by_the_verifier_and_read_by_nobody_as_a_short_log() {
    let bed = Bed::new().await;
    let (env, source) = bed.log(0).await;
    let mut writer = writer(&env, &source).await;
    write(&mut writer, 1).await;
    bed.double.plan.add(On::Put, Fault::Vanishes, 1);
    assert_eq!(write(&mut writer, 2).await, Position::new(2), "the store said so");
    bed.fired(Fault::Vanishes, 1);
    // As many more as a dying writer may leave beyond a hole, and one.
    let many = 3 + u64::try_from(IN_FLIGHT_PUTS_MAX).unwrap();
    for number in 3..=many {
        write(&mut writer, number).await;
    }
    let lost = layout::segment(&source, Slot::new(3));
    for depth in [Depth::Quick, Depth::Full] {
        let report = scrub(&env, &source, Order::all(depth), &mut ()).await;
        assert_eq!(report.outcome(), Outcome::Damaged, "{depth:?}");
        let found = report.findings.iter().find(|finding| finding.object == lost);
        assert_eq!(found.map(|finding| finding.verdict), Some(Verdict::Missing), "{:?}", report.findings);
    }
    let history = History::load(&env, &source).await.unwrap();
    assert_eq!(history.missing, [Slot::new(3)]);
    let mut reader = Reader::new(&env, &source, history.log.unwrap(), history.live().cloned().collect());
    let mut read = 0;
    let ended = loop {
        match reader.next().await {
            Ok(Some(_)) => read += 1,
            ended => break ended.map(drop),
        }
    };
    assert!(ended.is_err() && read == 2, "{read} objects were read, then {ended:?}: nothing leads across");
}

#[tokio::test]
async fn s4_l4_a_vanished_object_near_the_end_shows_as_soon_as_a_new_reign_stands_behind_it() {
    let bed = Bed::new().await;
    let (env, source) = bed.log(0).await;
    let mut first = writer(&env, &source).await;
    write(&mut first, 1).await;
    bed.double.plan.add(On::Put, Fault::Vanishes, 1);
    write(&mut first, 2).await;
    write(&mut first, 3).await;
    bed.fired(Fault::Vanishes, 1);
    // The hole looks like a dying writer's, so the next reign begins in it, at the position before it: the source is asked
    // from there, and the slot, which has confirmed more, tells that this is a loss.
    let reign = fence::take(&env, &source, None).await.unwrap();
    assert_eq!(reign.cursor.to, Position::new(1), "it claims nothing that is lost");
    assert_eq!(reign.next, Slot::new(5), "its fence stands in the hole, and what stood beyond it is void");
    let report = scrub(&env, &source, Order::all(Depth::Full), &mut ()).await;
    assert_eq!(report.head.unwrap().position, Position::new(1), "nor does the head, which the slot is compared with");
}

#[tokio::test]
async fn s3_l1_a_put_of_unknown_fate_latches_the_writer_until_the_log_is_opened_anew() {
    for fault in [Fault::ReplyLost, Fault::LandThenFail, Fault::FailBefore(500)] {
        let bed = Bed::new().await;
        let (env, source) = bed.log(0).await;
        // Nobody asks again: the writer alone has to see to it.
        let env = LogEnv { store: Arc::<S3Store>::clone(&bed.bare), ..env };
        let mut first = writer(&env, &source).await;
        write(&mut first, 1).await;
        bed.double.plan.add(On::Put, fault, 1);
        let record = Record::wire(Role::Opens(Xid::new(2)), Bytes::from_static(b"begin"));
        first.append(&record).unwrap();
        let lost = first.flush().await.unwrap_err();
        assert!(
            matches!(&lost, LogError::Store(error) if error.kind == StoreErrorKind::Unanswered),
            "{fault:?}: {lost}"
        );
        bed.fired(fault, 1);
        for again in [first.append(&record), first.cut(), first.next_durable().await.map(drop)] {
            assert!(matches!(again, Err(LogError::Latched)), "{fault:?}: {again:?}");
        }
        let mut next = writer(&env, &source).await;
        assert_eq!(next.durable(), Position::new(1), "{fault:?}: it reads back where it stands");
        write(&mut next, 2).await;
        assert!(History::load(&env, &source).await.unwrap().missing.is_empty());
    }
}

#[tokio::test]
async fn s13_l11_clocks_too_far_apart_are_a_typed_stop_that_names_the_remedy_and_ends_when_they_are_set() {
    let bed = Bed::new().await;
    bed.put("a/1", "x").await.unwrap();
    bed.each_meets(Fault::Skewed, u64::MAX);
    for error in bed.refusals().await {
        assert_eq!(error.kind, StoreErrorKind::Refused(Refusal::WrongClock), "{error}");
        assert!(error.to_string().contains("clock is too far from the store's; set it"), "{error}");
    }
    let asked = bed.double.plan.fired(Fault::Skewed);
    assert!((6..40).contains(&asked), "a person is told soon, not after {asked} refusals");
    bed.double.plan.clear();
    assert_eq!(bed.put("a/2", "y").await, Ok(PutNew::Created), "and once the clock is set all goes on");
}

#[tokio::test]
async fn s13_live_a_request_that_was_signed_by_a_wrong_clock_is_signed_again_by_the_stores() {
    let bed = Bed::new().await;
    bed.each_meets(Fault::Skewed, 1);
    bed.works("signed again").await;
    bed.fired(Fault::Skewed, 5);
}

/// The SDK corrects its clock by each answer's; here that puts it wrong, and the double then refuses what it signed.
#[tokio::test]
async fn s13_what_time_a_server_says_it_is_decides_nothing() {
    for minutes in [-24 * 60, -16, 16, 24 * 60] {
        let bed = Bed::new().await;
        bed.each_meets(Fault::OtherDate(minutes), 1);
        bed.works(&format!("{minutes} minutes off")).await;
        bed.fired(Fault::OtherDate(minutes), 5);
        assert_eq!(bed.put("a/2", "text").await, Ok(PutNew::Created), "what follows is signed as before");
    }
}
