//! Copies one object into a mirror as it was put first, and says what another object in its place means.
//!
//! ```text
//!   found missing by comparing ─▶ what was put first, where the first store still tells
//!   noted when it was put ──────▶ plainly, and compared with what was put; only where it differs, what was put first
//! ```
//! * L4: whoever may delete in a bucket that keeps versions can put other bytes over an object or hide it. What was put
//!   first is still there, and is what a mirror gets: else its copy, which is there for that day, would be the false one.
//! * L8: bytes are re-read from the first store, one object at a time.

use std::sync::Arc;

use crate::codec::segment::Header;
use crate::crypto::Sealed;
use crate::crypto::stream::sha256;
use crate::model::ObjectKey;
use crate::store::error::{Refusal, StoreErrorKind};
use crate::store::keys::Keys;
use crate::store::layout::{self, Named};
use crate::store::memory::size_of;
use crate::store::mirror::Mirror;
use crate::store::mirror::merge::{Difference, Merge};
use crate::store::mirror::pass::{Kin, PassError};
use crate::store::mirror::sight::{DAMAGED_MAX, Note};
use crate::store::oldest::Oldest;
use crate::store::{Part, Put, Store, put_own};

/// What became of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// The mirror holds it.
    There,
    /// The first store holds it no more.
    Gone,
    /// The mirror holds another one.
    Foreign,
}

/// The first store as mirrors compare with it: what was put first under each name. Where nothing but the newest is kept, or
/// versions may not be listed, that is what everybody reads.
pub(crate) async fn first_put(first: &Arc<dyn Store>) -> Result<Arc<dyn Store>, PassError> {
    let oldest = match Oldest::of(first, layout::FIRSTS_PREFIX).await {
        Ok(Some(oldest)) => oldest,
        Ok(None) => return Ok(Arc::clone(first)),
        Err(error) if error.kind == StoreErrorKind::Refused(Refusal::NoRights) => return Ok(Arc::clone(first)),
        Err(error) => return Err(PassError::First(error)),
    };
    // Only what nobody may have deleted yet is there although it is hidden.
    let mut boundaries = Keys::new(&**first, layout::BOUNDARIES_PREFIX, None);
    while let Some(key) = boundaries.next().await.map_err(PassError::First)? {
        if let Some(Named::Boundary { source, slot }) = layout::parse(&key) {
            oldest.expired_before(source, slot);
        }
    }
    Ok(oldest)
}

impl Mirror {
    /// Copies what was noted, in the order in which it became durable, until there is another doubt than `doubt`: what was
    /// noted behind that may stand behind something that the mirror lacks.
    pub(crate) async fn drain(&self, first: &Arc<dyn Store>, doubt: u64) -> Result<(), PassError> {
        while let Some(note) = { self.state().note_within(doubt) } {
            if self.bring_parts(&**first, &note.key).await? {
                self.copy_noted(first, &note).await?;
            }
            self.change(|state| state.done(&note));
        }
        Ok(())
    }

    /// What must stand in the mirror before that object: the parts of a manifest's base. `false` if one is gone; then the
    /// base expired under our hands, or was lost, and without its parts a manifest would be a lie.
    pub(crate) async fn bring_parts(&self, first: &dyn Store, key: &ObjectKey) -> Result<bool, PassError> {
        let Some(Named::Manifest { source, base }) = layout::parse(key) else { return Ok(true) };
        let mut merge = Merge::new(first, &*self.store, &layout::base_prefix(&source, base), None);
        while let Some(difference) = merge.next().await? {
            if let Difference::Missing(part) = difference
                && part != *key
                && self.copy(first, &part).await? == Copied::Gone
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the mirror's object is the first store's, where both hold one of that name.
    pub(crate) async fn same(&self, first: &dyn Store, key: &ObjectKey) -> Result<bool, PassError> {
        let Some(body) = read(first, key).await? else { return Ok(false) };
        match self.store.holds(key, &body).await {
            Ok(true) => Ok(true),
            Err(error) if error.kind == StoreErrorKind::Missing => Ok(false),
            Err(error) => Err(PassError::Mirror(error)),
            // Put once more, so that what stands there instead is looked at.
            Ok(false) => self.copy(first, key).await.map(|copied| copied == Copied::There),
        }
    }

    /// Copies one object as `first` gives it.
    pub(crate) async fn copy(&self, first: &dyn Store, key: &ObjectKey) -> Result<Copied, PassError> {
        let _changing = self.changing.lock().await;
        match read(first, key).await? {
            Some(body) => self.put_here(key, &body).await,
            None => Ok(Copied::Gone),
        }
    }

    /// Copies one object of which it is known what was put. One look tells nearly always that it still is what it was.
    async fn copy_noted(&self, first: &Arc<dyn Store>, note: &Note) -> Result<Copied, PassError> {
        let _changing = self.changing.lock().await;
        let mut body = read(&**first, &note.key).await?;
        if body.as_ref().is_none_or(|body| sha256(body.as_bytes()) != note.hash) {
            body = read(&*first_put(first).await?, &note.key).await?;
        }
        match body {
            Some(body) => self.put_here(&note.key, &body).await,
            None => Ok(Copied::Gone),
        }
    }

    async fn put_here(&self, key: &ObjectKey, body: &Sealed) -> Result<Copied, PassError> {
        match put_own(&*self.store, key, body).await.map_err(PassError::Mirror)? {
            Put::Ours => {
                let (now, bytes) = (self.clock.now(), size_of(body.as_bytes()));
                let written = Header::decode(body.as_bytes()).ok().map(|(header, _)| header.sealed_at);
                self.change(|state| {
                    state.copied(now);
                    state.caught_up_to(bytes, written);
                });
                Ok(Copied::There)
            }
            Put::Taken(theirs) => self.stranger(key, &theirs, body).map(|()| Copied::Foreign),
        }
    }

    /// Another object stands in the mirror's slot. An error if that tells more than of this one object.
    pub(crate) fn stranger(&self, key: &ObjectKey, theirs: &Sealed, ours: &Sealed) -> Result<(), PassError> {
        let other = |kin| PassError::OtherHistory { key: key.clone(), kin };
        let headers = (Header::decode(theirs.as_bytes()), Header::decode(ours.as_bytes()));
        if let (Some(Named::Segment { .. }), (Ok((theirs, _)), Ok((ours, _)))) = (layout::parse(key), headers)
            && theirs.salt != ours.salt
        {
            if theirs.stream == ours.stream && theirs.epoch > ours.epoch {
                let why = format!("{key} in mirror {} is of a later epoch: somebody writes there", self.name);
                self.deposed.set(why.clone());
                return Err(PassError::Deposed(why));
            }
            return Err(other(if theirs.stream == ours.stream { Kin::Fork } else { Kin::Stranger }));
        }
        let many = self.change(|state| {
            state.damaged.insert(key.clone());
            state.damaged.len()
        });
        if many > DAMAGED_MAX { Err(other(Kin::Stranger)) } else { Ok(()) }
    }
}

/// An object, if it is there.
async fn read(first: &dyn Store, key: &ObjectKey) -> Result<Option<Sealed>, PassError> {
    match first.get(key, Part::Whole).await {
        Ok(body) => Ok(Some(body)),
        Err(error) if error.kind == StoreErrorKind::Missing => Ok(None),
        Err(error) => Err(PassError::First(error)),
    }
}
