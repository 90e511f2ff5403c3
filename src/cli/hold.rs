//! The verb `hold`: keeps a stretch of history for an investigation, shows what is kept, and lets it go.

use serde_json::{Value, json};

use crate::cli::args::{HoldAddArgs, HoldRemoveArgs, HoldVerb};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::out::confirm;
use crate::cli::scene::Scene;
use crate::daemon::chain;
use crate::daemon::expire::{self, Held};
use crate::log::hold::{self, Added};
use crate::log::{History, Hold, LogEnv};
use crate::model::{SourceName, Timestamp};
use crate::restore::RestoreError;
use crate::store::sources;

/// Runs `hold`.
pub async fn run(scene: &Scene, verb: &HoldVerb) -> Result<Exit, Failure> {
    let env = scene.env().await?;
    match verb {
        HoldVerb::Add(args) => add(scene, &env, args).await,
        HoldVerb::List => list(scene, &env).await,
        HoldVerb::Remove(args) => remove(scene, &env, args).await,
    }
}

async fn wanted(env: &LogEnv, one: Option<&SourceName>) -> Result<Vec<SourceName>, Failure> {
    let all = sources(&*env.store).await?;
    let wanted: Vec<_> = all.into_iter().filter(|name| one.is_none_or(|one| one == name)).collect();
    if wanted.is_empty() {
        return Err(Failure::text(Exit::Failed, "the store holds no log that a hold could be put on"));
    }
    Ok(wanted)
}

async fn add(scene: &Scene, env: &LogEnv, args: &HoldAddArgs) -> Result<Exit, Failure> {
    let from = args.from.or(args.since).unwrap_or(Timestamp::MIN);
    let hold = Hold { name: args.name.clone(), from, to: args.to.unwrap_or(Timestamp::MAX) };
    if hold.to < hold.from {
        return Err(Failure::text(Exit::Usage, "--to is before --from; nothing would be kept"));
    }
    let (mut lines, mut told, mut exit) = (Vec::new(), Vec::new(), Exit::Done);
    for source in wanted(env, args.source.as_ref()).await? {
        let Some(log) = History::load(env, &source).await?.log else { continue };
        if hold::add(env, &source, log, &hold).await? == Added::NameTaken {
            let sentence = format!("source {source} has a hold of that name; it stays as it is, choose another name");
            return Err(Failure::text(Exit::Failed, sentence));
        }
        lines.push(line(&source.to_string(), &hold));
        // Without a beginning it keeps what there is, whatever that is.
        let whole = from == Timestamp::MIN;
        let reach = if whole { Ok(Held::All) } else { expire::held(env, &source, &hold).await };
        let (what, end) = kept(&source, &hold, reach);
        lines.extend(what.clone());
        exit = exit.max(end);
        told.push(json!({ "hold": as_json(Some(&source), &hold), "short_of": what }));
    }
    scene.out.answer(&json!({ "added": told }), &lines.join("\n"));
    Ok(exit)
}

/// What is to be said of a hold that does not keep all that it names.
fn kept(source: &SourceName, hold: &Hold, reach: Result<Held, RestoreError>) -> (Option<String>, Exit) {
    match reach {
        Ok(Held::All) => (None, Exit::Done),
        Ok(Held::From(time)) => {
            let from =
                format!("source {source}: history begins at {time}; nothing from {} up to there is left", hold.from);
            (Some(from), Exit::NotRestorable)
        }
        Ok(Held::Nothing) => {
            (Some(format!("source {source}: nothing from {} on can be restored yet", hold.from)), Exit::NotRestorable)
        }
        Err(error) => {
            let why = chain(&error);
            (
                Some(format!("source {source}: the hold is there; what it keeps could not be told: {why}")),
                Exit::CouldNotTell,
            )
        }
    }
}

async fn list(scene: &Scene, env: &LogEnv) -> Result<Exit, Failure> {
    let mut lines = Vec::new();
    let mut told = Vec::new();
    for source in sources(&*env.store).await? {
        for hold in hold::list(env, &source).await? {
            lines.push(line(&source.to_string(), &hold));
            told.push(as_json(Some(&source), &hold));
        }
    }
    for hold in &scene.config.holds {
        lines.push(line("every source, by the configuration", hold));
        told.push(as_json(None, hold));
    }
    let text = if lines.is_empty() { "no holds".to_owned() } else { lines.join("\n") };
    scene.out.answer(&json!({ "holds": told }), &text);
    Ok(Exit::Done)
}

async fn remove(scene: &Scene, env: &LogEnv, args: &HoldRemoveArgs) -> Result<Exit, Failure> {
    let name = &args.name;
    confirm(args.yes, &format!("what hold {name} kept may expire from now on"))?;
    let mut removed = Vec::new();
    for source in wanted(env, args.source.as_ref()).await? {
        if hold::remove(env, &source, name).await? {
            removed.push(source.to_string());
        }
    }
    if removed.is_empty() {
        let configured = scene.config.holds.iter().any(|hold| hold.name == *name);
        let sentence =
            if configured { "that hold is in the configuration: take it out there" } else { "there is no such hold" };
        return Err(Failure::text(Exit::Failed, sentence));
    }
    scene.out.answer(&json!({ "removed": removed }), &format!("hold {name} is gone from {}", removed.join(", ")));
    Ok(Exit::Done)
}

fn until(hold: &Hold) -> Option<String> {
    (hold.to < Timestamp::MAX).then(|| hold.to.to_string())
}

fn line(of: &str, hold: &Hold) -> String {
    let until = until(hold).unwrap_or_else(|| "now on".to_owned());
    format!("hold {} of {of}: every instant from {} to {until}", hold.name, hold.from)
}

fn as_json(source: Option<&SourceName>, hold: &Hold) -> Value {
    json!({
        "name": hold.name.to_string(), "source": source.map(ToString::to_string),
        "from": hold.from.to_string(), "to": until(hold),
    })
}
