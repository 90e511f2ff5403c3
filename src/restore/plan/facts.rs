//! What is stored of a source, as planning sees it: the log, its gaps and holes, and how far each base leads. Pure.

use crate::codec::gap::Reason;
use crate::log::{Entry, Hole};
use crate::model::{BaseId, LogId, Lsn, Position, Timestamp};
use crate::restore::loss::PlacedGap;

/// What planning needs to know of a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseFact {
    /// Which.
    pub base: BaseId,
    /// It holds every commit before this place and none from there on.
    pub point: Lsn,
    /// From where on the log is needed for that: earlier, if tables were read again while it was taken.
    pub begins: Lsn,
    /// When its snapshot was taken.
    pub taken_at: Timestamp,
    /// When its schema had certainly been read.
    pub finished_at: Timestamp,
    /// The log that goes on from it; none if there was no log then.
    pub log: Option<LogId>,
    /// Its size.
    pub bytes: u64,
}

/// What is stored of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Which log; none if there is none.
    pub log: Option<LogId>,
    /// The objects of the log that count, in order.
    pub entries: Vec<Entry>,
    /// Where objects are missing although later ones are there: nothing leads across.
    pub holes: Vec<Hole>,
    /// Its bases, oldest first.
    pub bases: Vec<BaseFact>,
    /// Its gaps, in order.
    pub gaps: Vec<PlacedGap>,
    /// Where the log begins: nothing below was captured, whatever the first segment says.
    pub begin: Position,
}

impl Facts {
    /// The last position of the log.
    pub fn end(&self) -> Position {
        self.entries.last().map_or(Position::ZERO, |entry| entry.to)
    }

    /// What concerns the tables `only`; none means all.
    #[must_use]
    pub fn for_tables(&self, only: &[String]) -> Self {
        let gaps = self.gaps.iter().filter(|gap| gap.concerns(only)).cloned().collect();
        Self { gaps, ..self.clone() }
    }

    /// What concerns more than some tables.
    #[must_use]
    pub fn apart_from_tables(&self) -> Self {
        let gaps = self.gaps.iter().filter(|gap| gap.gap.tables.is_empty()).cloned().collect();
        Self { gaps, ..self.clone() }
    }

    /// The holes that lie between a base that begins at `begins` and what comes behind them.
    pub(in crate::restore::plan) fn holes_after(&self, begins: Lsn) -> impl Iterator<Item = &Hole> {
        self.holes.iter().filter(move |hole| hole.place > begins.position())
    }

    /// Where commits may be lost: after what, and from where on none is.
    pub(in crate::restore::plan) fn losses(&self) -> impl Iterator<Item = (Position, Position)> {
        let gaps = self.gaps.iter().filter(|gap| gap.is_lossy()).map(|gap| (gap.gap.exact_until, gap.place));
        let holes = self.holes.iter().filter(|hole| hole.until < hole.place);
        gaps.chain(holes.map(|hole| (hole.until, hole.place)))
    }

    /// The gaps that a base that begins at `begins` does not hold.
    pub(in crate::restore::plan) fn gaps_after(&self, begins: Lsn) -> impl Iterator<Item = &PlacedGap> {
        self.gaps.iter().filter(move |gap| gap.place > begins.position())
    }

    /// Whether the base stands at its point: no DDL may have committed while its schema was read, and where its tables are
    /// of several places the log must be there that brings them together.
    pub fn is_sound(&self, base: &BaseFact) -> bool {
        let torn = |gap: &PlacedGap| gap.gap.reason == Reason::SchemaChanged && gap.gap.time <= base.finished_at;
        !self.gaps_after(base.begins).any(torn) && self.stands(base)
    }

    /// Whether what the base needs of the log is there, and exact.
    fn stands(&self, base: &BaseFact) -> bool {
        base.begins == base.point || (self.continues(base) && self.limit(base) >= base.point.position())
    }

    /// Whether the log goes on from the base.
    pub fn continues(&self, base: &BaseFact) -> bool {
        let same = base.log.is_none() || base.log == self.log;
        let begin = self.entries.first().map(|first| first.from.max(self.begin));
        same && begin.is_some_and(|begin| begin <= base.begins.position())
    }

    /// How far a restore from the base is exact.
    pub fn exact_until(&self, base: &BaseFact) -> Position {
        let point = base.point.position();
        if self.continues(base) { self.limit(base).max(point) } else { point }
    }

    /// How far the log behind the base is exact.
    fn limit(&self, base: &BaseFact) -> Position {
        let gaps = self.gaps_after(base.begins).map(|gap| gap.gap.exact_until);
        let holes = self.holes_after(base.begins).map(|hole| hole.until);
        gaps.chain(holes).min().unwrap_or_else(|| self.end())
    }

    /// The newest instant outside every gap: its position, and the base that reaches it.
    pub fn latest(&self) -> Option<(Position, &BaseFact)> {
        let sound = self.bases.iter().filter(|base| self.is_sound(base));
        sound.map(|base| (self.exact_until(base), base)).max_by_key(|(end, base)| (*end, base.point))
    }

    /// The object that is missing behind the base that leads furthest, if one is: its newest instant is damage, not
    /// history's end.
    pub fn ends_in_damage(&self) -> Option<Hole> {
        self.latest().and_then(|(_, base)| self.holes_after(base.begins).next().copied())
    }
}
