//! What a mirror lets go: what the first store deleted, once the mirror itself holds what says so, and nothing else.
//!
//! ```text
//!   the first store deletes ─▶ the mirror is there: the same object, behind its own boundary
//!                                    away, or in doubt ─▶ later, by comparing everything:
//!        of a log:   in front of a boundary that opens with the key, and no fence
//!        a boundary: behind a newer one; or taken back, since the first store still holds what stands in front of it
//!        a base:     expired by the mirror's own log, bases and holds too; its manifest first, then its parts
//!        parts:      of which no manifest is anywhere
//!        a notice about a base: once the first store has none; nothing hangs on it
//!        a hold, a key's later wraps: never; they keep and open more, not less
//! ```
//! L10: what the first store merely lacks may be lost there, and then the mirror has the last copy.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock;
use crate::codec::segment::{Header, ObjectKind};
use crate::model::{BaseId, ObjectKey, Slot, SourceName};
use crate::store::error::{Refusal, StoreError, StoreErrorKind};
use crate::store::keys::Keys;
use crate::store::layout::{self, Named};
use crate::store::mirror::Mirror;
use crate::store::mirror::copy::Copied;
use crate::store::mirror::pass::PassError;
use crate::store::mirror::sight::{Phase, State};
use crate::store::{Part, Store};

/// Says what has expired. A name alone would let anyone who can put an object make mirrors delete (L10).
#[async_trait::async_trait]
pub trait Retention: Send + Sync {
    /// The first slot of the source's log that must be there, by a boundary in `store`; `None` if nothing proves one.
    async fn proved(&self, store: &dyn Store, source: &SourceName) -> Option<Slot>;
    /// Bases that have expired, by all that the mirror itself holds.
    async fn expired(&self, mirror: &Arc<dyn Store>, source: &SourceName) -> Vec<BaseId>;
}

/// What was asked during one comparison, each thing once.
#[derive(Default)]
pub(crate) struct Asked {
    newest: BTreeMap<SourceName, Slot>,
    proved: BTreeMap<SourceName, Slot>,
    expired: BTreeMap<SourceName, Vec<BaseId>>,
    torn: Option<(BaseId, bool)>,
    /// What the mirror refused to delete.
    pub(crate) undeleted: u64,
}

impl Mirror {
    /// Deletes what the first store has deleted, if the mirror is there. What it misses it finds by comparing everything.
    pub(crate) async fn delete(&self, first: &dyn Store, key: &ObjectKey) {
        let late = {
            let state = self.state();
            matches!(state.phase, Phase::Away | Phase::Refused) || state.owes_whole()
        };
        let done = !late
            && matches!(
                clock::timeout(&*self.clock, self.rule.answer_within, self.let_go(first, key)).await,
                Ok(Ok(true))
            );
        if !done {
            self.want_whole();
        }
    }

    /// Something may be left that the first store has deleted.
    pub(crate) fn want_whole(&self) {
        self.change(State::want_whole);
        self.wake.notify_one();
    }

    async fn let_go(&self, first: &dyn Store, key: &ObjectKey) -> Result<bool, StoreError> {
        if !self.may_forget(first, key).await? {
            // What says so may be on its way.
            self.wait_for(self.rule.answer_within, State::is_in_step).await;
            if !self.may_forget(first, key).await? {
                return Ok(false);
            }
        }
        self.delete_here(key).await.map(|()| true)
    }

    async fn delete_here(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        self.store.delete(key).await?;
        if let Some(Named::Boundary { source, .. }) = layout::parse(key) {
            self.change(|state| state.know_boundary(&source, Slot::NONE));
        }
        Ok(())
    }

    /// Of a log nothing goes before the mirror itself has the boundary that says so, and of a base nothing before its
    /// manifest.
    async fn may_forget(&self, first: &dyn Store, key: &ObjectKey) -> Result<bool, StoreError> {
        match layout::parse(key) {
            Some(Named::Segment { source, slot } | Named::Checkpoint { source, slot }) => {
                self.is_behind(&source, slot).await
            }
            Some(Named::Boundary { source, slot }) => {
                // The newest one is taken back where nothing was deleted yet.
                let taken_back = newest_boundary(first, &source).await? < slot;
                Ok(taken_back || self.is_behind(&source, slot).await?)
            }
            Some(Named::BasePart { source, base, .. }) => {
                if self.state().is_torn(base) {
                    return Ok(true);
                }
                let torn = is_gone(&*self.store, &layout::manifest(&source, base)).await?;
                if torn {
                    self.change(|state| state.know_torn(base));
                }
                Ok(torn)
            }
            Some(
                Named::Manifest { .. }
                | Named::Doomed { .. }
                | Named::Hold { .. }
                | Named::Rewrap { .. }
                | Named::First { .. }
                | Named::Probe(_),
            )
            | None => Ok(true),
        }
    }

