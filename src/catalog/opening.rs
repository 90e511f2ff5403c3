//! Opens a folder that may hold anything: alone, within a time limit, and what is not fit is set aside.
//!
//! sled refuses most damaged folders, panics at some and could hang at others. So it is opened on a thread of its own
//! that catches panics and is waited for only so long. A folder that fails, or that belongs to another store, is
//! renamed to `<name>.bad-<time>` for whoever wants to know why, and an empty one takes its place.
//!
//! Worse, where the bytes of its log are damaged sled takes that for the end and opens as it was some time ago, without a
//! word. So flushes are counted, in sled and beside it, and one that has lost a flush is damaged. What shows itself damaged
//! only later, while it is open, is condemned by the same witness, and set aside when it is next opened.

use std::any::Any;
use std::error::Error;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use crate::catalog::index::IndexError;
use crate::clock::Clock;

/// Longer than sled takes for millions of entries on a slow disk.
const OPEN_TIME_MAX: Duration = Duration::from_mins(1);
/// Folders that are kept for whoever wants to know why.
const SET_ASIDE_MAX: usize = 2;
/// sled's threads hold its lock for a moment after it was closed.
const LOCK_TRIES: u32 = 40;
const LOCK_WAIT: Duration = Duration::from_millis(50);
const SLED_CACHE_BYTES: u64 = 16 * 1024 * 1024;
const ABOUT_TREE: &[u8] = b"about";
const IDENTITY_KEY: &[u8] = b"identity";
pub(crate) const FLUSHES_KEY: &[u8] = b"flushes";
/// What the witness says of an index that was found damaged while it was open: more flushes than there can be.
const CONDEMNED: u64 = u64::MAX;

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// What was noted before the last flush, and perhaps some of what was noted after it.
    Kept,
    /// Nothing: rebuild from the store.
    Fresh {
        /// Why.
        why: Why,
    },
}

/// Why there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// There was nothing before.
    New,
    /// It belongs to another store or version, or does not say to which.
    OtherIdentity,
    /// It is damaged.
    Damaged {
        /// In sled's words.
        says: String,
    },
    /// Opening it did not end.
    NoAnswer,
}

/// Held as long as the index is open, so that one process at a time has it, and the witness of its flushes. The file
/// stays.
///
/// ```text
///   0              8        12
///   | flushes u64  | sum u32 |     little-endian; `sum` is the CRC-32C of the 8 bytes before it
/// ```
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    fn take(folder: &Path) -> Result<Self, IndexError> {
        let options = || fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
        let file = options().open(beside(folder, ".lock")).map_err(|error| unusable(folder, error))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(IndexError::Locked { path: folder.to_owned() }),
            Err(error) => Err(unusable(folder, io::Error::from(error))),
        }
    }

    /// How many flushes have ended. What cannot be read is taken for more than there can be.
    fn flushes(&self) -> u64 {
        let mut bytes = [0; 12];
        match self.file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return 0,
            Err(_) => return CONDEMNED,
            Ok(()) => {}
        }
        let (count, sum) = bytes.split_first_chunk::<8>().expect("twelve bytes have eight");
        if crc32c::crc32c(count).to_le_bytes() == *sum { u64::from_le_bytes(*count) } else { CONDEMNED }
    }

    /// Notes that the index was found damaged while it was open: sled may well open it again, so only this sees to it
    /// that the next opening sets it aside.
    pub(crate) fn condemn(&self) -> io::Result<()> {
        self.note_flushes(CONDEMNED)
    }

    /// Notes that so many flushes have ended. It need not be durable: a witness that is behind still tells no lie.
    pub(crate) fn note_flushes(&self, flushes: u64) -> io::Result<()> {
        let count = flushes.to_le_bytes();
        let sum = crc32c::crc32c(&count).to_le_bytes();
        self.file.write_all_at(&[&count[..], &sum[..]].concat(), 0)
    }
}

/// An index as it was opened.
pub(crate) struct Held {
    pub(crate) db: sled::Db,
    pub(crate) about: sled::Tree,
    pub(crate) flushes: u64,
    pub(crate) lock: Lock,
}

/// Opens `folder`, or sets it aside and starts an empty one.
pub(crate) fn open(folder: &Path, identity: &[u8], clock: &dyn Clock) -> Result<(Held, Opened), IndexError> {
    let lock = Lock::take(folder)?;
    let expected = Expected { identity: identity.to_vec(), flushes: lock.flushes() };
    let why = match supervised(folder, expected) {
        Outcome::Kept(db, about, flushes) => return Ok((Held { db, about, flushes, lock }, Opened::Kept)),
        Outcome::New(db, about) => return fresh((db, about), lock, Why::New).map_err(|error| unusable(folder, error)),
        Outcome::Unfit(why) => why,
        Outcome::Locked => return Err(IndexError::Locked { path: folder.to_owned() }),
        Outcome::Unusable(source) => return Err(unusable(folder, source)),
    };
    set_aside(folder, clock).map_err(|error| unusable(folder, error))?;
    match supervised(folder, Expected { identity: identity.to_vec(), flushes: 0 }) {
        Outcome::Kept(db, about, _) | Outcome::New(db, about) => {
            fresh((db, about), lock, why).map_err(|error| unusable(folder, error))
        }
        Outcome::Locked => Err(IndexError::Locked { path: folder.to_owned() }),
        Outcome::Unusable(source) => Err(unusable(folder, source)),
        Outcome::Unfit(again) => Err(unusable(folder, format!("an empty one does not open either: {again:?}"))),
    }
}

