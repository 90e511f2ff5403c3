//! What history lacks: gaps, of which the log tells, and holes, where an object of the log is missing. Pure.
//!
//! ```text
//!   exact … until │ lost, or of some tables not exact │ place … exact again from the first base on that stands here
//! ```
//! * L3: a gap that names tables concerns those alone: whoever restores others is not kept from it, and whoever restores
//!   all across it is told which are not exact.
//! * L4: nothing leads across a hole, whatever the operator allows: what follows it continues bytes that are not there.

use crate::codec::gap::{Gap, GapTable, Reason};
use crate::log::{Entry, Hole};
use crate::model::Position;

/// A gap, and where the log goes on after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedGap {
    /// The gap.
    pub gap: Gap,
    /// A base from here on begins history anew.
    pub place: Position,
}

impl PlacedGap {
    /// Whether commits may be missing, and not only a schema or the rows of a table.
    pub const fn is_lossy(&self) -> bool {
        match self.gap.reason {
            Reason::SlotLost | Reason::SlotAhead | Reason::SlotGivenUp | Reason::OtherHistory => true,
            Reason::SchemaChanged | Reason::NotPublished => false,
        }
    }

    /// Whether it concerns any of the tables `only`, by name or by schema and name; none of these means all tables.
    pub fn concerns(&self, only: &[String]) -> bool {
        let is_wanted = |table: &GapTable| only.iter().any(|name| *name == table.name || *name == table.to_string());
        self.gap.tables.is_empty() || only.is_empty() || self.gap.tables.iter().any(is_wanted)
    }
}

/// The stretches of consecutive segments between holes, in order.
pub fn runs<'a>(entries: &'a [Entry], holes: &'a [Hole]) -> impl Iterator<Item = &'a [Entry]> {
    entries.chunk_by(|before, after| {
        let next = holes.partition_point(|hole| hole.slot <= before.slot);
        holes.get(next).is_none_or(|hole| hole.slot >= after.slot)
    })
}
