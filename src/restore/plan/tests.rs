//! Plans against a naive model: histories, gaps and bases are drawn at random, and every answer is checked commit by commit.

mod world;

use proptest::prelude::*;

use super::*;
use crate::codec::gap::{GapTable, Reason};
use crate::restore::cut;
use crate::restore::plan::tests::world::{World, any_target, any_world, at, transaction};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]
    #[test]
    fn l2_a_plan_brings_exactly_what_was_asked_for_or_there_is_none(world in any_world(), target in any_target()) {
        if let Ok(plan) = world.plan(&target) {
            let brought = world.carried_out(&plan);
            prop_assert!(brought.is_some(), "a plan leads through a gap: {plan:?}");
            if target != Target::Latest {
                prop_assert_eq!(brought, world.wanted(&target), "{:?}", plan);
            }
        }
    }

    #[test]
    fn what_lies_between_a_base_and_the_end_of_a_whole_log_is_always_restorable(world in any_world(), target in any_target()) {
        let world = World { gaps: Vec::new(), ..world };
        let (first, end) = (world.bases.first(), world.times.iter().max().unwrap());
        let there = match &target {
            Target::Time(time) => time.micros() <= *end,
            // Below the first base and the first commit nobody knows what the base holds.
            Target::Lsn(lsn) => (10..=at(world.times.len()) + 9).contains(&lsn.get()),
            Target::Xid(xid) | Target::BeforeXid(xid) => usize::try_from(*xid / 10).unwrap() < world.times.len(),
            Target::Latest | Target::Mark(_) => true,
        };
        let behind_a_base = world.wanted(&target).is_none_or(|wanted| first.is_some_and(|first| *first <= wanted));
        // Behind the end of the log nobody knows whether a base holds too much.
        let before_the_end = first.is_some_and(|first| *first < world.times.len());
        if there && behind_a_base && before_the_end {
            let plan = world.plan(&target);
            prop_assert!(plan.is_ok(), "{plan:?}");
        }
    }

    #[test]
    fn latest_is_the_newest_instant_that_any_other_target_reaches(world in any_world()) {
        let reached = |target: Target| world.plan(&target).ok().and_then(|plan| world.carried_out(&plan));
        let best = (0..140).filter_map(|lsn| reached(Target::Lsn(Lsn::new(lsn)))).max();
        prop_assert_eq!(reached(Target::Latest), best);
    }
}

#[test]
fn what_is_before_everything_that_is_known_is_refused() {
    let world = World { times: vec![5, 6], per_segment: 1, bases: vec![0], gaps: Vec::new(), again: 0 };
    let mut facts = world.facts();
    facts.bases[0].taken_at = Timestamp::from_micros(4);
    for (target, there) in [
        (Target::Time(Timestamp::from_micros(3)), false),
        (Target::Time(Timestamp::from_micros(4)), true),
        (Target::Lsn(Lsn::new(9)), false),
        (Target::Lsn(Lsn::new(10)), true),
    ] {
        let excluded = Some(transaction(0, 5));
        let cut = Cut { position: Position::ZERO, last: None, excluded, excluded_not_after: 0, extent: Position::ZERO };
        let plan = facts.plan(&"main".parse().unwrap(), &target, cut, GapRule::Refuse);
        assert_eq!(plan.is_ok(), there, "{target}");
    }
}

