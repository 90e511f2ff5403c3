//! What the index holds of each log: its entries, as the clear headers of its objects tell them.
//!
//! A value is an entry's bytes (`log/entry.rs` draws them). Entries that do not follow one another without a hole are as
//! good as none: [`Catalog::note`] says so, and whoever keeps the catalog asks the store. Nothing here is believed by
//! itself; [`crate::log::History::load_from`] asks the log to confirm it.

use crate::catalog::index::{Index, IndexError};
use crate::catalog::key::{self, CatalogKey};
use crate::codec::wire::Reader;
use crate::log::Entry;
use crate::model::{Slot, SourceName};

/// What must agree with an index that is kept: the shape of its keys and values. Which logs it is of needs no say: the
/// log confirms the entries, or they are not believed.
pub const IDENTITY: &[u8] = b"holdfast catalog 1";

/// Entries in one page: about a megabyte where they travel as text.
pub const PAGE_ENTRIES: usize = 4096;

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It continues what was known.
    Continues,
    /// It does not: what stands between must be asked from the store, and it was not noted.
    Apart,
}

/// The entries of every log, over an index.
pub struct Catalog {
    index: Box<dyn Index>,
}

impl Catalog {
    /// A catalog over an index that holds this catalog's keys or none.
    pub const fn new(index: Box<dyn Index>) -> Self {
        Self { index }
    }

    /// The entries of a log, in order of their slots. One that cannot be read ends them.
    pub fn entries(&self, source: &SourceName) -> Result<Vec<Entry>, IndexError> {
        let mut entries = Vec::new();
        loop {
            let from = entries.last().map_or(Slot::NONE, |last: &Entry| last.slot.next());
            let page = self.page(source, from)?;
            if page.is_empty() {
                return Ok(entries);
            }
            entries.extend(page);
        }
    }

    /// At most [`PAGE_ENTRIES`] of them, from a slot on; none where they end.
    pub fn page(&self, source: &SourceName, from: Slot) -> Result<Vec<Entry>, IndexError> {
        let page = self.index.range(&key::segments_of(source), Some(&segment(source, from)), PAGE_ENTRIES)?;
        Ok(page.iter().map_while(|(key, value)| read(key, value)).collect())
    }

    /// The last entry of a log.
    pub fn last(&self, source: &SourceName) -> Result<Option<Entry>, IndexError> {
        let last = self.index.last(&key::segments_of(source), None)?;
        Ok(last.and_then(|(key, value)| read(&key, &value)))
    }

    /// Notes the entry of a segment that has just become durable. One that was read from the store before is known
    /// already, and gets its size and hash.
    pub fn note(&self, source: &SourceName, entry: &Entry) -> Result<Noted, IndexError> {
        let Some(last) = self.last(source)? else { return Ok(Noted::Apart) };
        if last.slot.next() != entry.slot && !self.knows(source, entry)? {
            return Ok(Noted::Apart);
        }
        self.put(source, entry)?;
        Ok(Noted::Continues)
    }

    fn knows(&self, source: &SourceName, entry: &Entry) -> Result<bool, IndexError> {
        let key = segment(source, entry.slot);
        let known = self.index.get(&key)?.and_then(|value| read(&key, &value));
        Ok(known.is_some_and(|known| Entry { bytes: entry.bytes, hash: entry.hash, ..known } == *entry))
    }

    /// Makes these the entries of a log, whatever was known before.
    pub fn replace(&self, source: &SourceName, entries: &[Entry]) -> Result<(), IndexError> {
        let known = self.entries(source)?;
        let same = known.iter().zip(entries).take_while(|(known, entry)| known == entry).count();
        let stays = entries.get(same..).unwrap_or_default();
        for entry in stays {
            self.put(source, entry)?;
        }
        self.forget_outside(source, entries)
    }

    /// Forgets whatever stands in a slot that `entries` do not have, unreadable ones too.
    fn forget_outside(&self, source: &SourceName, entries: &[Entry]) -> Result<(), IndexError> {
        let prefix = key::segments_of(source);
        let kept = |key: &[u8]| match CatalogKey::decode(key) {
            Some(CatalogKey::Segment { slot, .. }) => entries.binary_search_by_key(&slot, |entry| entry.slot).is_ok(),
            Some(CatalogKey::Base { .. } | CatalogKey::Gap { .. }) | None => false,
        };
        let mut from = None::<Vec<u8>>;
        loop {
            let page = self.index.range(&prefix, from.as_deref(), PAGE_ENTRIES)?;
            let full = page.len() == PAGE_ENTRIES;
            for (key, _) in &page {
                if !kept(key) {
                    self.index.delete(key)?;
                }
            }
            // Strictly behind the last key: with a zero byte more.
            from = page.into_iter().next_back().map(|(key, _)| [key, vec![0]].concat());
            if !full {
                return Ok(());
            }
        }
    }