    /// Whether the mirror holds a boundary behind which that slot has expired.
    async fn is_behind(&self, source: &SourceName, slot: Slot) -> Result<bool, StoreError> {
        if self.state().boundary_of(source) > slot {
            return Ok(true);
        }
        let newest = newest_boundary(&*self.store, source).await?;
        self.change(|state| state.know_boundary(source, newest));
        Ok(newest > slot)
    }

    /// An object that only the mirror holds: 1 if the first store has lost it, 0 if it was expired.
    pub(crate) async fn surplus(
        &self,
        first: &dyn Store,
        key: &ObjectKey,
        asked: &mut Asked,
    ) -> Result<u64, PassError> {
        match layout::parse(key) {
            Some(
                Named::Segment { source, slot } | Named::Checkpoint { source, slot } | Named::Boundary { source, slot },
            ) => self.surplus_of_log(first, key, (&source, slot), asked).await,
            Some(Named::Manifest { source, base }) => self.surplus_base(first, key, (&source, base), asked).await,
            Some(Named::BasePart { source, base, .. }) => {
                self.surplus_part(first, key, (&source, base), asked).await.map(|()| 0)
            }
            // A notice goes when what it tells of has been done: nothing hangs on it any more.
            Some(Named::Doomed { .. }) if self.retention.is_some() => {
                if is_gone(first, key).await.map_err(PassError::First)? {
                    self.remove(key, asked).await?;
                }
                Ok(0)
            }
            // Of a hold nothing tells whether it was taken off or lost: it stays, and `hold list --store` shows it.
            Some(
                Named::Doomed { .. }
                | Named::Hold { .. }
                | Named::Rewrap { .. }
                | Named::First { .. }
                | Named::Probe(_),
            )
            | None => Ok(0),
        }
    }

    async fn surplus_of_log(
        &self,
        first: &dyn Store,
        key: &ObjectKey,
        (source, slot): (&SourceName, Slot),
        asked: &mut Asked,
    ) -> Result<u64, PassError> {
        if !is_gone(first, key).await.map_err(PassError::First)? {
            return Ok(0);
        }
        if slot < self.proved(first, source, asked).await? {
            // Fences never expire: one that the first store lacks is lost.
            let segment = matches!(layout::parse(key), Some(Named::Segment { .. }));
            if segment && is_fence(&*self.store, key).await.map_err(PassError::Mirror)? {
                return Ok(1);
            }
            return self.remove(key, asked).await.map(|()| 0);
        }
        if asked.newest.get(source).is_some_and(|newest| slot < *newest) {
            return Ok(0);
        }
        let newest = newest_boundary(first, source).await.map_err(PassError::First)?;
        asked.newest.insert(source.clone(), newest);
        let boundary = matches!(layout::parse(key), Some(Named::Boundary { .. }));
        if newest > slot || !boundary || !self.is_taken_back(first, source, slot).await? {
            return Ok(u64::from(newest <= slot));
        }
        if self.retention.is_some() {
            self.remove(key, asked).await?;
        }
        Ok(0)
    }

    /// Whether a boundary that the first store lacks was taken back there: nothing in front of it has gone. Where it was
    /// lost instead, nothing but fences is left there.
    async fn is_taken_back(&self, first: &dyn Store, source: &SourceName, slot: Slot) -> Result<bool, PassError> {
        let mut before = slot.before();
        while before != Slot::NONE {
            match is_fence(first, &layout::segment(source, before)).await {
                Ok(true) => before = before.before(),
                Ok(false) => return Ok(true),
                Err(error) if error.kind == StoreErrorKind::Missing => return Ok(false),
                Err(error) => return Err(PassError::First(error)),
            }
        }
        Ok(true)
    }

    /// From where on everything must be there: proved in the first store, and the same in the mirror. Where a walk through
    /// the names has not come to that boundary yet it is brought now: it must be there before anything goes.
    async fn proved(&self, first: &dyn Store, source: &SourceName, asked: &mut Asked) -> Result<Slot, PassError> {
        let Some(retention) = &self.retention else { return Ok(Slot::NONE) };
        if let Some(known) = asked.proved.get(source) {
            return Ok(*known);
        }
        let mut proved = retention.proved(first, source).await.unwrap_or(Slot::NONE);
        if proved != Slot::NONE && self.copy(first, &layout::boundary(source, proved)).await? != Copied::There {
            proved = Slot::NONE;
        }
        asked.proved.insert(source.clone(), proved);
        Ok(proved)
    }

