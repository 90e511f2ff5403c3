//! What can be restored, from when to when: the stretches between bases and gaps. Pure.

use crate::model::{BaseId, Lsn, Position, Timestamp};
use crate::restore::plan::Facts;

/// A stretch of history every instant of which can be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The base that it begins with.
    pub base: BaseId,
    /// Where that stands.
    pub from: Lsn,
    /// When it was taken: no commit before it is later.
    pub from_time: Timestamp,
    /// The last position that is exact.
    pub to: Lsn,
    /// The last time that can be asked for.
    pub to_time: Timestamp,
    /// How many bases lead into it.
    pub bases: usize,
}

/// The stretches of what is stored, in order.
pub fn stretches(facts: &Facts) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    for base in facts.bases.iter().filter(|base| facts.is_sound(base)) {
        let to = facts.exact_until(base);
        let to_time = last_time(facts, to).max(base.taken_at);
        match found.last_mut() {
            Some(last) if last.to >= base.point => {
                last.bases += 1;
                last.to_time = last.to_time.max(to_time);
                last.to = last.to.max(Lsn::from(to));
            }
            Some(_) | None => found.push(Stretch {
                base: base.base,
                from: base.point,
                from_time: base.taken_at,
                to: Lsn::from(to),
                to_time,
                bases: 1,
            }),
        }
    }
    found
}

/// The last time that is exact if positions are up to `to`: just before the gap that begins there, if one does.
fn last_time(facts: &Facts, to: Position) -> Timestamp {
    let gap = facts.gaps.iter().find(|gap| gap.gap.exact_until == to);
    let before = |time: Timestamp| Timestamp::from_micros(time.micros().saturating_sub(1));
    let end = facts.entries.last().map_or(Timestamp::MIN, |entry| entry.to_time);
    gap.map_or(end, |gap| before(gap.gap.time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::gap::{Gap, Reason};
    use crate::codec::segment::{Flags, ObjectKind};
    use crate::log::Entry;
    use crate::model::{Epoch, LogId, Slot};
    use crate::restore::plan::{BaseFact, PlacedGap};

    fn base(point: u64) -> BaseFact {
        let (taken_at, log) = (Timestamp::from_micros(point as i64), Some(LogId::from_bytes([1; 16])));
        let base = BaseId::from_bytes([point as u8; 16]);
        BaseFact { base, point: Lsn::new(point), taken_at, finished_at: taken_at, log, bytes: 1 }
    }

    fn gap(exact_until: u64, place: u64) -> PlacedGap {
        let (exact_until, time) = (Position::new(exact_until), Timestamp::from_micros(place as i64));
        let gap = Gap { exact_until, time, reason: Reason::SchemaChanged, detail: String::new() };
        PlacedGap { gap, place: Position::new(place) }
    }

    #[test]
    fn a_gap_ends_a_stretch_and_a_base_begins_one() {
        let entry = Entry {
            slot: Slot::FIRST,
            epoch: Epoch::new(1),
            kind: ObjectKind::Data,
            flags: Flags::from_nothing(),
            void: false,
            from: Position::ZERO,
            to: Position::new(99),
            from_time: Timestamp::MIN,
            to_time: Timestamp::from_micros(99),
            needs_from: Slot::FIRST,
            sealed_at: Timestamp::MIN,
            bytes: 0,
            hash: None,
        };
        let facts = Facts {
            log: Some(LogId::from_bytes([1; 16])),
            entries: vec![entry],
            missing: None,
            bases: vec![base(10), base(20), base(50), base(70)],
            gaps: vec![gap(30, 40), gap(60, 65)],
        };
        let seen: Vec<_> = stretches(&facts)
            .iter()
            .map(|s| (s.from.get(), s.from_time.micros(), s.to.get(), s.to_time.micros(), s.bases))
            .collect();
        assert_eq!(seen, [(10, 10, 30, 39, 2), (50, 50, 60, 64, 1), (70, 70, 99, 99, 1)]);
    }
}
