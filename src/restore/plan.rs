//! From a target and what is stored to the base, the segments and the exact stop, or why not. Pure.
//!
//! ```text
//!   commits in their order   ──A──B──C──D──E──F──▶      a base at point P holds every commit before P
//!   their times                1  2  4  3  5  6         a restore to time 3 holds A and B: the first commit whose
//!                                 └─ stop               time is later is C, although D's is not (L2)
//! ```
//! * L2: what is restored is a prefix of the commits. A time ends it before the first commit that is later.
//! * L3: a prefix that reaches into a gap is refused, and the nearest exact instants are named. A base is of use only if
//!   it holds nothing that the target excludes, and if no gap lies between it and the target.

mod facts;

pub use facts::{BaseFact, Facts};

use std::fmt;

use crate::apply::postgres::Transaction;
use crate::codec::gap::Gap;
use crate::log::{Entry, Hole};
use crate::model::{BaseId, LogId, Lsn, Position, Slot, SourceName, Timestamp};
use crate::restore::error::NotRestorable;
use crate::restore::loss::PlacedGap;
use crate::restore::target::Target;

/// What to do about gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GapRule {
    /// A point inside one is refused.
    #[default]
    Refuse,
    /// What it hides is lost, and the operator said so.
    Allow,
}

/// Where the prefix ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Every transaction that completes up to here is in.
    pub position: Position,
    /// The last one that is in, if it is known.
    pub last: Option<Transaction>,
    /// The first one that is out, if there is one.
    pub excluded: Option<Transaction>,
    /// How many of those that are out, as far as was looked, have a time that is not after the target's.
    pub excluded_not_after: u64,
    /// The target says that nothing else happened up to here; zero where only what a base holds was asked for.
    pub extent: Position,
}

/// What to fetch, in which order, to stand where the source stood at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whose history.
    pub source: SourceName,
    /// What was asked for.
    pub asked: Target,
    /// The base.
    pub base: BaseId,
    /// Where it stands.
    pub point: Lsn,
    /// From where on the log is applied to it.
    pub begins: Lsn,
    /// The log; none if no segment is needed.
    pub log: Option<LogId>,
    /// Its segments, live and consecutive.
    pub segments: Vec<Entry>,
    /// Bytes to be fetched.
    pub bytes: u64,
    /// Where to stop.
    pub stop: Cut,
    /// Tables that will not be exact, by schema and name.
    pub inexact: Vec<String>,
    /// Whether it leads across gaps, as the operator allowed: then changes may be of rows that are not there.
    pub across: GapRule,
    /// What a person should know before.
    pub warnings: Vec<String>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "restore {} to {}", self.source, self.asked)?;
        writeln!(f, "  base      {} at {}", self.base, self.point)?;
        writeln!(f, "  segments  {}", self.segments.len())?;
        writeln!(f, "  bytes     {}", self.bytes)?;
        writeln!(f, "  stops at  {}", Lsn::from(self.stop.position))?;
        for (label, transaction) in [("  last in   ", self.stop.last), ("  first out ", self.stop.excluded)] {
            if let Some(Transaction { xid, position, time, .. }) = transaction {
                writeln!(f, "{label}xid {xid}, committed {time}, ends at {}", Lsn::from(position))?;
            }
        }
        if self.stop.excluded_not_after > 0 {
            let many = self.stop.excluded_not_after;
            writeln!(f, "  {many} or more that are out have times not after the target: commit times stepped back")?;
        }
        self.inexact.iter().try_for_each(|table| writeln!(f, "  inexact   {table}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "  warning   {warning}"))
    }
}

impl Facts {
    /// The object that is missing between the stop and the base that else would lead there.
    pub fn damage_before(&self, asked: &Target, cut: &Cut) -> Option<Hole> {
        let base = self.bases.iter().rev().find(|base| self.reaches(base, asked, cut))?;
        self.hole_in_the_way(base, cut).copied()
    }

