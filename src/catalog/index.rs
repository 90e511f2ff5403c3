//! What an index can do, and the model of it in memory.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// An ordered map of bytes that may lose everything at any time. What it gives was put; what it does not give may have
/// been put all the same. Its calls block, on disk perhaps: call them where that is allowed.
pub trait Index: Send + Sync {
    /// Notes a value in the place of the one that was there.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), IndexError>;
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;
    /// At most `max` entries whose keys start with `prefix`, in order, from the key `from` on.
    fn range(&self, prefix: &[u8], from: Option<&[u8]>, max: usize) -> Result<Vec<Entry>, IndexError>;
    /// The last entry whose key starts with `prefix` and is not behind `until`.
    fn last(&self, prefix: &[u8], until: Option<&[u8]>) -> Result<Option<Entry>, IndexError>;
    /// Forgets a key.
    fn delete(&self, key: &[u8]) -> Result<(), IndexError>;
    /// Forgets everything.
    fn clear(&self) -> Result<(), IndexError>;
    /// Makes durable what was noted.
    fn flush(&self) -> Result<(), IndexError>;
}

/// What was being done to the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexOp {
    /// Opening it.
    Open,
    /// Noting an entry.
    Put,
    /// Reading entries.
    Read,
    /// Forgetting an entry or all.
    Delete,
    /// Making it durable.
    Flush,
}

impl fmt::Display for IndexOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Put => "note in",
            Self::Read => "read",
            Self::Delete => "delete from",
            Self::Flush => "flush",
        })
    }
}

/// The index could not do it.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Another process has it open.
    #[error("open catalog {}: another process has it open; ask the running daemon instead", path.display())]
    Locked {
        /// Its folder.
        path: PathBuf,
    },
    /// The place where it should be cannot be used.
    #[error("open catalog {}: the folder cannot be used; look at space and rights of state_dir", path.display())]
    Unusable {
        /// Its folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// It is damaged and of no more use until it is opened again, which starts a new one.
    #[error("{op} catalog {}: it is damaged; `holdfast catalog rebuild` makes it anew from the store", path.display())]
    Damaged {
        /// What was being done.
        op: IndexOp,
        /// Its folder.
        path: PathBuf,
        /// What was noticed; nothing if it was noticed before.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

/// The model: an index that lives as long as the process.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    entries: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryIndex {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a range starts and where it ends.
type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The bounds of the keys that start with `prefix` and lie between `from` and `until`, both included. `None` if there
/// can be none (maps panic at bounds that cross).
pub(crate) fn bounds(prefix: &[u8], from: Option<&[u8]>, until: Option<&[u8]>) -> Option<Bounds> {
    let low = from.unwrap_or(prefix).max(prefix).to_vec();
    let end = after_all_with(prefix);
    let (high, crossed) = match (until, end) {
        (Some(until), Some(end)) if *until >= *end => (Bound::Excluded(end.clone()), low >= end),
        (Some(until), _) => (Bound::Included(until.to_vec()), low.as_slice() > until),
        (None, Some(end)) => (Bound::Excluded(end.clone()), low >= end),
        (None, None) => (Bound::Unbounded, false),
    };
    (!crossed).then_some((Bound::Included(low), high))
}

/// The smallest key behind every key that starts with `prefix`; `None` if there is no such key.
fn after_all_with(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut end = prefix.get(..=kept)?.to_vec();
    let last = end.last_mut()?;
    *last = last.checked_add(1)?;
    Some(end)
}

impl Index for MemoryIndex {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), IndexError> {
        self.entries().insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.entries().get(key).cloned())
    }

    fn range(&self, prefix: &[u8], from: Option<&[u8]>, max: usize) -> Result<Vec<Entry>, IndexError> {
        let Some(bounds) = bounds(prefix, from, None) else { return Ok(Vec::new()) };
        let entries = self.entries();
        Ok(entries.range(bounds).take(max).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, prefix: &[u8], until: Option<&[u8]>) -> Result<Option<Entry>, IndexError> {
        let Some(bounds) = bounds(prefix, None, until) else { return Ok(None) };
        Ok(self.entries().range(bounds).next_back().map(|(key, value)| (key.clone(), value.clone())))
    }

    fn delete(&self, key: &[u8]) -> Result<(), IndexError> {
        self.entries().remove(key);
        Ok(())
    }

    fn clear(&self) -> Result<(), IndexError> {
        self.entries().clear();
        Ok(())
    }

    fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_keeps_to_its_prefix_and_its_ends() {
        let index = MemoryIndex::new();
        for key in [&b"a"[..], b"ab", b"ac", b"b", b"\xFF", b"\xFF\xFF", b"\xFF\xFFx"] {
            index.put(key, b"").unwrap();
        }
        let keys = |entries: Vec<Entry>| entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let range = |prefix: &[u8], from: Option<&[u8]>, max| keys(index.range(prefix, from, max).unwrap());
        let last = |prefix: &[u8], until: Option<&[u8]>| index.last(prefix, until).unwrap().map(|(key, _)| key);
        assert_eq!(range(b"a", None, 9), [&b"a"[..], b"ab", b"ac"]);
        assert_eq!(range(b"a", Some(b"ab"), 1), [b"ab"], "from is included");
        assert!(range(b"a", Some(b"zz"), 9).is_empty(), "from lies behind the prefix");
        assert_eq!(range(b"b", Some(b"a"), 9), [b"b"], "from lies before the prefix");
        assert_eq!(range(b"\xFF\xFF", None, 9), [&b"\xFF\xFF"[..], b"\xFF\xFFx"], "a prefix with nothing behind it");
        assert_eq!(range(b"", None, 99).len(), 7);
        assert_eq!(last(b"a", None), Some(b"ac".to_vec()));
        assert_eq!(last(b"a", Some(b"ab")), Some(b"ab".to_vec()), "until is included");
        assert_eq!(last(b"a", Some(b"aa")), Some(b"a".to_vec()));
        assert_eq!(last(b"b", Some(b"a")), None, "until lies before the prefix");
        assert_eq!(last(b"a", Some(b"z")), Some(b"ac".to_vec()), "until lies behind the prefix");
        assert_eq!(last(b"\xFF", None), Some(b"\xFF\xFFx".to_vec()));
    }
}
