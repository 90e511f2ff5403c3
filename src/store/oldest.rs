//! A store as it was before anybody put something over it or hid it: under each name what was put there first counts.
//!
//! ```text
//!   list: names of a log that a mark hides are there · other names are as they are (what expired stays deleted)
//!   get, size: a name with a second version is read at its oldest; every other is read plainly
//! ```
//! Of what it walks it remembers only the odd names, so a sound store costs no more requests than plain listings do.
//! What is odd is for the caller to tell: whoever restores may be glad of the oldest, whoever verifies must say so (L4).
//! Holds, wraps and probes are shown as they are: those may be taken away and made again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::crypto::Sealed;
use crate::model::ObjectKey;
use crate::model::Slot;
use crate::model::SourceName;
use crate::store::error::{Op, StoreError, StoreErrorKind};
use crate::store::layout::{self, Named};
use crate::store::versions::{Kept, VersionKind, Versions};
use crate::store::{Part, PutNew, Store};

/// Odd names that are remembered (L8). What is odd beyond them is read as everybody reads it, and shows as damage.
const ODD_MAX: usize = 10_000;
/// Later versions of one name that are compared with its oldest. One more says enough by itself.
const COMPARED_MAX: usize = 16;

/// What was put first.
pub struct Oldest {
    inner: Arc<dyn Store>,
    seen: Mutex<Seen>,
}

/// What listings have told.
#[derive(Debug, Default)]
struct Seen {
    /// From behind a name up to another one: all that is odd between them is in `odd`, if it fits.
    walked: BTreeMap<String, String>,
    odd: BTreeMap<ObjectKey, Kept>,
    /// What stands in front of these slots may have been deleted as it should be.
    expired: BTreeMap<SourceName, Slot>,
}

impl Seen {
    /// Whether somebody did something to it. What expired is hidden too, and leaves no log that is still read.
    fn is_odd(&self, kept: &Kept) -> bool {
        if !is_written_once(&kept.key) || (kept.hidden && self.has_expired(&kept.key)) {
            return false;
        }
        let objects = kept.versions.objects().count();
        objects > 1 || (objects == 1 && kept.hidden && is_segment(&kept.key))
    }

    fn has_expired(&self, key: &ObjectKey) -> bool {
        match layout::parse(key) {
            Some(
                Named::Segment { source, slot } | Named::Checkpoint { source, slot } | Named::Boundary { source, slot },
            ) => self.expired.get(&source).is_some_and(|first| slot < *first),
            Some(
                Named::BasePart { .. }
                | Named::Manifest { .. }
                | Named::Doomed { .. }
                | Named::Hold { .. }
                | Named::Rewrap { .. }
                | Named::First { .. }
                | Named::Probe(_),
            )
            | None => false,
        }
    }

    fn remember(&mut self, kept: &Kept) {
        if self.odd.len() < ODD_MAX {
            self.odd.insert(kept.key.clone(), kept.clone());
        }
    }
}

/// What somebody did to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// Which one.
    pub key: ObjectKey,
    /// The version that was put first.
    pub oldest: String,
    /// What was done.
    pub how: How,
}

/// What can be done to an object that nobody may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A mark hides it.
    Hidden,
    /// Other bytes were put in its place.
    Replaced,
    /// It was deleted and is there again, the same.
    PutAgain,
}

impl Oldest {
    /// What was put first in `inner`; `None` if it keeps nothing but the newest, as names with that prefix show.
    pub async fn of(inner: &Arc<dyn Store>, prefix: &str) -> Result<Option<Arc<Self>>, StoreError> {
        let view = Self { inner: Arc::clone(inner), seen: Mutex::default() };
        let keeps = view.inner.kept(prefix, None).await?.is_some();
        Ok(keeps.then(|| Arc::new(view)))
    }

    /// What stands in front of `slot` of that log may be deleted: that it is hidden is as it should be. To be told before
    /// anything is walked.
    pub fn expired_before(&self, source: SourceName, slot: Slot) {
        let mut seen = self.seen();
        let first = seen.expired.entry(source).or_insert(slot);
        *first = slot.max(*first);
    }

    /// The names where somebody did something, of those that were looked at.
    pub async fn odd(&self) -> Vec<(ObjectKey, Result<Odd, StoreError>)> {
        let all: Vec<_> = self.seen().odd.values().cloned().collect();
        let mut found = Vec::new();
        for kept in all {
            let odd = self.how(&kept).await;
            found.push((kept.key, odd));
        }
        found
    }

    async fn how(&self, kept: &Kept) -> Result<Odd, StoreError> {
        let oldest = kept.versions.oldest().map(|oldest| oldest.id.clone()).unwrap_or_default();
        let how = if self.replaced(&kept.key, &kept.versions).await? {
            How::Replaced
        } else if kept.hidden {
            How::Hidden
        } else {
            How::PutAgain
        };
        Ok(Odd { key: kept.key.clone(), oldest, how })
    }

