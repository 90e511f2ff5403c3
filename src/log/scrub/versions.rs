//! What a store keeps besides its newest objects: a log is read as it was put first, and whoever put more is told of.
//!
//! A name of a log, a base, a checkpoint or a boundary is put once. Where a store keeps versions, a second one that holds
//! other bytes is damage, however sound the first one is, and so is a mark that hides an object of the log (L4). What a
//! boundary has left behind may be deleted, and is.

use std::sync::Arc;

use crate::log::boundary;
use crate::log::env::LogEnv;
use crate::log::error::LogError;
use crate::log::history::History;
use crate::log::scrub::{Finding, Verdict, finding};
use crate::model::{Slot, SourceName};
use crate::store::layout::{self, Named};
use crate::store::oldest::{How, Oldest};
use crate::store::{Keys, Store, StoreError};

/// The surroundings of a log as it was put first, and who remembers what was put over it; `None` where nothing is kept.
pub async fn beneath(env: &LogEnv, source: &SourceName) -> Result<Option<(LogEnv, Arc<Oldest>)>, StoreError> {
    let Some(oldest) = Oldest::of(&env.store, &layout::segments_prefix(source)).await? else { return Ok(None) };
    let store: Arc<dyn Store> = Arc::<Oldest>::clone(&oldest);
    Ok(Some((LogEnv { store, ..env.clone() }, oldest)))
}

/// A log's history as it was put first, every name of it walked, and what was put over it.
pub async fn first_put(env: &LogEnv, source: &SourceName) -> Result<(History, Vec<Finding>), LogError> {
    let (beneath, oldest) = match beneath(env, source).await {
        Ok(Some(found)) => found,
        Ok(None) => return Ok((History::load(env, source).await?, Vec::new())),
        Err(error) => return Ok((History::load(env, source).await?, vec![untold(source, &error)])),
    };
    let history = History::load(&beneath, source).await?;
    // What checkpoints list, the history does not look at by name.
    let before = history.boundary.map(Slot::before).filter(|slot| *slot != Slot::NONE);
    let after = before.map(|slot| layout::segment(source, slot));
    let mut keys = Keys::new(&*oldest, layout::segments_prefix(source), after);
    while keys.next().await?.is_some() {}
    let found = put_over(env, source, &oldest).await;
    Ok((history, found))
}

/// It could not be told whether anybody put something over objects of the log.
pub fn untold(source: &SourceName, error: &StoreError) -> Finding {
    let name = layout::segments_prefix(source).trim_end_matches('/').parse();
    let name = name.expect("a prefix without its slash is a name");
    finding(&name, Verdict::Unreadable, format!("its versions could not be listed: {}", error.kind))
}

/// What was put over objects that are still wanted, and what hides them.
pub async fn put_over(env: &LogEnv, source: &SourceName, oldest: &Oldest) -> Vec<Finding> {
    // If that cannot be told, more is told than need be.
    let first = boundary::first(env, source).await.unwrap_or(Slot::FIRST);
    let wanted = |named: Option<Named>| match named {
        Some(Named::Segment { slot, .. } | Named::Checkpoint { slot, .. } | Named::Boundary { slot, .. }) => {
            slot >= first
        }
        Some(
            Named::BasePart { .. }
            | Named::Manifest { .. }
            | Named::Doomed { .. }
            | Named::Hold { .. }
            | Named::Rewrap { .. }
            | Named::First { .. }
            | Named::Probe(_),
        )
        | None => true,
    };
    let mut found = Vec::new();
    for (key, odd) in oldest.odd().await {
        if !wanted(layout::parse(&key)) {
            continue;
        }
        let (verdict, what) = match odd {
            Ok(odd) => match odd.how {
                How::PutAgain => continue,
                How::Hidden => (
                    Verdict::Missing,
                    format!("a delete marker hides it; version {} is still there: remove the marker", odd.oldest),
                ),
                How::Replaced => (
                    Verdict::Damaged,
                    format!("other bytes were put over it; the true ones are version {}, read here", odd.oldest),
                ),
            },
            Err(error) => (Verdict::Unreadable, format!("its versions could not be compared: {}", error.kind)),
        };
        found.push(finding(&key, verdict, what));
    }
    found
}
