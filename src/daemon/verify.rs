//! Verifies all that a store holds of a source: its log by scrubbing it, its holds, its bases against their manifests;
//! and what belongs to no source: later wraps of keys, and claims about which store decides.
//!
//! * L4: every object that is not as it should be is named, those of bases too.
//! * L11: what could not be read is a verdict of its own.

mod claims;

pub use claims::claims;

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::stream;

use crate::codec::base::{Manifest, Part};
use crate::daemon::witness::{self, SlotSaid, SlotWitness};
use crate::log::scrub::{self, Depth, Finding, Outcome, Pace, ScrubReport, Scrubber, Sound, Verdict, Watch};
use crate::log::{History, LogEnv};
use crate::model::{BaseId, ObjectKey, Slot, SourceName, Timestamp};
use crate::restore::bases;
use crate::store::layout::{self, Named};
use crate::store::{Keys, StoreError, StoreErrorKind};

/// What to verify, and how.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// How closely to look.
    pub depth: Depth,
    /// Only what was written at or after this time.
    pub since: Option<Timestamp>,
    /// Objects that are looked at at once.
    pub jobs: usize,
    /// Bytes that are read in a second, at most.
    pub bytes_per_second: Option<u64>,
}

/// What was found of one source.
#[derive(Debug)]
pub struct Verified {
    /// Whose.
    pub source: SourceName,
    /// Of its log.
    pub log: ScrubReport,
    /// What the source's slot says of the log's end; `None` if there is nobody to ask.
    pub slot: Option<SlotSaid>,
    /// Of its bases, each with its manifest.
    pub bases: Vec<(BaseId, ScrubReport)>,
    /// Bases without a manifest: under way, or left over. They are no bases, and nothing is wrong with that.
    pub unfinished: usize,
    /// Bases that expired while they were read: what was not there any more is no damage.
    pub expired: Vec<BaseId>,
}

impl Verified {
    async fn bases(&mut self, env: &LogEnv, order: Order, watch: &mut dyn Watch) {
        let source = self.source.clone();
        let found = match names(env, &source).await {
            Ok(found) => found,
            Err(error) => {
                let finding = scrub::unlisted(&layout::bases_prefix(&source), &error);
                watch.found(&finding);
                return self.log.add(finding);
            }
        };
        let (scrubber, pace) = (Scrubber::new(env, order.jobs), Pace::new(&env.clock, order.bytes_per_second));
        let mut bases = Bases { env, source: &source, order, scrubber, pace, watch };
        for (base, keys) in found {
            let Some(report) = bases.one(base, &keys).await else {
                self.unfinished += 1;
                continue;
            };
            if report.outcome() == Outcome::Damaged && is_gone(env, &source, base).await {
                self.expired.push(base);
                continue;
            }
            report.findings.iter().for_each(|finding| bases.watch.found(finding));
            self.bases.push((base, report));
        }
    }

    /// Where the key at hand opened nothing at all, nothing is known of what it does not open.
    fn weigh_key(&mut self) {
        if !self.reports().any(ScrubReport::proves_key) {
            self.log.doubt_key();
            self.bases.iter_mut().for_each(|(_, report)| report.doubt_key());
        }
    }

    /// The report where a finding about an object belongs.
    fn report_about(&mut self, object: &ObjectKey) -> &mut ScrubReport {
        let of = match layout::parse(object) {
            Some(Named::BasePart { base, .. } | Named::Manifest { base, .. }) => Some(base),
            Some(_) | None => None,
        };
        let found = self.bases.iter_mut().find(|(base, _)| Some(*base) == of);
        found.map_or(&mut self.log, |(_, report)| report)
    }
}

/// What was found of all that was to be verified.
#[derive(Debug)]
pub struct AllVerified {
    /// Of each source.
    pub sources: Vec<Verified>,
    /// Of the later wraps of data keys, which belong to no source.
    pub keys: ScrubReport,
    /// Of the claims about which store decides, which belong to none either.
    pub claims: ScrubReport,
}

impl AllVerified {
    /// Every report.
    pub fn reports(&self) -> impl Iterator<Item = &ScrubReport> {
        self.sources.iter().flat_map(Verified::reports).chain([&self.keys, &self.claims])
    }

    /// What it comes to.
    pub fn outcome(&self) -> Outcome {
        together(self.reports())
    }
}

/// Damaged if anything is, else unknown if anything could not be told.
fn together<'a>(reports: impl Iterator<Item = &'a ScrubReport>) -> Outcome {
    reports.fold(Outcome::Sound, |all, report| match (all, report.outcome()) {
        (Outcome::Damaged, _) | (_, Outcome::Damaged) => Outcome::Damaged,
        (Outcome::CouldNotTell, _) | (_, Outcome::CouldNotTell) => Outcome::CouldNotTell,
        (Outcome::Sound, Outcome::Sound) => Outcome::Sound,
    })
}

