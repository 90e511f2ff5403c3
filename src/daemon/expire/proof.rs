//! What stays is proved before anything goes: what is promised hangs on it alone from then on (L10).
//!
//! Every name of the log that is kept must be listed, and the bases that lead to what is promised must have all their
//! parts in their sizes. What only a full verification sees, the job asks that one's last word for.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::log::retention::Refusal;
use crate::log::{LogEnv, LogError};
use crate::model::{BaseId, Slot, SourceName};
use crate::restore::{RestoreError, bases};
use crate::store::layout::{self, Named};
use crate::store::{Keys, StoreErrorKind};

/// Questions to the store that are under way at once.
const AT_ONCE: usize = 16;

/// Whether every object of `kept` is there, by its name.
pub(super) async fn segments(
    env: &LogEnv,
    source: &SourceName,
    kept: Vec<Slot>,
) -> Result<Result<(), Refusal>, RestoreError> {
    let Some(first) = kept.first() else { return Ok(Ok(())) };
    let after = layout::segment(source, first.before());
    let mut keys = Keys::new(&*env.store, layout::segments_prefix(source), Some(after));
    let mut wanted = kept.into_iter().peekable();
    while let Some(key) = keys.next().await.map_err(LogError::from)? {
        let Some(Named::Segment { slot, .. }) = layout::parse(&key) else { continue };
        if let Some(lost) = wanted.next_if(|wanted| *wanted < slot) {
            return Ok(Err(Refusal::Damaged(lost)));
        }
        wanted.next_if_eq(&slot);
    }
    Ok(wanted.next().map_or(Ok(()), |lost| Err(Refusal::Damaged(lost))))
}

/// Whether a base has all its parts, each in its size.
pub(super) async fn base(env: &LogEnv, source: &SourceName, base: BaseId) -> Result<Result<(), Refusal>, RestoreError> {
    let Some(manifest) = bases::read(env, source, base).await? else { return Ok(Err(Refusal::BaseDamaged(base))) };
    let sizes = manifest.parts.iter().map(|part| {
        let (store, key, bytes) = (Arc::clone(&env.store), layout::base_part(source, base, part.number), part.bytes);
        async move {
            match store.size(&key).await {
                Ok(size) => Ok(size == bytes),
                Err(error) if error.kind == StoreErrorKind::Missing => Ok(false),
                Err(error) => Err(LogError::from(error)),
            }
        }
    });
    let whole = stream::iter(sizes.collect::<Vec<_>>()).buffered(AT_ONCE).try_all(std::future::ready).await?;
    Ok(if whole { Ok(()) } else { Err(Refusal::BaseDamaged(base)) })
}