    async fn surplus_base(
        &self,
        first: &dyn Store,
        manifest: &ObjectKey,
        (source, base): (&SourceName, BaseId),
        asked: &mut Asked,
    ) -> Result<u64, PassError> {
        let Some(retention) = &self.retention else { return Ok(0) };
        if !is_gone(first, manifest).await.map_err(PassError::First)? {
            return Ok(0);
        }
        if !asked.expired.contains_key(source) {
            asked.expired.insert(source.clone(), retention.expired(&self.store, source).await);
        }
        if !asked.expired.get(source).is_some_and(|expired| expired.contains(&base)) {
            return Ok(0);
        }
        self.remove(manifest, asked).await?;
        let mut parts = Keys::new(&*self.store, layout::base_prefix(source, base), None);
        while let Some(part) = parts.next().await.map_err(PassError::Mirror)? {
            if matches!(layout::parse(&part), Some(Named::BasePart { .. })) {
                self.remove(&part, asked).await?;
            }
        }
        Ok(0)
    }

    /// Parts of which there is no manifest, neither here nor there, are no base and never will be one.
    async fn surplus_part(
        &self,
        first: &dyn Store,
        part: &ObjectKey,
        (source, base): (&SourceName, BaseId),
        asked: &mut Asked,
    ) -> Result<(), PassError> {
        if self.retention.is_none() {
            return Ok(());
        }
        let torn = match asked.torn {
            Some((known, torn)) if known == base => torn,
            Some(_) | None => {
                let manifest = layout::manifest(source, base);
                is_gone(&*self.store, &manifest).await.map_err(PassError::Mirror)?
                    && is_gone(first, &manifest).await.map_err(PassError::First)?
            }
        };
        asked.torn = Some((base, torn));
        if torn && is_gone(first, part).await.map_err(PassError::First)? {
            self.remove(part, asked).await?;
        }
        Ok(())
    }

    async fn remove(&self, key: &ObjectKey, asked: &mut Asked) -> Result<(), PassError> {
        match self.delete_here(key).await {
            Ok(()) => Ok(()),
            // A lock, or no right to it: it keeps more than it should, and everything else goes on.
            Err(error) if matches!(error.kind, StoreErrorKind::Refused(refusal) if refusal != Refusal::NoStore) => {
                asked.undeleted = asked.undeleted.saturating_add(1);
                Ok(())
            }
            Err(error) => Err(PassError::Mirror(error)),
        }
    }

    /// Whether the mirror still holds the oldest of what expired while it was away: then everything must be compared.
    pub(crate) async fn slept_through(&self, first: &dyn Store, source: &SourceName) -> Result<bool, PassError> {
        if self.retention.is_none() {
            return Ok(false);
        }
        let newest = newest_boundary(first, source).await.map_err(PassError::First)?;
        if newest == Slot::NONE {
            return Ok(false);
        }
        let (prefix, boundary) = (layout::segments_prefix(source), layout::segment(source, newest));
        let ours = first.list(&prefix, None).await.map_err(PassError::First)?;
        let theirs = self.store.list(&prefix, None).await.map_err(PassError::Mirror)?;
        Ok(theirs.iter().any(|key| *key < boundary && ours.binary_search(key).is_err()))
    }
}

/// The newest boundary of a source by name alone; [`Slot::NONE`] if there is none.
pub(crate) async fn newest_boundary(store: &dyn Store, source: &SourceName) -> Result<Slot, StoreError> {
    let mut keys = Keys::new(store, layout::boundaries_prefix(source), None);
    let mut newest = Slot::NONE;
    while let Some(key) = keys.next().await? {
        if let Some(Named::Boundary { slot, .. }) = layout::parse(&key) {
            newest = slot;
        }
    }
    Ok(newest)
}

pub(crate) async fn is_gone(store: &dyn Store, key: &ObjectKey) -> Result<bool, StoreError> {
    match store.size(key).await {
        Ok(_) => Ok(false),
        Err(error) if error.kind == StoreErrorKind::Missing => Ok(true),
        Err(error) => Err(error),
    }
}

/// What cannot be read is taken for one, and stays.
async fn is_fence(store: &dyn Store, segment: &ObjectKey) -> Result<bool, StoreError> {
    let start = store.get(segment, Part::HEADER).await?;
    Ok(Header::decode(start.as_bytes()).map_or(true, |(header, _)| header.kind == ObjectKind::Fence))
}
