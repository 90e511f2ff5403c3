//! Who is taking a base: a locked file beside the daemon's state, so that a base whose taker died is known for dead at once.
//!
//! ```text
//!   claimed and locked ──▶ parts are put ──▶ unclaimed ──▶ the manifest is put
//!            └── the process dies: the lock goes with it, the claim stays, and no manifest can come any more (L10)
//! ```
//! Whoever dies with the manifest on its way has no claim, and neither have bases that are taken with another state
//! folder, or on another machine: of those only age tells.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::model::BaseId;

/// The claim on a base; the lock is held as long as this lives.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    _locked: File,
}

/// What is known of whoever takes a base.
#[derive(Debug)]
pub(crate) enum Taker {
    /// Its process lives.
    Alive,
    /// Its process died; the claim is ours now.
    Dead(Claim),
    /// Nothing.
    Unknown,
}

impl Claim {
    /// Claims a base that is about to be taken, before anything of it is put.
    pub(crate) fn make(folder: &Path, base: BaseId) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(base.to_string());
        let file = File::options().create_new(true).write(true).open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { path, _locked: file })
    }

    /// Takes the claim back, for good. The file goes before the lock does: who gets the lock can tell that it went.
    pub(crate) fn release(self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

/// Looks who is taking `base`.
pub(crate) fn taker(folder: &Path, base: BaseId) -> Taker {
    let path = folder.join(base.to_string());
    let Ok(file) = File::open(&path) else { return Taker::Unknown };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Taker::Alive,
        Err(_) => Taker::Unknown,
        Ok(()) => {
            // Whoever took its claim back removed the file before it let go of the lock: what we locked must still be what
            // stands there. Where that cannot be seen, nobody is called dead.
            match (fs::metadata(&path), file.metadata()) {
                (Ok(there), Ok(locked)) if there.ino() == locked.ino() => Taker::Dead(Claim { path, _locked: file }),
                (Ok(_) | Err(_), _) => Taker::Unknown,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l10_only_a_claim_whose_holder_let_go_without_taking_it_back_is_a_dead_ones() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, base) = (folder.path().join("bases"), BaseId::from_bytes([7; 16]));
        assert!(matches!(taker(&folder, base), Taker::Unknown), "nobody ever claimed it here");
        let claim = Claim::make(&folder, base).unwrap();
        assert!(matches!(taker(&folder, base), Taker::Alive));
        assert!(Claim::make(&folder, base).is_err(), "it is claimed once");
        drop(claim);
        let Taker::Dead(claim) = taker(&folder, base) else { panic!("its lock is gone and the claim is there") };
        assert!(matches!(taker(&folder, base), Taker::Alive), "one sweeper at a time");
        claim.release().unwrap();
        assert!(matches!(taker(&folder, base), Taker::Unknown), "its manifest may be on its way");
    }
}
