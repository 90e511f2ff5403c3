//! The laws, one per file: each looks at what the store really holds, with nothing in its way.

pub mod l10_what_is_promised_can_be_restored;
pub mod l1_acknowledged_is_there;
pub mod l2_whole_transactions_in_order;
pub mod l4_no_silent_corruption;
pub mod l5_one_writer;

use crate::chaos::oracle;
use crate::chaos::retention::Ledger;
use crate::chaos::upstream::Upstream;
use crate::log::{History, LogEnv, LogError};
use crate::model::{Position, SourceName, Timestamp};

/// Each law that is broken, and how.
pub async fn broken(
    env: &LogEnv,
    source: &SourceName,
    upstream: &Upstream,
    ledger: Option<&Ledger>,
) -> Vec<(&'static str, String)> {
    let point = match begins(env, source, ledger).await {
        Ok(Some(point)) => point,
        Ok(None) => {
            return vec![("l10", "the log's beginning expired, and no base leads into what is left".to_owned())];
        }
        Err(error) => return vec![("l4", format!("an undamaged store cannot be read: {error:?}"))],
    };
    let restored = match oracle::restored(env, source, point).await {
        Ok(restored) => restored,
        // Nothing was ever damaged.
        Err(error) => return vec![("l4", format!("an undamaged store cannot be read: {error:?}"))],
    };
    let promises = match ledger {
        Some(ledger) => l10_what_is_promised_can_be_restored::check(env, source, upstream, ledger).await,
        None => Ok(()),
    };
    let checks = [
        ("l1", l1_acknowledged_is_there::check(&restored, upstream, point)),
        ("l2", l2_whole_transactions_in_order::check(&restored.0, upstream, point)),
        ("l4", l4_no_silent_corruption::check(env, source).await),
        ("l5", l5_one_writer::check(env, source).await),
        ("l10", promises),
    ];
    checks.into_iter().filter_map(|(law, held)| held.err().map(|how| (law, how))).collect()
}

/// Where a restore begins: at the beginning of the log, or where something of it has expired behind the newest base that
/// leads into what is left; `None` if none does.
pub async fn begins(env: &LogEnv, source: &SourceName, ledger: Option<&Ledger>) -> Result<Option<Position>, LogError> {
    let history = History::load(env, source).await?;
    let Some(ledger) = ledger.filter(|_| history.boundary.is_some()) else { return Ok(Some(Position::ZERO)) };
    let bases = ledger.bases(env, source).await?;
    Ok(Ledger::leads(&bases, &history, Timestamp::MAX).map(|base| base.point))
}
