//! Retention against a naive model: histories are drawn at random, and what can be restored is counted commit by commit.

use proptest::prelude::*;

use super::*;
use crate::codec::segment::{Flags, Header};
use crate::log::object::draft;

/// Commits with their times, which may step back; in which segments each has its records; and bases that hold so many.
#[derive(Clone, Debug)]
struct World {
    times: Vec<i64>,
    spans: Vec<(u64, u64)>,
    entries: Vec<Entry>,
    bases: Vec<(usize, KnownBase)>,
}

/// A commit's record begins at `10 n + 10` and ends at `10 n + 19`; a base at `10 n + 10` holds the `n` before it.
fn at(number: usize) -> u64 {
    u64::try_from(number).unwrap() * 10 + 10
}

fn micros(number: i64) -> Timestamp {
    Timestamp::from_micros(number)
}

impl World {
    /// `commits`: time, records, and after how many records of it a segment is cut (0 for not).
    fn of(commits: &[(i64, u8, u8)], bases: &[(usize, i64)]) -> Self {
        let (mut times, mut spans, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        let mut open =
            Entry::of_header(&Header { slot: Slot::FIRST, needs_from: Slot::FIRST, ..draft(ObjectKind::Data) });
        for (number, (time, records, cut)) in commits.iter().enumerate() {
            let began = open.slot;
            for record in 1..=*records {
                if record == *records {
                    open.to = Position::new(at(number) + 9);
                    open.to_time = open.to_time.max(micros(*time));
                }
                let inside = record < *records;
                if record == *cut {
                    let flags = if inside { Flags::ENDS_INSIDE } else { Flags::default() };
                    let ended = Entry { flags, ..open.clone() };
                    let slot = open.slot.next();
                    let needs_from = if inside { began } else { slot };
                    open = Entry { slot, needs_from, from: open.to, from_time: open.to_time, ..open };
                    entries.push(ended);
                }
            }
            times.push(*time);
            let ended_at = entries.last().filter(|last| last.to == Position::new(at(number) + 9)).map(|last| last.slot);
            spans.push((began.get(), ended_at.unwrap_or(open.slot).get()));
        }
        entries.push(open);
        let base = |(index, (many, taken_at)): (usize, &(usize, i64))| {
            let many = many % (commits.len() + 1);
            let (base, point) = (BaseId::from_bytes([u8::try_from(index).unwrap(); 16]), Position::new(at(many)));
            let (taken_at, finished_at) = (micros(*taken_at), micros(*taken_at));
            (many, KnownBase { base, point, begins: point, taken_at, finished_at, continues: true, sound: true })
        };
        let bases = bases.iter().enumerate().map(base).collect();
        Self { times, spans, entries, bases }
    }

    fn known(&self, holds: &[Hold]) -> Known<'_> {
        let begin = self.entries[0].from;
        let bases = self.bases.iter().map(|(_, base)| KnownBase { continues: base.begins >= begin, ..base.clone() });
        Known { entries: &self.entries, bases: bases.collect(), gaps: Vec::new(), holds: holds.to_vec() }
    }

    /// How many commits a restore to a time holds: those before the first that is later (L2).
    fn up_to(&self, time: i64) -> usize {
        self.times.iter().position(|commit| *commit > time).unwrap_or(self.times.len())
    }

    /// Whether so many commits can be restored: by a base that holds no more, and the segments of all that are left.
    fn restores(&self, many: usize) -> bool {
        let first = self.entries[0].slot.get();
        let last = self.entries.last().unwrap().slot.get();
        self.bases.iter().any(|(held, base)| {
            let begins = (0..=*held).rfind(|many| Position::new(at(*many)) <= base.begins).unwrap();
            let rest = self.spans.get(begins..many).unwrap_or_default();
            *held <= many && rest.iter().all(|(began, ended)| first <= *began && *ended <= last)
        })
    }

    fn without(&self, doomed: &Doomed) -> Self {
        let mut left = self.clone();
        left.entries.retain(|entry| entry.slot >= doomed.first);
        left.bases.retain(|(_, base)| !doomed.bases.contains(&base.base));
        left
    }