    /// Whether a later version holds other bytes than the oldest.
    async fn replaced(&self, key: &ObjectKey, versions: &Versions) -> Result<bool, StoreError> {
        let Some(oldest) = versions.oldest() else { return Ok(false) };
        if versions.objects().count() > COMPARED_MAX {
            return Ok(true);
        }
        let mut first = None;
        for later in versions.objects().skip(1) {
            if later.kind != oldest.kind {
                return Ok(true);
            }
            if later.tag.is_some() && later.tag == oldest.tag {
                continue;
            }
            let first = match &first {
                Some(first) => first,
                None => first.insert(self.inner.get_kept(key, &oldest.id, Part::Whole).await?),
            };
            if self.inner.get_kept(key, &later.id, Part::Whole).await?.as_bytes() != first.as_bytes() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what is odd on a page that begins behind `from`.
    fn note(&self, from: String, page: &[Kept]) {
        let mut seen = self.seen();
        if let Some(last) = page.last() {
            let last = last.key.as_str();
            match seen.walked.iter_mut().find(|(begin, end)| **begin == from || **end == from) {
                // A walk that goes on, or one of the same names once more.
                Some((_, end)) if end.as_str() < last => last.clone_into(end),
                Some(_) => {}
                None => drop(seen.walked.insert(from, last.to_owned())),
            }
        }
        for kept in page {
            if seen.is_odd(kept) {
                seen.remember(kept);
            }
        }
    }

    /// The version at which a name is read; `None` where it is read plainly.
    async fn version(&self, key: &ObjectKey) -> Result<Option<Kept>, StoreError> {
        if !is_written_once(key) {
            return Ok(None);
        }
        {
            let seen = self.seen();
            if let Some(kept) = seen.odd.get(key) {
                return Ok(Some(kept.clone()));
            }
            let name = key.as_str();
            if seen.walked.iter().any(|(from, to)| from.as_str() < name && name <= to.as_str()) {
                return Ok(None);
            }
        }
        let page = self.inner.kept(key.as_str(), None).await?.unwrap_or_default();
        let kept = page.into_iter().find(|kept| kept.key == *key);
        let mut seen = self.seen();
        let Some(kept) = kept.filter(|kept| seen.is_odd(kept)) else { return Ok(None) };
        seen.remember(&kept);
        Ok(Some(kept))
    }
}

fn is_segment(key: &ObjectKey) -> bool {
    matches!(layout::parse(key), Some(Named::Segment { .. }))
}

/// Whether an object of that name is put once and never again.
fn is_written_once(key: &ObjectKey) -> bool {
    match layout::parse(key) {
        Some(
            Named::Segment { .. }
            | Named::Checkpoint { .. }
            | Named::Boundary { .. }
            | Named::BasePart { .. }
            | Named::Manifest { .. }
            | Named::First { .. },
        ) => true,
        Some(Named::Doomed { .. } | Named::Hold { .. } | Named::Rewrap { .. } | Named::Probe(_)) | None => false,
    }
}

#[async_trait::async_trait]
impl Store for Oldest {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        self.inner.put_new(key, body).await
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        let kept = self.version(key).await?;
        match kept.as_ref().and_then(|kept| kept.versions.oldest()) {
            Some(oldest) => self.inner.get_kept(key, &oldest.id, part).await,
            None => self.inner.get(key, part).await,
        }
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        let mut after = after.cloned();
        loop {
            let Some(page) = self.inner.kept(prefix, after.as_ref()).await? else {
                return self.inner.list(prefix, after.as_ref()).await;
            };
            let Some(last) = page.last().map(|kept| kept.key.clone()) else { return Ok(Vec::new()) };
            self.note(after.as_ref().map_or(prefix, |after| after.as_str()).to_owned(), &page);
            let odd = |key: &ObjectKey| self.seen().odd.contains_key(key);
            let there = |kept: &Kept| !kept.hidden || (is_segment(&kept.key) && odd(&kept.key));
            let keys: Vec<_> = page.into_iter().filter(there).map(|kept| kept.key).collect();
            if !keys.is_empty() {
                return Ok(keys);
            }
            // A page of what was deleted is not the end.
            after = Some(last);
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        let kept = self.version(key).await?;
        match kept.as_ref().and_then(|kept| kept.versions.oldest()).map(|oldest| oldest.kind) {
            Some(VersionKind::Object { bytes }) => Ok(bytes),
            Some(VersionKind::DeleteMarker) => Err(StoreError::new(Op::Size, key, StoreErrorKind::Missing)),
            None => self.inner.size(key).await,
        }
    }

    async fn holds(&self, key: &ObjectKey, body: &Sealed) -> Result<bool, StoreError> {
        self.inner.holds(key, body).await
    }

    async fn kept(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Option<Vec<Kept>>, StoreError> {
        self.inner.kept(prefix, after).await
    }

    async fn get_kept(&self, key: &ObjectKey, version: &str, part: Part) -> Result<Sealed, StoreError> {
        self.inner.get_kept(key, version, part).await
    }
}
