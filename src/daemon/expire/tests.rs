//! What a restore answers before an expiry is what it answers after it, or it refuses; and what is promised it never
//! refuses. Histories with gaps and times that step back are drawn at random.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::apply::postgres::Transaction;
use crate::codec::pgoutput::{Begin, Message};
use crate::codec::segment::Header;
use crate::log::fixture::{Fixture, main_source, transaction, write_segment};
use crate::log::object::draft;
use crate::model::{LogId, Lsn, Xid};
use crate::restore::cut::{self, Completion, Look};
use crate::restore::plan::{Cut, GapRule, Plan};
use crate::restore::target::Target;
use crate::store::{Fate, Op};

/// Commits with their times, so many to a segment; bases with how many commits they hold, and gaps before a commit.
#[derive(Clone, Debug)]
struct World {
    times: Vec<i64>,
    per_segment: usize,
    bases: Vec<(usize, i64)>,
    gaps: Vec<(usize, Reason)>,
}

fn at(number: usize) -> u64 {
    u64::try_from(number).unwrap() * 10 + 10
}

fn micros(number: i64) -> Timestamp {
    Timestamp::from_micros(number)
}

/// What is stored, and where each gap's record stands.
#[derive(Clone, Debug)]
struct Stored {
    facts: Facts,
    gap_slots: Vec<Slot>,
}

impl World {
    fn is_lost(&self, number: usize) -> bool {
        self.gaps.iter().any(|(gap, reason)| *gap == number && *reason == Reason::SlotLost)
    }

    fn captured(&self) -> Vec<Transaction> {
        let commits = self.times.iter().enumerate().filter(|(number, _)| !self.is_lost(*number));
        let transaction = |(number, time): (usize, &i64)| Transaction {
            xid: Xid::new(at(number)),
            commit_lsn: Lsn::new(at(number)),
            position: Position::new(at(number) + 9),
            time: micros(*time),
        };
        commits.map(transaction).collect()
    }

    fn stored(&self) -> Stored {
        let log = LogId::from_bytes([1; 16]);
        let (mut entries, mut to, mut to_time) = (Vec::<Entry>::new(), Position::ZERO, Timestamp::MIN);
        for (slot, commits) in (1..).zip(self.captured().chunks(self.per_segment)) {
            let (from, from_time) = (to, to_time);
            to = commits.last().unwrap().position;
            to_time = commits.iter().map(|commit| commit.time).max().unwrap().max(from_time);
            let slot = Slot::new(slot);
            let header = Header { slot, needs_from: slot, from, to, from_time, to_time, ..draft(ObjectKind::Data) };
            entries.push(Entry::of_header(&header));
        }
        let base = |(index, (many, taken_at)): (usize, &(usize, i64))| BaseFact {
            base: BaseId::from_bytes([u8::try_from(index).unwrap(); 16]),
            point: Lsn::new(at(*many)),
            begins: Lsn::new(at(many.saturating_sub(index % 3))),
            taken_at: micros(*taken_at),
            finished_at: micros(*taken_at + 60),
            log: Some(log),
            bytes: 1,
        };
        let mut bases: Vec<_> = self.bases.iter().enumerate().map(base).collect();
        bases.sort_by_key(|base| (base.point, base.taken_at));
        let gap = |(number, reason): &(usize, Reason)| {
            let before = self.captured().iter().map(|one| one.position).filter(|to| to.get() < at(*number)).max();
            let (time, detail) = (micros(i64::try_from(*number).unwrap() * 100), number.to_string());
            let gap =
                Gap { exact_until: before.unwrap_or_default(), time, reason: *reason, detail, tables: Vec::new() };
            PlacedGap { gap, place: Position::new(at(*number) + 9) }
        };
        let gaps: Vec<_> = self.gaps.iter().map(gap).collect();
        let slot = |gap: &PlacedGap| {
            let holder = entries.iter().find(|entry| entry.to > gap.gap.exact_until).or(entries.last());
            holder.map_or(Slot::FIRST, |entry| entry.slot)
        };
        let gap_slots = gaps.iter().map(slot).collect();
        let (begin, holes) = (Position::ZERO, Vec::new());
        Stored { facts: Facts { log: Some(log), entries, holes, bases, gaps, begin }, gap_slots }
    }

    /// What a survey does, with the world in place of a store.
    fn plan(&self, facts: &Facts, target: &Target) -> Option<Plan> {
        let cut = match cut::look(facts, target).ok()? {
            Look::AtBase(position) => {
                Cut { position, last: None, excluded: None, excluded_not_after: 0, extent: Position::ZERO }
            }
            Look::In(window, by) => {
                let to = window.entries.last().map_or(Position::ZERO, |entry| entry.to);
                let inside = self.captured().into_iter().filter(|one| one.position > window.from && one.position <= to);
                let completion =
                    |one: Transaction| Completion { position: one.position, transaction: Some(one), marks: Vec::new() };
                let cut = cut::cut(&window, &inside.map(completion).collect::<Vec<_>>(), by);
                if *target == Target::Latest { Cut { extent: cut.position, ..cut } } else { cut }
            }
            Look::ForXid(..) | Look::ForMark(_) => return None,
        };
        facts.plan(&"main".parse().unwrap(), target, cut, GapRule::Refuse).ok()
    }
}