    /// Forgets every log.
    pub fn clear(&self) -> Result<(), IndexError> {
        self.index.clear()
    }

    /// Makes durable what was noted.
    pub fn flush(&self) -> Result<(), IndexError> {
        self.index.flush()
    }

    fn put(&self, source: &SourceName, entry: &Entry) -> Result<(), IndexError> {
        let mut value = Vec::new();
        entry.encode(&mut value);
        self.index.put(&segment(source, entry.slot), &value)
    }
}

fn segment(source: &SourceName, slot: Slot) -> Vec<u8> {
    CatalogKey::Segment { source: source.clone(), slot }.encode()
}

/// An entry that stands in its own place; nothing else is one.
fn read(key: &[u8], value: &[u8]) -> Option<Entry> {
    let mut reader = Reader::new(value);
    let entry = Entry::decode(&mut reader).ok()?;
    reader.finish().ok()?;
    match CatalogKey::decode(key)? {
        CatalogKey::Segment { slot, .. } if slot == entry.slot => Some(entry),
        CatalogKey::Segment { .. } | CatalogKey::Base { .. } | CatalogKey::Gap { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::MemoryIndex;
    use crate::log::History;
    use crate::log::fixture::{Fixture, main_source};

    async fn entries() -> Vec<Entry> {
        let fixture = Fixture::with_a_log(41).await;
        History::load(&fixture.env, &main_source()).await.unwrap().entries
    }

    #[tokio::test]
    async fn l7_what_is_noted_one_by_one_is_what_a_rebuild_notes_at_once() {
        let (all, other) = (entries().await, "other".parse().unwrap());
        let (one_by_one, at_once) =
            (Catalog::new(Box::<MemoryIndex>::default()), Catalog::new(Box::<MemoryIndex>::default()));
        one_by_one.replace(&other, &all[..2]).unwrap();
        one_by_one.replace(&main_source(), &all[..1]).unwrap();
        for entry in &all[1..] {
            assert_eq!(one_by_one.note(&main_source(), entry).unwrap(), Noted::Continues);
        }
        at_once.replace(&main_source(), &all).unwrap();
        assert_eq!(one_by_one.entries(&main_source()).unwrap(), all);
        assert_eq!(at_once.entries(&main_source()).unwrap(), all);
        assert_eq!(one_by_one.entries(&other).unwrap().len(), 2, "another log's entries stay apart");
    }

    #[tokio::test]
    async fn an_entry_that_does_not_follow_is_not_noted() {
        let all = entries().await;
        let catalog = Catalog::new(Box::<MemoryIndex>::default());
        assert_eq!(catalog.note(&main_source(), &all[0]).unwrap(), Noted::Apart, "nothing is known yet");
        catalog.replace(&main_source(), &all[..3]).unwrap();
        assert_eq!(catalog.note(&main_source(), &all[4]).unwrap(), Noted::Apart, "a hole");
        assert_eq!(catalog.note(&main_source(), &all[2]).unwrap(), Noted::Continues, "it is known already");
        let other = Entry { epoch: all[1].epoch.next(), ..all[1].clone() };
        assert_eq!(catalog.note(&main_source(), &other).unwrap(), Noted::Apart, "it is known otherwise");
        assert_eq!(catalog.entries(&main_source()).unwrap(), all[..3]);
        catalog.replace(&main_source(), &all[..1]).unwrap();
        assert_eq!(catalog.entries(&main_source()).unwrap(), all[..1], "what the store does not have is forgotten");
    }

    #[tokio::test]
    async fn l4_a_value_that_is_no_entry_of_its_place_ends_the_list() {
        let all = entries().await;
        let index = MemoryIndex::new();
        let mut value = Vec::new();
        all[0].encode(&mut value);
        index.put(&segment(&main_source(), all[0].slot), &value).unwrap();
        index.put(&segment(&main_source(), all[1].slot), &value).unwrap();
        let catalog = Catalog::new(Box::new(index));
        assert_eq!(catalog.entries(&main_source()).unwrap(), all[..1], "the second says that it is the first");
        catalog.replace(&main_source(), &all).unwrap();
        assert_eq!(catalog.entries(&main_source()).unwrap(), all);
    }
}
