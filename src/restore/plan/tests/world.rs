//! A history drawn at random, and what is true of it: the naive model that plans are checked against.

use proptest::prelude::*;

use crate::codec::gap::Reason;
use crate::codec::segment::{Flags, ObjectKind};
use crate::model::{Epoch, Xid};
use crate::restore::cut::{self, Completion, Look, Window};
use crate::restore::plan::*;

/// A commit: its record stands from `10 n` to `10 n + 9`; what is captured in which segment, and at what time.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) times: Vec<i64>,
    pub(super) per_segment: usize,
    pub(super) bases: Vec<usize>,
    pub(super) gaps: Vec<(usize, Reason)>,
    /// Every second base was read again while it was taken: it begins so many commits before it stands.
    pub(super) again: usize,
}

pub(super) fn at(number: usize) -> u64 {
    u64::try_from(number).unwrap() * 10
}

pub(super) fn transaction(number: usize, time: i64) -> Transaction {
    Transaction {
        xid: Xid::new(at(number)),
        commit_lsn: Lsn::new(at(number) + 10),
        position: Position::new(at(number) + 19),
        time: Timestamp::from_micros(time),
    }
}

impl World {
    pub(super) fn commits(&self) -> Vec<Transaction> {
        self.times.iter().enumerate().map(|(number, time)| transaction(number, *time)).collect()
    }

    fn begins(&self, index: usize) -> usize {
        self.bases[index].saturating_sub(self.again * (index % 2))
    }

    /// Commits that were lost: a lossy gap at `n` swallows the commit `n`.
    pub(super) fn is_lost(&self, number: usize) -> bool {
        self.gaps.iter().any(|(gap, reason)| *gap == number && *reason == Reason::SlotLost)
    }

    pub(super) fn captured(&self) -> Vec<Transaction> {
        let commits = self.commits().into_iter().enumerate();
        commits.filter(|(number, _)| !self.is_lost(*number)).map(|(_, commit)| commit).collect()
    }

    pub(super) fn facts(&self) -> Facts {
        let log = LogId::from_bytes([1; 16]);
        let (mut entries, mut to, mut to_time) = (Vec::new(), Position::ZERO, Timestamp::MIN);
        for (slot, commits) in (1..).zip(self.captured().chunks(self.per_segment)) {
            let (from, from_time) = (to, to_time);
            to = commits.last().unwrap().position;
            to_time = commits.iter().map(|commit| commit.time).max().unwrap().max(from_time);
            entries.push(entry(slot, (from, to), (from_time, to_time)));
        }
        let base = |(index, number): (usize, &usize)| BaseFact {
            base: BaseId::from_bytes([u8::try_from(index).unwrap(); 16]),
            point: Lsn::new(at(*number) + 10),
            begins: Lsn::new(at(self.begins(index)) + 10),
            taken_at: Timestamp::from_micros(self.times[..*number].iter().copied().max().unwrap_or(-1)),
            finished_at: Timestamp::MIN,
            log: Some(log),
            bytes: 1,
        };
        let gap = |(number, reason): &(usize, Reason)| {
            let before =
                self.captured().iter().filter(|c| c.position.get() < at(*number) + 10).map(|c| c.position).max();
            PlacedGap {
                gap: Gap {
                    exact_until: before.unwrap_or_default(),
                    time: Timestamp::from_micros(i64::MAX),
                    reason: *reason,
                    tables: Vec::new(),
                    detail: String::new(),
                },
                place: Position::new(at(*number) + 19),
            }
        };
        Facts {
            log: Some(log),
            entries,
            holes: Vec::new(),
            bases: self.bases.iter().enumerate().map(base).collect(),
            gaps: self.gaps.iter().map(gap).collect(),
            begin: Position::ZERO,
        }
    }

    pub(super) fn completions(&self, window: &Window) -> Vec<Completion> {
        let to = window.entries.last().map_or(Position::ZERO, |entry| entry.to);
        let inside =
            self.captured().into_iter().filter(|commit| commit.position > window.from && commit.position <= to);
        inside.map(|one| Completion { position: one.position, transaction: Some(one), marks: Vec::new() }).collect()
    }

