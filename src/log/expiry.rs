//! Deletes what has expired, in an order in which it may be killed anywhere and be begun again.
//!
//! ```text
//!   prove ─▶ boundary, durable and read back ─▶ manifests ─▶ their parts ─▶ segments, oldest first ─▶ checkpoints ─▶ boundaries
//! ```
//! * L10: nothing goes before a boundary in front of what stays is durable. Who adds a hold looks at the boundary
//!   afterwards, and who deletes looks at the holds after the boundary: one of them sees the other. A base without its manifest is none, so that
//!   goes first; one whose manifest may not go (a lock) stays whole. What a store refuses is told and tried the next time.
//! * L5: fences stay, since who slept through a reign must meet the fence that ended his. Some hundred bytes each.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream;

use crate::codec::segment::{Header, ObjectKind};
use crate::log::boundary;
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError, ObjectErrorKind};
use crate::log::history::History;
use crate::log::object::{self, Object, Seal};
use crate::log::retention::Doomed;
use crate::model::limits::LIST_PAGE_KEYS_MAX;
use crate::model::{BaseId, ObjectKey, Slot, SourceName};
use crate::step::Step;
use crate::store::layout::{self, Named};
use crate::store::{Keys, Part, Put, StoreError, StoreErrorKind, put_own};

/// Deletions that are under way at once.
const AT_ONCE: usize = 8;
/// After so many refusals in a row the store refuses them all, and is not asked for the rest.
const REFUSALS_MAX: usize = 64;

/// What was deleted, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Bases whose manifests are gone.
    pub bases: u64,
    /// Their parts.
    pub parts: u64,
    /// Segments.
    pub segments: u64,
    /// Checkpoints and boundaries that lead nowhere any more.
    pub others: u64,
    /// Objects that the store refused to delete, each with why. They are tried again the next time.
    pub refused: Vec<(ObjectKey, String)>,
}

/// Opens a segment to its last byte and proves that it is what the list says.
pub async fn prove(env: &LogEnv, source: &SourceName, entry: &Entry) -> Result<Header, LogError> {
    let key = layout::segment(source, entry.slot);
    let bytes = match env.store.get(&key, Part::Whole).await {
        Ok(sealed) => sealed.bytes(),
        Err(error) if error.kind == StoreErrorKind::Missing => return Err(LogError::Missing { key }),
        Err(error) => return Err(error.into()),
    };
    let header = Object::prove(env, &key, bytes).await?;
    entry.check(&key, &header)?;
    Ok(header)
}

/// Makes the boundary durable behind which everything is doomed. Nothing is deleted yet.
pub async fn announce(env: &LogEnv, source: &SourceName, history: &History, doomed: &Doomed) -> Result<(), LogError> {
    if doomed.moves(history) { set_boundary(env, source, history, doomed.first).await } else { Ok(()) }
}

/// Takes back what [`announce`] did, as long as nothing was deleted.
pub async fn withdraw(env: &LogEnv, source: &SourceName, history: &History, doomed: &Doomed) -> Result<(), LogError> {
    if doomed.moves(history) {
        env.store.delete(&layout::boundary(source, doomed.first)).await?;
    }
    Ok(())
}

/// Deletes what is doomed, and what an earlier run left behind.
pub async fn carry_out(
    env: &LogEnv,
    source: &SourceName,
    history: &History,
    doomed: &Doomed,
) -> Result<Expired, LogError> {
    announce(env, source, history, doomed).await?;
    let first = doomed.first.max(history.boundary.unwrap_or(Slot::FIRST));
    let kinds = history.entries.iter().map(|entry| (entry.slot, entry.kind)).collect();
    let mut work = Work { env, source, first, kinds, refused_in_a_row: 0, expired: Expired::default() };
    for base in &doomed.bases {
        work.base(*base).await?;
    }
    work.segments().await?;
    work.others(layout::checkpoints_prefix(source)).await?;
    work.others(layout::boundaries_prefix(source)).await?;
    Ok(work.expired)
}

impl Doomed {
    fn moves(&self, history: &History) -> bool {
        history.boundary.unwrap_or(Slot::FIRST) < self.first
    }
}

