//! Retention as a whole: looks at what is stored, decides what may go, and on demand deletes it.
//!
//! * L10: without a demand it only shows. How late it is, both the log and this machine must say; what stays is proved
//!   before anything goes.
//! * L11: what could not be deleted, and why nothing was, is told.

use std::collections::BTreeSet;

use crate::codec::gap::{Gap, Reason};
use crate::codec::segment::{Flags, ObjectKind};
use crate::log::expiry::{self, Expired};
use crate::log::retention::{self, Doomed, Known, KnownBase, KnownGap, Refusal, Rule};
use crate::log::{Entry, History, Hold, LogEnv, LogError, Reader, hold};
use crate::model::{BaseId, Position, Slot, SourceName, Timestamp};
use crate::restore::plan::{BaseFact, Facts, PlacedGap};
use crate::restore::windows::{Window, windows};
use crate::restore::{RestoreError, Survey};
use crate::source::postgres::base::sweep;
use crate::store::layout;

/// What is promised, and what is kept besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// How long what is promised.
    pub rule: Rule,
    /// Holds of the configuration; those in the store come by themselves.
    pub holds: Vec<Hold>,
    /// Whether to delete; without it nothing is changed.
    pub delete: bool,
}

/// What goes, and what stays.
#[derive(Clone, Debug)]
pub struct Expiry {
    /// Whose.
    pub source: SourceName,
    /// How late it certainly is; none where nothing is stored yet.
    pub now: Option<Timestamp>,
    /// Where the log begins afterwards.
    pub first: Slot,
    /// Segments that go.
    pub segments: u64,
    /// Bases that go.
    pub bases: Vec<BaseId>,
    /// Bytes that are freed.
    pub bytes: u64,
    /// What can be restored before …
    pub before: Vec<Window>,
    /// … and after.
    pub after: Vec<Window>,
    /// What was done; none if it was only shown.
    pub done: Option<Expired>,
}

/// Nothing was deleted, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ExpireError {
    /// It was not safe.
    #[error("nothing of {source_name} expires now")]
    Refused {
        /// Whose log.
        source_name: SourceName,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// What is stored cannot be read.
    #[error("look at what is stored of {source_name}")]
    Unreadable {
        /// Whose log.
        source_name: SourceName,
        /// Why.
        #[source]
        source: RestoreError,
    },
    /// The deletion was not completed; it is begun again the next time.
    #[error("delete what has expired of {source_name}; what is left goes the next time")]
    Broken {
        /// Whose log.
        source_name: SourceName,
        /// Why.
        #[source]
        source: LogError,
    },
}

/// Shows what has expired of one source, and deletes it if that is ordered.
pub async fn run(env: &LogEnv, source: &SourceName, order: &Order) -> Result<Expiry, ExpireError> {
    let named = || source.clone();
    let unreadable = |error: RestoreError| ExpireError::Unreadable { source_name: named(), source: error };
    let mut looked = Looked::at(env, source).await.map_err(unreadable)?;
    looked.known.holds.extend(order.holds.iter().cloned());
    if looked.known.entries.is_empty() {
        return Ok(looked.nothing(source));
    }
    let now = looked.now(env, source).await.map_err(unreadable)?;
    let decided = now.and_then(|now| looked.decide(order.rule, now).map(|doomed| (now, doomed)));
    let (now, doomed) = decided.map_err(|source| ExpireError::Refused { source_name: named(), source })?;
    let mut expiry = looked.shown(source, now, &doomed);
    expiry.bytes = looked.bytes(env, source, &doomed).await.map_err(unreadable)?;
    if order.delete {
        let broken = |error: LogError| ExpireError::Broken { source_name: named(), source: error };
        let done = expiry::carry_out(env, source, &looked.history, &doomed).await.map_err(broken)?;
        // Parts of a base whose manifest an earlier run took, and of bases that were never completed.
        sweep::sweep(env, source).await.map_err(|error| broken(error.into()))?;
        tracing::info!(
            source = %source, first = %doomed.first, segments = done.segments, bases = done.bases,
            refused = done.refused.len(), "what had expired is deleted"
        );
        expiry.done = Some(done);
    }
    Ok(expiry)
}

/// What is stored of one source.
struct Looked {
    history: History,
    facts: Facts,
    known: Known,
}

impl Looked {
    async fn at(env: &LogEnv, source: &SourceName) -> Result<Self, RestoreError> {
        let history = History::load(env, source).await?;
        let survey = Survey::take(env, source).await?;
        let holds = hold::list(env, source).await?;
        let facts = survey.facts;
        let bases = facts.bases.iter().map(|base| KnownBase {
            base: base.base,
            point: base.point.position(),
            taken_at: base.taken_at,
            finished_at: base.finished_at,
            continues: facts.continues(base),
            sound: facts.is_sound(base),
        });
        let entries: Vec<_> = history.live().cloned().collect();
        let gaps = records_of_gaps(env, source, &history, &facts).await?;
        let known = Known { entries, bases: bases.collect(), gaps, holds };
        Ok(Self { history, facts, known })
    }