impl Verified {
    /// Every report.
    pub fn reports(&self) -> impl Iterator<Item = &ScrubReport> {
        std::iter::once(&self.log).chain(self.bases.iter().map(|(_, report)| report))
    }

    /// What it comes to: damaged if anything is, else unknown if anything could not be told.
    pub fn outcome(&self) -> Outcome {
        together(self.reports())
    }
}

/// Verifies the later wraps of data keys: those in the store, for every source of which something is there.
pub async fn keys(env: &LogEnv, sources: &[SourceName], depth: Depth, watch: &mut dyn Watch) -> ScrubReport {
    scrub::rewraps(env, sources, depth, watch).await
}

/// Verifies one source. In full what was put first counts, where the store keeps that, and what was put over it is told.
pub async fn source(
    env: &LogEnv,
    source: &SourceName,
    order: Order,
    slot: Option<&SlotWitness>,
    watch: &mut dyn Watch,
) -> Verified {
    let beneath = match order.depth {
        Depth::Full => scrub::beneath(env, source).await,
        Depth::Quick => Ok(None),
    };
    let read_in = beneath.as_ref().ok().and_then(Option::as_ref).map_or(env, |(beneath, _)| beneath);
    let mut verified = log(read_in, source, order, slot, watch).await;
    scrub::holds(env, source, &mut verified.log, watch).await;
    verified.bases(read_in, order, watch).await;
    verified.weigh_key();
    let found = match &beneath {
        Ok(None) => Vec::new(),
        Ok(Some((_, oldest))) => {
            verified.log.witnesses.push("the versions that the store keeps".to_owned());
            scrub::put_over(env, source, oldest).await
        }
        Err(error) => vec![scrub::untold(source, error)],
    };
    for finding in found {
        watch.found(&finding);
        verified.report_about(&finding.object).add(finding);
    }
    verified
}

/// Verifies the log. The slot, if there is one, is asked first: what it has confirmed by then must be there.
async fn log(
    env: &LogEnv,
    source: &SourceName,
    order: Order,
    slot: Option<&SlotWitness>,
    watch: &mut dyn Watch,
) -> Verified {
    let since = match order.since {
        Some(since) => slot_since(env, source, since).await,
        None => None,
    };
    let confirmed = match slot {
        Some(slot) => Some(slot.ask(&*env.clock).await),
        None => None,
    };
    let Order { depth, jobs, bytes_per_second, .. } = order;
    let mut log = scrub::scrub(env, source, scrub::Order { depth, since, jobs, bytes_per_second }, watch).await;
    let slot = match confirmed {
        Some(confirmed) => Some(witness::compare(env, source, confirmed, (&mut log, &mut *watch)).await),
        None => None,
    };
    Verified { source: source.clone(), log, slot, bases: Vec::new(), unfinished: 0, expired: Vec::new() }
}

/// Where to begin. A log that cannot be listed is verified from its beginning, which tells what is wrong with it.
async fn slot_since(env: &LogEnv, source: &SourceName, since: Timestamp) -> Option<Slot> {
    let history = History::load(env, source).await.ok()?;
    let newer = history.entries.iter().find(|entry| entry.sealed_at >= since);
    newer.or(history.entries.last()).map(|entry| entry.slot)
}

/// The names of every base's objects.
async fn names(env: &LogEnv, source: &SourceName) -> Result<Vec<(BaseId, Vec<ObjectKey>)>, StoreError> {
    let mut found: Vec<(BaseId, Vec<ObjectKey>)> = Vec::new();
    let mut keys = Keys::new(&*env.store, layout::bases_prefix(source), None);
    while let Some(key) = keys.next().await? {
        let Some(Named::BasePart { base, .. } | Named::Manifest { base, .. }) = layout::parse(&key) else { continue };
        match found.last_mut() {
            Some((last, keys)) if *last == base => keys.push(key),
            Some(_) | None => found.push((base, vec![key])),
        }
    }
    Ok(found)
}

