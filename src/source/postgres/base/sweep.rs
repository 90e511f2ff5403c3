//! Removes what broken bases left behind: parts without a manifest, and of a base that nobody can be taking any more.
//!
//! Where the taker's claim tells, it tells at once: a locked one protects its base, one whose process died does not. Else
//! only age does, by two clocks. A store has no times of its own, so it is read from the parts' headers, as their writer had it;
//! a base that is under way keeps writing parts, and is given up for dead when its newest part is older than a day (L10).

use std::path::Path;
use std::time::Duration;

use crate::log::object;
use crate::log::retention::verified_now;
use crate::log::{History, LogEnv};
use crate::model::{BaseId, ObjectKey, SourceName, Timestamp};
use crate::source::postgres::base::BaseOrder;
use crate::source::postgres::base::claim::{Taker, taker};
use crate::store::layout::{self, Named};
use crate::store::{Keys, StoreError, StoreErrorKind};

/// Parts that nobody claims are left-overs once nothing was added to them for so long.
pub const DEAD_AFTER: Duration = Duration::from_hours(24);

/// Removes the parts of a base that this process has just given up; says whether all are gone. Others are left-overs.
pub(crate) async fn forget(env: &LogEnv, source: &SourceName, base: BaseId) -> bool {
    let removed = remove(env, source, base).await;
    if let Err(error) = &removed {
        tracing::warn!(source = %source, base = %base, error = %error, "parts of a broken base are left behind");
    }
    removed.is_ok()
}

async fn remove(env: &LogEnv, source: &SourceName, base: BaseId) -> Result<u64, StoreError> {
    match env.store.size(&layout::manifest(source, base)).await {
        Err(error) if error.kind == StoreErrorKind::Missing => {}
        Err(error) => return Err(error),
        Ok(_) => return Ok(0), // it is a base
    }
    let mut keys = Keys::new(&*env.store, layout::base_prefix(source, base), None);
    let mut removed = 0;
    while let Some(key) = keys.next().await? {
        env.store.delete(&key).await?;
        removed += 1;
    }
    Ok(removed)
}

/// Removes what earlier bases of the source left behind, and says so. Trouble is told and ends nothing: the next sweep
/// comes with the next base.
pub async fn tidy(env: &LogEnv, order: &BaseOrder) {
    let source = &order.source;
    match sweep(env, source, order.claims.as_deref()).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(source = %source, removed, "what a broken base left behind was removed"),
        Err(error) => {
            tracing::warn!(source = %source, error = %error, "what broken bases left behind is still there");
        }
    }
}

/// Removes the parts of all bases of `source` that have no manifest and are dead; gives how many objects went.
pub async fn sweep(env: &LogEnv, source: &SourceName, claims: Option<&Path>) -> Result<u64, StoreError> {
    let (mut removed, unfinished) = (0, unfinished(env, source).await?);
    let now = if unfinished.is_empty() { None } else { agreed(env, source).await };
    for (base, newest) in unfinished {
        let old = now.is_some_and(|now| now.since(newest) > DEAD_AFTER);
        match claims.map_or(Taker::Unknown, |folder| taker(folder, base)) {
            Taker::Dead(claim) => {
                removed += remove(env, source, base).await?;
                if let Err(error) = claim.release() {
                    tracing::warn!(source = %source, base = %base, error = %error, "the claim of a dead base stays");
                }
            }
            Taker::Unknown if old => removed += remove(env, source, base).await?,
            Taker::Alive | Taker::Unknown => {}
        }
    }
    Ok(removed)
}

/// How late it certainly is, by this machine's clock and the log's: one that jumped ahead alone must not make the base
/// that somebody is taking look dead (L10). Where they disagree nobody can tell; before there is a log, ours is the only
/// one.
async fn agreed(env: &LogEnv, source: &SourceName) -> Option<Timestamp> {
    let here = env.clock.now();
    match History::load(env, source).await {
        Ok(history) => history.last().map_or(Some(here), |last| verified_now(last.to_time, here).ok()),
        Err(error) => {
            tracing::warn!(source = %source, %error, "how old the parts of broken bases are cannot be told; they stay");
            None
        }
    }
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
                | Named::Hold { .. }
                | Named::Rewrap { .. }
                | Named::First { .. }
                | Named::Probe(_),
            )
            | None => {}
        }
    }
    let mut dead = Vec::new();
    for (base, newest) in found {
        let Some(newest) = newest else { continue };
        match object::header(&*env.store, &newest).await {
            Ok(Ok(header)) => dead.push((base, header.sealed_at)),
            // A part that cannot be read says nothing of its age: it stays.
            Ok(Err(_)) => {}
            // Its taker has just given it up.
            Err(error) if error.kind == StoreErrorKind::Missing => {}
            Err(error) => return Err(error),
        }
    }
    Ok(dead)
}