    /// What a survey does, with the world in place of a store.
    pub(super) fn plan(&self, target: &Target) -> Result<Plan, NotRestorable> {
        let facts = self.facts();
        let cut = match cut::look(&facts, target)? {
            Look::AtBase(position) => {
                Cut { position, last: None, excluded: None, excluded_not_after: 0, extent: Position::ZERO }
            }
            Look::In(window, by) => {
                let mut cut = cut::cut(&window, &self.completions(&window), by);
                if *target == Target::Latest {
                    cut.extent = cut.position;
                }
                cut
            }
            Look::ForXid(xid, side) => {
                let mut found = Vec::new();
                for at in 0..facts.entries.len() {
                    let window = cut::around(&facts.entries, at);
                    let all = self.completions(&window);
                    for (index, one) in all.iter().enumerate() {
                        let here = one.position > facts.entries[at].from && one.position <= facts.entries[at].to;
                        let hit = here && cut::is_xid(one.transaction.unwrap().xid.get(), xid);
                        if hit && found.iter().all(|(known, _)| *known != Lsn::from(one.position)) {
                            found.push((Lsn::from(one.position), cut::beside(&window, &all, index, side)));
                        }
                    }
                }
                cut::only(found, "transaction")?
            }
            Look::ForMark(_) => unreachable!(),
        };
        facts.plan(&"main".parse().unwrap(), target, cut, GapRule::Refuse)
    }

    /// How many of the true commits a target asks for; `None` if that is not known or not there.
    pub(super) fn wanted(&self, target: &Target) -> Option<usize> {
        let commits = self.commits();
        match target {
            Target::Time(time) => Some(commits.iter().position(|c| c.time > *time).unwrap_or(commits.len())),
            Target::Lsn(lsn) => Some(commits.iter().filter(|c| c.position <= lsn.position()).count()),
            Target::Xid(xid) => commits.iter().position(|c| c.xid.get() == *xid).map(|at| at + 1),
            Target::BeforeXid(xid) => commits.iter().position(|c| c.xid.get() == *xid),
            Target::Latest | Target::Mark(_) => None,
        }
    }

    /// What carrying out the plan brings: base, and then the log's commits up to the stop. `None` if that is not exact.
    pub(super) fn carried_out(&self, plan: &Plan) -> Option<usize> {
        let index = usize::from(plan.base.as_bytes()[0]);
        let (stands, base) = (self.bases[index], self.begins(index));
        let mut there: Vec<usize> = (0..base).collect();
        let (first, last) = (plan.segments.first(), plan.segments.last());
        let span = first.zip(last).map(|(first, last)| (first.from, last.to));
        for (number, commit) in self.commits().iter().enumerate() {
            let read = span.is_some_and(|(from, to)| commit.position > from && commit.position <= to);
            let applied = commit.commit_lsn >= plan.begins && commit.position <= plan.stop.position;
            if read && applied && !self.is_lost(number) {
                there.push(number);
            }
        }
        let changed = |number: usize| {
            number >= base && self.gaps.iter().any(|(gap, reason)| *gap == number && *reason == Reason::SchemaChanged)
        };
        let whole = there.iter().enumerate().all(|(index, number)| index == *number && !changed(*number));
        (whole && there.len() >= stands).then_some(there.len())
    }
}

pub(super) fn entry(
    slot: u64,
    (from, to): (Position, Position),
    (from_time, to_time): (Timestamp, Timestamp),
) -> Entry {
    Entry {
        slot: Slot::new(slot),
        epoch: Epoch::new(1),
        kind: ObjectKind::Data,
        flags: Flags::from_nothing(),
        void: false,
        from,
        to,
        from_time,
        to_time,
        needs_from: Slot::new(slot),
        sealed_at: Timestamp::MIN,
        bytes: 1,
        hash: None,
    }
}

pub(super) fn any_world() -> impl Strategy<Value = World> {
    let reason = prop_oneof![Just(Reason::SlotLost), Just(Reason::SchemaChanged)];
    let gaps = proptest::collection::btree_map(0..12_usize, reason, 0..3);
    let bases = proptest::collection::btree_set(0..13_usize, 0..4);
    (proptest::collection::vec(0..12_i64, 1..12), 1..4_usize, bases, gaps, 0..4_usize).prop_map(
        |(times, per_segment, bases, gaps, again)| {
            let many = times.len();
            let bases = bases.into_iter().filter(|base| *base <= many).collect();
            let gaps = gaps.into_iter().filter(|(gap, _)| *gap < many).collect();
            World { times, per_segment, bases, gaps, again }
        },
    )
}

pub(super) fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Latest),
        (-1..13_i64).prop_map(|time| Target::Time(Timestamp::from_micros(time))),
        (0..140_u64).prop_map(|lsn| Target::Lsn(Lsn::new(lsn))),
        (0..13_u64).prop_map(|number| Target::Xid(number * 10)),
        (0..13_u64).prop_map(|number| Target::BeforeXid(number * 10)),
    ]
}
