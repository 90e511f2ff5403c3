//! Verifies the claims about which store decides: whoever starts a daemon must be able to read them.

use crate::daemon::verify::{finding, unread};
use crate::log::LogEnv;
use crate::log::scrub::{self, Finding, ScrubReport, Verdict, Watch};
use crate::model::ObjectKey;
use crate::store::layout::{self, Named};
use crate::store::order::Claim;
use crate::store::{Keys, Part};

/// Verifies every claim in the store: clear objects with a sum.
pub async fn claims(env: &LogEnv, watch: &mut dyn Watch) -> ScrubReport {
    let mut report = ScrubReport::default();
    let mut keys = Keys::new(&*env.store, layout::FIRSTS_PREFIX, None);
    loop {
        let found = match keys.next().await {
            Ok(None) => return report,
            Ok(Some(key)) => match claim(env, &key).await {
                Ok(bytes) => {
                    report.objects_checked += 1;
                    report.bytes_checked += bytes;
                    watch.read(bytes);
                    watch.sound(&key, bytes, None);
                    continue;
                }
                Err(found) => found,
            },
            Err(error) => {
                let found = scrub::unlisted(layout::FIRSTS_PREFIX, &error);
                watch.found(&found);
                report.add(found);
                return report;
            }
        };
        watch.found(&found);
        report.add(found);
    }
}

/// The size of a claim that is what its name says.
async fn claim(env: &LogEnv, key: &ObjectKey) -> Result<u64, Finding> {
    let Some(Named::First { number }) = layout::parse(key) else {
        return Err(finding(key, Verdict::Foreign, "no claim has such a name"));
    };
    let bytes = env.store.get(key, Part::Whole).await.map_err(|error| unread(key, &error))?;
    match Claim::decode(bytes.as_bytes()) {
        Ok(claim) if claim.number == number => Ok(scrub::size(bytes.len())),
        Ok(_) => Err(finding(key, Verdict::Damaged, "it is another number's claim")),
        Err(error) => Err(finding(key, Verdict::Damaged, &error.to_string())),
    }
}