#[test]
fn the_newest_base_that_holds_nothing_too_much_is_taken() {
    let world =
        World { times: vec![1, 2, 4, 3, 5, 6], per_segment: 2, bases: vec![0, 2, 3, 5], gaps: Vec::new(), again: 0 };
    #[rustfmt::skip]
    let cases = [
        // target                                       base   transactions   why
        (Target::Time(Timestamp::from_micros(3)),       1,     2,  "the time 4 comes before the time 3: neither is in"),
        (Target::Time(Timestamp::from_micros(4)),       2,     4,  "the commit of time 3 is in with that of time 4"),
        (Target::Time(Timestamp::from_micros(6)),       3,     6,  "the last durable commit's own time"),
        (Target::Lsn(Lsn::new(60)),                     3,     5,  "a base's own point"),
        (Target::Lsn(Lsn::new(68)),                     3,     5,  "inside a commit record: that commit is out"),
        (Target::BeforeXid(0),                          0,     0,  "before everything"),
        (Target::Latest,                                3,     6,  "all"),
    ];
    for (target, base, many, why) in cases {
        let plan = world.plan(&target).unwrap();
        assert_eq!((plan.base.as_bytes()[0], world.carried_out(&plan)), (base, Some(many)), "{why}: {target}");
    }
    let plan = world.plan(&Target::Time(Timestamp::from_micros(3))).unwrap();
    assert_eq!(
        plan.stop.excluded_not_after, 1,
        "the commit of time 3 is out although its time is not after the target"
    );
}

#[test]
fn a_base_whose_schema_was_read_while_it_changed_is_of_no_use() {
    let world = World {
        times: vec![1, 2, 3, 4],
        per_segment: 1,
        bases: vec![1, 3],
        gaps: vec![(3, Reason::SchemaChanged)],
        again: 0,
    };
    let mut facts = world.facts();
    facts.gaps[0].gap.time = Timestamp::from_micros(100);
    facts.bases[1].finished_at = Timestamp::from_micros(100);
    let cut = Cut {
        position: Position::new(39),
        last: None,
        excluded: Some(transaction(3, 4)),
        excluded_not_after: 0,
        extent: Position::new(39),
    };
    let plan =
        |facts: &Facts| facts.plan(&"main".parse().unwrap(), &Target::Latest, cut.clone(), GapRule::Refuse).unwrap();
    assert_eq!(plan(&facts).point, facts.bases[0].point, "the older base leads there");
    facts.bases[1].finished_at = Timestamp::from_micros(99);
    assert_eq!(plan(&facts).point, facts.bases[1].point, "its schema had been read before");
}

#[test]
fn a_gap_can_be_crossed_by_who_says_so() {
    let world =
        World { times: vec![1, 2, 3, 4], per_segment: 1, bases: vec![1], gaps: vec![(2, Reason::SlotLost)], again: 0 };
    let facts = world.facts();
    let window = cut::around(&facts.entries, facts.entries.len());
    let cut = cut::cut(&window, &world.completions(&window), cut::By::Position(facts.end()));
    let source = "main".parse().unwrap();
    let refused = facts.plan(&source, &Target::Lsn(Lsn::new(49)), cut.clone(), GapRule::Refuse).unwrap_err();
    assert!(refused.why.contains("slot lost") && refused.remedy.contains("lsn:0/1D"), "{refused}");
    let plan = facts.plan(&source, &Target::Lsn(Lsn::new(49)), cut, GapRule::Allow).unwrap();
    assert!(plan.warnings[0].contains("what it hides is lost"), "{plan}");
}

#[test]
fn a_transaction_number_without_its_epoch_must_be_unique() {
    assert!(cut::is_xid(5, 5) && cut::is_xid(5, (7 << 32) + 5) && cut::is_xid((7 << 32) + 5, 5));
    assert!(!cut::is_xid((6 << 32) + 5, (7 << 32) + 5) && !cut::is_xid(5, 6));
    let twice = cut::only(vec![(Lsn::new(1), ()), (Lsn::new(2), ())], "transaction 5").unwrap_err();
    assert!(twice.remedy.contains("lsn:0/1, lsn:0/2"), "{twice}");
}

