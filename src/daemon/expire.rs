//! Retention as a whole: looks at what is stored, decides what may go, and on demand deletes it.
//!
//! * L10: without a demand it only shows. How late it is, both the log and this machine must say; what stays is proved
//!   before anything goes.
//! * L11: what could not be deleted, and why nothing was, is told.

mod proof;

use std::path::PathBuf;

use crate::codec::gap::{Gap, Reason};
use crate::codec::segment::{Flags, ObjectKind};
use crate::config::Config;
use crate::daemon::assemble;
use crate::daemon::chain;
use crate::log::expiry::{self, Expired};
use crate::log::retention::{self, Doomed, Known, KnownBase, KnownGap, Refusal, Rule};
use crate::log::{Entry, History, Hold, Hole, LogEnv, LogError, Reader, hold};
use crate::model::{BaseId, Position, Slot, SourceName, Timestamp};
use crate::restore::loss::PlacedGap;
use crate::restore::plan::{BaseFact, Facts};
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
    /// Where those who take bases hold their claims; none if that is not known here.
    pub claims: Option<PathBuf>,
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

impl Order {
    /// As the configuration says.
    pub fn of(config: &Config, delete: bool) -> Self {
        let claims = config.service.state_dir.as_deref().map(assemble::base_claims);
        let rule = Rule { bases: config.retention.bases, log: config.retention.log };
        Self { rule, holds: config.holds.clone(), delete, claims }
    }
}

/// Shows what has expired of one source, and deletes it if that is ordered.
pub async fn run(env: &LogEnv, source: &SourceName, order: &Order) -> Result<Expiry, ExpireError> {
    let unreadable = |error: RestoreError| ExpireError::Unreadable { source_name: source.clone(), source: error };
    let mut looked = Looked::at(env, source, &order.holds).await.map_err(unreadable)?;
    let decided = looked.decide(env, source, order.rule).await.map_err(unreadable)?;
    let (now, doomed) =
        decided.map_err(|refusal| ExpireError::Refused { source_name: source.clone(), source: refusal })?;
    let mut expiry = Expiry {
        source: source.clone(),
        now,
        first: doomed.first,
        segments: u64::try_from(looked.goes(&doomed).count()).unwrap_or(u64::MAX),
        bytes: looked.bytes(env, source, &doomed).await.map_err(unreadable)?,
        before: windows(&looked.facts),
        after: Vec::new(),
        bases: doomed.bases.clone(),
        done: None,
    };
    leave(&mut looked.facts, &doomed);
    expiry.after = windows(&looked.facts);
    if order.delete && now.is_some() {
        expiry.done = Some(looked.delete(env, source, order, &doomed).await?);
    }
    Ok(expiry)
}

/// The bases of one source that have expired. Changes nothing.
pub async fn expired_bases(env: &LogEnv, source: &SourceName, order: &Order) -> Result<Vec<BaseId>, RestoreError> {
    let looked = Looked::at(env, source, &order.holds).await?;
    let decided = looked.decide(env, source, order.rule).await?;
    Ok(decided.map(|(_, doomed)| doomed.bases).unwrap_or_default())
}

/// What is stored of one source.
struct Looked {
    history: History,
    facts: Facts,
    gaps: Vec<KnownGap>,
    /// Those in the store, and those of the configuration behind them.
    holds: Vec<Hold>,
    stored_holds: usize,
}

type Decided = Result<(Option<Timestamp>, Doomed), Refusal>;

impl Looked {
    async fn at(env: &LogEnv, source: &SourceName, more: &[Hold]) -> Result<Self, RestoreError> {
        let history = History::load(env, source).await?;
        let facts = Survey::of(env, source, history.clone()).await?.facts;
        let mut gaps = records_of_gaps(env, source, &history, &facts).await?;
        // What a lost object held is missing as what was never captured is: a hole is not forgotten before its time.
        let lost = |hole: &Hole| KnownGap { slot: hole.slot, place: hole.place, lossy: true, tears: false };
        gaps.extend(facts.holes.iter().map(lost));
        let mut holds = hold::list(env, source).await?;
        let stored_holds = holds.len();
        holds.extend(more.iter().cloned());
        Ok(Self { history, facts, gaps, holds, stored_holds })
    }

