//! The jobs that verify the stores: quickly every day, every byte every week, the first store and each mirror by itself.
//!
//! A mirror is proved by what it holds alone: it trails the first store, and what it has not got yet is lag, which others
//! measure, and no damage. What it had and has lost is.

use std::collections::BTreeMap;

use crate::config::{Config, StoreSettings};
use crate::daemon::assemble;
use crate::daemon::chain;
use crate::daemon::jobs::{Ended, Job, together};
use crate::daemon::mirrors;
use crate::daemon::schedule::{JobId, JobName, Trouble};
use crate::daemon::verify::{self, AllVerified, Order};
use crate::daemon::witness::{SlotSaid, SlotWitness};
use crate::log::LogEnv;
use crate::log::scrub::{Depth, Finding, ScrubReport, Verdict};
use crate::model::{Slot, SourceName};
use crate::store;
use crate::store::layout::{self, Named};
use crate::store::{Keys, StoreError};

/// Findings that a sentence names; `holdfast verify` names all.
const NAMED_MAX: usize = 3;

/// Verifies every log in a store and all that should be there.
pub struct Verify {
    pub(crate) env: LogEnv,
    /// The mirror that `env` is of; `None` for the first store.
    pub(crate) mirror: Option<String>,
    pub(crate) depth: Depth,
    pub(crate) bytes_per_second: u64,
    /// Every source that must be there, and where its slot can be asked, or why nowhere. Of a mirror nothing must be there.
    pub(crate) expected: Vec<(SourceName, Result<SlotWitness, String>)>,
}

/// Where the logs of a mirror end by name, before it is verified.
type Ends = BTreeMap<SourceName, Slot>;

impl Verify {
    /// Of the first store: one that looks so closely, and reads no faster than it may.
    pub fn of_first(config: &Config, env: &LogEnv, depth: Depth) -> Self {
        let witness = |source| assemble::slot_witness(source).map_err(|error| chain(&error));
        let expected = config.sources.iter().map(|source| (source.name.clone(), witness(source))).collect();
        let bytes_per_second = config.verify.bytes_per_second;
        Self { env: env.clone(), mirror: None, depth, bytes_per_second, expected }
    }

    /// The same of a mirror.
    pub fn of_mirror(config: &Config, env: &LogEnv, depth: Depth, mirror: &StoreSettings) -> Self {
        let env = LogEnv { store: mirrors::distant(env, mirror), ..env.clone() };
        let (mirror, bytes_per_second) = (Some(mirror.name.clone()), config.verify.bytes_per_second);
        Self { env, mirror, depth, bytes_per_second, expected: Vec::new() }
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

    /// Where each log of a mirror ends. What lies behind that arrives later, or arrived while others were looked at.
    async fn ends(&self, stored: &[SourceName]) -> Result<Ends, StoreError> {
        let mut ends = Ends::new();
        for source in stored.iter().filter(|_| self.mirror.is_some()) {
            ends.insert(source.clone(), newest(&*self.env.store, source).await?);
        }
        Ok(ends)
    }
}

/// The newest segment of a log by name. A checkpoint stands behind what it lists.
async fn newest(store: &dyn store::Store, source: &SourceName) -> Result<Slot, StoreError> {
    let mut newest = Slot::NONE;
    let mut checkpoints = Keys::new(store, layout::checkpoints_prefix(source), None);
    while let Some(key) = checkpoints.next().await? {
        if let Some(Named::Checkpoint { slot, .. }) = layout::parse(&key) {
            newest = slot;
        }
    }
    let after = (newest != Slot::NONE).then(|| layout::segment(source, newest));
    let mut segments = Keys::new(store, layout::segments_prefix(source), after);
    while let Some(key) = segments.next().await? {
        if let Some(Named::Segment { slot, .. }) = layout::parse(&key) {
            newest = slot;
        }
    }
    Ok(newest)
}

/// Whether an object is missing behind the end of a mirror's log: a boundary may be there before the log that begins at it.
fn is_yet_to_come(finding: &Finding, ends: &Ends) -> bool {
    match layout::parse(&finding.object) {
        Some(Named::Segment { source, slot }) => {
            finding.verdict == Verdict::Missing && ends.get(&source).is_some_and(|end| slot > *end)
        }
        Some(
            Named::Checkpoint { .. }
            | Named::Boundary { .. }
            | Named::Hold { .. }
            | Named::Doomed { .. }
            | Named::BasePart { .. }
            | Named::Manifest { .. }
            | Named::Rewrap { .. }
            | Named::First { .. }
            | Named::Probe(_),
        )
        | None => false,
    }
}

#[async_trait::async_trait]
impl Job for Verify {
    fn id(&self) -> JobId {
        let job = match self.depth {
            Depth::Quick => JobName::QuickVerify,
            Depth::Full => JobName::Verify,
        };
        JobId { job, mirror: self.mirror.clone() }
    }

