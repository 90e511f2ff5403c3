//! Removes what broken bases left behind: parts without a manifest, and of a base that nobody can be taking any more.
//!
//! A store has no times of its own, so age is read from the parts' headers, as their writer's clock had it. A base that
//! is under way keeps writing parts: only when its newest part is older than a day is it given up for dead (L10).

use std::time::Duration;

use crate::codec::segment::Header;
use crate::log::LogEnv;
use crate::model::limits::HEADER_BYTES_MAX;
use crate::model::{BaseId, ObjectKey, SourceName, Timestamp};
use crate::store::layout::{self, Named};
use crate::store::{Keys, Part, StoreError};

/// Parts are left-overs once nothing was added to them for so long.
pub const DEAD_AFTER: Duration = Duration::from_hours(24);

/// Removes the parts of a base that this process has just given up. What cannot be removed is a left-over for later.
pub(crate) async fn forget(env: &LogEnv, source: &SourceName, base: BaseId) {
    if let Err(error) = remove(env, source, base).await {
        tracing::warn!(source = %source, base = %base, error = %error, "parts of a broken base are left behind");
    }
}

async fn remove(env: &LogEnv, source: &SourceName, base: BaseId) -> Result<u64, StoreError> {
    let mut keys = Keys::new(&*env.store, layout::base_prefix(source, base), None);
    let mut removed = 0;
    while let Some(key) = keys.next().await? {
        if let Some(Named::Manifest { .. }) = layout::parse(&key) {
            return Ok(removed);
        }
        env.store.delete(&key).await?;
        removed += 1;
    }
    Ok(removed)
}

/// Removes the parts of all bases of `source` that have no manifest and are dead; gives how many objects went.
pub async fn sweep(env: &LogEnv, source: &SourceName) -> Result<u64, StoreError> {
    let mut removed = 0;
    for (base, newest) in unfinished(env, source).await? {
        if env.clock.now().since(newest) > DEAD_AFTER {
            removed += remove(env, source, base).await?;
        }
    }
    Ok(removed)
}

/// Bases without a manifest, and when their newest part was sealed.
async fn unfinished(env: &LogEnv, source: &SourceName) -> Result<Vec<(BaseId, Timestamp)>, StoreError> {
    let mut keys = Keys::new(&*env.store, layout::bases_prefix(source), None);
    let mut found: Vec<(BaseId, Option<ObjectKey>)> = Vec::new();
    while let Some(key) = keys.next().await? {
        match layout::parse(&key) {
            Some(Named::BasePart { base, .. }) => match found.last_mut() {
                Some((last, newest)) if *last == base => {
                    if newest.is_some() {
                        *newest = Some(key);
                    }
                }
                Some(_) | None => found.push((base, Some(key))),
            },
            // Its parts are a base's: nothing of it may go. The manifest may come before or behind its parts.
            Some(Named::Manifest { base, .. }) => match found.last_mut() {
                Some((last, newest)) if *last == base => *newest = None,
                Some(_) | None => found.push((base, None)),
            },
            Some(
                Named::Segment { .. }
                | Named::Checkpoint { .. }
                | Named::Boundary { .. }
                | Named::Rewrap { .. }
                | Named::Probe(_),
            )
            | None => {}
        }
    }
    let mut dead = Vec::new();
    for (base, newest) in found {
        let Some(newest) = newest else { continue };
        let bytes = u64::try_from(HEADER_BYTES_MAX).unwrap_or(u64::MAX);
        let start = env.store.get(&newest, Part::First { bytes }).await?;
        // A part that cannot be read says nothing of its age: it stays.
        if let Ok((header, _)) = Header::decode(start.as_bytes()) {
            dead.push((base, header.sealed_at));
        }
    }
    Ok(dead)
}
