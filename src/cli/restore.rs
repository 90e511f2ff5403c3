//! The verb `restore`: brings a database back as it was, into an empty one; with `--dry-run` it only says what it would do.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::apply::postgres::WindowRule;
use crate::cli::args::{self, Destination, RestoreArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::out::{self, Out};
use crate::cli::scene::Scene;
use crate::connect::{ConnectTarget, TargetError};
use crate::log::LogEnv;
use crate::model::{Lsn, SourceName};
use crate::restore::{
    self, GapRule, Phase, Plan, RestoreError, RestoreOrder, RestoreProgress, RestoreReport, Survey, Verdict,
};
use crate::store::sources;

/// Runs `restore`.
pub async fn run(scene: &Scene, args: &RestoreArgs) -> Result<Exit, Failure> {
    let env = scene.env().await?;
    let destinations = args.destinations().map_err(|error| Failure::of(Exit::Usage, error))?;
    let rule = if args.allow_gap { GapRule::Allow } else { GapRule::Refuse };
    let mut plans = Vec::new();
    for source in wanted(&env, &destinations).await? {
        let survey = Survey::take(&env, &source).await.map_err(failed)?;
        plans.push(survey.plan(&args.to, rule, &args.only).await.map_err(failed)?);
    }
    if args.dry_run {
        let text: Vec<_> = plans.iter().map(Plan::to_string).collect();
        scene.out.answer(&json!({ "plans": plans.iter().map(plan_json).collect::<Vec<_>>() }), &text.join("\n"));
        return Ok(Exit::Done);
    }
    let sentence = format!("restore to {} into {}", args.to, names(&destinations));
    out::confirm(args.yes, &sentence)?;
    let mut reports = Vec::new();
    for (plan, destination) in plans.into_iter().zip(&destinations) {
        match one(scene, &env, args, plan, destination).await {
            Ok(report) => reports.push(report),
            Err(failure) => {
                // What was restored before stands, and its report must not go with the error.
                let answer = json!({ "reports": reports, "failed": destination.source.to_string() });
                if !reports.is_empty()
                    && let Err(untold) = tell(scene, args, &answer, &reports)
                {
                    out::warn(&crate::daemon::chain(&*untold.error));
                }
                return Err(failure);
            }
        }
    }
    tell(scene, args, &json!({ "reports": reports }), &reports)?;
    Ok(Exit::Done)
}

fn tell(scene: &Scene, args: &RestoreArgs, answer: &serde_json::Value, done: &[RestoreReport]) -> Result<(), Failure> {
    let text: Vec<_> = done.iter().map(text).collect();
    scene.out.answer(answer, &text.join("\n"));
    args.report.as_ref().map_or(Ok(()), |path| write_report(path, answer))
}

/// The sources to restore: those that were given a database, or for a dry run all that the store holds.
async fn wanted(env: &LogEnv, destinations: &[Destination]) -> Result<Vec<SourceName>, Failure> {
    if destinations.is_empty() {
        return Ok(sources(&*env.store).await?);
    }
    Ok(destinations.iter().map(|destination| destination.source.clone()).collect())
}

fn names(destinations: &[Destination]) -> String {
    let name = |destination: &Destination| match target(destination) {
        Ok(target) => format!("{} ({}/{})", destination.source, target.address(), target.database()),
        Err(_) => destination.source.to_string(),
    };
    destinations.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn target(destination: &Destination) -> Result<ConnectTarget, TargetError> {
    destination.url.expose().parse()
}

async fn one(
    scene: &Scene,
    env: &LogEnv,
    args: &RestoreArgs,
    plan: Plan,
    destination: &Destination,
) -> Result<RestoreReport, Failure> {
    let target = target(destination).map_err(|error| Failure::of(Exit::Usage, error))?;
    let order = RestoreOrder {
        plan,
        target,
        roles: match args.roles {
            args::Roles::Create => restore::Roles::Create,
            args::Roles::None => restore::Roles::None,
        },
        jobs: args.jobs.unwrap_or(scene.config.base.jobs),
        only: args.only.clone(),
        window: WindowRule::default(),
    };
    let bar = PhaseBar::new(scene.out);
    let restored = Box::pin(restore::restore(env, &order, &bar)).await;
    bar.bar.finish_and_clear();
    restored.map_err(failed)
}

/// How a verb ends that could not read or restore.
pub fn failed(error: RestoreError) -> Failure {
    let exit = match error.verdict() {
        Verdict::Failed => Exit::Failed,
        Verdict::NotRestorable => Exit::NotRestorable,
        Verdict::Damaged => Exit::VerificationFailed,
        Verdict::Unavailable => Exit::Unavailable,
    };
    Failure::of(exit, error)
}

fn write_report(path: &Path, answer: &serde_json::Value) -> Result<(), Failure> {
    let written = std::fs::write(path, format!("{answer:#}\n"));
    written.map_err(|error| {
        Failure::text(Exit::Failed, format!("the report {} cannot be written: {error}", path.display()))
    })
}

fn plan_json(plan: &Plan) -> serde_json::Value {
    let point = |transaction: Option<crate::apply::postgres::Transaction>| {
        transaction.map(|transaction| {
            json!({
                "xid": transaction.xid.get(), "time": transaction.time.to_string(),
                "position": Lsn::from(transaction.position).to_string(),
            })
        })
    };
    json!({
        "source": plan.source.to_string(), "asked": plan.asked.to_string(), "base": plan.base.to_string(),
        "base_point": plan.point.to_string(), "segments": plan.segments.len(), "bytes": plan.bytes,
        "stops_at": Lsn::from(plan.stop.position).to_string(), "last_included": point(plan.stop.last),
        "first_excluded": point(plan.stop.excluded), "excluded_not_after": plan.stop.excluded_not_after,
        "inexact": plan.inexact, "warnings": plan.warnings,
    })
}

fn text(report: &RestoreReport) -> String {
    let mut lines =
        vec![format!("{}: restored into {}, everything up to {}", report.source, report.database, report.reached)];
    if let Some(last) = &report.last_included {
        lines.push(format!("  last in     xid {}, committed {}", last.xid, last.time));
    }
    if let Some(first) = &report.first_excluded {
        lines.push(format!("  first out   xid {}, committed {}", first.xid, first.time));
    }
    let phases: Vec<_> =
        report.phases.iter().map(|(phase, seconds)| format!("{} {seconds:.1} s", phase.name())).collect();
    lines.push(format!("  base        {} rows of {}", report.base_rows, report.base));
    lines.push(format!("  log         {} transactions, {} changes", report.transactions, report.changes));
    lines.push(format!("  took        {:.1} s: {}", report.seconds, phases.join(", ")));
    lines.extend(report.inexact.iter().map(|table| format!("  INEXACT     {table}")));
    lines.extend(report.warnings.iter().map(|warning| format!("  warning     {warning}")));
    lines.join("\n")
}

/// A bar for each phase on a terminal, a line for each elsewhere.
struct PhaseBar {
    bar: ProgressBar,
    lines: bool,
}

impl PhaseBar {
    fn new(out: Out) -> Self {
        let lines = !out.is_json() && !out::is_interactive();
        let target = if out.is_json() || lines { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{msg:10} [{bar:30}] {percent}% {elapsed}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(0), target).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, lines }
    }
}

impl RestoreProgress for PhaseBar {
    fn phase(&self, phase: Phase, total: u64) {
        self.bar.reset();
        self.bar.set_length(total);
        self.bar.set_message(phase.name());
        if self.lines {
            out::note(phase.name());
        }
    }

    fn advance(&self, done: u64) {
        self.bar.inc(done);
    }
}