/// The object with the commit 2 is missing. A base that stands inside what it held was led on from as if nothing were
/// missing: what was lost behind the base was left out, and nobody was told.
#[test]
fn l4_nothing_leads_across_a_missing_object_and_a_base_behind_it_begins_anew() {
    let world = World { times: vec![1, 2, 3, 4, 5], per_segment: 1, bases: vec![1, 2, 3], gaps: Vec::new(), again: 0 };
    let mut facts = world.facts();
    facts.entries.remove(2);
    let hole = Hole { slot: Slot::new(3), until: Position::new(29), place: Position::new(39) };
    facts.holes = vec![hole];
    let cut = |position, next: usize, extent| {
        let (position, extent) = (Position::new(position), Position::new(extent));
        let excluded = Some(transaction(next, next as i64 + 1));
        Cut { position, last: Some(transaction(next - 1, 1)), excluded, excluded_not_after: 0, extent }
    };
    #[rustfmt::skip]
    let cases = [
        // bases    stop              base        why
        (3,         cut(29, 3, 29),   Some(0),    "before it: what stands inside may hold more than was asked for"),
        (3,         cut(29, 3, 35),   None,       "inside it: nobody knows what had happened by then"),
        (3,         cut(49, 4, 49),   Some(2),    "behind it, from the base behind it"),
        (2,         cut(49, 4, 49),   None,       "behind it, and no base there"),
    ];
    let source = "main".parse().unwrap();
    for (bases, stop, chosen, why) in cases {
        let facts = Facts { bases: facts.bases[..bases].to_vec(), ..facts.clone() };
        let asked = Target::Lsn(Lsn::from(stop.extent));
        let planned = |rule| facts.plan(&source, &asked, stop.clone(), rule).ok().map(|plan| plan.base);
        let expected = chosen.map(|base: usize| facts.bases[base].base);
        assert_eq!((planned(GapRule::Refuse), planned(GapRule::Allow)), (expected, expected), "{why}");
        assert_eq!(facts.damage_before(&asked, &stop), chosen.is_none().then_some(hole), "{why}");
        assert_eq!(facts.ends_in_damage(), (bases == 2).then_some(hole), "{why}");
    }
    let exact: Vec<_> = facts.bases.iter().map(|base| facts.exact_until(base).get()).collect();
    assert_eq!(exact, [29, 30, 59], "up to it, the base's own point, and to the end");
    assert!(facts.nearest(Position::new(49)).contains("lsn:0/31"), "{}", facts.nearest(Position::new(49)));
}

#[test]
fn l3_a_gap_of_some_tables_keeps_nobody_from_the_others() {
    let world = World { times: vec![1, 2, 3, 4], per_segment: 1, bases: vec![1], gaps: Vec::new(), again: 0 };
    let mut facts = world.facts();
    let table = GapTable { id: 7, schema: "public".to_owned(), name: "nokey".to_owned() };
    let (exact_until, time) = (facts.bases[0].point.position(), facts.bases[0].taken_at);
    let gap = Gap { exact_until, time, reason: Reason::NotPublished, tables: vec![table], detail: String::new() };
    facts.gaps.push(PlacedGap { gap, place: Position::new(exact_until.get() + 1) });
    let window = cut::around(&facts.entries, facts.entries.len());
    let cut = cut::cut(&window, &world.completions(&window), cut::By::Position(facts.end()));
    let (source, asked) = ("main".parse().unwrap(), Target::Lsn(Lsn::from(facts.end())));
    let plan = |only: &[&str], rule| {
        let only: Vec<_> = only.iter().map(ToString::to_string).collect();
        facts.for_tables(&only).plan(&source, &asked, cut.clone(), rule)
    };
    #[rustfmt::skip]
    let cases: [(&[&str], bool, &str); 5] = [
        // only                     leads    why
        (&[],                       false,   "everything"),
        (&["t"],                    true,    "another table"),
        (&["nokey"],                false,   "the very table"),
        (&["t", "public.nokey"],    false,   "the very table among others"),
        (&["other.nokey"],          true,    "its namesake elsewhere"),
    ];
    for (only, leads, why) in cases {
        let planned = plan(only, GapRule::Refuse);
        assert_eq!(planned.is_ok(), leads, "{why}: {planned:?}");
        let inexact = plan(only, GapRule::Allow).unwrap().inexact;
        assert_eq!(inexact.is_empty(), leads, "{why}: {inexact:?}");
    }
    let refused = plan(&[], GapRule::Refuse).unwrap_err();
    assert!(refused.remedy.contains("--only"), "{refused}");
}
