//! What a bucket keeps besides the newest: the versions of an object, and what guards them.
//!
//! After a delete marker a conditional put succeeds again, so in a versioned bucket the oldest version of a name is the
//! true object, and a second version or a marker is the trace of somebody who may delete and should not (L4, L5).

use aws_sdk_s3::types::{BucketVersioningStatus, ObjectLockEnabled, ObjectLockRetentionMode};

use crate::model::{ObjectKey, Timestamp};
use crate::store::error::{Op, StoreError, StoreErrorKind};
use crate::store::s3::S3Store;
use crate::store::s3::fault::Trouble;

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The bucket's own name of it.
    pub id: String,
    /// An object, or the mark that it was deleted.
    pub kind: VersionKind,
    /// When it was made, by the bucket's clock, to the second.
    pub made: Timestamp,
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
    /// The true object: the first that was ever put.
    pub fn oldest(&self) -> Option<&Version> {
        self.0.iter().find(|version| matches!(version.kind, VersionKind::Object { .. }))
    }

    /// What somebody did to it.
    pub fn tampering(&self) -> Option<Tampering> {
        let objects = self.0.iter().filter(|version| version.kind != VersionKind::DeleteMarker).count();
        match (objects, self.0.len() > objects) {
            (2.., _) => Some(Tampering::SecondVersion),
            (_, true) => Some(Tampering::Deleted),
            (_, false) => None,
        }
    }
}

/// Whether the bucket keeps old versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// All of them.
    On,
    /// No new ones any more.
    Suspended,
    /// None.
    Off,
}

/// What the bucket does to every new object by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nobody deletes it before so many days, not even the account's owner.
    Compliance {
        /// How long.
        days: i32,
    },
    /// Who has a special right may delete it.
    Governance {
        /// How long for everybody else.
        days: i32,
    },
    /// Objects can be locked, and are not by themselves.
    NoDefault,
    /// Objects cannot be locked.
    Off,
}

/// What guards a bucket's objects from whoever holds credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Old versions.
    pub versioning: Versioning,
    /// Locks.
    pub lock: Lock,
}

impl S3Store {
    /// Every version of an object; none if there never was one.
    pub async fn versions(&self, key: &ObjectKey) -> Result<Versions, StoreError> {
        let link = &self.link;
        let name = link.name(key.as_str());
        let call = async {
            let answer =
                link.client().list_object_versions().bucket(link.bucket()).prefix(&name).max_keys(1000).send().await?;
            let made = |at: Option<&aws_sdk_s3::primitives::DateTime>| {
                Timestamp::from_micros(at.map_or(0, aws_sdk_s3::primitives::DateTime::secs).saturating_mul(1_000_000))
            };
            // The bucket gives the newest first.
            let objects = answer.versions().iter().rev().filter(|version| version.key() == Some(name.as_str()));
            let objects = objects.map(|version| Version {
                id: version.version_id().unwrap_or("null").to_owned(),
                kind: VersionKind::Object {
                    bytes: version.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                },
                made: made(version.last_modified()),
            });
            let markers = answer.delete_markers().iter().rev().filter(|marker| marker.key() == Some(name.as_str()));
            let markers = markers.map(|marker| Version {
                id: marker.version_id().unwrap_or("null").to_owned(),
                kind: VersionKind::DeleteMarker,
                made: made(marker.last_modified()),
            });
            Ok(Versions(objects.chain(markers).collect()))
        };
        link.attempt(Op::List, key.as_str(), 0, Box::pin(call)).await
    }

    /// What guards the bucket's objects.
    pub async fn protection(&self) -> Result<Protection, StoreError> {
        let (link, what) = (&self.link, self.link.shown());
        let versioning = async {
            let answer = link.client().get_bucket_versioning().bucket(link.bucket()).send().await?;
            Ok(match answer.status() {
                Some(BucketVersioningStatus::Enabled) => Versioning::On,
                Some(BucketVersioningStatus::Suspended) => Versioning::Suspended,
                Some(_) | None => Versioning::Off,
            })
        };
        let versioning = link.attempt(Op::Open, &what, 0, Box::pin(versioning)).await?;
        let lock = async {
            match link
                .client()
                .get_object_lock_configuration()
                .bucket(link.bucket())
                .send()
                .await
                .map_err(Trouble::from)
            {
                Ok(answer) => Ok(answer.object_lock_configuration().map_or(Lock::Off, lock)),
                Err(trouble) if trouble.has_status(404) && trouble.kind(Op::Open) == StoreErrorKind::Missing => {
                    Ok(Lock::Off)
                }
                Err(trouble) => Err(trouble),
            }
        };
        Ok(Protection { versioning, lock: link.attempt(Op::Open, &what, 0, Box::pin(lock)).await? })
    }
}

fn lock(configured: &aws_sdk_s3::types::ObjectLockConfiguration) -> Lock {
    if configured.object_lock_enabled() != Some(&ObjectLockEnabled::Enabled) {
        return Lock::Off;
    }
    let Some(rule) = configured.rule().and_then(|rule| rule.default_retention()) else { return Lock::NoDefault };
    let days = rule.days().unwrap_or(0).saturating_add(rule.years().unwrap_or(0).saturating_mul(365));
    match rule.mode() {
        Some(ObjectLockRetentionMode::Compliance) => Lock::Compliance { days },
        Some(ObjectLockRetentionMode::Governance) => Lock::Governance { days },
        Some(_) | None => Lock::NoDefault,
    }
}
