//! The `catalog rebuild` verb: makes the catalog anew from the store, in the daemon if one runs, else here.

use serde_json::{Value, json};

use crate::catalog::{Catalog, Index, IndexError};
use crate::cli::args::CatalogVerb;
use crate::cli::ask;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::scene::Scene;
use crate::cli::status::all_sources;
use crate::daemon::assemble;
use crate::daemon::keeper::{Counts, Place, Rebuilt, counted};
use crate::log::Entry;
use crate::log::scrub;
use crate::model::SourceName;

/// Runs `catalog rebuild`.
pub async fn run(scene: &Scene, verb: &CatalogVerb) -> Result<Exit, Failure> {
    let CatalogVerb::Rebuild(choice) = verb;
    // A daemon knows its first store alone.
    let asked = match choice.name {
        None => ask::daemon(scene, &json!({ "verb": "catalog_rebuild" })).await?,
        Some(_) => None,
    };
    let answer = match asked {
        Some(answer) => answer,
        None => counted(&rebuild(scene).await?),
    };
    scene.out.answer(&answer, &text(&answer));
    Ok(match answer.get("outcome").and_then(Value::as_str) {
        Some("damaged") => Exit::VerificationFailed,
        Some("could not tell") => Exit::CouldNotTell,
        Some(_) | None => Exit::Done,
    })
}

async fn rebuild(scene: &Scene) -> Result<Rebuilt, Failure> {
    let state_dir = scene.config.need_state_dir()?;
    let env = scene.env().await?;
    let (mut logs, mut put_over) = (Vec::new(), Vec::new());
    for source in all_sources(scene, &env).await? {
        let (history, found) = scrub::first_put(&env, &source).await?;
        logs.push((source, history.entries));
        put_over.extend(found);
    }
    let place = assemble::catalog_place(state_dir, &scene.clock);
    let written = tokio::task::spawn_blocking(move || write(&place, logs)).await;
    match written {
        Ok(Ok(counts)) => Ok(Rebuilt { counts, put_over }),
        Ok(Err(error)) => Err(Failure::of(Exit::Failed, error)),
        Err(_panicked) => Err(Failure::text(Exit::Failed, "the catalog panicked; remove its folder in state_dir")),
    }
}

fn write(place: &dyn Place, logs: Vec<(SourceName, Vec<Entry>)>) -> Result<Counts, IndexError> {
    let (index, _): (Box<dyn Index>, _) = place.open()?;
    let catalog = Catalog::new(index);
    catalog.clear()?;
    let mut counts = Counts::new();
    for (source, entries) in logs {
        catalog.replace(&source, &entries)?;
        counts.insert(source, u64::try_from(entries.len()).unwrap_or(u64::MAX));
    }
    catalog.flush()?;
    Ok(counts)
}

fn text(answer: &Value) -> String {
    let logs = answer.get("entries").and_then(Value::as_object);
    let logs = logs.into_iter().flatten().map(|(source, entries)| format!("{source}: {entries} entries"));
    let found = answer.get("findings").and_then(Value::as_array);
    let word = |finding: &Value, name: &str| finding.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let found = found.into_iter().flatten().map(|finding| {
        format!("  {}: {} ({})", word(finding, "verdict"), word(finding, "object"), word(finding, "what"))
    });
    let lines: Vec<_> = logs.chain(found).collect();
    format!("the catalog was made anew from the store\n{}", lines.join("\n"))
}