    fn known(&self) -> Known<'_> {
        let base = |base: &BaseFact| KnownBase {
            base: base.base,
            point: base.point.position(),
            begins: base.begins.position(),
            taken_at: base.taken_at,
            finished_at: base.finished_at,
            continues: self.facts.continues(base),
            sound: self.facts.is_sound(base),
        };
        let bases = self.facts.bases.iter().map(base).collect();
        Known { entries: &self.facts.entries, bases, gaps: self.gaps.clone(), holds: self.holds.clone() }
    }

    /// What may go. What the log says of the time is proved, by its last object to the last byte.
    async fn decide(&self, env: &LogEnv, source: &SourceName, rule: Rule) -> Result<Decided, RestoreError> {
        let Some(last) = self.facts.entries.last() else {
            return Ok(Ok((None, Doomed { first: self.begin(), bases: Vec::new() })));
        };
        let header = expiry::prove(env, source, last).await?;
        let now = match retention::verified_now(header.to_time, env.clock.now()) {
            Ok(now) => now,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let doomed = self.known().doomed(rule, now);
        let proved = self.prove(env, source, &doomed, &self.known().leading(rule, now)).await?;
        Ok(proved.map(|()| (Some(now), doomed)))
    }

    /// That what stays is whole, as far as names and sizes tell.
    async fn prove(
        &self,
        env: &LogEnv,
        source: &SourceName,
        doomed: &Doomed,
        leading: &[BaseId],
    ) -> Result<Result<(), Refusal>, RestoreError> {
        let begin = self.facts.entries.first().map(|entry| entry.slot);
        // Where nothing of the log goes, what is missing at its very beginning is a loss, and no expiry.
        let from = if begin == Some(doomed.first) { self.begin() } else { doomed.first };
        if let Some(slot) = self.history.missing.iter().find(|slot| **slot >= from) {
            return Ok(Err(Refusal::Damaged(*slot)));
        }
        let slots = self.facts.entries.iter().map(|entry| entry.slot);
        let kept: Vec<_> = slots.filter(|slot| *slot >= doomed.first).collect();
        let mut proved = proof::segments(env, source, kept).await?;
        for base in leading {
            if proved.is_ok() {
                proved = proof::base(env, source, *base).await?;
            }
        }
        Ok(proved)
    }

    fn begin(&self) -> Slot {
        self.history.boundary.unwrap_or(Slot::FIRST)
    }

    async fn delete(
        &self,
        env: &LogEnv,
        source: &SourceName,
        order: &Order,
        doomed: &Doomed,
    ) -> Result<Expired, ExpireError> {
        let broken = |error: LogError| ExpireError::Broken { source_name: source.clone(), source: error };
        expiry::announce(env, source, &self.history, doomed).await.map_err(broken)?;
        let holds = hold::list(env, source).await.map_err(broken)?;
        if Some(holds.as_slice()) != self.holds.get(..self.stored_holds) {
            expiry::withdraw(env, source, &self.history, doomed).await.map_err(broken)?;
            let source_name = source.clone();
            return Err(ExpireError::Refused { source_name, source: Refusal::HeldMeanwhile });
        }
        let done = expiry::carry_out(env, source, &self.history, doomed).await.map_err(broken)?;
        tracing::info!(
            source = %source, first = %doomed.first, segments = done.segments, bases = done.bases,
            refused = done.refused.len(), "what had expired is deleted"
        );
        // Parts of a base whose manifest an earlier run took, and of bases that were never completed. They are tried
        // again with the next run, and by a job of their own.
        if let Err(error) = sweep::sweep(env, source, order.claims.as_deref()).await {
            let error = chain(&error);
            tracing::warn!(source = %source, error, "what broken bases left behind could not be swept; later");
        }
        Ok(done)
    }

    fn goes<'a>(&'a self, doomed: &'a Doomed) -> impl Iterator<Item = &'a Entry> {
        let all = self.history.entries.iter();
        all.filter(|entry| entry.slot < doomed.first && entry.kind != ObjectKind::Fence)
    }

    async fn bytes(&self, env: &LogEnv, source: &SourceName, doomed: &Doomed) -> Result<u64, RestoreError> {
        let bases = self.facts.bases.iter().filter(|base| doomed.bases.contains(&base.base));
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

/// What a hold keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Every instant that it names.
    All,
    /// History begins later: what lies before was gone already, or was never there.
    From(Timestamp),
    /// There is nothing yet that could be restored.
    Nothing,
}

/// What a hold keeps that has just been added: an expiry may have been faster.
pub async fn held(env: &LogEnv, source: &SourceName, hold: &Hold) -> Result<Held, RestoreError> {
    let looked = Looked::at(env, source, &[]).await?;
    if looked.known().reaches(hold.from) {
        return Ok(Held::All);
    }
    let sound = looked.facts.bases.iter().filter(|base| looked.facts.is_sound(base) && base.taken_at >= hold.from);
    Ok(sound.map(|base| base.taken_at).min().map_or(Held::Nothing, Held::From))
}

/// Takes out of what is stored what is doomed.
fn leave(facts: &mut Facts, doomed: &Doomed) {
    facts.entries.retain(|entry| entry.slot >= doomed.first);
    facts.bases.retain(|base| !doomed.bases.contains(&base.base));
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
    let torn = |base: &BaseFact| placed.place > base.begins.position() && gap.time <= base.finished_at;
    let tears = gap.reason == Reason::SchemaChanged && facts.bases.iter().any(torn);
    KnownGap { slot, place: placed.place, lossy: placed.is_lossy(), tears }
}

#[cfg(test)]
mod tests;
