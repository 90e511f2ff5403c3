//! L5: along the slots every epoch is begun by one fence, and no object that counts is of an epoch that had ended.

use std::collections::BTreeSet;

use crate::codec::segment::ObjectKind;
use crate::log::{History, LogEnv};
use crate::model::{Epoch, SourceName};

/// Whether each reign is one stretch that a fence begins.
pub async fn check(env: &LogEnv, source: &SourceName) -> Result<(), String> {
    let history = History::load(env, source).await.map_err(|error| error.to_string())?;
    let (mut reign, mut begun) = (Epoch::default(), BTreeSet::new());
    if let (Some(_), Some(first)) = (history.boundary, history.live().next())
        && first.kind != ObjectKind::Fence
    {
        // The fence of its reign stands before the boundary.
        reign = first.epoch;
    }
    for entry in history.live() {
        let fence = entry.kind == ObjectKind::Fence;
        if entry.epoch < reign {
            return Err(format!("slot {} counts and is of epoch {}, after epoch {reign}", entry.slot, entry.epoch));
        }
        if fence != (entry.epoch > reign) || (fence && !begun.insert(entry.epoch)) {
            return Err(format!("epoch {} does not begin with one fence at slot {}", entry.epoch, entry.slot));
        }
        reign = entry.epoch;
    }
    Ok(())
}