fn fresh((db, about): (sled::Db, sled::Tree), lock: Lock, why: Why) -> io::Result<(Held, Opened)> {
    lock.note_flushes(0)?;
    Ok((Held { db, about, flushes: 0, lock }, Opened::Fresh { why }))
}

fn unusable(folder: &Path, source: impl Into<Box<dyn Error + Send + Sync>>) -> IndexError {
    IndexError::Unusable { path: folder.to_owned(), source: source.into() }
}

/// What an index that may be kept says of itself.
struct Expected {
    identity: Vec<u8>,
    flushes: u64,
}

enum Outcome {
    Kept(sled::Db, sled::Tree, u64),
    New(sled::Db, sled::Tree),
    Unfit(Why),
    Locked,
    /// The machine's fault, not the folder's: what it holds may be good.
    Unusable(Box<dyn Error + Send + Sync>),
}

fn supervised(folder: &Path, expected: Expected) -> Outcome {
    let (tell, told) = mpsc::sync_channel(1);
    let folder = folder.to_owned();
    let work = move || {
        let tried = catch_unwind(AssertUnwindSafe(|| patient(&folder, &expected)));
        let outcome = tried.unwrap_or_else(|panic| Outcome::Unfit(Why::Damaged { says: panic_words(&*panic) }));
        // Nobody waits any more: the index is dropped here, and a panic in that stays on this thread.
        drop(tell.send(outcome));
    };
    match std::thread::Builder::new().name("catalog-open".to_owned()).spawn(work) {
        Ok(_) => told.recv_timeout(OPEN_TIME_MAX).unwrap_or(Outcome::Unfit(Why::NoAnswer)),
        Err(error) => Outcome::Unusable(error.into()),
    }
}

/// What a panic said.
pub(crate) fn panic_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

#[expect(clippy::disallowed_methods, reason = "on a thread of its own, for a lock that another thread is letting go")]
fn patient(folder: &Path, expected: &Expected) -> Outcome {
    for _ in 0..LOCK_TRIES {
        match attempt(folder, expected) {
            Ok(outcome) => return outcome,
            Err(error) if is_lock(&error) => std::thread::sleep(LOCK_WAIT),
            Err(sled::Error::Io(error)) if is_machine(&error) => return Outcome::Unusable(error.into()),
            Err(error) => return Outcome::Unfit(Why::Damaged { says: error.to_string() }),
        }
    }
    Outcome::Locked
}

fn attempt(folder: &Path, expected: &Expected) -> sled::Result<Outcome> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let empty = fs::read_dir(folder)?.next().is_none();
    // No flushing in the background: sled's flusher goes on after a failed sync, and a panic in it would make closing
    // hang for ever. Whoever notes entries flushes.
    let config = sled::Config::new().path(folder).cache_capacity(SLED_CACHE_BYTES).flush_every_ms(None);
    let db = config.open()?;
    let about = db.open_tree(ABOUT_TREE)?;
    let flushes = about.get(FLUSHES_KEY)?.and_then(|count| Some(u64::from_be_bytes(count.as_ref().try_into().ok()?)));
    match about.get(IDENTITY_KEY)? {
        None if empty => {
            about.insert(IDENTITY_KEY, expected.identity.as_slice())?;
            db.flush()?;
            Ok(Outcome::New(db, about))
        }
        Some(found) if found == expected.identity => match flushes.unwrap_or(0) {
            flushes if flushes >= expected.flushes => Ok(Outcome::Kept(db, about, flushes)),
            _ if expected.flushes == CONDEMNED => {
                let says = "it was found damaged while it was open, or its witness is damaged".to_owned();
                Ok(Outcome::Unfit(Why::Damaged { says }))
            }
            flushes => {
                let says = format!("of {} flushes only {flushes} are there", expected.flushes);
                Ok(Outcome::Unfit(Why::Damaged { says }))
            }
        },
        // Dropped here, before the folder is renamed: sled finds some of its files by their path.
        Some(_) | None => Ok(Outcome::Unfit(Why::OtherIdentity)),
    }
}

/// sled says it in words alone; our own lock was free, so it is a thread that is still closing.
fn is_lock(error: &sled::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Whether the machine is at fault and not what is stored.
pub(crate) fn is_machine(error: &io::Error) -> bool {
    use io::ErrorKind as Io;
    let machine = [Io::StorageFull, Io::QuotaExceeded, Io::PermissionDenied, Io::ReadOnlyFilesystem, Io::OutOfMemory];
    let no_files_left = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    machine.contains(&error.kind())
        || no_files_left.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn set_aside(folder: &Path, clock: &dyn Clock) -> io::Result<()> {
    let mut stamp = clock.now().micros();
    let mut aside = beside(folder, &format!(".bad-{stamp:020}"));
    while aside.exists() {
        stamp = stamp.saturating_add(1);
        aside = beside(folder, &format!(".bad-{stamp:020}"));
    }
    fs::rename(folder, &aside)?;
    forget_oldest(folder);
    Ok(())
}

/// Keeps the newest folders that were set aside. One that cannot be removed hurts nobody.
fn forget_oldest(folder: &Path) {
    let prefix = beside(folder, ".bad-");
    let (Some(parent), Some(prefix)) = (prefix.parent(), prefix.file_name().and_then(|name| name.to_str())) else {
        return;
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let Ok(entries) = fs::read_dir(parent) else { return };
    let ours = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.starts_with(prefix));
    let mut aside: Vec<_> =
        entries.flatten().filter(|entry| ours(&entry.file_name())).map(|entry| entry.path()).collect();
    aside.sort_unstable();
    for old in aside.iter().rev().skip(SET_ASIDE_MAX) {
        drop(fs::remove_dir_all(old));
    }
}

fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