    /// Chooses the base and the segments that lead to `cut`.
    pub fn plan(&self, source: &SourceName, asked: &Target, cut: Cut, rule: GapRule) -> Result<Plan, NotRestorable> {
        let (mut warnings, mut inexact) = (Vec::new(), Vec::new());
        let chosen = self.bases.iter().rev().find(|base| self.reaches(base, asked, &cut) && self.clear(base, &cut));
        let across = chosen.map_or(rule, |_| GapRule::Refuse);
        let base = match (chosen, rule) {
            (Some(base), _) => base,
            (None, GapRule::Allow) => {
                let leads =
                    |base: &&BaseFact| self.reaches(base, asked, &cut) && self.hole_in_the_way(base, &cut).is_none();
                let base = self.bases.iter().rev().find(leads).ok_or_else(|| self.too_early(asked))?;
                warnings.extend(self.in_the_way(base, &cut).map(lost));
                let tables = self.in_the_way(base, &cut).flat_map(|gap| &gap.gap.tables);
                inexact.extend(tables.map(ToString::to_string));
                if !self.is_sound(base) {
                    warnings.push(unsound(base));
                }
                base
            }
            (None, GapRule::Refuse) => return Err(self.refusal(asked, &cut)),
        };
        let segments = self.segments(base, &cut);
        let bytes = segments.iter().map(|entry| entry.bytes).fold(base.bytes, u64::saturating_add);
        let log = self.log.filter(|_| !segments.is_empty());
        let (source, asked, BaseFact { base, point, begins, .. }) = (source.clone(), asked.clone(), base);
        Ok(Plan {
            source,
            asked,
            base: *base,
            point: *point,
            begins: *begins,
            log,
            segments,
            bytes,
            stop: cut,
            inexact,
            across,
            warnings,
        })
    }

    /// Whether the base holds nothing that the target excludes, and the log leads from it to the stop.
    fn reaches(&self, base: &BaseFact, asked: &Target, cut: &Cut) -> bool {
        let point = base.point.position();
        let holds_only_what_is_in = match (cut.excluded, asked) {
            (Some(excluded), _) => base.point <= excluded.commit_lsn,
            (None, Target::Latest) => true,
            (None, _) => point <= cut.position.max(cut.extent),
        };
        let knows_its_time = match asked {
            Target::Time(time) => self.lost_before(base).is_none_or(|lost| lost <= *time),
            Target::Latest | Target::Lsn(_) | Target::Xid(_) | Target::BeforeXid(_) | Target::Mark(_) => true,
        };
        // What the log lost behind the stop may be in the base, and nobody asked for it.
        let known = cut.position.max(cut.extent);
        let holds_more = |(until, place)| known < point && known < place && until < point;
        let holds_only_what_is_in = holds_only_what_is_in && !self.losses().any(holds_more);
        holds_only_what_is_in
            && knows_its_time
            && self.witnesses(base, asked, cut)
            && ((cut.position <= point && base.begins == base.point) || self.continues(base))
            && comes_together(base, cut)
    }

    /// When everything that a base holds and the log lost had committed: nobody knows the times of such commits, only
    /// that every base behind them was taken later.
    fn lost_before(&self, base: &BaseFact) -> Option<Timestamp> {
        let point = base.point.position();
        let held = self.losses().filter(|(until, _)| *until < point);
        let behind = |place: Position| self.bases.iter().filter(move |base| base.point.position() >= place.min(point));
        // Whichever of them was taken first bounds it: so a base that expires makes the answer no bolder.
        let ends = held.filter_map(|(_, place)| behind(place).map(|base| base.taken_at).min());
        ends.max()
    }

    /// Whether anything shows that the base and the log are not altogether later than the target: nobody knows what the
    /// base holds from before the log's first commit.
    fn witnesses(&self, base: &BaseFact, asked: &Target, cut: &Cut) -> bool {
        let earlier = |entry: &Entry| match asked {
            Target::Time(time) => entry.to_time > Timestamp::MIN && entry.to_time <= *time,
            Target::Lsn(lsn) => entry.to > Position::ZERO && entry.to <= lsn.position(),
            Target::Latest | Target::Xid(_) | Target::BeforeXid(_) | Target::Mark(_) => true,
        };
        let begins_earlier = match asked {
            Target::Time(time) => base.taken_at <= *time,
            Target::Lsn(lsn) => base.point <= *lsn,
            Target::Latest | Target::Xid(_) | Target::BeforeXid(_) | Target::Mark(_) => true,
        };
        begins_earlier || cut.last.is_some() || self.entries.iter().any(earlier)
    }

    fn clear(&self, base: &BaseFact, cut: &Cut) -> bool {
        let in_the_way = self.in_the_way(base, cut).next().is_some() || self.hole_in_the_way(base, cut).is_some();
        self.is_sound(base) && !in_the_way
    }

    /// The hole between the base and the stop: what is to be replayed stands behind it, or the target says that nothing
    /// happened where it is.
    fn hole_in_the_way(&self, base: &BaseFact, cut: &Cut) -> Option<&Hole> {
        let replayed = cut.position > base.begins.position();
        self.holes_after(base.begins).find(|hole| {
            let (until, loses) = (hole.until, hole.until < hole.place);
            (replayed && until < cut.position) || (loses && until < cut.extent)
        })
    }

