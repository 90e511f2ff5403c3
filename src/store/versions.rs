//! What a store keeps of a name besides its newest object, and what that tells of those who may delete and should not.
//!
//! Objects are write-once, so in a store that keeps versions each name has one for ever. After a delete marker a conditional
//! put succeeds again: the oldest version of a name is the true object, and a second version is a trace (L4, L5).

use crate::model::{ObjectKey, Timestamp};

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The store's own name of it.
    pub id: String,
    /// An object, or the mark that it was deleted.
    pub kind: VersionKind,
    /// When it was made, by the store's clock, to the second.
    pub made: Timestamp,
    /// The store's word for its bytes: of one name, two that are equal hold the same ones.
    pub tag: Option<String>,
}

/// What a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionKind {
    /// Bytes.
    Object {
        /// So many.
        bytes: u64,
    },
    /// The mark that the object was deleted.
    DeleteMarker,
}

/// All versions of one name: the objects, oldest first, then the marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions(pub Vec<Version>);

/// The trace of somebody who deleted or replaced an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// There is more than one version.
    SecondVersion,
    /// It was deleted.
    Deleted,
}

impl Versions {
    /// The objects, oldest first.
    pub fn objects(&self) -> impl Iterator<Item = &Version> {
        self.0.iter().filter(|version| matches!(version.kind, VersionKind::Object { .. }))
    }

    /// The true object: the first that was ever put.
    pub fn oldest(&self) -> Option<&Version> {
        self.objects().next()
    }

    /// What somebody did to it.
    pub fn tampering(&self) -> Option<Tampering> {
        let objects = self.objects().count();
        match (objects, self.0.len() > objects) {
            (2.., _) => Some(Tampering::SecondVersion),
            (_, true) => Some(Tampering::Deleted),
            (_, false) => None,
        }
    }
}

/// What a store keeps of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The name.
    pub key: ObjectKey,
    /// All that was ever put there.
    pub versions: Versions,
    /// Whether a mark hides it: then no listing shows the name, and whoever reads it finds nothing.
    pub hidden: bool,
}
