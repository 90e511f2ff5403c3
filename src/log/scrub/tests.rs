//! Undamaged logs have no findings; each kind of damage is found, at its object, and nothing else is.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::codec::footer::Footer;
use crate::codec::frame::pack;
use crate::codec::gap::{Gap, Reason};
use crate::codec::segment::{Flags, Header};
use crate::log::fixture::{Fixture, main_source, spanning, transaction, write_segment};
use crate::log::history::History;
use crate::log::object::Seal;
use crate::model::limits::CHECKPOINT_EVERY_SLOTS;
use crate::model::{Epoch, Position, Timestamp, Xid};
use crate::store::{Fate, Op, Refusal};

async fn run(fixture: &Fixture, depth: Depth) -> ScrubReport {
    scrub(&fixture.env, &main_source(), Order::all(depth), &mut ()).await
}

pub(crate) fn segment(slot: u64) -> ObjectKey {
    layout::segment(&main_source(), Slot::new(slot))
}

/// What was found, without how it shows.
fn found(report: &ScrubReport) -> Vec<(ObjectKey, Verdict)> {
    report.findings.iter().map(|finding| (finding.object.clone(), finding.verdict)).collect()
}

/// A long log: checkpoints, two reigns, a transaction across both kinds of borders, void objects.
pub(crate) async fn long_log(seed: u64) -> Fixture {
    let fixture = Fixture::new(seed);
    let mut writer = fixture.writer().await;
    for number in 1..=CHECKPOINT_EVERY_SLOTS + 4 {
        write_segment(&mut writer, &transaction(number)).await;
    }
    let cut_off = spanning(1000);
    write_segment(&mut writer, &cut_off[..2]).await;
    write_segment(&mut writer, &cut_off[2..3]).await;
    // The last put of the first reign lands behind the fence of the second.
    let last = CHECKPOINT_EVERY_SLOTS + 7;
    let late = fixture.object(last).await;
    fixture.store.tamper(&segment(last), None);
    fixture.store.tamper(&segment(last + 1), None);
    let mut writer = fixture.writer().await;
    assert_eq!(writer.epoch(), Epoch::new(2));
    drop(late);
    for number in 1000..1006 {
        let records = spanning(number);
        write_segment(&mut writer, &records[..3]).await;
        write_segment(&mut writer, &records[3..]).await;
    }
    fixture
}

#[tokio::test]
async fn an_undamaged_log_has_no_findings_and_a_head() {
    for fixture in [Fixture::new(40), Fixture::with_a_log(41).await, long_log(42).await] {
        let history = History::load(&fixture.env, &main_source()).await.unwrap();
        for depth in [Depth::Quick, Depth::Full] {
            let report = run(&fixture, depth).await;
            assert_eq!(report.findings, vec![], "{depth:?}");
            assert_eq!(report.outcome(), Outcome::Sound);
            assert_eq!(report.head.map(|head| head.slot), history.last().map(|entry| entry.slot));
            if let Some(head) = report.head {
                assert_eq!(head.hash, sha256(&fixture.object(head.slot.get()).await));
                assert_eq!(Some(head.position), history.last().map(|entry| entry.to));
            }
        }
    }
}

#[tokio::test]
async fn void_objects_are_checked_and_do_not_count() {
    let fixture = Fixture::new(43);
    let mut old = fixture.writer().await;
    for part in spanning(1).chunks(1).take(5) {
        write_segment(&mut old, part).await;
    }
    // 5 was lost on its way, 6 landed: the next fence takes 5, and 6 is void.
    let (void, next) = (segment(6), segment(5));
    fixture.store.tamper(&next, None);
    write_segment(&mut fixture.writer().await, &transaction(1)).await;
    let report = run(&fixture, Depth::Full).await;
    assert_eq!(report.findings, vec![]);
    assert_eq!(report.head.unwrap().slot, Slot::new(7));
    let body = fixture.object(6).await;
    fixture.store.tamper(&void, Some(flip(&body, body.len() / 2)));
    assert_eq!(found(&run(&fixture, Depth::Full).await), vec![(void, Verdict::Damaged)]);
}

pub(crate) fn flip(body: &Bytes, at: usize) -> Bytes {
    let mut body = body.to_vec();
    body[at] ^= 0x10;
    body.into()
}

