//! Where sealed objects live: a small flat space of immutable objects, and its written contract.
//!
//! ```text
//!   log ──▶ Retrying ──▶ Store: put_new · get · list · delete · size
//!             │            ├── MemoryStore   the reference
//!             │            ├── FolderStore   a folder on a disk
//!             │            └── S3Store       a bucket
//!             └── tells our own earlier put from a rival's
//!   Mirrored: one store that decides, and others that get the same bytes afterwards
//!   Oldest: what was put first under each name, of a store that keeps what was put later
//!   Fated: a store whose calls meet what a test has chosen for them
//! ```
//!
//! Behaviour is added by wrapping, never by flags. Keeps the store's share of L1 (what `put_new` answered is durable),
//! of L4 (`get` never gives fewer bytes than asked for) and of L5 (of racing creators exactly one wins).

pub mod error;
pub mod fated;
pub mod folder;
pub mod keys;
pub mod layout;
pub mod memory;
pub mod mirror;
pub mod order;
pub mod oldest;
pub mod probe;
pub mod retrying;
pub mod s3;
pub mod versions;

pub use error::{Op, Refusal, StoreError, StoreErrorKind};
pub use fated::{Asked, Fate, Fated};
pub use folder::FolderStore;
pub use keys::{Keys, sources};
pub use memory::MemoryStore;
pub use mirror::{Mirror, Mirrored};
pub use oldest::Oldest;
pub use probe::{ProbeReport, Verdict, probe_refuses_overwrite, refuses_second_put};
pub use retrying::{Put, RetryRule, Retrying, put_own};
pub use s3::S3Store;
pub use versions::{Kept, Versions};

use crate::crypto::Sealed;
use crate::model::ObjectKey;
use crate::model::limits::{HEADER_BYTES_MAX, SEGMENT_BYTES_MAX};

/// The largest object that a store takes or gives in one piece: what is larger was not written by Holdfast, and
/// reading it whole would break the bound on memory (L8).
pub const OBJECT_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[expect(clippy::as_conversions, reason = "widening, in a constant, where `From` cannot be called yet")]
const _: () = assert!(SEGMENT_BYTES_MAX as u64 <= OBJECT_BYTES_MAX, "a store takes every segment");

/// A flat space of immutable objects. Every implementation passes `tests/store_contract.rs`:
///
/// * `put_new` is atomic and durable: once it has answered, readers see the whole object, also after a power cut;
///   before, all of it or none. `AlreadyThere` too is said of an object that is durable. Of racing puts of one key
///   exactly one is `Created`. An error of kind [`StoreErrorKind::Unanswered`] leaves open whether the object is
///   there; after any other error it is not (by this call).
/// * An object never changes once it exists; there is no overwrite.
/// * `get` gives exactly the bytes asked for: a range that the object does not hold is `Short`, never fewer bytes.
///   `Part::First` and `Part::Last` of an object that is smaller give all of it.
/// * `list` is in key order (bytes of the whole name), strictly after `after`, holds every object whose name starts with
///   `prefix` and whose put returned before the call, and is bounded
///   ([`LIST_PAGE_KEYS_MAX`](crate::model::limits::LIST_PAGE_KEYS_MAX)); an empty page is the end. What is not named
///   as an [`ObjectKey`] is not listed.
/// * `holds` says of an object that is there whether it is this very body. What was sealed has a fresh salt, so no rival's
///   object can be it.
/// * `delete` of what is not there is done already. Once it has answered the object stays gone.
/// * A store that is not there (a disk that is not mounted, a bucket that was removed) is an error, never empty.
/// * No key is another key's folder (`a` beside `a/b`); [`layout`] makes no such names.
#[async_trait::async_trait]
pub trait Store: Send + Sync {
    /// Creates the object unless there is one of that name.
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError>;
    /// The object or a part of it.
    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError>;
    /// The next page of names.
    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError>;
    /// Removes the object. The most careful act (L10): only retention and probes call it.
    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError>;
    /// The object's size in bytes.
    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError>;
    /// Whether the object is `body`, told without fetching all of it.
    async fn holds(&self, key: &ObjectKey, body: &Sealed) -> Result<bool, StoreError> {
        begins_like(self, key, body).await
    }
    /// A page of what is kept of names, newest objects and all else, in the order and by the rules of `list`; `None` from
    /// a store that keeps nothing but the newest.
    async fn kept(&self, _prefix: &str, _after: Option<&ObjectKey>) -> Result<Option<Vec<Kept>>, StoreError> {
        Ok(None)
    }
    /// As `get`, of the version with that name.
    async fn get_kept(&self, key: &ObjectKey, _version: &str, _part: Part) -> Result<Sealed, StoreError> {
        Err(StoreError::new(Op::Get, key, StoreErrorKind::Missing))
    }
}

/// Whether the object is of `body`'s size and begins with its header, fresh salt and all.
pub(crate) async fn begins_like<S: Store + ?Sized>(
    store: &S,
    key: &ObjectKey,
    body: &Sealed,
) -> Result<bool, StoreError> {
    let size = store.size(key).await?;
    if size != memory::size_of(body.as_bytes()) {
        return Ok(false);
    }
    let bytes = size.min(memory::size_of(&[0; HEADER_BYTES_MAX]));
    let header = store.get(key, Part::Range { at: 0, bytes }).await?;
    // Fewer bytes than asked for, against the contract, would begin like ours all too easily.
    let whole = memory::size_of(header.as_bytes()) == bytes;
    Ok(whole && body.as_bytes().starts_with(header.as_bytes()))
}

/// What `put_new` found. Losing a race is an answer, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutNew {
    /// The object is there now and this call made it.
    Created,
    /// There is an object of that name, a rival's or one of our own whose reply was lost: [`put_own`] tells them apart.
    AlreadyThere,
}

/// Which bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    Whole,
    /// Exactly `bytes` bytes from `at` on.
    Range {
        /// Where the range starts.
        at: u64,
        /// How long it is.
        bytes: u64,
    },
    /// The first `bytes` bytes; the whole object if it is smaller.
    First {
        /// How many.
        bytes: u64,
    },
    /// The last `bytes` bytes; the whole object if it is smaller.
    Last {
        /// How many.
        bytes: u64,
    },
}

impl Part {
    /// So much of an object that its clear header is in it, whatever that holds.
    #[expect(clippy::as_conversions, reason = "widening, in a constant, where `From` cannot be called yet")]
    pub const HEADER: Self = Self::First { bytes: HEADER_BYTES_MAX as u64 };

    /// Where the part starts and how long it is in an object of `size` bytes; the error is `Short` or too large.
    pub fn within(self, size: u64) -> Result<(u64, u64), StoreErrorKind> {
        let (at, bytes) = match self {
            Self::Whole => (0, size),
            Self::Range { at, bytes } => (at, bytes),
            Self::First { bytes } => (0, size.min(bytes)),
            Self::Last { bytes } => (size.saturating_sub(bytes), size.min(bytes)),
        };
        if at.checked_add(bytes).is_none_or(|end| end > size) {
            return Err(StoreErrorKind::Short { size });
        }
        if bytes > OBJECT_BYTES_MAX {
            return Err(StoreErrorKind::Refused(Refusal::TooLarge));
        }
        Ok((at, bytes))
    }
}
