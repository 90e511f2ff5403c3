//! The index on disk: sled behind walls, so that what it does wrong is an error and never more.
//!
//! Every call catches panics. Every value carries a CRC-32C of its key and itself, so that bytes which sled mixed up are
//! noticed. The first error is the last: the index then answers `Damaged` until it is opened anew, and what was damaged is
//! set aside by that.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::catalog::index::{Entry, Index, IndexError, IndexOp, bounds};
use crate::catalog::opening;
use crate::catalog::opening::{Held, Lock, Opened};
use crate::clock::Clock;

/// A damaged sled may never close; then it is left behind.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);
const SUM_BYTES: usize = 4;

/// An index in a folder. One process at a time has it open.
pub struct SledIndex {
    path: PathBuf,
    /// `None` only while it is dropped.
    open: Option<Open>,
    damaged: AtomicBool,
    lock: Lock,
}

struct Open {
    db: sled::Db,
    about: sled::Tree,
    flushes: Mutex<u64>,
}

/// What went wrong inside.
type Fault = Box<dyn Error + Send + Sync>;

impl SledIndex {
    /// Opens the index in `folder` if it has this `identity` (schema version, store, logs: whatever must agree). What
    /// has another one or is damaged is set aside and an empty index started. Blocks.
    pub fn open(folder: &Path, identity: &[u8], clock: &dyn Clock) -> Result<(Self, Opened), IndexError> {
        let (Held { db, about, flushes, lock }, opened) = opening::open(folder, identity, clock)?;
        let open = Some(Open { db, about, flushes: Mutex::new(flushes) });
        Ok((Self { path: folder.to_owned(), open, damaged: AtomicBool::new(false), lock }, opened))
    }

    fn guard<T>(&self, op: IndexOp, work: impl FnOnce(&Open) -> Result<T, Fault>) -> Result<T, IndexError> {
        let damaged = |source| IndexError::Damaged { op, path: self.path.clone(), source };
        let Some(open) = self.open.as_ref().filter(|_| !self.damaged.load(Ordering::SeqCst)) else {
            return Err(damaged(None));
        };
        let done = catch_unwind(AssertUnwindSafe(|| work(open)));
        done.unwrap_or_else(|panic| Err(opening::panic_words(&*panic).into())).map_err(|fault| {
            self.damaged.store(true, Ordering::SeqCst);
            if !is_machine(&*fault) {
                // Where even that fails, opening finds the same damage again, and whoever keeps the index counts.
                drop(self.lock.condemn());
            }
            damaged(Some(fault))
        })
    }
}

/// Whether the machine is at fault (a full disk, no rights) and what is stored may be good.
fn is_machine(fault: &(dyn Error + Send + Sync + 'static)) -> bool {
    let own = fault.downcast_ref::<std::io::Error>();
    let error = own.or_else(|| match fault.downcast_ref::<sled::Error>() {
        Some(sled::Error::Io(error)) => Some(error),
        Some(_) | None => None,
    });
    error.is_some_and(opening::is_machine)
}

impl Index for SledIndex {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), IndexError> {
        let mut summed = value.to_vec();
        summed.extend(sum(key, value));
        self.guard(IndexOp::Put, |open| Ok(open.db.insert(key, summed).map(drop)?))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.guard(IndexOp::Read, |open| open.db.get(key)?.map(|value| checked(key, &value)).transpose())
    }

    fn range(&self, prefix: &[u8], from: Option<&[u8]>, max: usize) -> Result<Vec<Entry>, IndexError> {
        let Some(bounds) = bounds(prefix, from, None) else { return Ok(Vec::new()) };
        self.guard(IndexOp::Read, |open| open.db.range(bounds).take(max).map(entry).collect())
    }

    fn last(&self, prefix: &[u8], until: Option<&[u8]>) -> Result<Option<Entry>, IndexError> {
        let Some(bounds) = bounds(prefix, None, until) else { return Ok(None) };
        self.guard(IndexOp::Read, |open| open.db.range(bounds).next_back().map(entry).transpose())
    }

    fn delete(&self, key: &[u8]) -> Result<(), IndexError> {
        self.guard(IndexOp::Delete, |open| Ok(open.db.remove(key).map(drop)?))
    }

    fn clear(&self) -> Result<(), IndexError> {
        self.guard(IndexOp::Delete, |open| Ok(open.db.clear()?))
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.guard(IndexOp::Flush, |open| {
            let mut flushes = open.flushes.lock().unwrap_or_else(PoisonError::into_inner);
            *flushes = flushes.saturating_add(1);
            // Behind the entries in sled's log: when it is there, they are. Then the witness beside sled.
            open.about.insert(opening::FLUSHES_KEY, &flushes.to_be_bytes())?;
            open.db.flush()?;
            Ok(self.lock.note_flushes(*flushes)?)
        })
    }
}

impl Drop for SledIndex {
    /// Closes sled on a thread of its own: a damaged one may panic or hang.
    fn drop(&mut self) {
        let (Some(open), damaged) = (self.open.take(), self.damaged.load(Ordering::SeqCst)) else { return };
        let (tell, told) = mpsc::sync_channel::<()>(1);
        let close = move || {
            let closed = catch_unwind(AssertUnwindSafe(move || {
                if !damaged {
                    // Only a cache: what could not be written is found in the store.
                    drop(open.db.flush());
                }
                drop(open);
            }));
            drop(closed);
            drop(tell);
        };
        if std::thread::Builder::new().name("catalog-close".to_owned()).spawn(close).is_ok() {
            // Closed, or left behind: there is nothing more to be done about it.
            let _closed_or_not = told.recv_timeout(CLOSE_TIME_MAX);
        }
    }
}

fn entry(found: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Entry, Fault> {
    let (key, value) = found?;
    Ok((key.to_vec(), checked(&key, &value)?))
}

fn sum(key: &[u8], value: &[u8]) -> [u8; SUM_BYTES] {
    crc32c::crc32c_append(crc32c::crc32c(key), value).to_le_bytes()
}

fn checked(key: &[u8], summed: &[u8]) -> Result<Vec<u8>, Fault> {
    match summed.split_last_chunk::<SUM_BYTES>() {
        Some((value, found)) if *found == sum(key, value) => Ok(value.to_vec()),
        Some(_) | None => Err("an entry's checksum does not fit its bytes".into()),
    }
}
