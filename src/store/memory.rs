//! The reference implementation: objects in memory. What it does is what the contract means.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use bytes::Bytes;

use crate::crypto::Sealed;
use crate::model::ObjectKey;
use crate::model::limits::LIST_PAGE_KEYS_MAX;
use crate::store::error::{Op, Refusal, StoreError, StoreErrorKind};
use crate::store::{OBJECT_BYTES_MAX, Part, PutNew, Store};

/// A store that lives as long as the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<ObjectKey, Bytes>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does what the contract forbids, for tests of L4: puts `body` in the object's place, or takes the object away.
    pub fn tamper(&self, key: &ObjectKey, body: Option<Bytes>) {
        let mut objects = self.objects();
        match body {
            Some(body) => objects.insert(key.clone(), body),
            None => objects.remove(key),
        };
    }

    /// A panic elsewhere cannot leave the map half changed: every change is one call.
    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, op: Op, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.objects().get(key).cloned().ok_or_else(|| StoreError::new(op, key, StoreErrorKind::Missing))
    }
}

/// The number of bytes as an object's size.
pub(crate) fn size_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Refuses a body that no reader would take.
pub(crate) fn check_size(key: &ObjectKey, body: &Sealed) -> Result<(), StoreError> {
    if size_of(body.as_bytes()) <= OBJECT_BYTES_MAX {
        return Ok(());
    }
    Err(StoreError::new(Op::Put, key, StoreErrorKind::Refused(Refusal::TooLarge)))
}

#[async_trait::async_trait]
impl Store for MemoryStore {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        check_size(key, &body)?;
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Ok(PutNew::AlreadyThere);
        }
        objects.insert(key.clone(), body.bytes());
        Ok(PutNew::Created)
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        let object = self.find(Op::Get, key)?;
        let (at, bytes) = part.within(size_of(&object)).map_err(|kind| StoreError::new(Op::Get, key, kind))?;
        let end = at.saturating_add(bytes);
        let place = |offset| usize::try_from(offset).expect("within an object that is in memory");
        Ok(Sealed::stored(object.slice(place(at)..place(end))))
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let objects = self.objects();
        let keys = objects.range((start, Bound::Unbounded)).map(|(key, _)| key);
        let found = keys.filter(|key| key.as_str().starts_with(prefix));
        Ok(found.take(LIST_PAGE_KEYS_MAX).cloned().collect())
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.objects().remove(key);
        Ok(())
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        Ok(size_of(&self.find(Op::Size, key)?))
    }
}
