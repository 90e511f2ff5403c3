//! The verb `list`: bases, log and gaps; what can be restored, from when to when.

use std::fmt::Write;

use serde_json::json;

use crate::cli::args::ListArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::histories::histories;
use crate::cli::restore::failed;
use crate::cli::scene::Scene;
use crate::log::Hole;
use crate::model::{Lsn, SourceName};
use crate::restore::Survey;
use crate::restore::windows::{ListedBase, Window, windows};
use crate::store::sources;

/// Missing objects that are shown; `verify` names all.
const HOLES_SHOWN_MAX: usize = 10;

/// What is listed of one source.
struct Listed {
    source: SourceName,
    windows: Vec<Window>,
    bases: Vec<ListedBase>,
    survey: Survey,
}

/// Runs `list`.
pub async fn run(scene: &Scene, args: &ListArgs) -> Result<Exit, Failure> {
    let env = scene.env().await?;
    let all = match &args.source {
        Some(source) => vec![source.clone()],
        None => sources(&*env.store).await?,
    };
    let histories = histories(scene, &env, all).await.map_err(|error| failed(error.into()))?;
    let mut listed = Vec::new();
    for (source, history) in histories {
        let mut survey = Survey::of(&env, &source, history).await.map_err(failed)?;
        survey.weigh_log().await.map_err(failed)?;
        let bases = survey.bases.iter().map(ListedBase::from).collect();
        listed.push(Listed { source, windows: windows(&survey.facts), bases, survey });
    }
    let text: Vec<_> = listed.iter().map(text).collect();
    let text = if listed.is_empty() { "the store holds nothing yet".to_owned() } else { text.join("\n") };
    scene.out.answer(&json!({ "sources": listed.iter().map(as_json).collect::<Vec<_>>() }), &text);
    Ok(Exit::Done)
}

fn as_json(listed: &Listed) -> serde_json::Value {
    let facts = &listed.survey.facts;
    let gaps = facts.gaps.iter().map(|placed| {
        json!({
            "exact_until": Lsn::from(placed.gap.exact_until).to_string(), "noticed_at": Lsn::from(placed.place).to_string(),
            "time": placed.gap.time.to_string(), "reason": placed.gap.reason.name(), "detail": placed.gap.detail,
            "tables": placed.gap.tables.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    });
    json!({
        "source": listed.source.to_string(), "log": facts.log.map(|log| log.to_string()),
        "segments": facts.entries.len(), "bytes": facts.entries.iter().map(|entry| entry.bytes).sum::<u64>(),
        "durable": Lsn::from(facts.end()).to_string(), "missing": facts.holes.first().map(|hole| hole.slot.get()),
        "restorable": listed.windows, "bases": listed.bases, "gaps": gaps.collect::<Vec<_>>(),
    })
}

fn text(listed: &Listed) -> String {
    let facts = &listed.survey.facts;
    let mut text = format!("source {}\n", listed.source);
    let _never =
        writeln!(text, "  log      {} segments, durable up to {}", facts.entries.len(), Lsn::from(facts.end()));
    for base in &listed.bases {
        let ListedBase { base, point, taken_at, tables, rows, bytes, .. } = base;
        let bytes = indicatif::HumanBytes(*bytes);
        let _never = writeln!(text, "  base     {base} at {point}, {taken_at}: {tables} tables, {rows} rows, {bytes}");
    }
    for placed in &facts.gaps {
        let (gap, until) = (&placed.gap, Lsn::from(placed.gap.exact_until));
        let _never = writeln!(text, "  gap      after {until}, {}: {} ({})", gap.time, gap.reason.name(), gap.detail);
    }
    for window in &listed.windows {
        let Window { from, from_time, to, to_time, without } = window;
        let but = if without.is_empty() { String::new() } else { format!(", but for {}", without.join(", ")) };
        let _never = writeln!(text, "  restore  any instant from {from_time} ({from}) to {to_time} ({to}){but}");
    }
    if listed.windows.is_empty() {
        text.push_str("  restore  nothing yet: there is no base\n");
    }
    for Hole { slot, until, place } in facts.holes.iter().take(HOLES_SHOWN_MAX) {
        let (until, place) = (Lsn::from(*until), Lsn::from(*place));
        let _never = writeln!(
            text,
            "  DAMAGE   object {slot} of the log is missing: lost is what committed after {until} and up to {place}; \
             run holdfast verify"
        );
    }
    text
}
