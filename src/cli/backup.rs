//! The verb `backup`: a full base now. With a daemon running it joins or begins one there; without one it takes it itself.

use std::sync::Arc;

use serde_json::json;

use crate::cli::args::BackupArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::progress::BytesBar;
use crate::cli::restore;
use crate::cli::scene::{MIRRORS_WITHIN, Scene};
use crate::codec::base::Manifest;
use crate::config::SourceSettings;
use crate::daemon::mirrors::Deletes;
use crate::daemon::{assemble, control};
use crate::log::{History, LogEnv};
use crate::model::SourceName;
use crate::restore::bases;
use crate::source::postgres::base::{self, BaseOrder, BaseProgress, BaseTakeError, sweep};

/// Runs `backup`.
pub async fn run(scene: &Scene, args: &BackupArgs) -> Result<Exit, Failure> {
    let env = scene.env().await?;
    let wanted = args.source.as_ref();
    let sources = scene.config.need_sources()?.iter();
    let sources: Vec<_> = sources.filter(|source| wanted.is_none_or(|wanted| *wanted == source.name)).collect();
    if let (Some(wanted), true) = (wanted, sources.is_empty()) {
        scene.config.need_source(Some(wanted.as_str()))?;
    }
    let mut taken = by_daemon(scene, &env, wanted).await?;
    if taken.is_empty() {
        taken = by_ourselves(scene, &env, &sources).await?;
    }
    let text: Vec<_> = taken.iter().map(line).collect();
    let answer: Vec<_> = taken.iter().map(summary).collect();
    scene.out.answer(&json!({ "bases": answer }), &text.join("\n"));
    Ok(Exit::Done)
}

/// Bases that this process takes.
async fn by_ourselves(scene: &Scene, env: &LogEnv, sources: &[&SourceSettings]) -> Result<Vec<Manifest>, Failure> {
    let behind = scene.behind(env, Deletes::Nothing).await?;
    let env = &behind.env;
    let mut taken = Vec::new();
    for source in sources {
        let log = History::load(env, &source.name).await?.log;
        let target = assemble::target(source)?;
        let claims = scene.config.service.state_dir.as_deref().map(assemble::base_claims);
        // What cannot be read is no reason not to take a new one.
        let newest = bases::list(env, &source.name).await.ok().and_then(|mut bases| bases.pop());
        let system_id = newest.map(|base| base.server.system_id);
        let (source, jobs) = (source.name.clone(), scene.config.base.jobs);
        let order = BaseOrder { source, target, jobs, log, system_id, claims };
        taken.push(take(scene, env, &order).await?);
    }
    scene.settle(&behind, MIRRORS_WITHIN).await;
    Ok(taken)
}

/// The bases that a running daemon took or was taking; none if no daemon runs.
async fn by_daemon(scene: &Scene, env: &LogEnv, wanted: Option<&SourceName>) -> Result<Vec<Manifest>, Failure> {
    let Some(state_dir) = &scene.config.service.state_dir else { return Ok(Vec::new()) };
    let request = json!({ "verb": "backup", "source": wanted.map(SourceName::as_str) });
    let asked = control::ask(state_dir, &request).await;
    let Some(answer) = asked.map_err(|error| Failure::of(Exit::Failed, error))? else { return Ok(Vec::new()) };
    let taken: Vec<Taken> =
        answer.get("taken").cloned().and_then(|taken| serde_json::from_value(taken).ok()).unwrap_or_default();
    let mut manifests = Vec::new();
    for Taken { source, base } in taken {
        let (Ok(source), Ok(base)) = (source.parse(), base.parse()) else { continue };
        manifests.extend(bases::read(env, &source, base).await.map_err(restore::failed)?);
    }
    if manifests.is_empty() {
        return Err(Failure::text(Exit::Failed, "the daemon answered without a base; see its log"));
    }
    Ok(manifests)
}

/// One base that the daemon names.
#[derive(serde::Deserialize)]
struct Taken {
    source: String,
    base: String,
}

async fn take(scene: &Scene, env: &LogEnv, order: &BaseOrder) -> Result<Manifest, Failure> {
    let bar = Arc::new(BytesBar::new(scene.out, &format!("base of {}", order.source)));
    let progress: Arc<dyn BaseProgress> = Arc::<BytesBar>::clone(&bar);
    let taken = base::take(env, order, &progress).await;
    bar.done();
    sweep::tidy(env, order).await;
    taken.map_err(failed)
}

fn failed(error: BaseTakeError) -> Failure {
    if let BaseTakeError::Store(error) = error { error.into() } else { Failure::of(Exit::Failed, error) }
}

fn summary(manifest: &Manifest) -> serde_json::Value {
    let (rows, plain, stored) = sizes(manifest);
    json!({
        "source": manifest.source.to_string(), "base": manifest.base.to_string(), "point": manifest.point.to_string(),
        "taken_at": manifest.taken_at.to_string(), "tables": manifest.tables.len(), "rows": rows,
        "plain_bytes": plain, "stored_bytes": stored, "warnings": manifest.warnings,
    })
}

fn line(manifest: &Manifest) -> String {
    let (rows, plain, stored) = sizes(manifest);
    let mut text = format!(
        "{}: base {} at {} ({}): {} tables, {rows} rows, {} in, {} stored",
        manifest.source,
        manifest.base,
        manifest.point,
        manifest.taken_at,
        manifest.tables.len(),
        indicatif::HumanBytes(plain),
        indicatif::HumanBytes(stored),
    );
    for warning in &manifest.warnings {
        text.push_str("\n  warning: ");
        text.push_str(warning);
    }
    text
}

fn sizes(manifest: &Manifest) -> (u64, u64, u64) {
    let rows = manifest.tables.iter().map(|table| table.sum.rows()).sum();
    let plain = manifest.parts.iter().map(|part| part.plain_bytes).sum();
    (rows, plain, manifest.parts.iter().map(|part| part.bytes).sum())
}
