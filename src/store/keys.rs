//! Walks through a listing page by page, and notices a store that lists against its contract.

use std::vec::IntoIter;

use crate::model::ObjectKey;
use crate::model::SourceName;
use crate::model::limits::LIST_PAGE_KEYS_MAX;
use crate::store::Store;
use crate::store::error::{Op, Refusal, StoreError, StoreErrorKind};
use crate::store::layout;

/// The names that start with a prefix, one after another; one page is held at a time.
pub struct Keys<'a> {
    store: &'a dyn Store,
    prefix: String,
    after: Option<ObjectKey>,
    page: IntoIter<ObjectKey>,
    ended: bool,
}

impl<'a> Keys<'a> {
    /// All names that start with `prefix` and come after `after`.
    pub fn new(store: &'a dyn Store, prefix: impl Into<String>, after: Option<ObjectKey>) -> Self {
        Self { store, prefix: prefix.into(), after, page: Vec::new().into_iter(), ended: false }
    }

    /// The next name; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<ObjectKey>, StoreError> {
        loop {
            if let Some(key) = self.page.next() {
                return Ok(Some(key));
            }
            if self.ended {
                return Ok(None);
            }
            self.turn().await?;
        }
    }

    /// Leaves out what lies up to `after`, without asking for it.
    pub fn jump(&mut self, after: ObjectKey) {
        let rest: Vec<_> = self.page.by_ref().filter(|key| *key > after).collect();
        self.page = rest.into_iter();
        self.after = self.after.take().max(Some(after));
    }

    async fn turn(&mut self) -> Result<(), StoreError> {
        let page = self.store.list(&self.prefix, self.after.as_ref()).await?;
        let mut before = self.after.as_ref();
        for key in &page {
            // A page that is stale, out of order or repeated would make a hole look like the end of a log (L4).
            if before.is_some_and(|before| key <= before) || !key.as_str().starts_with(&self.prefix) {
                let kind = StoreErrorKind::Refused(Refusal::ContractBroken);
                return Err(StoreError::new(Op::List, &self.prefix, kind));
            }
            before = Some(key);
        }
        if page.len() > LIST_PAGE_KEYS_MAX {
            let kind = StoreErrorKind::Refused(Refusal::ContractBroken);
            return Err(StoreError::new(Op::List, &self.prefix, kind));
        }
        self.ended = page.is_empty();
        self.after = page.last().cloned().or_else(|| self.after.take());
        self.page = page.into_iter();
        Ok(())
    }
}

/// The sources that have a log in this store, in order of their names. Jumps from log to log: one page per source.
pub async fn sources(store: &dyn Store) -> Result<Vec<SourceName>, StoreError> {
    let mut found = Vec::new();
    let mut keys = Keys::new(store, layout::LOGS_PREFIX, None);
    while let Some(key) = keys.next().await? {
        if let Some(source) = layout::log_of(&key) {
            // A foreign name may sort behind the jump and bring the same source up again.
            keys.jump(layout::after_segments(&source));
            found.push(source);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Sealed;
    use crate::model::Slot;
    use crate::store::memory::MemoryStore;
    use bytes::Bytes;

    async fn put(store: &MemoryStore, key: ObjectKey) {
        store.put_new(&key, Sealed::stored(Bytes::from_static(b"x"))).await.unwrap();
    }

    #[tokio::test]
    async fn every_source_with_a_log_is_found_however_long_its_neighbours_log_is() {
        let store = MemoryStore::new();
        for slot in 1..=2_500 {
            put(&store, layout::segment(&"main".parse().unwrap(), Slot::new(slot))).await;
        }
        for name in ["main-copy", "main2", "a", "zoo"] {
            put(&store, layout::segment(&name.parse().unwrap(), Slot::FIRST)).await;
        }
        put(&store, "log/readme".parse().unwrap()).await;
        put(&store, "log/main/zzz".parse().unwrap()).await;
        let names: Vec<_> = sources(&store).await.unwrap().into_iter().map(|name| name.to_string()).collect();
        assert_eq!(names, ["a", "main", "main-copy", "main2", "zoo"]);
    }

    #[tokio::test]
    async fn the_walk_gives_every_name_once() {
        let store = MemoryStore::new();
        let main = "main".parse().unwrap();
        for slot in 1..=2_000 {
            put(&store, layout::segment(&main, Slot::new(slot))).await;
        }
        let mut keys = Keys::new(&store, layout::segments_prefix(&main), Some(layout::segment(&main, Slot::new(500))));
        for slot in 501..=2_000 {
            assert_eq!(keys.next().await.unwrap(), Some(layout::segment(&main, Slot::new(slot))));
        }
        assert_eq!(keys.next().await.unwrap(), None);
        assert_eq!(keys.next().await.unwrap(), None, "the end stays the end");
    }
}
