//! What can be restored, from when to when: the stretches that `list` shows. Pure.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::codec::base::Manifest;
use crate::model::{Lsn, Position, Timestamp};
use crate::restore::plan::Facts;

/// A stretch of history in which every instant can be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The point of the base that it begins with.
    pub from: String,
    /// When that base's snapshot was taken.
    pub from_time: String,
    /// Its last exact position.
    pub to: String,
    /// The latest commit time up to there.
    pub to_time: String,
    /// Tables that are not exact in it, except where a base stands.
    pub without: Vec<String>,
}

/// The stretches, oldest first. Those of bases that lead into one another are one. What concerns some tables alone ends
/// none, but it is named.
pub fn windows(facts: &Facts) -> Vec<Window> {
    stretches(facts).into_iter().map(|(from, time, to)| window(facts, (from, time), to)).collect()
}

/// Since when every instant up to the newest one can be restored.
pub fn restorable_since(facts: &Facts) -> Option<Timestamp> {
    stretches(facts).last().map(|(_, time, _)| *time)
}

fn stretches(facts: &Facts) -> Vec<(Position, Timestamp, Position)> {
    // What concerns single tables ends no stretch. The list of entries may be long: where it begins and ends is enough.
    let entries = [facts.entries.first(), facts.entries.last()].into_iter().flatten().cloned().collect();
    let gaps = facts.gaps.iter().filter(|gap| gap.gap.tables.is_empty()).cloned().collect();
    let (bases, holes) = (facts.bases.clone(), facts.holes.clone());
    let facts = Facts { log: facts.log, entries, holes, bases, gaps, begin: facts.begin };
    let mut stretches: Vec<(Position, Timestamp, Position)> = Vec::new();
    for base in facts.bases.iter().filter(|base| facts.is_sound(base)) {
        let (from, to) = (base.point.position(), facts.exact_until(base));
        match stretches.last_mut() {
            Some((_, _, end)) if *end >= from => *end = (*end).max(to),
            Some(_) | None => stretches.push((from, base.taken_at, to)),
        }
    }
    stretches
}

fn window(facts: &Facts, (from, from_time): (Position, Timestamp), to: Position) -> Window {
    let until = facts.entries.iter().filter(|entry| entry.to <= to).map(|entry| entry.to_time).max();
    let to_time = until.unwrap_or(from_time).max(from_time);
    let within = facts.gaps.iter().filter(|gap| (from..to).contains(&gap.gap.exact_until));
    let without: BTreeSet<_> = within.flat_map(|gap| &gap.gap.tables).map(ToString::to_string).collect();
    Window {
        from: Lsn::from(from).to_string(),
        from_time: from_time.to_string(),
        to: Lsn::from(to).to_string(),
        to_time: to_time.to_string(),
        without: without.into_iter().collect(),
    }
}

/// A base, as `list` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedBase {
    /// Which.
    pub base: String,
    /// Where it stands.
    pub point: String,
    /// When its snapshot was taken.
    pub taken_at: String,
    /// Its tables.
    pub tables: usize,
    /// Its rows.
    pub rows: u64,
    /// Its size in the store.
    pub bytes: u64,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl From<&Manifest> for ListedBase {
    fn from(manifest: &Manifest) -> Self {
        Self {
            base: manifest.base.to_string(),
            point: manifest.point.to_string(),
            taken_at: manifest.taken_at.to_string(),
            tables: manifest.tables.len(),
            rows: manifest.tables.iter().map(|table| table.sum.rows()).sum(),
            bytes: manifest.parts.iter().map(|part| part.bytes).sum(),
            warnings: manifest.warnings.clone(),
        }
    }
}