/// Makes a boundary in front of `first` durable, and reads it back.
async fn set_boundary(env: &LogEnv, source: &SourceName, history: &History, first: Slot) -> Result<(), LogError> {
    let key = layout::boundary(source, first);
    let missing = || LogError::Missing { key: layout::segment(source, first) };
    let log = history.log.ok_or_else(missing)?;
    let entry = history.live().find(|entry| entry.slot == first).ok_or_else(missing)?;
    let header = prove(env, source, entry).await?;
    let mut seal = Seal::begin(env, *log.as_bytes(), history.epoch()).await?;
    let sealed = boundary::seal(entry, header.previous, &mut seal);
    let sealed = sealed.map_err(|error| ObjectError { key: key.clone(), kind: error.into() })?;
    match put_own(&*env.store, &key, &sealed).await? {
        // One that another run made is read back like our own.
        Put::Ours | Put::Taken(_) => {}
    }
    let bytes = env.store.get(&key, Part::Whole).await?.bytes();
    let there = boundary::read(Object::open(env, &key, bytes).await?)?;
    let same = there.slot == first && there.previous == header.previous && there.stream == *log.as_bytes();
    if !same {
        return Err(ObjectError { key, kind: ObjectErrorKind::Misplaced { what: "boundary" } }.into());
    }
    if boundary::first(env, source).await? < first {
        return Err(LogError::Missing { key });
    }
    Step::Boundary.reached();
    Ok(())
}

struct Work<'a> {
    env: &'a LogEnv,
    source: &'a SourceName,
    first: Slot,
    kinds: BTreeMap<Slot, ObjectKind>,
    refused_in_a_row: usize,
    expired: Expired,
}

impl Work<'_> {
    async fn base(&mut self, base: BaseId) -> Result<(), LogError> {
        if self.delete(vec![layout::manifest(self.source, base)]).await? == 0 {
            return Ok(());
        }
        self.expired.bases += 1;
        let mut parts = Vec::new();
        let mut keys = Keys::new(&*self.env.store, layout::base_prefix(self.source, base), None);
        while let Some(key) = keys.next().await? {
            match layout::parse(&key) {
                Some(Named::BasePart { .. }) => parts.push(key),
                // It is there after all: then nothing of it may go.
                Some(Named::Manifest { .. }) => return Ok(()),
                Some(_) | None => {}
            }
        }
        self.expired.parts += self.delete(parts).await?;
        Ok(())
    }

    async fn segments(&mut self) -> Result<(), LogError> {
        let (env, source) = (self.env, self.source);
        let mut keys = Keys::new(&*env.store, layout::segments_prefix(source), None);
        let mut page = Vec::new();
        while let Some(key) = keys.next().await? {
            let Some(Named::Segment { slot, .. }) = layout::parse(&key) else { continue };
            if slot >= self.first {
                break;
            }
            if self.is_fence(&key, slot).await? == Some(false) {
                page.push(key);
            }
            if page.len() == LIST_PAGE_KEYS_MAX {
                self.expired.segments += self.delete(std::mem::take(&mut page)).await?;
            }
        }
        self.expired.segments += self.delete(page).await?;
        Ok(())
    }

    /// What a run before this one left behind is in no list any more: its header tells. What cannot be read says nothing
    /// and stays.
    async fn is_fence(&mut self, key: &ObjectKey, slot: Slot) -> Result<Option<bool>, LogError> {
        if let Some(kind) = self.kinds.get(&slot) {
            return Ok(Some(*kind == ObjectKind::Fence));
        }
        match object::header(&*self.env.store, key).await {
            Ok(Ok(header)) => Ok(Some(header.kind == ObjectKind::Fence)),
            Ok(Err(_)) => {
                let why = "it is no object of a log; look at it, and remove it".to_owned();
                self.expired.refused.push((key.clone(), why));
                Ok(None)
            }
            Err(error) if error.kind == StoreErrorKind::Missing => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Checkpoints and boundaries of slots before the first.
    async fn others(&mut self, prefix: String) -> Result<(), LogError> {
        let (env, first) = (self.env, self.first);
        let mut keys = Keys::new(&*env.store, prefix, None);
        let mut old = Vec::new();
        while let Some(key) = keys.next().await? {
            match layout::parse(&key) {
                Some(Named::Checkpoint { slot, .. } | Named::Boundary { slot, .. }) if slot < first => old.push(key),
                Some(_) | None => {}
            }
        }
        self.expired.others += self.delete(old).await?;
        Ok(())
    }

    /// Deletes, beginning in this order; gives how many are gone. What is refused is noted; other trouble ends the run.
    async fn delete(&mut self, keys: Vec<ObjectKey>) -> Result<u64, LogError> {
        let store = &self.env.store;
        let mut deleting = stream::iter(keys)
            .map(|key| async move {
                let deleted = store.delete(&key).await;
                (key, deleted)
            })
            .buffered(AT_ONCE);
        let mut gone = 0;
        while let Some((key, deleted)) = deleting.next().await {
            match deleted {
                Ok(()) => {
                    Step::Deleted.reached();
                    self.refused_in_a_row = 0;
                    gone += 1;
                }
                Err(error) if matches!(error.kind, StoreErrorKind::Refused(_)) => {
                    self.refused_in_a_row += 1;
                    if self.refused_in_a_row > REFUSALS_MAX {
                        return Err(error.into());
                    }
                    self.expired.refused.push((key, why(&error)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(gone)
    }
}

fn why(error: &StoreError) -> String {
    error.kind.to_string()
}

#[cfg(test)]
mod tests;