impl Stored {
    fn known(&self) -> Known<'_> {
        let facts = &self.facts;
        let base = |base: &BaseFact| KnownBase {
            base: base.base,
            point: base.point.position(),
            begins: base.begins.position(),
            taken_at: base.taken_at,
            finished_at: base.finished_at,
            continues: facts.continues(base),
            sound: facts.is_sound(base),
        };
        let gaps = facts.gaps.iter().zip(&self.gap_slots).map(|(placed, slot)| record(*slot, &placed.gap, facts));
        let bases = facts.bases.iter().map(base).collect();
        Known { entries: &facts.entries, bases, gaps: gaps.collect(), holds: Vec::new() }
    }

    fn without(&self, doomed: &Doomed) -> Self {
        let mut facts = self.facts.clone();
        leave(&mut facts, doomed);
        let stays = |slot: &Slot| *slot >= doomed.first;
        let gaps = self.facts.gaps.iter().zip(&self.gap_slots).filter(|(_, slot)| stays(slot));
        facts.gaps = gaps.map(|(gap, _)| gap.clone()).collect();
        Self { facts, gap_slots: self.gap_slots.iter().copied().filter(stays).collect() }
    }
}

fn world() -> impl Strategy<Value = World> {
    let times = proptest::collection::vec(-150..150_i64, 2..24);
    let bases = proptest::collection::vec((0..24_usize, -120..120_i64), 1..5);
    let reason = prop_oneof![Just(Reason::SlotLost), Just(Reason::SchemaChanged)];
    let gaps = proptest::collection::btree_map(0..24_usize, reason, 0..4);
    (times, 1..4_usize, bases, gaps).prop_map(|(times, per_segment, bases, gaps)| {
        let times: Vec<_> = (0..).zip(times).map(|(number, jitter)| number * 100 + jitter).collect();
        let most = times.len();
        let bases = bases.into_iter().map(|(many, jitter)| (many % (most + 1), jitter));
        let bases = bases.map(|(many, jitter)| (many, i64::try_from(many).unwrap() * 100 + jitter)).collect();
        World { times, per_segment, bases, gaps: gaps.into_iter().filter(|(at, _)| *at < most).collect() }
    })
}

/// What the answer comes to. That another base leads to the same end is no other answer.
fn answer(plan: &Plan) -> (Position, Option<Transaction>) {
    (plan.stop.position, plan.stop.excluded)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn l10_a_restore_answers_as_before_or_refuses_and_never_refuses_what_is_promised(
        world in world(), log in 0..2000_u64, bases in 0..2000_u64, nows in proptest::collection::vec(-300..4000_i64, 1..3),
    ) {
        let mut stored = world.stored();
        prop_assume!(!stored.facts.entries.is_empty());
        for now in nows {
            let rule = Rule { log: Duration::from_micros(log), bases: Duration::from_micros(bases) };
            let doomed = stored.known().doomed(rule, micros(now));
            let after = stored.without(&doomed);
            let from = micros(now).earlier_by(rule.log);
            let times = world.times.iter().flat_map(|time| [time - 1, *time]).chain([from.micros(), -400, 9000]);
            let points = stored.facts.bases.iter().map(|base| base.point);
            let ends = world.captured().into_iter().map(|one| Lsn::from(one.position));
            let targets: Vec<_> = times
                .map(|time| Target::Time(micros(time)))
                .chain(points.chain(ends).map(Target::Lsn))
                .chain([Target::Latest])
                .collect();
            let promised_from = world.plan(&stored.facts, &Target::Time(from)).map(|plan| plan.stop.position);
            for target in targets {
                let (old, new) = (world.plan(&stored.facts, &target), world.plan(&after.facts, &target));
                if let Some(new) = &new {
                    let old = old.as_ref().map(answer);
                    prop_assert_eq!(old, Some(answer(new)), "{}: {:?}", target, doomed);
                }
                let of_young = |base: &BaseFact| {
                    let young = base.taken_at > micros(now).earlier_by(rule.bases);
                    target == Target::Lsn(base.point) && young && stored.facts.is_sound(base)
                };
                let promised = match &target {
                    Target::Time(time) => *time >= from,
                    Target::Latest => true,
                    Target::Lsn(lsn) => {
                        stored.facts.bases.iter().any(of_young)
                            || promised_from.is_some_and(|from| lsn.position() >= from)
                    }
                    Target::Xid(_) | Target::BeforeXid(_) | Target::Mark(_) => false,
                };
                prop_assert!(!promised || old.is_none() || new.is_some(), "{target} at {now}: {doomed:?}\n{old:?}");
            }
            stored = after;
        }
    }
}

