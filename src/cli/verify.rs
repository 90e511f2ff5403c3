//! The `verify` verb: reads back what is stored and proves that it is whole; every object that is not is named.

use serde_json::{Value, json};

use crate::cli::args::VerifyArgs;
use crate::cli::evidence::{Evidence, Mark};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::progress::CountBar;
use crate::cli::scene::Scene;
use crate::daemon::assemble;
use crate::daemon::verify::{self, AllVerified, Order, Verified};
use crate::daemon::witness::{SlotSaid, SlotWitness};
use crate::log::scrub::{Depth, Finding, Outcome, ScrubReport, Watch};
use crate::model::{ObjectKey, SourceName};
use crate::store;

/// Runs `verify`.
pub async fn run(scene: &Scene, args: &VerifyArgs) -> Result<Exit, Failure> {
    let env = scene.env().await?;
    let sources = store::sources(&*env.store).await?;
    let wanted: Vec<_> =
        sources.into_iter().filter(|name| args.source.as_ref().is_none_or(|wanted| wanted == name)).collect();
    if wanted.is_empty() {
        // Whether it was never written or is lost, nobody can tell from here (L11).
        return Err(Failure::text(
            Exit::CouldNotTell,
            "the store holds no log that was asked for: nothing was verified",
        ));
    }
    let depth = if args.quick { Depth::Quick } else { Depth::Full };
    let since = args.since.map(|since| since.moment(scene.clock.now()));
    let order = Order { depth, since, jobs: args.jobs, bytes_per_second: None };
    let mut evidence = args.report.as_deref().map(Evidence::begin).transpose()?;
    let mut all = Vec::new();
    for source in &wanted {
        let bar = CountBar::new(scene.out, &format!("verifying {source}"));
        let slot = slot(scene, source)?;
        let mut watcher = Watcher::new(&bar, evidence.as_mut());
        all.push(verify::source(&env, source, order, slot.as_ref(), &mut watcher).await);
        bar.done();
    }
    let bar = CountBar::new(scene.out, "verifying wraps of keys");
    let mut watcher = Watcher::new(&bar, evidence.as_mut());
    let keys = verify::keys(&env, &wanted, depth, &mut watcher).await;
    let claims = verify::claims(&env, &mut watcher).await;
    bar.done();
    let all = AllVerified { sources: all, keys, claims };
    let exit = match all.outcome() {
        Outcome::Sound => Exit::Done,
        Outcome::Damaged => Exit::VerificationFailed,
        Outcome::CouldNotTell => Exit::CouldNotTell,
    };
    let told: Vec<_> = all.sources.iter().map(summary).collect();
    let (keys, claims) = (of_report(&all.keys), of_report(&all.claims));
    let answer = json!({ "outcome": word(exit), "exit": exit.code(), "sources": told, "keys": keys, "claims": claims });
    let written = evidence.map_or(Ok(()), |evidence| evidence.end(&answer));
    let texts = all.sources.iter().map(|verified| text(verified, unasked(scene)));
    let text: Vec<_> = texts.chain(text_of_keys(&all.keys)).chain(text_of_claims(&all.claims)).collect();
    scene.out.answer(&answer, &text.join("\n"));
    match written {
        // A missing report must not hide what was found.
        Err(failure) if exit == Exit::Done => Err(failure),
        Err(failure) => {
            scene.out.failure(&failure);
            Ok(exit)
        }
        Ok(()) => Ok(exit),
    }
}

/// The slot of a source that the configuration names. What it confirmed need not have reached a mirror yet.
fn slot(scene: &Scene, source: &SourceName) -> Result<Option<SlotWitness>, Failure> {
    if scene.from_mirror {
        return Ok(None);
    }
    let named = scene.config.sources.iter().find(|settings| settings.name == *source);
    Ok(named.map(assemble::slot_witness).transpose()?)
}

/// Shows how far it is, and writes down every object.
struct Watcher<'a> {
    bar: &'a CountBar,
    evidence: Option<&'a mut Evidence>,
    /// Where the report stood at first.
    mark: Mark,
    read: (u64, u64),
}

impl<'a> Watcher<'a> {
    fn new(bar: &'a CountBar, mut evidence: Option<&'a mut Evidence>) -> Self {
        let mark = evidence.as_mut().map(|evidence| evidence.mark()).unwrap_or_default();
        Self { bar, evidence, mark, read: (0, 0) }
    }
}

