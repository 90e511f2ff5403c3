//! What may be deleted while every promised instant can still be restored. Pure.
//!
//! ```text
//!   bases      A        B        C                     D
//!   log     ───┼────────┼────────┼──────────┬──────────┼─────▶
//!                                           │ the last `log` begins here: every instant from here on is promised
//!           may go ─────────────▶│ C leads there: from the first segment that C needs on, the log is kept whole
//!              A, B: dated instants for as long as `bases` says. A base at its own point needs no log,
//!              unless tables were read again while it was taken: then the log is kept with it.
//! ```
//! * L10: promised are every instant of the last `log`, of every hold, and behind the newest base, and each sound base's
//!   own instant for the last `bases`. The log goes as a prefix, so what a hold keeps is kept from its base to the end.
//! * L3: nothing else may be answered otherwise than before. A gap's record goes only where no answer hangs on it any
//!   more: no kept base lies before its end, none was torn by it, and the log that is left begins later than the first
//!   base behind it, so that commits which the gap hid are all earlier than any instant that can be asked for.

use std::time::Duration;

use crate::codec::segment::ObjectKind;
use crate::log::entry::Entry;
use crate::log::hold::Hold;
use crate::model::{BaseId, Position, Slot, Timestamp};

/// The clocks of the source and of this machine may differ by so much. Commits say how late it is at the source.
pub const CLOCKS_APART_MAX: Duration = Duration::from_hours(1);

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Each base's instant, for so long.
    pub bases: Duration,
    /// Every instant, for so long.
    pub log: Duration,
}

/// A base, as far as retention needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBase {
    /// Which.
    pub base: BaseId,
    /// It holds every commit before this place and none from there on.
    pub point: Position,
    /// From where on it needs the log for that: earlier, if tables were read again while it was taken.
    pub begins: Position,
    /// When its snapshot was taken.
    pub taken_at: Timestamp,
    /// When its schema had certainly been read.
    pub finished_at: Timestamp,
    /// Whether the log goes on from it.
    pub continues: bool,
    /// Whether it can be restored at all: no DDL tore it.
    pub sound: bool,
}

/// A gap's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownGap {
    /// The segment that holds it.
    pub slot: Slot,
    /// A base from here on begins history anew.
    pub place: Position,
    /// Whether commits are missing, and not only a schema.
    pub lossy: bool,
    /// Whether it tells of a base that is stored that its schema is torn.
    pub tears: bool,
}

/// What is stored of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known<'a> {
    /// The objects of its log that count, in order.
    pub entries: &'a [Entry],
    /// Its bases.
    pub bases: Vec<KnownBase>,
    /// Its gaps' records.
    pub gaps: Vec<KnownGap>,
    /// What must be kept besides.
    pub holds: Vec<Hold>,
}

/// What may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// Every segment before this one; the log's first if none may. It counts, and it is there.
    pub first: Slot,
    /// These bases, oldest first.
    pub bases: Vec<BaseId>,
}

/// Why nothing may be deleted now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No commit tells how late it is at the source.
    #[error("the log holds no commit that tells the time; nothing is deleted by this machine's clock alone")]
    Timeless,
    /// The clocks disagree, or nothing was captured for long.
    #[error(
        "the newest commit of the log is of {log}, this machine's clock shows {here}: that is more than an hour apart; \
         set the clocks right, or capture what there is first"
    )]
    ClocksApart {
        /// The latest commit time of the log.
        log: Timestamp,
        /// This machine's clock.
        here: Timestamp,
    },
    /// An object that is to be kept is missing.
    #[error("object {0} of the log is missing: what would be deleted may be needed; run `holdfast verify` first")]
    Damaged(Slot),
    /// A base that leads to what is promised is not whole.
    #[error(
        "base {0}, on which what is promised hangs, is not whole: what would be deleted may be needed; \
         run `holdfast verify`, and take a new base"
    )]
    BaseDamaged(BaseId),
    /// Holds were added or taken off while it was decided.
    #[error("a hold was added or taken off meanwhile; nothing was deleted, ask again")]
    HeldMeanwhile,
}

