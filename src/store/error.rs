//! What goes wrong with a store: what was being done, to what, and what the caller can do about it.

use std::error::Error;
use std::fmt;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Making a new store.
    Create,
    /// Opening a store.
    Open,
    /// Creating an object.
    Put,
    /// Reading an object or a part of it.
    Get,
    /// Listing names.
    List,
    /// Asking for an object's size.
    Size,
    /// Removing an object.
    Delete,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create store",
            Self::Open => "open store",
            Self::Put => "put",
            Self::Get => "get",
            Self::List => "list",
            Self::Size => "size of",
            Self::Delete => "delete",
        })
    }
}

/// What the caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// It was not done, and may work later: try again.
    Unavailable,
    /// Whether it was done is not known: ask, by trying again or by reading back.
    Unanswered,
    /// There is no such object.
    Missing,
    /// The object is smaller than what was asked of it.
    Short {
        /// How large it is.
        size: u64,
    },
    /// It was not done, and will not work until a person changes something.
    Refused(Refusal),
}

impl fmt::Display for StoreErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable => f.write_str("the store cannot do it now; it may work later"),
            Self::Unanswered => f.write_str("the store did not say whether it was done"),
            Self::Missing => f.write_str("no such object"),
            Self::Short { size } => write!(f, "the object has only {size} bytes"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

/// Why a store will not do it, and what a person does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Disk or quota is full.
    NoSpace,
    /// The process may not.
    NoRights,
    /// The file system is mounted read-only.
    ReadOnly,
    /// There is no store.
    NoStore,
    /// The place for a new store holds something else.
    NotEmpty,
    /// The store was made by a newer version.
    NewerFormat,
    /// The object is larger than [`OBJECT_BYTES_MAX`](crate::store::OBJECT_BYTES_MAX) or than what the store takes.
    TooLarge,
    /// The store lacks what the contract needs.
    Unfit,
    /// Something that is not Holdfast's stands in the way.
    Foreign,
    /// The store answered against its contract.
    ContractBroken,
    /// Another store was made the first one: this one decides nothing any more.
    Deposed,
    /// There is no such bucket.
    NoBucket,
    /// The bucket is in another region, or none is known.
    WrongRegion,
    /// Nobody said who asks, or the store does not know them.
    NoCredentials,
    /// This machine's clock and the store's are too far apart.
    WrongClock,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "no space left; free some or raise the quota",
            Self::NoRights => "not permitted; give the daemon's user (or its role) the right to it",
            Self::ReadOnly => "the file system is read-only; look for disk errors, then mount it read-write",
            Self::NoStore => "there is no store here; mount its disk, or make a new store with `holdfast init`",
            Self::NotEmpty => "the place holds other things; name an empty or a new one (folder, or bucket and prefix)",
            Self::NewerFormat => "made by a newer version of Holdfast; upgrade this one",
            Self::TooLarge => "larger than any object of Holdfast, or than the limit on file sizes",
            Self::Unfit => {
                "it cannot create without overwriting (hard links, If-None-Match); use another file system or server"
            }
            Self::Foreign => "something that is not Holdfast's stands in its place; move it away",
            Self::ContractBroken => "the store's answer breaks its contract; do not rely on this store",
            Self::Deposed => "another store was made the first one; name it first in the configuration",
            Self::NoBucket => "there is no such bucket; make it, or correct bucket and endpoint in [[store]] s3",
            Self::WrongRegion => "the bucket is in another region, or none is known; set region in [[store]] s3",
            Self::NoCredentials => {
                "no credentials that the store knows; give this process a role, or AWS_ACCESS_KEY_ID"
            }
            Self::WrongClock => "this machine's clock is too far from the store's; set it (chrony, systemd-timesyncd)",
        })
    }
}

/// A store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{op} {what}: {kind}")]
pub struct StoreError {
    /// What was being done.
    pub op: Op,
    /// To what: the object's name, a prefix, or the store's place.
    pub what: String,
    /// What the caller can do.
    pub kind: StoreErrorKind,
    /// What it came from.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error without a cause below it.
    pub fn new(op: Op, what: impl fmt::Display, kind: StoreErrorKind) -> Self {
        Self { op, what: what.to_string(), kind, source: None }
    }

    /// The same error, and what it came from.
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(cause.into()), ..self }
    }
}