/// Transactions as a server tells them, each in a segment of its own behind the fence.
async fn write_commits(fixture: &Fixture, numbers: std::ops::Range<u64>) {
    let mut writer = fixture.writer().await;
    for number in numbers {
        let mut begin = Vec::new();
        let (final_lsn, commit_time) = (Lsn::new(number * 10 - 5), micros(0));
        Message::Begin(Begin { final_lsn, commit_time, xid: 1 }).encode(&mut begin);
        let mut records = transaction(number);
        records[0].wire = begin.into();
        write_segment(&mut writer, &records).await;
    }
}

#[tokio::test]
async fn s13_l10_a_clock_that_jumped_ahead_deletes_nothing_and_says_so() {
    let fixture = Fixture::new(71);
    write_commits(&fixture, 1..4).await;
    let rule = Rule { log: Duration::from_secs(1), bases: Duration::from_secs(1) };
    let order = Order { rule, holds: Vec::new(), delete: true, claims: None };
    let expiry = run(&fixture.env, &main_source(), &order).await.unwrap();
    assert_eq!((expiry.segments, expiry.first), (0, Slot::FIRST), "without a base nothing expires");
    assert!(expiry.now.is_some_and(|now| now < micros(1_000_000)), "the log's own time counts, it is the earlier one");
    fixture.clock.advance(Duration::from_hours(24 * 400));
    let refused = run(&fixture.env, &main_source(), &order).await.unwrap_err();
    let ExpireError::Refused { source: Refusal::ClocksApart { .. }, .. } = refused else { panic!("{refused}") };
    assert_eq!(History::load(&fixture.env, &main_source()).await.unwrap().entries.len(), 4);
    let nobody: SourceName = "nobody".parse().unwrap();
    assert_eq!(run(&fixture.env, &nobody, &order).await.unwrap().now, None, "nothing is stored, nothing is wrong");
}

fn at_once() -> Order {
    let rule = Rule { log: Duration::from_secs(1), bases: Duration::from_secs(1) };
    Order { rule, holds: Vec::new(), delete: true, claims: None }
}

async fn boundaries(env: &LogEnv) -> usize {
    env.store.list(&layout::boundaries_prefix(&main_source()), None).await.unwrap().len()
}

#[tokio::test]
async fn l4_a_loss_at_the_very_beginning_of_the_log_is_no_expiry() {
    let fixture = Fixture::new(72);
    write_commits(&fixture, 1..7).await;
    fixture.store.tamper(&layout::segment(&main_source(), Slot::FIRST), None);
    let refused = run(&fixture.env, &main_source(), &at_once()).await.unwrap_err();
    let ExpireError::Refused { source: Refusal::Damaged(Slot::FIRST), .. } = refused else { panic!("{refused}") };
    assert_eq!(boundaries(&fixture.env).await, 0, "no boundary makes it look like one");
}

#[tokio::test]
async fn l10_a_hold_that_is_added_while_an_expiry_runs_is_kept_whole() {
    let fixture = Fixture::new(73);
    write_commits(&fixture, 1..7).await;
    let (env, source) = (&fixture.env, main_source());
    // Somebody adds a hold at the moment at which a boundary becomes durable.
    let others = env.clone();
    let late = fixture.fated(move |asked| {
        let env = others.clone();
        let adds = async move {
            let hold = Hold { name: "case-1".parse().unwrap(), from: Timestamp::MIN, to: Timestamp::MAX };
            let log = History::load(&env, &main_source()).await.unwrap().log.unwrap();
            hold::add(&env, &main_source(), log, &hold).await.unwrap();
        };
        Fate::first(adds).when(asked.is(Op::Put, "boundary/"))
    });
    let looked = Looked::at(&late, &source, &[]).await.unwrap();
    let doomed = Doomed { first: Slot::new(4), bases: Vec::new() };
    let refused = looked.delete(&late, &source, &at_once(), &doomed).await.unwrap_err();
    let ExpireError::Refused { source: Refusal::HeldMeanwhile, .. } = refused else { panic!("{refused}") };
    let history = History::load(env, &source).await.unwrap();
    assert_eq!((boundaries(env).await, history.entries.len(), history.boundary), (0, 7, None), "as it was");
    // Whoever knew of the hold may go on.
    let looked = Looked::at(env, &source, &[]).await.unwrap();
    looked.delete(env, &source, &at_once(), &doomed).await.unwrap();
    assert_eq!(History::load(env, &source).await.unwrap().boundary, Some(Slot::new(4)));
}
