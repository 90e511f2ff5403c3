//! A store in a folder: an object is a file, and appears whole and durable or not at all.
//!
//! ```text
//!   <root>/.holdfast/format          what makes the folder a store; without it nothing is read and nothing written
//!   <root>/.holdfast/draft/…         objects being written; a crash may leave some, `open` sweeps them after an hour
//!   <root>/log/main/….seg            objects: draft, fsync, link without overwriting, fsync of the folder
//! ```
//!
//! Files have mode 0600, folders 0700. What is named with a dot is never listed. All work that blocks runs on threads
//! for blocking work. Keeps L1 at its lowest place: every folder on the way to an object is synced before the put answers.

mod fault;
mod listing;
mod put;
mod root;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Clock;
use crate::crypto::Sealed;
use crate::model::ObjectKey;
use crate::step::Step;
use crate::store::error::{Op, StoreError, StoreErrorKind};
use crate::store::folder::root::Root;
use crate::store::memory::check_size;
use crate::store::{Part, PutNew, Store};

/// A store in a folder of this machine (a disk, or a network file system with hard links).
pub struct FolderStore {
    root: Arc<Root>,
}

impl FolderStore {
    /// Makes the folder a store, and the folder itself if need be. Safe to repeat. Refuses a folder that holds
    /// anything else.
    pub async fn create(path: &Path) -> Result<(), StoreError> {
        let path = path.to_owned();
        blocking(Op::Create, path.display().to_string(), move || root::create(&path)).await
    }

    /// Opens a store that `create` made. Never makes one: an unmounted disk leaves an empty folder behind, and a new
    /// store in it would hide the history that the disk holds.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let opened = blocking(Op::Open, path.display().to_string(), move || Root::open(path, clock)).await?;
        Ok(Self { root: Arc::new(opened) })
    }

    async fn on_key<T: Send + 'static>(
        &self,
        op: Op,
        key: &ObjectKey,
        work: impl FnOnce(&Root, &ObjectKey) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (root, owned) = (Arc::clone(&self.root), key.clone());
        blocking(op, key.to_string(), move || work(&root, &owned)).await
    }
}

/// Runs `work` where it may block. Work that died answered nothing.
async fn blocking<T: Send + 'static>(
    op: Op,
    what: String,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(died) => Err(StoreError::new(op, what, StoreErrorKind::Unanswered).caused_by(died)),
    }
}

#[async_trait::async_trait]
impl Store for FolderStore {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        check_size(key, &body)?;
        Step::PutSent.reached();
        self.on_key(Op::Put, key, move |root, key| put::put(root, key, body.as_bytes())).await
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        self.on_key(Op::Get, key, move |root, key| get(root, key, part)).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        let (root, owned, after) = (Arc::clone(&self.root), prefix.to_owned(), after.cloned());
        let work = move || listing::list(&root, &owned, after.as_ref());
        blocking(Op::List, prefix.to_owned(), work).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.on_key(Op::Delete, key, put::delete).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.on_key(Op::Size, key, |root, key| open_object(root, Op::Size, key).map(|(_, size)| size)).await
    }
}

fn get(root: &Root, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
    let (file, size) = open_object(root, Op::Get, key)?;
    let (at, bytes) = part.within(size).map_err(|kind| StoreError::new(Op::Get, key, kind))?;
    // `within` has bounded it by the object's size and by OBJECT_BYTES_MAX.
    let mut body = vec![0; usize::try_from(bytes).unwrap_or(0)];
    file.read_exact_at(&mut body, at).map_err(|error| {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            // Cut off since its size was read, which only damage does.
            return StoreError::new(Op::Get, key, StoreErrorKind::Short { size });
        }
        root.fault(Op::Get, key, error)
    })?;
    Ok(Sealed::stored(Bytes::from(body)))
}

fn open_object(root: &Root, op: Op, key: &ObjectKey) -> Result<(File, u64), StoreError> {
    let file = File::open(root.place(key)).map_err(|error| root.fault(op, key, error))?;
    let about = file.metadata().map_err(|error| root.fault(op, key, error))?;
    if about.is_file() { Ok((file, about.len())) } else { Err(StoreError::new(op, key, StoreErrorKind::Missing)) }
}
