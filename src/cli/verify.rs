//! The `verify` verb: reads back what is stored and proves that it is whole; every object that is not is named.

use serde_json::{Value, json};

use crate::cli::args::VerifyArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::progress::CountBar;
use crate::cli::scene::Scene;
use crate::daemon::verify::{self, Order, Verified};
use crate::log::scrub::{Depth, Outcome, ScrubReport};
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
    let order = Order { depth, since: args.since, jobs: args.jobs };
    let mut all = Vec::new();
    for source in wanted {
        let bar = CountBar::new(scene.out, &format!("verifying {source}"));
        all.push(verify::source(&env, &source, order, &mut |objects, bytes| bar.at(objects, bytes)).await);
        bar.done();
    }
    let reports = || all.iter().flat_map(Verified::reports);
    let exit = if reports().any(|report| report.outcome() == Outcome::Damaged) {
        Exit::VerificationFailed
    } else if reports().any(|report| report.outcome() == Outcome::CouldNotTell) {
        Exit::CouldNotTell
    } else {
        Exit::Done
    };
    let told: Vec<_> = all.iter().map(summary).collect();
    let text: Vec<_> = all.iter().map(text).collect();
    scene.out.answer(&json!({ "outcome": word(exit), "exit": exit.code(), "sources": told }), &text.join("\n"));
    Ok(exit)
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
        "bases": bases,
        "unfinished_bases": verified.unfinished,
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

fn text(verified: &Verified) -> String {
    let objects: u64 = verified.reports().map(|report| report.objects_checked).sum();
    let bytes: u64 = verified.reports().map(|report| report.bytes_checked).sum();
    let mut lines = vec![format!(
        "{}: {objects} objects, {}; {} bases",
        verified.source,
        indicatif::HumanBytes(bytes),
        verified.bases.len()
    )];
    for report in verified.reports() {
        for finding in &report.findings {
            lines.push(format!("  {}: {} ({})", finding.verdict.name(), finding.object, finding.what));
        }
        if report.findings_left_out > 0 {
            lines.push(format!("  and {} more", report.findings_left_out));
        }
    }
    if let Some(head) = verified.log.head {
        // What a person can keep elsewhere: the loss of the newest objects shows against nothing else.
        lines.push(format!("  head: slot {}, sha256 {}, last commit {}", head.slot, hex::encode(head.hash), head.time));
    }
    if verified.unfinished > 0 {
        lines.push(format!("  {} bases have no manifest: under way, or left over", verified.unfinished));
    }
    if !verified.log.witnesses.is_empty() {
        lines.push(format!("  witnesses that were asked: {}", verified.log.witnesses.join(", ")));
    }
    lines.join("\n")
}
