//! L4, from its other side: what no fault has damaged is found whole by a verification of every byte.

use crate::log::{Depth, LogEnv, Outcome, scrub};
use crate::model::SourceName;

/// Whether a full verification has nothing to say.
pub async fn check(env: &LogEnv, source: &SourceName) -> Result<(), String> {
    let report = scrub(env, source, Depth::Full, None, &mut |_| {}).await;
    if report.outcome() == Outcome::Sound { Ok(()) } else { Err(format!("{:?}", report.findings)) }
}