#[tokio::test]
async fn l4_each_kind_of_damage_is_found_at_its_object_and_nothing_else_is() {
    use Verdict::{Damaged, Foreign, Missing};
    let good = Fixture::with_a_log(44).await;
    let mut twin = Fixture::new(45);
    twin.env.keys = Arc::clone(&good.env.keys);
    write_segment(&mut twin.writer().await, &transaction(1)).await;
    let stranger = Fixture::with_a_log(46).await;
    let two = good.object(2).await;
    let last = good.object(7).await;
    let readme: ObjectKey = "log/main/readme".parse().unwrap();
    #[rustfmt::skip]
    let cases = [
        // object      what is there now                found in full          why
        (segment(2),   Some(flip(&two, two.len() / 2)), vec![(2, Damaged)],    "a flipped bit in a frame"),
        (segment(2),   Some(flip(&two, 60)),            vec![(2, Damaged)],    "a flipped bit in the header"),
        (segment(2),   Some(flip(&two, two.len() - 5)), vec![(2, Damaged)],    "a flipped bit in the trailer"),
        (segment(2),   Some(two.slice(..100)),          vec![(2, Damaged)],    "cut off"),
        (segment(2),   Some(Bytes::new()),              vec![(2, Damaged)],    "empty"),
        (segment(2),   Some(good.object(3).await),      vec![(2, Damaged)],    "the next one's bytes"),
        (segment(3),   None,                            vec![(3, Missing)],    "gone from the middle"),
        (segment(1),   None,                            vec![(1, Missing)],    "the first one gone"),
        (segment(7),   None,                            vec![],                "the last one gone: only a witness can tell"),
        (segment(2),   Some(twin.object(2).await),      vec![(2, Foreign)],    "another log's under the same key"),
        (segment(2),   Some(stranger.object(2).await),  vec![(2, Foreign)],    "another key's"),
        (segment(8),   Some(last.clone()),              vec![(8, Damaged)],    "the last one repeated"),
        (readme,       Some(two.clone()),               vec![(0, Foreign)],    "a name that is none of ours"),
    ];
    for (key, body, expected, why) in cases {
        let before = good.env.store.get(&key, Part::Whole).await.ok().map(|sealed| sealed.bytes());
        good.store.tamper(&key, body);
        let report = run(&good, Depth::Full).await;
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(slot, verdict)| (if slot == 0 { key.clone() } else { segment(slot) }, verdict))
            .collect();
        assert_eq!(found(&report), expected, "{why}: {:?}", report.findings);
        assert_eq!(report.outcome(), if expected.is_empty() { Outcome::Sound } else { Outcome::Damaged }, "{why}");
        good.store.tamper(&key, before);
    }
    assert_eq!(run(&good, Depth::Full).await.outcome(), Outcome::Sound, "every damage was undone");
}

