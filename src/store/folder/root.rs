//! The folder that is a store: how it is made, told from an empty mount point, and kept clean.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::model::{ObjectKey, Timestamp};
use crate::store::error::{Op, Refusal, StoreError, StoreErrorKind};
use crate::store::folder::fault::kind_of;
use crate::store::folder::listing::ReadAhead;

const MARKER: &str = ".holdfast/format";
const DRAFTS: &str = ".holdfast/draft";
const FORMAT: &[u8] = b"holdfast folder store 1\n";
/// A put that takes longer than this is dead or will find its draft gone, and starts again.
const DRAFT_AGE_MAX: Duration = Duration::from_hours(1);

/// An open store.
pub(crate) struct Root {
    path: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    /// Folders that are known to survive a power cut, each with all above it.
    durable: Mutex<BTreeSet<PathBuf>>,
    drafts: AtomicU64,
    /// Changes made through this value; a listing that was read ahead holds only while it stands still.
    changes: AtomicU64,
    /// Syncs of folders that failed.
    failed_syncs: AtomicU64,
    /// Objects whose names were made and whose folder was then not synced in one go.
    doubtful: Mutex<BTreeSet<PathBuf>>,
    pub(crate) read_ahead: Mutex<Option<ReadAhead>>,
}

/// Makes `path` a store. See [`FolderStore::create`](crate::store::FolderStore::create).
pub(crate) fn create(path: &Path) -> Result<(), StoreError> {
    let fault = |error: io::Error| StoreError::new(Op::Create, path.display(), kind_of(&error)).caused_by(error);
    make_folder(path).map_err(fault)?;
    if read_marker(path).is_ok_and(|marker| marker == FORMAT) {
        return settle(path).map_err(fault);
    }
    let foreign = |entry: io::Result<fs::DirEntry>| match entry {
        // What an interrupted `create` left, and what every ext4 has at its top.
        Ok(entry) => entry.file_name() != ".holdfast" && entry.file_name() != "lost+found",
        Err(_) => true,
    };
    if path.join(MARKER).exists() || fs::read_dir(path).map_err(fault)?.any(foreign) {
        return Err(StoreError::new(Op::Create, path.display(), StoreErrorKind::Refused(Refusal::NotEmpty)));
    }
    make_folder(&path.join(DRAFTS)).map_err(fault)?;
    // The marker comes last and at once: what has it is a store.
    let draft = path.join(DRAFTS).join("format");
    remove_if_there(&draft).map_err(fault)?;
    write_new(&draft, FORMAT).map_err(fault)?;
    fs::rename(&draft, path.join(MARKER)).map_err(fault)?;
    settle(path).map_err(|error| {
        // Nobody uses the store yet. A second sync would prove nothing, a marker that is made again is synced again.
        drop(remove_if_there(&path.join(MARKER)));
        fault(error)
    })
}

