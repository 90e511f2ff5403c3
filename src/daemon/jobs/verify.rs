//! The jobs that verify the store: quickly every day, every byte every week.

use crate::config::Config;
use crate::daemon::assemble;
use crate::daemon::chain;
use crate::daemon::jobs::{Ended, Job, together};
use crate::daemon::schedule::{JobName, Trouble};
use crate::daemon::verify::{self, AllVerified, Order};
use crate::daemon::witness::{SlotSaid, SlotWitness};
use crate::log::LogEnv;
use crate::log::scrub::{Depth, Finding, Outcome};
use crate::model::SourceName;
use crate::store;

/// Findings that a sentence names; `holdfast verify` names all.
const NAMED_MAX: usize = 3;

/// Verifies every log in the store and all that should be there.
pub struct Verify {
    pub(crate) env: LogEnv,
    pub(crate) depth: Depth,
    pub(crate) bytes_per_second: u64,
    /// Every configured source, and where its slot can be asked, or why nowhere.
    pub(crate) expected: Vec<(SourceName, Result<SlotWitness, String>)>,
}

impl Verify {
    /// One that looks so closely, and reads no faster than it may.
    pub fn new(config: &Config, env: &LogEnv, depth: Depth, bytes_per_second: u64) -> Self {
        let witness = |source| assemble::slot_witness(source).map_err(|error| chain(&error));
        let expected = config.sources.iter().map(|source| (source.name.clone(), witness(source))).collect();
        Self { env: env.clone(), depth, bytes_per_second, expected }
    }

    async fn verify(&self, stored: &[SourceName]) -> AllVerified {
        let order = Order { depth: self.depth, since: None, jobs: 1, bytes_per_second: Some(self.bytes_per_second) };
        let mut sources = Vec::new();
        for name in stored {
            let witness = self.expected.iter().find(|(expected, _)| expected == name).map(|(_, witness)| witness);
            let slot = witness.and_then(|witness| witness.as_ref().ok());
            let mut verified = verify::source(&self.env, name, order, slot, &mut ()).await;
            if let Some(Err(why)) = witness {
                verified.slot = Some(SlotSaid::Nothing(why.clone()));
            }
            sources.push(verified);
        }
        let keys = verify::keys(&self.env, stored, self.depth, &mut ()).await;
        AllVerified { sources, keys, claims: verify::claims(&self.env, &mut ()).await }
    }
}

#[async_trait::async_trait]
impl Job for Verify {
    fn name(&self) -> JobName {
        match self.depth {
            Depth::Quick => JobName::QuickVerify,
            Depth::Full => JobName::Verify,
        }
    }

    async fn run(&self) -> Ended {
        let listed = store::sources(&*self.env.store).await;
        let stored = listed.map_err(|error| (Trouble::CouldNotTell, chain(&error)))?;
        let lost = self.expected.iter().filter(|(name, _)| !stored.contains(name));
        let lost = lost.map(|(name, _)| (Trouble::CouldNotTell, format!("the store holds nothing of source {name}")));
        let mut troubles: Vec<_> = lost.collect();
        let all = self.verify(&stored).await;
        match all.outcome() {
            Outcome::Damaged => troubles.push((Trouble::Damaged, found(&all))),
            Outcome::CouldNotTell => troubles.push((Trouble::CouldNotTell, found(&all))),
            Outcome::Sound => {}
        }
        together(troubles).map_or_else(|| Ok(sound(&all)), Err)
    }
}

fn sound(all: &AllVerified) -> String {
    let objects: u64 = all.reports().map(|report| report.objects_checked).sum();
    let bytes: u64 = all.reports().map(|report| report.bytes_checked).sum();
    let sources = &all.sources;
    let agree = sources.iter().filter(|verified| matches!(verified.slot, Some(SlotSaid::Agrees(_)))).count();
    let asked = sources.iter().filter(|verified| verified.slot.is_some()).count();
    let silent = sources.iter().filter_map(|verified| match &verified.slot {
        Some(said @ SlotSaid::Nothing(_)) => Some(format!("; source {}: {}", verified.source, said.sentence())),
        Some(SlotSaid::Agrees(_) | SlotSaid::Ahead(_) | SlotSaid::Gap(_)) | None => None,
    });
    let silent: String = silent.collect();
    format!(
        "{objects} objects are sound, {bytes} bytes were read; {agree} of {asked} slots agree with the log's end{silent}"
    )
}

fn found(all: &AllVerified) -> String {
    let mut findings: Vec<_> = all.reports().flat_map(|report| &report.findings).collect();
    // What is damaged comes before what could not be read.
    findings.sort_by_key(|finding| finding.verdict);
    let one = |finding: &&Finding| format!("{}: {} ({})", finding.verdict.name(), finding.object, finding.what);
    let named: Vec<_> = findings.iter().take(NAMED_MAX).map(one).collect();
    let more = findings.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{more}; `holdfast verify` names all", named.join("; "))
}