/// Whether the base expired since it was listed. Its manifest goes before anything else of it, so what is missing of a
/// base whose manifest is there is damage.
async fn is_gone(env: &LogEnv, source: &SourceName, base: BaseId) -> bool {
    let manifest = layout::manifest(source, base);
    let mut keys = Keys::new(&*env.store, layout::base_prefix(source, base), None);
    loop {
        match keys.next().await {
            Ok(Some(key)) if key == manifest => return false,
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// What the objects of bases are checked with.
struct Bases<'a> {
    env: &'a LogEnv,
    source: &'a SourceName,
    order: Order,
    scrubber: Scrubber,
    pace: Pace,
    watch: &'a mut dyn Watch,
}

impl Bases<'_> {
    /// Verifies one base; `None` if it has no manifest. Of one that was taken before what is to be verified, the
    /// manifest alone.
    async fn one(&mut self, base: BaseId, keys: &[ObjectKey]) -> Option<ScrubReport> {
        let key = layout::manifest(self.source, base);
        if !keys.contains(&key) {
            return None;
        }
        let mut report = ScrubReport::default();
        match self.scrubber.object(&key).await {
            Ok(sound) => self.sound(&mut report, &key, sound),
            Err(finding) => add(&mut report, finding),
        }
        match bases::read(self.env, self.source, base).await {
            Ok(Some(manifest)) => {
                if self.order.since.is_none_or(|since| manifest.finished_at >= since) {
                    self.parts(&manifest, keys, &mut report).await;
                }
            }
            // What opens and is no manifest of this base is damaged; what did not open was named above.
            Ok(None) | Err(_) if !report.findings.is_empty() => {}
            Ok(None) => report.add(finding(&key, Verdict::Missing, "it was listed and is not there")),
            Err(error) => {
                report.add(finding(&key, Verdict::Damaged, &crate::daemon::chain(&error)));
            }
        }
        Some(report)
    }

    async fn parts(&mut self, manifest: &Manifest, keys: &[ObjectKey], report: &mut ScrubReport) {
        let named = |part: &Part| layout::base_part(&manifest.source, manifest.base, part.number);
        let listed: BTreeSet<_> = manifest.parts.iter().map(named).collect();
        for key in keys {
            if *key != layout::manifest(&manifest.source, manifest.base) && !listed.contains(key) {
                report.add(finding(key, Verdict::Foreign, "the manifest does not list it"));
            }
        }
        let depth = self.order.depth;
        let work = manifest.parts.iter().map(|part| {
            let (key, env, scrubber) = (named(part), self.env.clone(), self.scrubber.clone());
            let part = part.clone();
            async move { (check(&env, &scrubber, (&key, &part), depth).await, key, part) }
        });
        let mut checks = stream::iter(work.collect::<Vec<_>>()).buffered(self.order.jobs.max(1) + AHEAD);
        while let Some((checked, key, part)) = checks.next().await {
            match checked {
                Ok(Some(sound)) => {
                    self.sound(report, &key, sound);
                    self.pace.spend(sound.bytes).await;
                }
                Ok(None) => {
                    report.objects_checked += 1;
                    self.watch.read(0);
                    self.watch.sound(&key, part.bytes, None);
                }
                Err(finding) => {
                    add(report, finding);
                    self.pace.spend(part.bytes).await;
                }
            }
        }
    }

    fn sound(&mut self, report: &mut ScrubReport, key: &ObjectKey, sound: Sound) {
        report.objects_checked += 1;
        report.bytes_checked += sound.bytes;
        report.opened_one();
        self.watch.read(sound.bytes);
        self.watch.sound(key, sound.bytes, Some(&sound.hash));
    }
}

/// What is found when an object is opened: one that is foreign then is another key's.
fn add(report: &mut ScrubReport, finding: Finding) {
    if finding.verdict == Verdict::Foreign { report.add_stranger(finding) } else { report.add(finding) }
}

/// Objects that are fetched while others are looked at.
const AHEAD: usize = 2;

/// One part; what was proved of it where every byte was looked at.
async fn check(
    env: &LogEnv,
    scrubber: &Scrubber,
    (key, part): (&ObjectKey, &Part),
    depth: Depth,
) -> Result<Option<Sound>, Finding> {
    let differs = |what: &str| finding(key, Verdict::Damaged, what);
    match depth {
        Depth::Quick => match env.store.size(key).await {
            Ok(size) if size == part.bytes => Ok(None),
            Ok(_) => Err(differs("its size is not the manifest's")),
            Err(error) => Err(unread(key, &error)),
        },
        Depth::Full => {
            let sound = scrubber.object(key).await?;
            let same = hex::encode(sound.hash) == part.sha256 && sound.bytes == part.bytes;
            if same { Ok(Some(sound)) } else { Err(differs("its hash is not the manifest's")) }
        }
    }
}

fn unread(key: &ObjectKey, error: &StoreError) -> Finding {
    let verdict = if error.kind == StoreErrorKind::Missing { Verdict::Missing } else { Verdict::Unreadable };
    finding(key, verdict, &error.kind.to_string())
}

fn finding(key: &ObjectKey, verdict: Verdict, what: &str) -> Finding {
    Finding { object: key.clone(), verdict, what: what.to_owned() }
}

#[cfg(test)]
mod tests;