type LieOfASegment = (&'static str, fn(&mut Header, &mut Footer));
type LieOfACheckpoint = (&'static str, fn(&mut Vec<Entry>));

/// Whoever holds the key could seal a segment that lies; so could a defect of ours.
#[tokio::test]
async fn a_segment_that_lies_about_its_records_is_found() {
    let fixture = Fixture::with_a_log(47).await;
    let key = segment(2);
    let honest = Object::open(&fixture.env, &key, fixture.object(2).await).await.unwrap();
    let (header, footer) = (honest.header.clone(), Footer::decode(&honest.footer().unwrap()).unwrap());
    let frame = { honest }.next_frame().unwrap().unwrap();
    #[rustfmt::skip]
    let lies: [LieOfASegment; 12] = [
        ("nothing at all, so that the test proves itself", |_, _| {}),
        ("position",       |header, _| header.to = Position::new(21)),
        ("time",           |header, _| header.to_time = Timestamp::from_micros(1)),
        ("reads from",     |header, _| header.needs_from = Slot::new(1)),
        ("ends inside",    |header, _| header.flags = Flags::ENDS_INSIDE),
        ("holds a gap",    |header, _| header.flags = Flags::HOLDS_GAP),
        ("records",        |_, footer| footer.records += 1),
        ("transactions",   |_, footer| footer.transactions -= 1),
        ("xids",           |_, footer| footer.xid_most = Xid::new(9)),
        ("gaps",           |_, footer| footer.gaps.push(Gap { exact_until: Position::ZERO,
                                           time: Timestamp::MIN, reason: Reason::SlotLost, tables: Vec::new(), detail: String::new() })),
        ("frame position", |_, footer| footer.frames[0].to = Position::new(10)),
        ("frame place",    |_, footer| footer.frames[0].at += 1),
    ];
    for (what, lie) in lies {
        let (mut header, mut footer) = (header.clone(), footer.clone());
        lie(&mut header, &mut footer);
        let mut seal = Seal::begin(&fixture.env, header.stream, header.epoch).await.unwrap();
        let sealed = seal.seal(&header, &[pack(&frame)], |_| footer.encode()).unwrap();
        fixture.store.tamper(&key, Some(sealed.bytes()));
        let report = scrub(&fixture.env, &main_source(), Order::all(Depth::Full), &mut ()).await;
        let at_it = report.findings.iter().filter(|finding| finding.object == key).count();
        // The one that is honest breaks the chain to slot 3 all the same: it is another object.
        assert_eq!(at_it, usize::from(!what.starts_with("nothing")), "{what}: {:?}", report.findings);
        assert_eq!(report.outcome(), Outcome::Damaged, "{what}");
    }
}

#[tokio::test]
async fn a_lost_tail_shows_where_a_checkpoint_lists_it() {
    let fixture = Fixture::new(48);
    let mut writer = fixture.writer().await;
    for number in 1..=CHECKPOINT_EVERY_SLOTS + 1 {
        write_segment(&mut writer, &transaction(number)).await;
    }
    for slot in CHECKPOINT_EVERY_SLOTS - 2..=CHECKPOINT_EVERY_SLOTS + 2 {
        fixture.store.tamper(&segment(slot), None);
    }
    for depth in [Depth::Quick, Depth::Full] {
        let report = run(&fixture, depth).await;
        assert_eq!(found(&report), vec![(segment(CHECKPOINT_EVERY_SLOTS - 2), Verdict::Missing)]);
        assert_eq!(report.witnesses, vec!["1 checkpoints"]);
    }
}

#[tokio::test]
async fn a_checkpoint_that_lists_something_else_is_found_by_deriving_it_anew() {
    let fixture = Fixture::with_a_log(49).await;
    let (log, entries) = {
        let history = History::load(&fixture.env, &main_source()).await.unwrap();
        (history.log.unwrap(), history.entries)
    };
    let key = layout::checkpoint(&main_source(), Slot::new(7));
    let mut seal = Seal::begin(&fixture.env, *log.as_bytes(), Epoch::new(1)).await.unwrap();
    #[rustfmt::skip]
    let lies: [LieOfACheckpoint; 6] = [
        ("nothing",             |_| {}),
        ("another hash",        |entries| entries[2].hash = Some([1; 32])),
        ("a void one",          |entries| entries[2].void = true),
        ("another position",    |entries| entries[2].to = Position::new(1)),
        ("a slot left out",     |entries| entries.retain(|entry| entry.slot != Slot::new(3))),
        ("another's epoch",     |entries| entries[6].epoch = Epoch::new(2)),
    ];
    for (what, lie) in lies {
        let mut entries = entries.clone();
        lie(&mut entries);
        let checkpoint = Checkpoint { previous: Slot::NONE, entries };
        fixture.store.tamper(&key, Some(checkpoint.seal(&mut seal).unwrap().bytes()));
        for depth in [Depth::Quick, Depth::Full] {
            let objects: Vec<_> =
                run(&fixture, depth).await.findings.into_iter().map(|finding| finding.object).collect();
            assert_eq!(objects, if what == "nothing" { vec![] } else { vec![key.clone()] }, "{what}, {depth:?}");
        }
    }
}

#[tokio::test]
async fn from_a_boundary_on_everything_must_be_there_and_before_it_nothing_need_be() {
    let fixture = Fixture::with_a_log(50).await;
    let log = fixture.log().await;
    let (first, previous) = (fixture.entry(4).await, sha256(&fixture.object(3).await));
    let mut seal = Seal::begin(&fixture.env, *log.as_bytes(), Epoch::new(1)).await.unwrap();
    let key = layout::boundary(&main_source(), Slot::new(4));
    let right = boundary::seal(&first, previous, &mut seal).unwrap().bytes();
    fixture.store.tamper(&key, Some(right.clone()));
    fixture.store.tamper(&segment(1), None);
    fixture.store.tamper(&segment(2), None);
    assert_eq!(run(&fixture, Depth::Full).await.findings, vec![], "2 was expired, 3 is not yet deleted");
    let wrong = boundary::seal(&first, [1; 32], &mut seal).unwrap().bytes();
    fixture.store.tamper(&key, Some(wrong));
    assert_eq!(
        found(&run(&fixture, Depth::Quick).await),
        vec![(segment(4), Verdict::Damaged)],
        "another history's end"
    );
    fixture.store.tamper(&key, Some(right.slice(..right.len() - 1)));
    assert_eq!(found(&run(&fixture, Depth::Full).await), vec![(key.clone(), Verdict::Damaged)]);
    fixture.store.tamper(&key, Some(right));
    fixture.store.tamper(&segment(4), None);
    assert_eq!(found(&run(&fixture, Depth::Full).await), vec![(segment(4), Verdict::Missing)]);
}

#[tokio::test]
async fn l11_what_could_not_be_read_is_never_called_fine() {
    let fixture = Fixture::with_a_log(51).await;
    let kinds = [StoreErrorKind::Unavailable, StoreErrorKind::Unanswered, StoreErrorKind::Refused(Refusal::NoRights)];
    let deaf_to = [
        "log/main/",
        "checkpoint/main/",
        "boundary/main/",
        segment(1).as_str(),
        segment(4).as_str(),
        segment(7).as_str(),
    ]
    .map(str::to_owned);
    for (kind, deaf_to) in kinds.iter().flat_map(|kind| deaf_to.iter().map(move |deaf_to| (*kind, deaf_to.clone()))) {
        // Answers nothing for one object, or for listings.
        let to = deaf_to.clone();
        let env = fixture
            .fated(move |asked| Fate::Fails(kind).when(asked.name == to && matches!(asked.op, Op::Get | Op::List)));
        for depth in [Depth::Quick, Depth::Full] {
            let report = scrub(&env, &main_source(), Order::all(depth), &mut ()).await;
            let only = report.findings.iter().all(|finding| finding.verdict == Verdict::Unreadable);
            assert!(only && report.outcome() == Outcome::CouldNotTell, "{deaf_to} {kind:?} {:?}", report.findings);
            assert!(report.findings.iter().any(|finding| finding.object.as_str() == deaf_to.trim_end_matches('/')));
        }
    }
}

#[tokio::test]
async fn a_wrong_key_can_tell_nothing_and_says_so() {
    let mut fixture = Fixture::with_a_log(52).await;
    fixture.env.keys = Fixture::new(53).env.keys;
    let report = run(&fixture, Depth::Full).await;
    assert_eq!((report.findings.len(), report.outcome()), (7, Outcome::CouldNotTell));
}

#[tokio::test]
async fn any_sealed_object_can_be_checked_alone() {
    let fixture = Fixture::with_a_log(54).await;
    let scrubber = Scrubber::new(&fixture.env, 1);
    let sound = scrubber.object(&segment(2)).await.unwrap();
    let body = fixture.object(2).await;
    assert_eq!(sound, Sound { hash: sha256(&body), bytes: body.len() as u64 });
    fixture.store.tamper(&segment(2), Some(flip(&body, body.len() / 2)));
    assert_eq!(scrubber.object(&segment(2)).await.unwrap_err().verdict, Verdict::Damaged);
    assert_eq!(scrubber.object(&segment(99)).await.unwrap_err().verdict, Verdict::Missing);
}

#[tokio::test]
async fn a_verification_can_begin_at_any_slot() {
    let fixture = long_log(55).await;
    let end = History::load(&fixture.env, &main_source()).await.unwrap().hole().get();
    for since in (1..end).step_by(7).chain(end - 14..=end) {
        for depth in [Depth::Quick, Depth::Full] {
            let order = Order { since: Some(Slot::new(since)), ..Order::all(depth) };
            let report = scrub(&fixture.env, &main_source(), order, &mut ()).await;
            assert_eq!(report.findings, vec![], "from {since}, {depth:?}");
        }
    }
}