    fn nothing(&self, source: &SourceName) -> Expiry {
        let doomed = Doomed { first: self.history.boundary.unwrap_or(Slot::FIRST), bases: Vec::new() };
        Expiry { now: None, ..self.shown(source, Timestamp::MIN, &doomed) }
    }

    /// How late it certainly is. What the log says of it is proved, by its last object to the last byte.
    async fn now(&self, env: &LogEnv, source: &SourceName) -> Result<Result<Timestamp, Refusal>, RestoreError> {
        let Some(last) = self.known.entries.last() else { return Ok(Err(Refusal::Timeless)) };
        let header = expiry::prove(env, source, last).await?;
        Ok(retention::verified_now(header.to_time, env.clock.now()))
    }

    fn decide(&self, rule: Rule, now: Timestamp) -> Result<Doomed, Refusal> {
        let doomed = self.known.doomed(rule, now);
        let lost = self.history.missing.iter().find(|slot| **slot >= doomed.first);
        lost.map_or(Ok(doomed), |slot| Err(Refusal::Damaged(*slot)))
    }

    fn goes<'a>(&'a self, doomed: &'a Doomed) -> impl Iterator<Item = &'a Entry> {
        let all = self.history.entries.iter();
        all.filter(|entry| entry.slot < doomed.first && entry.kind != ObjectKind::Fence)
    }

    fn shown(&self, source: &SourceName, now: Timestamp, doomed: &Doomed) -> Expiry {
        Expiry {
            source: source.clone(),
            now: Some(now),
            first: doomed.first,
            segments: u64::try_from(self.goes(doomed).count()).unwrap_or(u64::MAX),
            bases: doomed.bases.clone(),
            bytes: 0,
            before: windows(&self.facts),
            after: windows(&left(&self.facts, doomed)),
            done: None,
        }
    }

    async fn bytes(&self, env: &LogEnv, source: &SourceName, doomed: &Doomed) -> Result<u64, RestoreError> {
        let gone: BTreeSet<_> = doomed.bases.iter().collect();
        let bases = self.facts.bases.iter().filter(|base| gone.contains(&base.base));
        let mut bytes = bases.map(|base| base.bytes).fold(0, u64::saturating_add);
        for entry in self.goes(doomed) {
            // Headers do not tell sizes: those that no checkpoint lists are asked for.
            let size = match entry.bytes {
                0 => env.store.size(&layout::segment(source, entry.slot)).await.map_err(LogError::from)?,
                known => known,
            };
            bytes = bytes.saturating_add(size);
        }
        Ok(bytes)
    }
}

/// What is stored once the doomed is gone.
pub fn left(facts: &Facts, doomed: &Doomed) -> Facts {
    let mut left = facts.clone();
    left.entries.retain(|entry| entry.slot >= doomed.first);
    left.bases.retain(|base| !doomed.bases.contains(&base.base));
    left
}

/// Where the records of gaps stand: the footers of the segments that hold some say which.
async fn records_of_gaps(
    env: &LogEnv,
    source: &SourceName,
    history: &History,
    facts: &Facts,
) -> Result<Vec<KnownGap>, RestoreError> {
    let mut known = Vec::new();
    let Some(log) = history.log else { return Ok(known) };
    for entry in history.live().filter(|entry| entry.flags.has(Flags::HOLDS_GAP)) {
        let mut reader = Reader::new(env, source, log, vec![entry.clone()]);
        if let Some(segment) = reader.next().await? {
            known.extend(segment.footer.gaps.iter().map(|gap| record(entry.slot, gap, facts)));
        }
    }
    Ok(known)
}

/// One whose end is not known ends nowhere: it is never forgotten.
fn record(slot: Slot, gap: &Gap, facts: &Facts) -> KnownGap {
    let nowhere = PlacedGap { gap: gap.clone(), place: Position::new(u64::MAX) };
    let placed = facts.gaps.iter().find(|placed| placed.gap == *gap).unwrap_or(&nowhere);
    let torn = |base: &BaseFact| placed.place > base.point.position() && gap.time <= base.finished_at;
    let tears = gap.reason == Reason::SchemaChanged && facts.bases.iter().any(torn);
    KnownGap { slot, place: placed.place, lossy: placed.is_lossy(), tears }
}

#[cfg(test)]
mod tests;
