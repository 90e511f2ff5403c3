//! L10: every instant that was promised and could be restored when it was decided what may go still can be: a base is
//! there, the log behind it is whole, and together they give what happened.

use std::collections::BTreeMap;

use crate::chaos::laws::{l1_acknowledged_is_there, l2_whole_transactions_in_order};
use crate::chaos::oracle;
use crate::chaos::retention::Ledger;
use crate::chaos::upstream::Upstream;
use crate::log::{History, LogEnv};
use crate::model::SourceName;

/// Whether every promise is kept.
pub async fn check(env: &LogEnv, source: &SourceName, upstream: &Upstream, ledger: &Ledger) -> Result<(), String> {
    let history = History::load(env, source).await.map_err(|error| error.to_string())?;
    let bases = ledger.bases(env, source).await.map_err(|error| error.to_string())?;
    let mut begins = BTreeMap::new();
    for instant in ledger.promised() {
        let Some(base) = Ledger::leads(&bases, &history, instant) else {
            return Err(format!("{instant} was promised, and nothing leads there any more: {bases:?}"));
        };
        begins.insert(base.point, base);
    }
    for (point, base) in begins {
        let restored = oracle::restored(env, source, point).await;
        let restored = restored.map_err(|error| format!("behind base {}: {error:?}", base.base))?;
        let right = l2_whole_transactions_in_order::check(&restored.0, upstream, point);
        let right = right.and_then(|()| l1_acknowledged_is_there::check(&restored, upstream, point));
        right.map_err(|how| format!("behind the base at {}: {how}", point.get()))?;
    }
    Ok(())
}