/// How late it certainly is: the earlier of two clocks that agree. A clock that jumped ahead alone moves nothing.
pub fn verified_now(log: Timestamp, here: Timestamp) -> Result<Timestamp, Refusal> {
    if log == Timestamp::MIN {
        return Err(Refusal::Timeless);
    }
    if log.since(here).max(here.since(log)) > CLOCKS_APART_MAX {
        return Err(Refusal::ClocksApart { log, here });
    }
    Ok(log.min(here))
}

/// Where the log must begin, and the base that begins there, for every instant from some time on.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    base: BaseId,
    point: Position,
    begins: Position,
    slot: Slot,
}

impl Known<'_> {
    /// What may be deleted at `now`, which was verified.
    pub fn doomed(&self, rule: Rule, now: Timestamp) -> Doomed {
        let main = self.anchor(now.earlier_by(rule.log));
        let holds: Vec<_> = self.holds.iter().map(|hold| (hold, self.anchor(hold.from))).collect();
        let newest = self.newest();
        let needed = newest.map(|base| self.anchored(base));
        let kept = |base: &KnownBase| {
            newest.is_none_or(|newest| base.point >= newest.point)
                || main.is_none_or(|main| base.point >= main.point)
                || (base.taken_at > now.earlier_by(rule.bases) && (base.sound || !self.is_proven(base)))
                || holds.iter().any(|(hold, anchor)| self.is_held(base, hold, *anchor))
        };
        let anchors = [main, needed].into_iter().chain(holds.iter().map(|(_, anchor)| *anchor));
        // A kept base whose tables are of several places is of use only with the log between them.
        let scattered = self.bases.iter().filter(|base| base.begins < base.point && base.continues && base.sound);
        let anchors = anchors.chain(scattered.filter(|base| kept(base)).map(|base| Some(self.anchored(base))));
        // One that is missing asks for more than there is: then all of the log is kept.
        let first = match anchors.collect::<Option<Vec<_>>>() {
            Some(anchors) => {
                let slot = anchors.iter().map(|anchor| anchor.slot).min().unwrap_or_default();
                let floor = anchors.iter().map(|anchor| anchor.begins).min().unwrap_or_default();
                self.with_gaps(self.live(slot), floor)
            }
            None => self.begin(),
        };
        let mut bases: Vec<_> = self.bases.iter().filter(|base| !kept(base)).collect();
        bases.sort_by_key(|base| (base.point, base.taken_at));
        Doomed { first, bases: bases.into_iter().map(|base| base.base).collect() }
    }

    /// The bases on which every promised instant hangs: those that lead to the last of the log, to each hold, and to now.
    pub fn leading(&self, rule: Rule, now: Timestamp) -> Vec<BaseId> {
        let main = self.anchor(now.earlier_by(rule.log));
        let holds = self.holds.iter().map(|hold| self.anchor(hold.from));
        let newest = self.newest().map(|base| self.anchored(base));
        let mut bases: Vec<_> = holds.chain([main, newest]).flatten().map(|anchor| anchor.base).collect();
        bases.sort_unstable();
        bases.dedup();
        bases
    }

    /// Whether every instant from `since` on can be reached.
    pub fn reaches(&self, since: Timestamp) -> bool {
        self.anchor(since).is_some()
    }

    fn begin(&self) -> Slot {
        self.entries.first().map_or(Slot::FIRST, |entry| entry.slot)
    }

    fn latest(&self) -> Timestamp {
        self.entries.last().map_or(Timestamp::MIN, |entry| entry.to_time)
    }

    /// Whether the log has gone past the base's end, and so has told if its schema was torn.
    fn is_proven(&self, base: &KnownBase) -> bool {
        base.finished_at <= self.latest()
    }

    fn newest(&self) -> Option<&KnownBase> {
        let usable = self.bases.iter().filter(|base| base.continues && base.sound);
        usable.max_by_key(|base| (base.point, base.taken_at))
    }

    /// What leads to every instant from `since` on, as far as anything does; `None` if history begins later.
    fn anchor(&self, since: Timestamp) -> Option<Anchor> {
        let at = self.entries.iter().position(|entry| entry.to_time > since).unwrap_or(self.entries.len());
        let (before, rest) = self.entries.split_at_checked(at)?;
        let from = rest.first().map(|entry| entry.from).or(before.last().map(|entry| entry.to))?;
        let leads = |base: &&KnownBase| {
            base.continues && base.sound && self.is_proven(base) && base.point <= from && base.taken_at <= since
        };
        let base = self.bases.iter().filter(leads).max_by_key(|base| base.point)?;
        // The last transaction that is in stands before, and whoever restores to `since` wants to hear of it.
        let completes = |entry: &&Entry| entry.kind == ObjectKind::Data && entry.to > entry.from;
        let told = before.iter().rev().find(completes).map(|entry| entry.needs_from);
        let last = before.last().map(|entry| entry.slot);
        let anchored = self.anchored(base);
        let slot = [told, last].into_iter().flatten().fold(anchored.slot, Slot::min);
        Some(Anchor { slot, ..anchored })
    }

    fn anchored(&self, base: &KnownBase) -> Anchor {
        Anchor { base: base.base, point: base.point, begins: base.begins, slot: self.needed(base.begins) }
    }

    /// Where reading begins for everything that completes behind `point`. The last object is always needed: the next
    /// one continues it.
    fn needed(&self, point: Position) -> Slot {
        let behind = self.entries.iter().skip_while(|entry| entry.to <= point);
        let last = self.entries.last().map(|entry| entry.slot);
        behind.map(|entry| entry.needs_from.min(entry.slot)).chain(last).min().unwrap_or(Slot::FIRST)
    }

    /// The last object that counts up to `slot`: a boundary stands in front of one that does.
    fn live(&self, slot: Slot) -> Slot {
        let found = self.entries.iter().rev().find(|entry| entry.slot <= slot);
        found.map_or_else(|| self.begin(), |entry| entry.slot)
    }

    /// Moves `first` back until no gap's record goes on which an answer hangs. `floor` is the oldest place from which
    /// the log is kept.
    fn with_gaps(&self, mut first: Slot, floor: Position) -> Slot {
        loop {
            let wanted = self.gaps.iter().filter(|gap| gap.slot >= first || !self.may_be_forgotten(gap, first, floor));
            let back = wanted.map(|gap| self.read_from(gap)).min().unwrap_or(first);
            if back >= first {
                return first;
            }
            first = back;
        }
    }

    fn may_be_forgotten(&self, gap: &KnownGap, first: Slot, floor: Position) -> bool {
        let begins =
            self.entries.iter().find(|entry| entry.slot == first).map_or(Timestamp::MIN, |entry| entry.from_time);
        let behind = self.bases.iter().filter(|base| base.begins >= gap.place).min_by_key(|base| base.point);
        let earlier = behind.is_some_and(|base| base.taken_at <= begins);
        gap.place <= floor && !gap.tears && (!gap.lossy || earlier)
    }

    /// Where reading begins for a gap's record and the session's before it, which tells where the gap ends.
    fn read_from(&self, gap: &KnownGap) -> Slot {
        let up_to = self.entries.iter().filter(|entry| entry.slot <= gap.slot).rev().take(2);
        let from = up_to.map(|entry| entry.needs_from.min(entry.slot)).min().unwrap_or(gap.slot);
        self.live(from)
    }

    fn is_held(&self, base: &KnownBase, hold: &Hold, anchor: Option<Anchor>) -> bool {
        let later = self.entries.iter().find(|entry| entry.to_time > hold.to);
        let ends = later.map_or(Position::new(u64::MAX), |entry| entry.to);
        anchor.is_none_or(|anchor| base.point >= anchor.point) && base.point <= ends
    }
}

#[cfg(test)]
mod tests;
