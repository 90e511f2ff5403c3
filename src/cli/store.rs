//! The verb `store promote`: makes a mirror the first store, after saying what it lacks.

use serde_json::{Value, json};

use crate::cli::args::{PromoteArgs, StoreVerb};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::out;
use crate::cli::scene::Scene;
use crate::daemon::assemble;
use crate::daemon::promote::{End, LogStand, OldFirst, Plan, PromoteError};
use crate::model::Lsn;

/// Runs `store promote`.
pub async fn run(scene: &Scene, verb: &StoreVerb) -> Result<Exit, Failure> {
    let StoreVerb::Promote(args) = verb;
    promote(scene, args).await
}

async fn promote(scene: &Scene, args: &PromoteArgs) -> Result<Exit, Failure> {
    let alone = scene.config.clone().with_store_alone(&args.name)?;
    let env = assemble::log_env(&alone, &scene.clock, &scene.entropy).await?;
    let plan = Plan::make(&env, &scene.config, &args.name).await.map_err(failed)?;
    let said = said(&plan);
    if args.dry_run {
        let text = format!("would be done; nothing was changed:\n{}", said.join("\n"));
        scene.out.answer(&json!({ "plan": as_json(&plan), "dry_run": true }), &text);
        return Ok(Exit::Done);
    }
    if !args.yes {
        for line in &said {
            out::note(line);
        }
    }
    out::confirm(args.yes, &format!("make {} the first store", args.name))?;
    let promoted = plan.run(&env).await.map_err(failed)?;
    let mut lines = said;
    for (source, epoch) in &promoted.epochs {
        lines.push(format!("{source}: epoch {epoch} begins in {}", args.name));
    }
    for name in &promoted.not_told {
        lines.push(format!("store {name} could not be told: never start a daemon on it alone"));
    }
    if scene.config.store.name == args.name {
        lines.push(format!("{} decides from now on; start the daemon", args.name));
    } else {
        lines.push(format!("now put [[store]] {} first in the configuration and start the daemon", args.name));
    }
    let epochs: Vec<_> = promoted.epochs.iter().map(|(source, epoch)| json!([source.as_str(), epoch.get()])).collect();
    let answer = json!({ "plan": as_json(&plan), "epochs": epochs, "not_told": promoted.not_told, "dry_run": false });
    scene.out.answer(&answer, &lines.join("\n"));
    Ok(Exit::Done)
}

fn failed(error: PromoteError) -> Failure {
    match error {
        PromoteError::Store(error) => error.into(),
        PromoteError::Log(error) => error.into(),
        PromoteError::Copy(error) => error.into(),
        PromoteError::Order(error) => error.into(),
    }
}

fn place(end: Option<End>) -> String {
    match end {
        Some(End { slot, position, time }) => format!("slot {slot}, {}, last commit {time}", Lsn::from(position)),
        None => "nothing".to_owned(),
    }
}

/// Everything that a person must know before agreeing.
fn said(plan: &Plan) -> Vec<String> {
    let name = &plan.claim.name;
    let mut lines = Vec::new();
    for LogStand { source, here, there } in &plan.logs {
        lines.push(format!("{source}: {name} ends at {}", place(*here)));
        if there != here && there.is_some() {
            lines.push(format!("{source}: the old first store ends at {}", place(*there)));
        }
    }
    match &plan.old {
        None => lines.push(format!("{name} is named first already, and no other store is known to have decided")),
        Some(OldFirst { name: old, silent: None, .. }) => {
            lines.push(format!("{old} can be read: its daemon is stopped, and what {name} lacks is copied first"));
        }
        Some(OldFirst { name: old, silent: Some(why), .. }) => {
            lines.push(format!("{old} cannot be read ({why})"));
            lines.push(format!(
                "LOSS: what only {old} holds is lost with it; what was acknowledged beyond the ends above becomes a gap"
            ));
        }
    }
    lines
}

fn as_json(plan: &Plan) -> Value {
    let end = |end: Option<End>| {
        end.map(|end| {
            json!({
                "slot": end.slot.get(), "position": Lsn::from(end.position).to_string(), "time": end.time.to_string(),
            })
        })
    };
    let log = |log: &LogStand| json!({ "source": log.source.as_str(), "here": end(log.here), "there": end(log.there) });
    json!({
        "store": plan.claim.name, "number": plan.claim.number, "logs": plan.logs.iter().map(log).collect::<Vec<_>>(),
        "old": plan.old.as_ref().map(|old| old.name.clone()),
        "old_silent": plan.old.as_ref().and_then(|old| old.silent.clone()),
    })
}
