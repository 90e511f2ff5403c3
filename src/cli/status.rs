//! The `status` verb: from the running daemon what is true now; without one, that none runs and what the store says.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cli::ask;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::scene::Scene;
use crate::daemon::status;
use crate::log::{History, LogEnv};
use crate::model::{Lsn, SourceName, Timestamp};
use crate::restore::bases;
use crate::store;

/// Runs `status`.
pub async fn run(scene: &Scene) -> Result<Exit, Failure> {
    if let Some(mut answer) = ask::daemon(scene, &json!({ "verb": "status" })).await? {
        let text = status::text(&answer);
        if let Value::Object(fields) = &mut answer {
            fields.insert("daemon".to_owned(), Value::Bool(true));
        }
        scene.out.answer(&answer, &text);
        return Ok(Exit::Done);
    }
    let env = scene.env().await?;
    let mut told = Vec::new();
    for source in all_sources(scene, &env).await? {
        told.push(stored(&env, &source).await?);
    }
    let lines: Vec<_> = told.iter().map(line).collect();
    let text = format!("no daemon runs with this configuration; the store says:\n{}", lines.join("\n"));
    scene.out.answer(&json!({ "daemon": false, "sources": told }), &text);
    Ok(Exit::Done)
}

/// Every source of the configuration and of the store.
pub async fn all_sources(scene: &Scene, env: &LogEnv) -> Result<BTreeSet<SourceName>, Failure> {
    let configured = scene.config.sources.iter().map(|source| source.name.clone());
    Ok(store::sources(&*env.store).await?.into_iter().chain(configured).collect())
}

async fn stored(env: &LogEnv, source: &SourceName) -> Result<Value, Failure> {
    let history = History::load(env, source).await?;
    // What is wrong with a base is `verify`'s to say; the log is told all the same.
    let newest = bases::list(env, source).await.map(|mut bases| bases.pop());
    let time = |time: Timestamp| (time > Timestamp::MIN).then(|| time.to_string());
    let last = history.last();
    Ok(json!({
        "source": source.to_string(),
        "durable": last.map(|last| Lsn::from(last.to).to_string()),
        "durable_time": last.and_then(|last| time(last.to_time)),
        "written_at": last.and_then(|last| time(last.sealed_at)),
        "epoch": last.map(|last| last.epoch.get()),
        "slot": last.map(|last| last.slot.get()),
        "missing": history.missing.len(),
        "bases_readable": newest.is_ok(),
        "base_time": newest.ok().flatten().map(|base| base.taken_at.to_string()),
    }))
}

fn line(told: &Value) -> String {
    let word = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or("none").to_owned();
    let mut line = format!(
        "{}: durable {}, last commit {}, last written {}, last base {}",
        word("source"),
        word("durable"),
        word("durable_time"),
        word("written_at"),
        word("base_time"),
    );
    if told.get("missing").and_then(Value::as_u64).is_some_and(|missing| missing > 0) {
        line.push_str("\n  attention: objects are missing; `holdfast verify` names them");
    }
    if told.get("bases_readable").and_then(Value::as_bool) == Some(false) {
        line.push_str("\n  attention: a base cannot be read; `holdfast verify` names what is wrong");
    }
    line
}
