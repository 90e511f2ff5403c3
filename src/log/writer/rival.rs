//! Whether a slot is ours: who took it instead, and whether the log went on without us while we slept (L5).

use crate::codec::segment::Header;
use crate::crypto::sealed::Sealed;
use crate::log::boundary;
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError};
use crate::log::writer::SLEPT_AFTER;
use crate::model::{Epoch, ObjectKey, Slot, SourceName, Tick, Timestamp};

/// Whether a slot that we made is still of the log, asked only where we may have slept.
pub(super) async fn still_ours(
    env: &LogEnv,
    source_name: SourceName,
    slot: Slot,
    (tick, time): (Tick, Timestamp),
) -> Result<(), LogError> {
    let now = env.clock.now();
    let apart = now.since(time).max(time.since(now)).max(env.clock.tick().since(tick));
    if apart < SLEPT_AFTER {
        return Ok(());
    }
    let boundary = boundary::first(env, &source_name).await?;
    if slot < boundary { Err(LogError::Slept { source_name, slot, boundary }) } else { Ok(()) }
}

/// Whose object took our slot: the error tells what to do about it.
pub(super) fn rival(theirs: &Sealed, key: &ObjectKey, source: SourceName, ours: Epoch) -> LogError {
    match Header::decode(theirs.as_bytes()) {
        Err(error) => ObjectError { key: key.clone(), kind: error.into() }.into(),
        Ok((header, _)) if header.epoch > ours => LogError::Fenced { source_name: source, ours, theirs: header.epoch },
        Ok((header, _)) if header.epoch < ours => LogError::Overtaken { source_name: source, slot: header.slot },
        Ok((header, _)) => LogError::Twin { source_name: source, slot: header.slot, epoch: ours },
    }
}