    /// Every count of commits that is promised.
    fn promised(&self, rule: Rule, now: i64, holds: &[Hold]) -> Vec<usize> {
        let span = |span: Duration| i64::try_from(span.as_micros()).unwrap();
        let asked: Vec<_> =
            self.times.iter().flat_map(|time| [*time - 1, *time]).chain([now - span(rule.log)]).collect();
        let held = |time: &i64| holds.iter().any(|hold| (hold.from..=hold.to).contains(&micros(*time)));
        let by_time = asked.iter().filter(|time| **time >= now - span(rule.log) || held(time));
        let by_time = by_time.map(|time| self.up_to(*time));
        let young = |(_, base): &&(usize, KnownBase)| base.taken_at > micros(now - span(rule.bases));
        let by_base = self.bases.iter().filter(young).map(|(many, _)| *many);
        let newest = self.bases.iter().map(|(many, _)| *many).max();
        by_time.chain(by_base).chain(newest.into_iter().flat_map(|many| many..=self.times.len())).collect()
    }
}

fn world() -> impl Strategy<Value = World> {
    let commits = proptest::collection::vec((-150..150_i64, 1..5_u8, 0..5_u8), 1..30);
    let bases = proptest::collection::vec((0..30_usize, -120..120_i64), 0..5);
    (commits, bases).prop_map(|(commits, bases)| {
        let commits: Vec<_> =
            (0..).zip(commits).map(|(n, (jitter, records, cut))| (n * 100 + jitter, records, cut)).collect();
        let bases: Vec<_> = bases.into_iter().map(|(n, jitter)| (n % (commits.len() + 1), jitter)).collect();
        let bases: Vec<_> =
            bases.into_iter().map(|(n, jitter)| (n, i64::try_from(n).unwrap() * 100 + jitter)).collect();
        let mut world = World::of(&commits, &bases);
        // Tables of every second base were read again while it was taken: it begins earlier than it stands.
        for (many, base) in world.bases.iter_mut().skip(1).step_by(2) {
            base.begins = Position::new(at(many.saturating_sub(2)));
        }
        world
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let span = || (0..3000_u64).prop_map(Duration::from_micros);
    (span(), span()).prop_map(|(bases, log)| Rule { bases, log })
}

fn holds() -> impl Strategy<Value = Vec<Hold>> {
    let hold = (-200..3000_i64, 0..1000_i64).prop_map(|(from, long)| Hold {
        name: "case".parse().unwrap(),
        from: micros(from),
        to: if long > 900 { Timestamp::MAX } else { micros(from + long) },
    });
    proptest::collection::vec(hold, 0..3)
}

proptest! {
    #[test]
    fn l10_what_is_promised_and_could_be_restored_still_can_be(
        world in world(), rule in rule(), nows in proptest::collection::vec(-500..9000_i64, 1..4), holds in holds(),
    ) {
        let mut world = world;
        for now in nows {
            let doomed = world.known(&holds).doomed(rule, micros(now));
            let after = world.without(&doomed);
            prop_assert_eq!(after.entries.first().map(|entry| entry.slot), Some(doomed.first), "it stands at an object");
            for many in world.promised(rule, now, &holds) {
                prop_assert!(!world.restores(many) || after.restores(many), "{many} commits at {now}: {doomed:?}");
            }
            for many in 0..=world.times.len() {
                prop_assert!(world.restores(many) || !after.restores(many), "nothing comes back");
            }
            world = after;
        }
    }

    #[test]
    fn what_is_deleted_once_is_deleted_later_too_and_nothing_twice(
        world in world(), rule in rule(), now in -500..9000_i64, later in 0..3000_i64, holds in holds(),
    ) {
        let known = world.known(&holds);
        let doomed = known.doomed(rule, micros(now));
        let then = known.doomed(rule, micros(now + later));
        prop_assert!(then.first >= doomed.first);
        prop_assert!(doomed.bases.iter().all(|base| then.bases.contains(base)));
        let again = world.without(&doomed).known(&holds).doomed(rule, micros(now));
        prop_assert_eq!(again, Doomed { first: doomed.first, bases: Vec::new() });
        let shorter = known.doomed(Rule { log: rule.log + Duration::from_micros(400), ..rule }, micros(now));
        prop_assert!(shorter.first <= doomed.first, "who is promised more keeps more");
    }
}

const DAY: i64 = 86_400_000_000;

/// Forty days: a commit an hour, each in a segment of its own; a base each day.
fn forty_days() -> World {
    let commits: Vec<_> = (0..40 * 24).map(|hour| (hour * DAY / 24, 1, 1)).collect();
    let bases: Vec<_> = (0..40).map(|day| (day * 24, i64::try_from(day).unwrap() * DAY)).collect();
    World::of(&commits, &bases)
}

const PLAN: Rule = Rule { bases: Duration::from_hours(30 * 24), log: Duration::from_hours(7 * 24) };

#[test]
fn thirty_days_of_bases_and_seven_of_log_are_what_is_left_of_forty() {
    let now = 40 * DAY - DAY / 48;
    let doomed = forty_days().known(&[]).doomed(PLAN, micros(now));
    assert_eq!(doomed.bases.len(), 10, "of forty bases thirty stay");
    // The base of day 32 leads to half an hour before day 33; the commit before it is the last that it holds.
    assert_eq!(doomed.first, Slot::new(32 * 24 + 1));
}

#[test]
fn a_hold_keeps_a_base_and_the_log_from_there_to_the_end() {
    let hold = Hold { name: "case".parse().unwrap(), from: micros(5 * DAY + 1), to: micros(6 * DAY + 1) };
    let world = forty_days();
    let doomed = world.known(std::slice::from_ref(&hold)).doomed(PLAN, micros(40 * DAY - DAY / 48));
    let left = world.without(&doomed);
    let days: Vec<_> = left.bases.iter().map(|(many, _)| many / 24).take(3).collect();
    assert_eq!(days, [5, 6, 10], "the base before it, the one inside, and those that are young");
    assert_eq!(doomed.first, Slot::new(5 * 24 + 1));
    let before = Hold { from: micros(-5), ..hold };
    assert_eq!(
        world.known(&[before]).doomed(PLAN, micros(41 * DAY)).first,
        Slot::FIRST,
        "older than all that there is"
    );
}

#[test]
fn whatever_the_clock_says_the_newest_base_and_all_log_behind_it_stay() {
    let world = forty_days();
    for now in [i64::MIN, 0, 40 * DAY, 4000 * DAY, i64::MAX] {
        let left = world.without(&world.known(&[]).doomed(PLAN, micros(now)));
        assert!((39 * 24..=40 * 24).all(|many| left.restores(many)), "at {now}");
    }
}

#[test]
fn a_torn_or_foreign_base_holds_no_log_and_leads_nowhere() {
    let mut world = forty_days();
    for (_, base) in world.bases.iter_mut().skip(30) {
        base.sound = false;
    }
    let known = world.known(&[]);
    let doomed = known.doomed(PLAN, micros(40 * DAY - 1));
    assert_eq!(doomed.first, Slot::new(29 * 24 + 1), "only the base of day 29 leads anywhere");
    assert_eq!(known.doomed(PLAN, micros(400 * DAY)).first, Slot::new(29 * 24 + 1));
    let none = Known { bases: Vec::new(), ..known.clone() };
    assert_eq!(none.doomed(PLAN, micros(400 * DAY)), Doomed { first: Slot::FIRST, bases: Vec::new() });
    let mut gap = KnownGap { slot: Slot::new(100), place: Position::new(at(101)), lossy: false, tears: true };
    let with = |gap: &KnownGap| Known { gaps: vec![gap.clone()], ..known.clone() }.doomed(PLAN, micros(40 * DAY)).first;
    assert_eq!(with(&gap), Slot::new(99), "without its record a torn base would look whole");
    gap.tears = false;
    assert_eq!(with(&gap), Slot::new(29 * 24 + 1), "nothing hangs on it");
    gap.place = Position::new(at(29 * 24) + 1);
    assert_eq!(with(&gap), Slot::new(99), "it ends behind the base from which the log is kept");
}

#[test]
fn s13_l10_nothing_is_deleted_by_a_clock_alone() {
    let hour = 3_600_000_000;
    #[rustfmt::skip]
    let cases = [
        // log       here          how late it is    why
        (10 * hour,  10 * hour,    Some(10 * hour),  "they agree"),
        (10 * hour,  11 * hour,    Some(10 * hour),  "the earlier one counts"),
        (11 * hour,  10 * hour,    Some(10 * hour),  "on either side"),
        (10 * hour,  12 * hour,    None,             "this machine's clock jumped, or nothing was captured for long"),
        (12 * hour,  10 * hour,    None,             "the source's clock jumped"),
        (i64::MIN,   10 * hour,    None,             "nobody else says how late it is"),
    ];
    for (log, here, expected, why) in cases {
        assert_eq!(verified_now(micros(log), micros(here)).ok(), expected.map(micros), "{why}");
    }
}