impl Watch for Watcher<'_> {
    fn read(&mut self, bytes: u64) {
        self.read = (self.read.0.saturating_add(1), self.read.1.saturating_add(bytes));
        self.bar.at(self.read.0, self.read.1);
    }

    fn sound(&mut self, object: &ObjectKey, bytes: u64, hash: Option<&[u8; 32]>) {
        if let Some(evidence) = &mut self.evidence {
            evidence.sound(object, bytes, hash);
        }
    }

    fn found(&mut self, finding: &Finding) {
        if let Some(evidence) = &mut self.evidence {
            evidence.found(finding);
        }
    }

    fn again(&mut self) {
        self.read = (0, 0);
        if let Some(evidence) = &mut self.evidence {
            evidence.back_to(self.mark);
        }
    }
}

const fn word(exit: Exit) -> &'static str {
    match exit {
        Exit::Done => "sound",
        Exit::VerificationFailed => "damaged",
        Exit::CouldNotTell | Exit::Failed | Exit::Usage | Exit::NotRestorable | Exit::Fenced | Exit::Unavailable => {
            "could not tell"
        }
    }
}

fn summary(verified: &Verified) -> Value {
    let bases = verified.bases.iter();
    let bases: Vec<_> =
        bases.map(|(base, report)| json!({ "base": base.to_string(), "report": of_report(report) })).collect();
    json!({
        "source": verified.source.to_string(),
        "log": of_report(&verified.log),
        "slot": verified.slot.as_ref().map(SlotSaid::sentence),
        "bases": bases,
        "unfinished_bases": verified.unfinished,
        "expired_bases": verified.expired.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn of_report(report: &ScrubReport) -> Value {
    let findings = report.findings.iter().map(|finding| {
        json!({ "object": finding.object.to_string(), "verdict": finding.verdict.name(), "what": finding.what })
    });
    let head = report.head.map(|head| {
        json!({
            "slot": head.slot.get(), "hash": hex::encode(head.hash), "position": head.position.get(),
            "time": head.time.to_string(),
        })
    });
    json!({
        "objects_checked": report.objects_checked,
        "bytes_checked": report.bytes_checked,
        "findings": findings.collect::<Vec<_>>(),
        "findings_left_out": report.findings_left_out,
        "head": head,
        "witnesses": report.witnesses,
    })
}

const fn unasked(scene: &Scene) -> &'static str {
    if scene.from_mirror {
        "the slot was not asked: a mirror may trail it"
    } else {
        "the slot was not asked: the configuration does not name this source"
    }
}

fn text(verified: &Verified, unasked: &str) -> String {
    let objects: u64 = verified.reports().map(|report| report.objects_checked).sum();
    let bytes: u64 = verified.reports().map(|report| report.bytes_checked).sum();
    let mut lines = vec![format!(
        "{}: {objects} objects, {}; {} bases",
        verified.source,
        indicatif::HumanBytes(bytes),
        verified.bases.len()
    )];
    lines.extend(verified.reports().flat_map(findings));
    if let Some(head) = verified.log.head {
        // What a person can keep elsewhere: the loss of the newest objects shows against nothing else.
        lines.push(format!("  head: slot {}, sha256 {}, last commit {}", head.slot, hex::encode(head.hash), head.time));
    }
    if verified.unfinished > 0 {
        lines.push(format!("  {} bases have no manifest: under way, or left over", verified.unfinished));
    }
    lines.extend(verified.expired.iter().map(|base| format!("  base {base} expired while it was verified")));
    let slot = verified.slot.as_ref();
    let slot = slot.map_or_else(|| unasked.to_owned(), SlotSaid::sentence);
    let witnesses: Vec<_> = verified.log.witnesses.iter().cloned().chain([slot]).collect();
    lines.push(format!("  witnesses of the end: {}", witnesses.join("; ")));
    lines.join("\n")
}

fn findings(report: &ScrubReport) -> Vec<String> {
    let line = |finding: &Finding| format!("  {}: {} ({})", finding.verdict.name(), finding.object, finding.what);
    let more = (report.findings_left_out > 0).then(|| format!("  and {} more", report.findings_left_out));
    report.findings.iter().map(line).chain(more).collect()
}

/// Nothing where every claim about which store decides is sound.
fn text_of_claims(claims: &ScrubReport) -> Option<String> {
    let found = findings(claims);
    let head = "claims: which store decides is not sure".to_owned();
    (!found.is_empty()).then(|| [vec![head], found].concat().join("\n"))
}

/// Nothing where no data key was ever wrapped again.
fn text_of_keys(keys: &ScrubReport) -> Option<String> {
    let found = findings(keys);
    let head = format!("keys: {} data keys were wrapped again", keys.objects_checked);
    (keys.objects_checked > 0 || !found.is_empty()).then(|| [vec![head], found].concat().join("\n"))
}

#[cfg(test)]
mod tests;
