//! Where the prefix of commits ends that a target asks for: which segments tell, and what they tell. Pure.

use crate::apply::postgres::Transaction;
use crate::codec::segment::{Flags, ObjectKind};
use crate::log::Entry;
use crate::model::{Lsn, Position, Slot, Timestamp};
use crate::restore::error::NotRestorable;
use crate::restore::plan::{Cut, Facts};
use crate::restore::target::Target;

/// Something that completes: a transaction, or nothing up to a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Up to where everything is complete.
    pub position: Position,
    /// The transaction.
    pub transaction: Option<Transaction>,
    /// The marks that it sets.
    pub marks: Vec<String>,
}

/// Where to look for the end of the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// In these segments, from this position on, for the last one that is in and the first that is out.
    In(Window, By),
    /// Nowhere: it is a base's own point.
    AtBase(Position),
    /// In every segment that may hold the transaction.
    ForXid(u64, Side),
    /// In every segment that holds a mark.
    ForMark(String),
}

/// What tells the first that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// It is later.
    Time(Timestamp),
    /// It ends behind.
    Position(Position),
}

/// Whether the transaction is in or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It is the last that is in.
    Including,
    /// It is the first that is out.
    Before,
}

/// Segments to read: consecutive, and where everything before them is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The segments.
    pub entries: Vec<Entry>,
    /// What completes up to here is passed over.
    pub from: Position,
}

/// Where to look.
pub fn look(facts: &Facts, target: &Target) -> Result<Look, NotRestorable> {
    let entries = &facts.entries;
    match target {
        Target::Latest => {
            let none = || NotRestorable {
                why: "there is no usable base".to_owned(),
                remedy: "take one with `holdfast backup`".to_owned(),
            };
            let (end, base) = facts.latest().ok_or_else(none)?;
            if end <= base.point.position() {
                return Ok(Look::AtBase(end));
            }
            Ok(Look::In(around(entries, first_to(entries, end)), By::Position(end)))
        }
        Target::Time(time) => {
            if entries.first().is_some_and(|first| first.from_time > *time) {
                // The first commit that is out lies before what is left of the log.
                return Err(facts.too_early(target));
            }
            let last = entries.last().map_or(Timestamp::MIN, |entry| entry.to_time);
            let at = entries.iter().position(|entry| entry.to_time > *time);
            if at.is_none() && *time > last {
                return Err(facts.beyond(target));
            }
            Ok(Look::In(around(entries, at.unwrap_or(entries.len())), By::Time(*time)))
        }
        Target::Lsn(lsn) => {
            let position = lsn.position();
            // A base is exact at its own point, whatever the log lost around it.
            if facts.bases.iter().any(|base| base.point == *lsn && facts.is_sound(base)) {
                return Ok(Look::AtBase(position));
            }
            if facts.end() < position {
                return Err(facts.beyond(target));
            }
            let at = entries.iter().position(|entry| entry.to > position).unwrap_or(entries.len());
            Ok(Look::In(around(entries, at), By::Position(position)))
        }
        Target::Xid(xid) => Ok(Look::ForXid(*xid, Side::Including)),
        Target::BeforeXid(xid) => Ok(Look::ForXid(*xid, Side::Before)),
        Target::Mark(name) => Ok(Look::ForMark(name.clone())),
    }
}

fn first_to(entries: &[Entry], position: Position) -> usize {
    entries.iter().position(|entry| entry.to > position).unwrap_or(entries.len())
}

/// How many segments further on the next one is looked for in which something completes.
const NEXT_WITHIN: usize = 8;

/// The segment at index `at` (the end of the log if there is none) and those before and after it in which something
/// completed, each from where its transactions began.
pub fn around(entries: &[Entry], at: usize) -> Window {
    let completes = |entry: &&Entry| entry.kind == ObjectKind::Data && entry.to > entry.from;
    let before = entries.get(..at).unwrap_or(entries).iter().rev().find(completes);
    let here = entries.get(at);
    let starts = before.into_iter().chain(here);
    let start = starts.clone().map(|entry| entry.needs_from).min().unwrap_or(Slot::FIRST);
    let from = starts.map(|entry| entry.from).min().unwrap_or_default();
    // The first that is out may stand in the next one; behind a long transaction it is not worth the reading.
    let after = entries.iter().skip(at).take(NEXT_WITHIN).skip(1).find(completes);
    let end = after.or(here).or(entries.last()).map_or(Slot::NONE, |entry| entry.slot);
    Window { entries: entries.iter().filter(|e| e.slot >= start && e.slot <= end).cloned().collect(), from }
}

