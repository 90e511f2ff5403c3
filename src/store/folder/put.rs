//! Creates and removes a file so that a crash at any instant leaves the whole object or none.
//!
//! ```text
//!   draft: write · fsync ──▶ folders: make · fsync ──▶ link (fails if the name is taken) ──▶ fsync folder ──▶ answer
//! ```
//!
//! A sync that failed is never asked again for the same thing: the system may have dropped what it could not write and
//! call it clean, so that the second answer is "done" and means nothing (`PostgreSQL` bug of 2018, "fsyncgate"). A draft
//! is thrown away and written anew; a name is put once more, by renaming a new draft of the same bytes over it, which no
//! reader can see and which makes its folder dirty again; a folder that was just made is removed and made again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::ObjectKey;
use crate::step::Step;
use crate::store::PutNew;
use crate::store::error::{Op, StoreError, StoreErrorKind};
use crate::store::folder::fault::kind_of_link;
use crate::store::folder::root;
use crate::store::folder::root::Root;

/// Creates the object unless there is one.
pub(crate) fn put(root: &Root, key: &ObjectKey, body: &[u8]) -> Result<PutNew, StoreError> {
    let (place, failed_syncs) = (root.place(key), root.failed_syncs());
    let unanswered = |error: io::Error| StoreError::new(Op::Put, key, StoreErrorKind::Unanswered).caused_by(error);
    // Asked first, so that a put that is repeated on a disk that has filled up meanwhile finds what it left.
    let taken = place.symlink_metadata().is_ok();
    let (folder, found) = if taken {
        renew_if_doubtful(root, &place, body).map_err(unanswered)?;
        (place.parent().map(Path::to_owned).unwrap_or_default(), PutNew::AlreadyThere)
    } else {
        let draft = Draft::write(root, body).map_err(|error| not_done(root, key, error))?;
        let folder = root.make_way(key).map_err(|error| not_done(root, key, error))?;
        (folder, link(&draft, &place, key)?)
    };
    root.change();
    // Also when the object was there: whoever linked it may not have got as far as here, and `AlreadyThere` may mean
    // our own earlier put, which the caller will count as durable.
    let synced = root.sync(&folder);
    // A sync for another object of the folder may have failed between this one's link and its own sync.
    if synced.is_err() || root.failed_syncs() != failed_syncs {
        root.doubtful().insert(place);
        return Err(unanswered(synced.err().unwrap_or_else(|| io::Error::other("another sync failed meanwhile"))));
    }
    root.doubtful().remove(&place);
    if found == PutNew::Created {
        Step::FolderSynced.reached();
    }
    Ok(found)
}

/// Puts a name that may be in memory alone once more, if its object is `body`. A rival's is the rival's business.
fn renew_if_doubtful(root: &Root, place: &Path, body: &[u8]) -> io::Result<()> {
    if root.doubtful().contains(place) && fs::read(place)? == body {
        let draft = Draft::write(root, body)?;
        fs::rename(&draft.0, place)?;
    }
    Ok(())
}

fn link(draft: &Draft, place: &Path, key: &ObjectKey) -> Result<PutNew, StoreError> {
    match fs::hard_link(&draft.0, place) {
        Ok(()) => {
            Step::ObjectLinked.reached();
            Ok(PutNew::Created)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(PutNew::AlreadyThere),
        Err(error) => Err(StoreError::new(Op::Put, key, kind_of_link(&error)).caused_by(error)),
    }
}

/// An error from before the link: the object is not there. A missing folder was removed under our hands, and the next
/// try makes it again, unless the store itself is gone.
fn not_done(root: &Root, key: &ObjectKey, error: io::Error) -> StoreError {
    let fault = root.fault(Op::Put, key, error);
    if fault.kind == StoreErrorKind::Missing {
        return StoreError { kind: StoreErrorKind::Unavailable, ..fault };
    }
    fault
}

/// Removes the object, and makes that durable.
pub(crate) fn delete(root: &Root, key: &ObjectKey) -> Result<(), StoreError> {
    let place = root.place(key);
    match fs::remove_file(&place) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => root.present(Op::Delete)?,
        Err(error) => return Err(root.fault(Op::Delete, key, error)),
    }
    root.change();
    match place.parent().map_or(Ok(()), root::sync_folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::new(Op::Delete, key, StoreErrorKind::Unanswered).caused_by(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A file with an object's bytes and no name that a reader would see. Gone when dropped.
struct Draft(PathBuf);

impl Draft {
    fn write(root: &Root, body: &[u8]) -> io::Result<Self> {
        loop {
            let path = root.draft();
            match root::write_new(&path, body) {
                Ok(()) => return Ok(Self(path)),
                // A dead process of the same number left it, or a living one on another machine writes it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    drop(Self(path));
                    return Err(error);
                }
            }
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What cannot be removed is swept at a later opening.
        drop(fs::remove_file(&self.0));
    }
}