/// Makes durable that there is a store: whoever made it may have died before it came to that.
fn settle(path: &Path) -> io::Result<()> {
    sync_folder(&path.join(".holdfast"))?;
    sync_folder(path)?;
    match path.parent().map_or(Ok(()), sync_folder) {
        // A folder that only its owner may read, who has made this one in it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

impl Root {
    pub(crate) fn open(path: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let refused = |refusal| StoreError::new(Op::Open, path.display(), StoreErrorKind::Refused(refusal));
        match read_marker(&path) {
            Ok(marker) if marker == FORMAT => {}
            Ok(marker) if is_newer(&marker) => return Err(refused(Refusal::NewerFormat)),
            Ok(_) => return Err(refused(Refusal::NoStore)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(refused(Refusal::NoStore)),
            Err(error) => {
                return Err(StoreError::new(Op::Open, path.display(), kind_of(&error)).caused_by(error));
            }
        }
        let root = Self {
            path,
            clock,
            durable: Mutex::default(),
            drafts: AtomicU64::default(),
            changes: AtomicU64::default(),
            failed_syncs: AtomicU64::default(),
            doubtful: Mutex::default(),
            read_ahead: Mutex::default(),
        };
        root.sweep();
        Ok(root)
    }

    /// Where an object's file is.
    pub(crate) fn place(&self, key: &ObjectKey) -> PathBuf {
        self.path.join(key.as_str())
    }

    /// Where a folder of objects is; `folder` is empty or ends with a slash.
    pub(crate) fn folder(&self, folder: &str) -> PathBuf {
        self.path.join(folder)
    }

    /// A name for a draft that this process has not used. Another process may have, and the caller then asks again.
    pub(crate) fn draft(&self) -> PathBuf {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        self.path.join(DRAFTS).join(format!("{}-{number}", std::process::id()))
    }

    pub(crate) fn change(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// The error for what the file system answered. A missing file is a missing object only while the store is there.
    pub(crate) fn fault(&self, op: Op, what: impl Display, error: io::Error) -> StoreError {
        if error.kind() != io::ErrorKind::NotFound {
            return StoreError::new(op, what, kind_of(&error)).caused_by(error);
        }
        match self.present(op) {
            Ok(()) => StoreError::new(op, what, StoreErrorKind::Missing).caused_by(error),
            Err(gone) => gone,
        }
    }

    /// Whether the store is still there: its disk may have been unmounted.
    pub(crate) fn present(&self, op: Op) -> Result<(), StoreError> {
        let Err(error) = fs::metadata(self.path.join(MARKER)) else { return Ok(()) };
        let absent = error.kind() == io::ErrorKind::NotFound;
        let kind = if absent { StoreErrorKind::Refused(Refusal::NoStore) } else { kind_of(&error) };
        Err(StoreError::new(op, self.path.display(), kind).caused_by(error))
    }

    /// Makes the folders on the way to an object, and makes sure that they survive a power cut, whoever made them.
    pub(crate) fn make_way(&self, key: &ObjectKey) -> io::Result<PathBuf> {
        let mut here = self.path.clone();
        if !self.durable().contains(&here) {
            settle(&here)?;
            self.durable().insert(here.clone());
        }
        for part in key.as_str().rsplit_once('/').into_iter().flat_map(|(folders, _)| folders.split('/')) {
            let above = here.clone();
            here.push(part);
            let made = match fs::DirBuilder::new().mode(0o700).create(&here) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                Err(error) => return Err(error),
            };
            if made || !self.durable().contains(&here) {
                self.sync(&above).inspect_err(|_| {
                    if made {
                        // A second sync would prove nothing: the folder is made anew. Not if somebody is in it already.
                        drop(fs::remove_dir(&here));
                    }
                })?;
                self.durable().insert(here.clone());
            }
        }
        Ok(here)
    }

    /// Makes the names in a folder durable, and counts it if that fails.
    pub(crate) fn sync(&self, folder: &Path) -> io::Result<()> {
        sync_folder(folder).inspect_err(|_| {
            self.failed_syncs.fetch_add(1, Ordering::SeqCst);
        })
    }

    pub(crate) fn failed_syncs(&self) -> u64 {
        self.failed_syncs.load(Ordering::SeqCst)
    }

    /// Objects whose names may be in memory alone, though a later sync of their folder says nothing of it.
    pub(crate) fn doubtful(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes drafts that nobody writes any more. A draft that stays hurts nobody, so trouble is left for `put` to
    /// name (a reader may open a store on a read-only disk).
    fn sweep(&self) {
        drop(make_folder(&self.path.join(DRAFTS)));
        let Ok(drafts) = fs::read_dir(self.path.join(DRAFTS)) else { return };
        let now = self.clock.now();
        for draft in drafts.flatten() {
            let written = draft.metadata().and_then(|about| about.modified()).ok().and_then(timestamp);
            if written.is_some_and(|written| now.since(written) > DRAFT_AGE_MAX) {
                drop(fs::remove_file(draft.path()));
            }
        }
    }
}

/// A file's time as a moment of the calendar; `None` before 1970.
pub(crate) fn timestamp(time: std::time::SystemTime) -> Option<Timestamp> {
    let elapsed = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(elapsed.as_micros()).ok().map(Timestamp::from_micros)
}

fn read_marker(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut marker = Vec::new();
    File::open(path.join(MARKER))?.take(256).read_to_end(&mut marker)?;
    Ok(marker)
}

fn is_newer(marker: &[u8]) -> bool {
    let number = std::str::from_utf8(marker).ok().and_then(|text| text.strip_prefix("holdfast folder store "));
    number.and_then(|number| number.trim_end().parse::<u32>().ok()).is_some_and(|number| number > 1)
}

/// Makes a folder and those above it, and syncs the parent of each that is new.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_folder).inspect_err(|_| drop(fs::remove_dir(path))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => match path.parent() {
            Some(above) if error.kind() == io::ErrorKind::NotFound && !above.as_os_str().is_empty() => {
                make_folder(above)?;
                make_folder(path)
            }
            _ => Err(error),
        },
    }
}

/// Writes a file that was not there and makes its bytes durable; its name is not durable yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes a file; that it is not there is fine.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let here = Path::new(".");
    File::open(if path.as_os_str().is_empty() { here } else { path })?.sync_all()
}