    async fn run(&self) -> Ended {
        let untold = |error: StoreError| (Trouble::CouldNotTell, chain(&error));
        let stored = store::sources(&*self.env.store).await.map_err(untold)?;
        let ends = self.ends(&stored).await.map_err(untold)?;
        let lost = self.expected.iter().filter(|(name, _)| !stored.contains(name));
        let lost = lost.map(|(name, _)| (Trouble::CouldNotTell, format!("the store holds nothing of source {name}")));
        let mut troubles: Vec<_> = lost.collect();
        let all = self.verify(&stored).await;
        let findings = all.reports().flat_map(|report| &report.findings);
        let (late, found): (Vec<_>, Vec<_>) = findings.partition(|finding| is_yet_to_come(finding, &ends));
        let left_out = all.reports().map(|report| report.findings_left_out).sum();
        if let Some(trouble) = trouble(&found, left_out) {
            troubles.push((trouble, self.sentence(found, left_out)));
        }
        together(troubles).map_or_else(|| Ok(self.sound(&all, &ends, late.len())), Err)
    }
}

/// What findings come to.
fn trouble(found: &[&Finding], left_out: u64) -> Option<Trouble> {
    let damaged = found.iter().any(|finding| finding.verdict != Verdict::Unreadable);
    match (damaged, found.is_empty() && left_out == 0) {
        (_, true) => None,
        (true, false) => Some(Trouble::Damaged),
        (false, false) => Some(Trouble::CouldNotTell),
    }
}

impl Verify {
    fn sound(&self, all: &AllVerified, ends: &Ends, late: usize) -> String {
        let sum = |of: fn(&ScrubReport) -> u64| all.reports().map(of).sum::<u64>();
        let (objects, bytes) = (sum(|report| report.objects_checked), sum(|report| report.bytes_checked));
        let rest = match &self.mirror {
            None => slots(all),
            Some(_) => ended(ends, late),
        };
        format!("{objects} objects are sound, {bytes} bytes were read; {rest}")
    }

    fn sentence(&self, mut found: Vec<&Finding>, left_out: u64) -> String {
        // What is damaged comes before what could not be read.
        found.sort_by_key(|finding| finding.verdict);
        let one = |finding: &&Finding| format!("{}: {} ({})", finding.verdict.name(), finding.object, finding.what);
        let named: Vec<_> = found.iter().take(NAMED_MAX).map(one).collect();
        let more = u64::try_from(found.len().saturating_sub(NAMED_MAX)).unwrap_or(u64::MAX).saturating_add(left_out);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let of = self.mirror.as_ref().map(|mirror| format!(" --store {mirror}")).unwrap_or_default();
        format!("{}{more}; `holdfast verify{of}` names all", named.join("; "))
    }
}

/// What the slots said.
fn slots(all: &AllVerified) -> String {
    let sources = &all.sources;
    let agree = sources.iter().filter(|verified| matches!(verified.slot, Some(SlotSaid::Agrees(_)))).count();
    let asked = sources.iter().filter(|verified| verified.slot.is_some()).count();
    let silent = sources.iter().filter_map(|verified| match &verified.slot {
        Some(said @ SlotSaid::Nothing(_)) => Some(format!("; source {}: {}", verified.source, said.sentence())),
        Some(SlotSaid::Agrees(_) | SlotSaid::Ahead(_) | SlotSaid::Gap(_)) | None => None,
    });
    let silent: String = silent.collect();
    format!("{agree} of {asked} slots agree with the log's end{silent}")
}

/// Where the logs of a mirror end, and whether more is on its way.
fn ended(ends: &Ends, late: usize) -> String {
    let each: Vec<_> = ends.iter().map(|(source, end)| format!("the log of {source} ends at slot {end}")).collect();
    let each = if each.is_empty() { "it holds no log yet".to_owned() } else { each.join(", ") };
    if late > 0 { format!("{each}, and what a boundary says comes behind that has not arrived yet") } else { each }
}
