//! What became of each job, in a small file of its own under `state_dir/jobs`; a cache: what is lost is done again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::daemon::schedule::{JobId, Past};

/// Larger than any that was written here.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What became of each job.
#[derive(Debug)]
pub struct Memory {
    /// Where the files are; `None` without a state folder.
    folder: Option<PathBuf>,
    /// What this process knows, also where nothing can be written.
    known: Mutex<BTreeMap<JobId, Past>>,
}

/// Nobody else runs a job on this state folder while it lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the open file")] Option<File>);

impl Memory {
    /// The memory of a state folder. Whatever is wrong with the folder is told once, and costs the memory alone.
    pub fn open(state_dir: Option<&Path>) -> Self {
        let folder = state_dir.map(|state_dir| state_dir.join("jobs"));
        if let Some(folder) = &folder
            && let Err(error) = std::fs::create_dir_all(folder)
        {
            tracing::warn!(%error, folder = %folder.display(), "what became of jobs cannot be kept over a restart");
        }
        Self { folder, known: Mutex::default() }
    }

    /// What became of a job; `None` if nothing is known.
    pub fn read(&self, job: &JobId) -> Option<Past> {
        let mine = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(job).cloned();
        let written = self.path(job).and_then(|path| read(&path));
        // A file that cannot be written is older than what this process knows.
        let newest = |past: &Past| past.succeeded_micros.max(past.failed.as_ref().map(|failed| failed.at_micros));
        [mine, written].into_iter().flatten().max_by_key(newest)
    }

    /// Writes down what became of a job: the whole file or nothing of it.
    pub fn write(&self, job: &JobId, past: &Past) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(job.clone(), past.clone());
        let Some(path) = self.path(job) else { return };
        let draft = path.with_extension("new");
        let bytes = serde_json::to_vec_pretty(past).map_err(io::Error::other);
        let written =
            bytes.and_then(|bytes| std::fs::write(&draft, bytes)).and_then(|()| std::fs::rename(&draft, &path));
        if let Err(error) = written {
            tracing::warn!(%job, %error, "what became of this job is not kept over a restart");
        }
    }

    /// The right to run a job; `None` while another process has it. Where the folder cannot be used nobody is kept out:
    /// jobs harm nothing side by side, they only load the store.
    pub fn lock(&self) -> Option<Lock> {
        let Some(folder) = &self.folder else { return Some(Lock(None)) };
        let opened = File::options().create(true).truncate(false).write(true).open(folder.join("lock"));
        let Ok(file) = opened else { return Some(Lock(None)) };
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => None,
            Ok(()) | Err(_) => Some(Lock(Some(file))),
        }
    }

    fn path(&self, job: &JobId) -> Option<PathBuf> {
        // A store's name is plain, and has no dot.
        let of = job.mirror.as_ref().map(|mirror| format!(".{mirror}")).unwrap_or_default();
        self.folder.as_ref().map(|folder| folder.join(format!("{}{of}.json", job.job.name())))
    }
}

/// What a file remembers. One that is not there, not to be read or not ours is as good as none: the job is due then.
fn read(path: &Path) -> Option<Past> {
    let about = std::fs::metadata(path).ok()?;
    let small = about.is_file() && about.len() <= FILE_BYTES_MAX;
    let bytes = small.then(|| std::fs::read(path).ok()).flatten()?;
    serde_json::from_slice(&bytes).ok()
}