    /// The gaps between the base and the stop.
    fn in_the_way<'a>(&'a self, base: &'a BaseFact, cut: &'a Cut) -> impl Iterator<Item = &'a PlacedGap> {
        self.gaps_after(base.begins).filter(|gap| {
            let until = gap.gap.exact_until;
            let replayed = cut.position > base.begins.position();
            (replayed && until < cut.position) || (gap.is_lossy() && until < cut.extent)
        })
    }

    /// Everything that completes after the base begins, from where it began, up to the stop.
    fn segments(&self, base: &BaseFact, cut: &Cut) -> Vec<Entry> {
        let begins = base.begins.position();
        if cut.position <= begins {
            return Vec::new();
        }
        let first = self.entries.iter().find(|entry| entry.to > begins);
        let from = first.map_or(Slot::FIRST, |entry| entry.needs_from);
        let last = self.entries.iter().find(|entry| entry.to >= cut.position);
        let last = last.or(self.entries.last()).map_or(Slot::NONE, |entry| entry.slot);
        self.entries.iter().filter(|entry| entry.slot >= from && entry.slot <= last).cloned().collect()
    }

    /// Nothing that is stored leads to the target: it lies before.
    pub fn too_early(&self, asked: &Target) -> NotRestorable {
        let first = self.bases.iter().find(|base| self.is_sound(base));
        let remedy = match first {
            Some(base) => format!("the first restorable instant is lsn:{} (base of {})", base.point, base.taken_at),
            None => "take a base with `holdfast backup`".to_owned(),
        };
        let why = if self.bases.is_empty() {
            "there is no base".to_owned()
        } else {
            format!("{asked} lies before the first base that could lead there")
        };
        NotRestorable { why, remedy }
    }

    /// Why no base leads to the stop, and the nearest instants to which one does.
    fn refusal(&self, asked: &Target, cut: &Cut) -> NotRestorable {
        let reaching = self.bases.iter().rev().find(|base| self.reaches(base, asked, cut));
        let Some(base) = reaching else { return self.too_early(asked) };
        let why = match self.in_the_way(base, cut).next() {
            Some(gap) => format!("{asked} lies in a gap: {}", describe(gap)),
            None => format!("{}, and {asked} needs that base", unsound(base)),
        };
        let tables: Vec<_> =
            self.in_the_way(base, cut).flat_map(|gap| &gap.gap.tables).map(ToString::to_string).collect();
        let only = if tables.is_empty() { "" } else { "; --only restores other tables exactly" };
        let remedy = self.nearest(cut.position);
        NotRestorable { why, remedy: format!("{remedy}{only}; --allow-gap restores what there is") }
    }

    /// The nearest instants around a position to which a base leads.
    pub fn nearest(&self, position: Position) -> String {
        let sound = || self.bases.iter().filter(|base| self.is_sound(base));
        let before = sound().filter(|base| base.point.position() <= position);
        let before = before.map(|base| self.exact_until(base).min(position)).max();
        let after = sound().map(|base| base.point).find(|point| point.position() > position);
        match (before.map(Lsn::from), after) {
            (Some(before), Some(after)) => format!("restorable are lsn:{before} before it and lsn:{after} after it"),
            (Some(before), None) => format!("restorable is lsn:{before} before it; a new base will end the gap"),
            (None, Some(after)) => format!("restorable is lsn:{after} after it"),
            (None, None) => "take a base with `holdfast backup`".to_owned(),
        }
    }

    /// A target behind the end of what is durable.
    pub fn beyond(&self, asked: &Target) -> NotRestorable {
        let end = self.entries.last();
        let remedy = match (end, self.latest()) {
            (Some(last), Some((exact, _))) => format!(
                "the last durable commit is of {}, and the newest restorable instant lsn:{}; use --to latest, or wait",
                last.to_time,
                Lsn::from(exact)
            ),
            (_, _) => "use --to latest, or wait until more is durable".to_owned(),
        };
        NotRestorable { why: format!("{asked} lies beyond the last durable commit"), remedy }
    }
}

/// Whether the stop lies where all tables of the base are of one place.
fn comes_together(base: &BaseFact, cut: &Cut) -> bool {
    let out = cut.excluded.map_or(Position::ZERO, |excluded| excluded.commit_lsn.position());
    base.begins == base.point || cut.position.max(cut.extent).max(out) >= base.point.position()
}

fn unsound(base: &BaseFact) -> String {
    format!("the schema changed while base {} was taken, or the log is not there that belongs to it", base.base)
}

fn describe(gap: &PlacedGap) -> String {
    let Gap { exact_until, time, reason, detail, .. } = &gap.gap;
    let until = Lsn::from(*exact_until);
    format!("{}, exact until {until} ({time}), begun anew from {} ({detail})", reason.name(), Lsn::from(gap.place))
}

fn lost(gap: &PlacedGap) -> String {
    format!("restored across a gap, what it hides is lost: {}", describe(gap))
}

#[cfg(test)]
mod tests;