/// The segments from index `at` to where the transaction that is open there is complete, and what is around them.
pub fn until_complete(entries: &[Entry], at: usize) -> Window {
    let open = |entry: &Entry| entry.flags.has(Flags::ENDS_INSIDE);
    let rest = entries.get(at..).unwrap_or_default();
    let more = rest.iter().position(|entry| !open(entry)).unwrap_or(rest.len());
    let to = at.saturating_add(more);
    let mut window = around(entries, at);
    let known = window.entries.last().map_or(Slot::NONE, |entry| entry.slot);
    let later = rest.iter().filter(|entry| entry.slot > known);
    let end = entries.get(to).or(entries.last()).map_or(known, |entry| entry.slot);
    window.entries.extend(later.filter(|entry| entry.slot <= end).cloned());
    window
}

/// The cut among the completions of `window`.
pub fn cut(window: &Window, completions: &[Completion], by: By) -> Cut {
    let is_out = |one: &Completion| match by {
        By::Time(time) => one.transaction.is_some_and(|transaction| transaction.time > time),
        By::Position(position) => one.position > position,
    };
    let at = completions.iter().position(is_out).unwrap_or(completions.len());
    let mut cut = cut_at(window, completions, at);
    match by {
        By::Time(time) => {
            let late = completions.get(at..).unwrap_or_default().iter().filter_map(|one| one.transaction);
            let early = late.filter(|transaction| transaction.time <= time).count();
            cut.excluded_not_after = u64::try_from(early).unwrap_or(u64::MAX);
            // Without a later commit that is out, nothing may have been lost right behind the end either: what was lost
            // there may have had any time.
            let behind = Position::new(cut.position.get().saturating_add(1));
            cut.extent = cut.excluded.map_or(behind, |out| out.commit_lsn.position());
        }
        By::Position(position) => cut.extent = position,
    }
    cut
}

/// The cut before the completion at index `at`.
pub fn cut_at(window: &Window, completions: &[Completion], at: usize) -> Cut {
    let (before, after) = completions.split_at_checked(at).unwrap_or((completions, &[]));
    let position = before.last().map_or(window.from, |one| one.position);
    Cut {
        position,
        last: before.iter().rev().find_map(|one| one.transaction),
        excluded: after.iter().find_map(|one| one.transaction),
        excluded_not_after: 0,
        extent: position,
    }
}

/// The cut on one side of the transaction at index `at`.
pub fn beside(window: &Window, completions: &[Completion], at: usize, side: Side) -> Cut {
    match side {
        Side::Including => cut_at(window, completions, at.saturating_add(1)),
        Side::Before => {
            let cut = cut_at(window, completions, at);
            let extent = cut.excluded.map_or(cut.position, |out| out.commit_lsn.position());
            Cut { extent, ..cut }
        }
    }
}

/// Whether a log's transaction number is the one asked for: of a number without its epoch only the low half counts.
pub fn is_xid(stored: u64, asked: u64) -> bool {
    const EPOCH: u64 = 1 << 32;
    stored == asked || ((stored < EPOCH || asked < EPOCH) && stored % EPOCH == asked % EPOCH)
}

/// One and only one transaction must be meant.
pub fn only<T>(mut found: Vec<(Lsn, T)>, what: &str) -> Result<T, NotRestorable> {
    if found.len() > 1 {
        let places: Vec<_> = found.iter().map(|(position, _)| format!("lsn:{position}")).collect();
        return Err(NotRestorable {
            why: format!("{what} is there {} times", found.len()),
            remedy: format!("choose by position: {}", places.join(", ")),
        });
    }
    found.pop().map(|(_, found)| found).ok_or_else(|| NotRestorable {
        why: format!("{what} is not in the log"),
        remedy: "`holdfast find` lists transactions; one that only read, or was rolled back, is in no log".to_owned(),
    })
}
