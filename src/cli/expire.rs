//! The verb `expire`: shows what retention would delete, and what can be restored before and after; `--yes` deletes it.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::cli::args::ExpireArgs;
use crate::cli::ask;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, log_exit};
use crate::cli::restore;
use crate::cli::scene::{COMPARED_WITHIN, MIRRORS_WITHIN, Scene};
use crate::daemon::expire::{self, ExpireError, Expiry, Order};
use crate::daemon::mirrors::Deletes;
use crate::log::retention::Refusal;
use crate::restore::windows::Window;
use crate::store::sources;

/// Runs `expire`.
pub async fn run(scene: &Scene, args: &ExpireArgs) -> Result<Exit, Failure> {
    let env = scene.env().await?;
    let behind = if args.yes { Some(scene.behind(&env, Deletes::Expired).await?) } else { None };
    if let Some(behind) = &behind {
        // What an expiry before this one announced or took back is in the mirrors before this one begins.
        scene.settle(behind, MIRRORS_WITHIN).await;
    }
    let env = behind.as_ref().map_or(env, |behind| behind.env.clone());
    let all = match &args.source {
        Some(source) => vec![source.clone()],
        None => sources(&*env.store).await?,
    };
    let order = Order::of(&scene.config, args.yes);
    let (mut told, mut failures) = (Vec::new(), Vec::new());
    for source in all {
        // One that is refused holds up no other.
        match expire::run(&env, &source, &order).await {
            Ok(expiry) => told.push(expiry),
            Err(error) => failures.push(failed(error)),
        }
    }
    if let Some(behind) = &behind {
        behind.compare_everything();
        scene.settle(behind, COMPARED_WITHIN).await;
    }
    if args.yes && !told.is_empty() {
        // What is gone from the store leaves the catalog too; without a daemon it does when the next one opens it.
        ask::daemon(scene, &json!({ "verb": "catalog_rebuild" })).await?;
    }
    let text: Vec<_> = told.iter().map(text).collect();
    let nothing = told.is_empty() && failures.is_empty();
    let text = if nothing { "the store holds nothing yet".to_owned() } else { text.join("\n") };
    if nothing || !told.is_empty() {
        let sources: Vec<_> = told.iter().map(as_json).collect();
        scene.out.answer(&json!({ "deleted": args.yes, "sources": sources }), &text);
    }
    if let Some(last) = failures.pop() {
        for failure in &failures {
            scene.out.failure(failure);
        }
        return Err(last);
    }
    let refused = told.iter().filter_map(|expiry| expiry.done.as_ref()).any(|done| !done.refused.is_empty());
    // Aloud, although it is tried again: a store that never lets go keeps what was promised to be gone (L11).
    Ok(if refused { Exit::Failed } else { Exit::Done })
}

fn failed(error: ExpireError) -> Failure {
    let exit = match error {
        ExpireError::Unreadable { source, .. } => return restore::failed(source),
        ExpireError::Refused { source: Refusal::Timeless | Refusal::ClocksApart { .. }, .. } => Exit::CouldNotTell,
        ExpireError::Refused { source: Refusal::Damaged(_) | Refusal::BaseDamaged(_), .. } => Exit::VerificationFailed,
        ExpireError::Refused { source: Refusal::HeldMeanwhile, .. } => Exit::Failed,
        ExpireError::Broken { ref source, .. } => log_exit(source),
    };
    Failure::of(exit, error)
}

fn oldest(windows: &[Window]) -> Value {
    windows.first().map_or(Value::Null, |window| json!({ "position": window.from, "time": window.from_time }))
}

fn as_json(expiry: &Expiry) -> Value {
    let done = expiry.done.as_ref().map(|done| {
        let refused = done.refused.iter().map(|(key, why)| json!({ "object": key.to_string(), "why": why }));
        json!({
            "bases": done.bases, "parts": done.parts, "segments": done.segments, "others": done.others,
            "refused": refused.collect::<Vec<_>>(), "refused_left_out": done.refused_left_out,
        })
    });
    json!({
        "source": expiry.source.to_string(), "now": expiry.now.map(|now| now.to_string()),
        "first_segment": expiry.first.get(), "segments": expiry.segments, "bytes": expiry.bytes,
        "bases": expiry.bases.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "oldest_before": oldest(&expiry.before), "oldest_after": oldest(&expiry.after),
        "restorable_before": expiry.before, "restorable_after": expiry.after, "done": done,
    })
}

fn text(expiry: &Expiry) -> String {
    let planned = (expiry.segments, expiry.bases.len());
    let done = expiry.done.as_ref().map(|done| (done.segments, usize::try_from(done.bases).unwrap_or(usize::MAX)));
    let (segments, bases) = done.unwrap_or(planned);
    let bytes = indicatif::HumanBytes(expiry.bytes);
    let verb = if expiry.done.is_some() { "deleted" } else { "expired " };
    let mut text = format!("source {}\n  {verb}  {segments} segments and {bases} bases, {bytes}\n", expiry.source);
    for base in &expiry.bases {
        let _never = writeln!(text, "           base {base}");
    }
    for (label, windows) in [("before", &expiry.before), ("after ", &expiry.after)] {
        let from =
            windows.first().map_or("nothing".to_owned(), |window| format!("{} ({})", window.from_time, window.from));
        let _never = writeln!(text, "  {label}   the oldest restorable instant: {from}");
    }
    for Window { from, from_time, to, to_time, without } in &expiry.after {
        let but = if without.is_empty() { String::new() } else { format!(", but for {}", without.join(", ")) };
        let _never = writeln!(text, "  restore  any instant from {from_time} ({from}) to {to_time} ({to}){but}");
    }
    for (key, why) in expiry.done.iter().flat_map(|done| &done.refused) {
        let _never = writeln!(text, "  REFUSED  {key}: {why}; it is tried again the next time");
    }
    if let Some(more) = expiry.done.as_ref().map(|done| done.refused_left_out).filter(|more| *more > 0) {
        let _never = writeln!(text, "  REFUSED  and {more} more");
    }
    if expiry.done.is_none() {
        text.push_str("  nothing was changed; --yes deletes it\n");
    }
    text
}
