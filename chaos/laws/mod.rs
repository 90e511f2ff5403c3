//! The laws, one per file: each looks at what the store really holds, with nothing in its way.

pub mod l1_acknowledged_is_there;
pub mod l2_whole_transactions_in_order;
pub mod l4_no_silent_corruption;
pub mod l5_one_writer;

use crate::chaos::oracle;
use crate::chaos::upstream::Upstream;
use crate::log::LogEnv;
use crate::model::SourceName;

/// Each law that is broken, and how.
pub async fn broken(env: &LogEnv, source: &SourceName, upstream: &Upstream) -> Vec<(&'static str, String)> {
    let restored = match oracle::restored(env, source).await {
        Ok(restored) => restored,
        // Nothing was ever damaged.
        Err(error) => return vec![("l4", format!("an undamaged store cannot be read: {error:?}"))],
    };
    let checks = [
        ("l1", l1_acknowledged_is_there::check(&restored, upstream)),
        ("l2", l2_whole_transactions_in_order::check(&restored.0, upstream)),
        ("l4", l4_no_silent_corruption::check(env, source).await),
        ("l5", l5_one_writer::check(env, source).await),
    ];
    checks.into_iter().filter_map(|(law, held)| held.err().map(|how| (law, how))).collect()
}
