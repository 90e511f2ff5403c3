//! What a bucket keeps besides the newest: the versions of its objects, page by page, and what guards them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{BucketVersioningStatus, ObjectLockEnabled, ObjectLockRetentionMode};

use crate::model::limits::LIST_PAGE_KEYS_MAX;
use crate::model::{ObjectKey, Timestamp};
use crate::store::Store;
use crate::store::error::{Op, Refusal, StoreError, StoreErrorKind};
use crate::store::s3::S3Store;
use crate::store::s3::fault::Trouble;
use crate::store::versions::{Kept, Version, VersionKind, Versions};

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

/// Pages that one question may cost: a name with more versions than fit there was not made by us (L8).
const PAGES_MAX: usize = 100;

/// Where a page begins.
#[derive(Debug, PartialEq, Eq)]
struct Marker {
    name: Option<String>,
    version: Option<String>,
}

/// The versions of one name as a bucket gives them, newest first.
#[derive(Debug, Default)]
struct Gathered {
    objects: Vec<Version>,
    markers: Vec<Version>,
    hidden: bool,
}

fn whole(names: BTreeMap<String, Gathered>) -> Vec<Kept> {
    let kept = |(name, gathered): (String, Gathered)| {
        let Gathered { objects, markers, hidden } = gathered;
        let versions = Versions(objects.into_iter().rev().chain(markers.into_iter().rev()).collect());
        Some(Kept { key: name.parse().ok()?, versions, hidden })
    };
    names.into_iter().filter_map(kept).collect()
}

impl S3Store {
    /// Every version of an object; none if there never was one.
    pub async fn versions(&self, key: &ObjectKey) -> Result<Versions, StoreError> {
        let found = self.kept(key.as_str(), None).await?.unwrap_or_default();
        let found = found.into_iter().find(|kept| kept.key == *key);
        Ok(found.map(|kept| kept.versions).unwrap_or_default())
    }

    /// The versions of whole names that start with `prefix` and come after `after`; an empty page is the end. `None` from
    /// a server that knows no versions.
    pub(crate) async fn page_of_kept(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Option<Vec<Kept>>, StoreError> {
        let mut from = Marker { name: after.map(|after| self.link.name(after.as_str())), version: None };
        let mut names = BTreeMap::new();
        for _ in 0..PAGES_MAX {
            let next = match self.gather(prefix, &from, &mut names).await {
                Err(error) if error.kind == StoreErrorKind::Refused(Refusal::Unfit) => return Ok(None),
                next => next?,
            };
            names.retain(|name, _| after.is_none_or(|after| name.as_str() > after.as_str()));
            let Some(next) = next else { return Ok(Some(whole(names))) };
            // The last name may go on on the next page. What is not named as ours is no page of its own.
            if let Some((last, unfinished)) = names.pop_last() {
                let page = whole(std::mem::take(&mut names));
                if !page.is_empty() {
                    return Ok(Some(page));
                }
                names.insert(last, unfinished);
            }
            from = next;
        }
        Err(StoreError::new(Op::List, prefix, StoreErrorKind::Refused(Refusal::Foreign)))
    }

    /// Asks for one page and sorts it by names; where the next one begins.
    async fn gather(
        &self,
        prefix: &str,
        from: &Marker,
        names: &mut BTreeMap<String, Gathered>,
    ) -> Result<Option<Marker>, StoreError> {
        let link = &self.link;
        let call = async {
            let request = link.client().list_object_versions().bucket(link.bucket()).prefix(link.name(prefix));
            let request = request.set_key_marker(from.name.clone()).set_version_id_marker(from.version.clone());
            let max = i32::try_from(LIST_PAGE_KEYS_MAX).unwrap_or(i32::MAX);
            Ok(request.max_keys(max).send().await?)
        };
        let answer = link.attempt(Op::List, prefix, 0, Box::pin(call)).await?;
        let made =
            |at: Option<&DateTime>| Timestamp::from_micros(at.map_or(0, DateTime::secs).saturating_mul(1_000_000));
        let id = |id: Option<&str>| id.unwrap_or("null").to_owned();
        let own = |name: Option<&str>| name.and_then(|name| name.strip_prefix(link.prefix())).map(str::to_owned);
        for version in answer.versions() {
            let Some(name) = own(version.key()) else { continue };
            let bytes = version.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
            let (id, made, tag) = (id(version.version_id()), made(version.last_modified()), version.e_tag());
            let kind = VersionKind::Object { bytes };
            names.entry(name).or_default().objects.push(Version { id, kind, made, tag: tag.map(str::to_owned) });
        }
        for marker in answer.delete_markers() {
            let Some(name) = own(marker.key()) else { continue };
            let (id, made) = (id(marker.version_id()), made(marker.last_modified()));
            let gathered = names.entry(name).or_default();
            gathered.hidden |= marker.is_latest().unwrap_or(false);
            gathered.markers.push(Version { id, kind: VersionKind::DeleteMarker, made, tag: None });
        }
        if !answer.is_truncated().unwrap_or(false) {
            return Ok(None);
        }
        let next = Marker {
            name: answer.next_key_marker().map(str::to_owned),
            version: answer.next_version_id_marker().map(str::to_owned),
        };
        if next == *from || next.name.is_none() {
            return Err(Trouble::Contradiction("says there are more and not where").told(Op::List, prefix));
        }
        Ok(Some(next))
    }

    /// Whether there is nothing but the newest of every name. Listing versions is dear on some servers, which walk through
    /// all of them for each page. Who may not ask, or asks a server that does not know, lists and sees.
    pub(crate) async fn keeps_nothing(&self) -> bool {
        if self.keeps.load(Ordering::Relaxed) {
            return false;
        }
        let nothing = matches!(self.versioning().await, Ok(Versioning::Off));
        self.keeps.store(!nothing, Ordering::Relaxed);
        nothing
    }

    async fn versioning(&self) -> Result<Versioning, StoreError> {
        let link = &self.link;
        let versioning = async {
            let answer = link.client().get_bucket_versioning().bucket(link.bucket()).send().await?;
            Ok(match answer.status() {
                Some(BucketVersioningStatus::Enabled) => Versioning::On,
                Some(BucketVersioningStatus::Suspended) => Versioning::Suspended,
                Some(_) | None => Versioning::Off,
            })
        };
        link.attempt(Op::Open, &link.shown(), 0, Box::pin(versioning)).await
    }

    /// What guards the bucket's objects.
    pub async fn protection(&self) -> Result<Protection, StoreError> {
        let (link, what) = (&self.link, self.link.shown());
        let versioning = self.versioning().await?;
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
