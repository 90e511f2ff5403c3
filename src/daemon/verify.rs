//! Verifies all that a store holds of a source: its log by scrubbing it, its bases against their manifests.
//!
//! * L4: every object that is not as it should be is named, those of bases too.
//! * L11: what could not be read is a verdict of its own.

use futures::StreamExt;
use futures::stream;

use crate::codec::base::{Manifest, Part};
use crate::log::scrub::{self, Depth, Finding, Outcome, ScrubReport, Verdict};
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
    /// Objects of bases that are read at once.
    pub jobs: usize,
}

/// Told after each object: objects and bytes so far.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// What was found of one source.
#[derive(Debug)]
pub struct Verified {
    /// Whose.
    pub source: SourceName,
    /// Of its log.
    pub log: ScrubReport,
    /// Of its bases, each with its manifest.
    pub bases: Vec<(BaseId, ScrubReport)>,
    /// Bases without a manifest: under way, or left over. They are no bases, and nothing is wrong with that.
    pub unfinished: usize,
}

impl Verified {
    /// Every report.
    pub fn reports(&self) -> impl Iterator<Item = &ScrubReport> {
        std::iter::once(&self.log).chain(self.bases.iter().map(|(_, report)| report))
    }
}

/// Verifies one source.
pub async fn source(env: &LogEnv, source: &SourceName, order: Order, progress: Progress<'_>) -> Verified {
    let since = match order.since {
        Some(since) => slot_since(env, source, since).await,
        None => None,
    };
    let mut watch = |report: &ScrubReport| progress(report.objects_checked, report.bytes_checked);
    let log = scrub::scrub(env, source, order.depth, since, &mut watch).await;
    let mut verified = Verified { source: source.clone(), log, bases: Vec::new(), unfinished: 0 };
    match names(env, source).await {
        Ok(found) => {
            for (base, keys) in found {
                let (objects, bytes) = sum(&verified);
                let mut watch = |report: &ScrubReport| {
                    progress(objects + report.objects_checked, bytes + report.bytes_checked);
                };
                match one_base(env, source, order, (base, &keys), &mut watch).await {
                    Some(mut report) => {
                        if verified.log.outcome() == Outcome::CouldNotTell {
                            believe_no_stranger(&mut report);
                        }
                        verified.bases.push((base, report));
                    }
                    None => verified.unfinished += 1,
                }
            }
        }
        Err(error) => {
            let prefix = layout::bases_prefix(source).trim_end_matches('/').parse();
            let object: ObjectKey = prefix.expect("a prefix without its slash is a name");
            let what = format!("it could not be listed: {}", error.kind);
            verified.log.add(Finding { object, verdict: Verdict::Unreadable, what });
        }
    }
    verified
}

fn sum(verified: &Verified) -> (u64, u64) {
    verified
        .reports()
        .fold((0, 0), |(objects, bytes), report| (objects + report.objects_checked, bytes + report.bytes_checked))
}

/// Where to begin. A log that cannot be listed is verified from its beginning, which tells what is wrong with it.
async fn slot_since(env: &LogEnv, source: &SourceName, since: Timestamp) -> Option<Slot> {
    let history = History::load(env, source).await.ok()?;
    let newer = history.entries.iter().find(|entry| entry.sealed_at >= since);
    newer.or(history.entries.last()).map(|entry| entry.slot)
}

/// Where nothing of the log opened it is the key at hand that is wrong: then nothing is known of the bases either.
fn believe_no_stranger(report: &mut ScrubReport) {
    let foreign = |(at, finding): (usize, &Finding)| (finding.verdict == Verdict::Foreign).then_some(at);
    let foreign: Vec<_> = report.findings.iter().enumerate().filter_map(foreign).collect();
    if !foreign.is_empty() {
        report.could_not_tell(&foreign);
    }
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

type Watch<'a> = &'a mut (dyn FnMut(&ScrubReport) + Send);

/// Verifies one base; `None` if it has no manifest. Of one that was taken before what is to be verified, the manifest alone.
async fn one_base(
    env: &LogEnv,
    source: &SourceName,
    order: Order,
    (base, keys): (BaseId, &[ObjectKey]),
    watch: Watch<'_>,
) -> Option<ScrubReport> {
    let key = layout::manifest(source, base);
    if !keys.contains(&key) {
        return None;
    }
    let mut report = ScrubReport::default();
    match scrub::scrub_object(env, &key).await {
        Ok(sound) => count(&mut report, sound.bytes),
        Err(finding) => report.add(finding),
    }
    match bases::read(env, source, base).await {
        Ok(Some(manifest)) => {
            if order.since.is_none_or(|since| manifest.finished_at >= since) {
                parts(env, order, (&manifest, keys), (&mut report, watch)).await;
            }
        }
        // What opens and is no manifest of this base is damaged; what did not open was named above.
        Ok(None) | Err(_) if !report.findings.is_empty() => {}
        Ok(None) => report.add(finding(&key, Verdict::Missing, "it was listed and is not there")),
        Err(error) => report.add(finding(&key, Verdict::Damaged, &crate::daemon::chain(&error))),
    }
    watch(&report);
    Some(report)
}

async fn parts(
    env: &LogEnv,
    order: Order,
    (manifest, keys): (&Manifest, &[ObjectKey]),
    (report, watch): (&mut ScrubReport, Watch<'_>),
) {
    let listed = |part: &Part| layout::base_part(&manifest.source, manifest.base, part.number);
    for key in keys {
        let known = *key == layout::manifest(&manifest.source, manifest.base)
            || manifest.parts.iter().any(|part| listed(part) == *key);
        if !known {
            report.add(finding(key, Verdict::Foreign, "the manifest does not list it"));
        }
    }
    let work = manifest.parts.iter().map(|part| check(env.clone(), listed(part), part.clone(), order.depth));
    let mut checks = stream::iter(work).buffer_unordered(order.jobs.max(1));
    while let Some(checked) = checks.next().await {
        match checked {
            Ok(bytes) => count(report, bytes),
            Err(finding) => report.add(finding),
        }
        watch(report);
    }
}

/// One part; gives the bytes that were read.
async fn check(env: LogEnv, key: ObjectKey, part: Part, depth: Depth) -> Result<u64, Finding> {
    let differs = |what: &str| finding(&key, Verdict::Damaged, what);
    match depth {
        Depth::Quick => match env.store.size(&key).await {
            Ok(size) if size == part.bytes => Ok(0),
            Ok(_) => Err(differs("its size is not the manifest's")),
            Err(error) => Err(unread(&key, &error)),
        },
        Depth::Full => {
            let sound = scrub::scrub_object(&env, &key).await?;
            let same = hex::encode(sound.hash) == part.sha256 && sound.bytes == part.bytes;
            if same { Ok(sound.bytes) } else { Err(differs("its hash is not the manifest's")) }
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

const fn count(report: &mut ScrubReport, bytes: u64) {
    report.objects_checked += 1;
    report.bytes_checked += bytes;
}
