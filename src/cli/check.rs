//! The verb `check`: can everything be captured and restored? One line each, and what to do; before trouble, not after.

use serde_json::json;

use crate::cli::args::CheckArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::init;
use crate::cli::scene::Scene;
use crate::config::{SourceSettings, StorePlace, StoreSettings};
use crate::crypto::service::{KeyServiceError, Trouble};
use crate::daemon::{assemble, chain, mirrors, strangers};
use crate::log::{History, LogEnv, hold};
use crate::model::Lsn;
use crate::restore::bases;
use crate::restore::error::RestoreError;
use crate::source::postgres::check::{self, CheckPlan, Finding, Verdict};
use crate::store::s3::{Lock, Protection, S3Place, Versioning};
use crate::store::{probe_refuses_overwrite, sources};

/// What was found, of which source; `None` for what concerns all.
struct Found<'a> {
    source: Option<&'a SourceSettings>,
    finding: Finding,
}

/// Runs `check`.
pub async fn run(scene: &Scene, args: &CheckArgs) -> Result<Exit, Failure> {
    let mut found = Vec::new();
    let env = match scene.env().await {
        Ok(env) => {
            found.push(Found { source: None, finding: finding("key and store", Verdict::Ok, "can be opened", "") });
            found.extend(of_keys(&env).await.into_iter().map(|finding| Found { source: None, finding }));
            found.push(Found { source: None, finding: probe(&env).await });
            if let StorePlace::S3(place) = &scene.config.store.place {
                found.push(Found { source: None, finding: protection(scene, place).await });
            }
            Some(env)
        }
        Err(failure) => {
            let remedy = "see to that; `holdfast init` makes what is missing";
            let finding = finding("key and store", Verdict::Failure, &chain(&*failure.error), remedy);
            found.push(Found { source: None, finding });
            None
        }
    };
    if let Some(env) = env.as_ref().filter(|_| !scene.from_mirror) {
        let all = of_mirrors(scene, env).await;
        found.extend(all.into_iter().map(|finding| Found { source: None, finding }));
    }
    for source in scene.config.need_sources()? {
        if args.fix {
            init::prepare(scene, source).await?;
        }
        let durable = match &env {
            Some(env) => of_store(env, source, &mut found).await,
            None => None,
        };
        let identity = init::rule(source);
        let plan = CheckPlan { source: source.name.clone(), identity, durable };
        let all = check::check_source(&assemble::target(source)?, &*scene.clock, &plan).await;
        found.extend(all.into_iter().map(|finding| Found { source: Some(source), finding }));
    }
    scene.out.answer(&as_json(&found), &as_text(&found));
    Ok(exit(&found, env.is_some()))
}

fn finding(name: &'static str, verdict: Verdict, what: &str, remedy: &str) -> Finding {
    Finding { name, verdict, what: what.to_owned(), remedy: remedy.to_owned() }
}

/// Whether the key services serve, and whether we would be told if they stopped to.
async fn of_keys(env: &LogEnv) -> Vec<Finding> {
    let name = "key service";
    let of_one = |(key, state): (String, Result<(), KeyServiceError>)| match state {
        Ok(()) => finding(name, Verdict::Ok, &format!("key {key} can be used, and be asked how it is"), ""),
        Err(error) if error.trouble == Trouble::Denied => {
            let what = format!("this role may not ask how key {key} is");
            let remedy = "grant kms:DescribeKey with it: else nobody is told of a key that was disabled or is going to \
                          be deleted, until sealing ends";
            finding(name, Verdict::Warning, &what, remedy)
        }
        Err(error) if error.trouble.is_outage() => {
            finding(name, Verdict::Unknown, &error.to_string(), "see to that, then check again")
        }
        Err(error) => finding(name, Verdict::Failure, &error.to_string(), "see to that before sealing ends"),
    };
    env.keys.states().await.into_iter().map(of_one).collect()
}

/// A store that lets a second put through would let two daemons write one log (L5).
async fn probe(env: &LogEnv) -> Finding {
    use crate::store::Verdict as Probed;
    let name = "put if absent";
    match probe_refuses_overwrite(&*env.store, &*env.entropy).await {
        Err(error) => finding(name, Verdict::Unknown, &chain(&error), "see to the store, then check again"),
        Ok(report) => match (report.verdict, report.left_behind) {
            (Probed::Sound, None) => finding(name, Verdict::Ok, "a second put of a name is refused", ""),
            (Probed::Sound, Some(error)) => {
                let remedy = "the probe's objects stay in probe/; remove them when you like";
                finding(name, Verdict::Warning, &chain(&error), remedy)
            }
            (Probed::OverwriteClaimed | Probed::Overwritten | Probed::Winners(_), _) => {
                let remedy = "use another file system or server: on this one two daemons could overwrite each other";
                finding(name, Verdict::Failure, "the store lets an object be put twice", remedy)
            }
        },
    }
}

/// Whether each mirror is there and keeps the contract, and whether the stores agree on which of them decides.
async fn of_mirrors(scene: &Scene, env: &LogEnv) -> Vec<Finding> {
    let mut found = vec![match mirrors::may_decide(env, &scene.config).await {
        Ok(_silent) => finding("first store", Verdict::Ok, &format!("{} decides", scene.config.store.name), ""),
        Err(error) => {
            finding("first store", Verdict::Failure, &chain(&error), "see `Another store was made the first one`")
        }
    }];
    if scene.config.mirrors.is_empty() {
        let remedy = "add a second [[store]], on another disk or in another region: the daemon keeps it in step";
        found.push(finding("mirror", Verdict::Warning, "there is none: with the store all history is lost", remedy));
    }
    for settings in &scene.config.mirrors {
        let store = match assemble::open_store(settings, &scene.clock, &scene.entropy).await {
            Ok(store) => store,
            Err(error) => {
                let verdict = if settings.required { Verdict::Failure } else { Verdict::Warning };
                let what = format!("{}: {}", settings.name, chain(&error));
                found.push(finding("mirror", verdict, &what, "see to it; the daemon catches up by itself"));
                continue;
            }
        };
        let there = LogEnv { store, ..env.clone() };
        let probed = probe(&there).await;
        found.push(Finding { name: "mirror", what: format!("{}: {}", settings.name, probed.what), ..probed });
        found.extend(of_another(scene, env, &there, settings).await);
        found.extend(of_holds(env, &there, &settings.name).await);
    }
    found
}

/// Two installations may have one key: whose a mirror is, its logs tell.
async fn of_another(scene: &Scene, first: &LogEnv, mirror: &LogEnv, settings: &StoreSettings) -> Option<Finding> {
    let ours = mirrors::own_sources(&*first.store, &scene.config).await.ok()?;
    let place = format!("{} ({})", settings.name, settings.place);
    let refused = strangers::refuse_as_mirror(&*mirror.store, &place, &ours).await.err()?;
    Some(finding("mirror", Verdict::Failure, &chain(&refused), "point [[store]] of one of them elsewhere"))
}

/// Holds that were taken off while a mirror was away stay there, and keep more than they need.
async fn of_holds(first: &LogEnv, mirror: &LogEnv, name: &str) -> Option<Finding> {
    let mut left = Vec::new();
    for source in sources(&*mirror.store).await.ok()? {
        let ours = hold::list(first, &source).await.ok()?;
        let theirs = hold::list(mirror, &source).await.ok()?;
        left.extend(theirs.into_iter().filter(|hold| !ours.contains(hold)).map(|hold| hold.name.to_string()));
    }
    let what = format!("{name}: keeps holds that the first store does not have: {}", left.join(", "));
    let remedy = "take them off there too with `holdfast hold remove NAME`, or put them back with `hold add`";
    (!left.is_empty()).then(|| finding("mirror", Verdict::Warning, &what, remedy))
}

/// What guards a bucket's objects from whoever holds credentials. A prefix without is no failure: the log is as exact.
async fn protection(scene: &Scene, place: &S3Place) -> Finding {
    let name = "versions and lock";
    let asked = match assemble::bucket(place, &scene.clock).await {
        Ok(bucket) => bucket.protection().await,
        Err(error) => Err(error),
    };
    let remedy =
        "let the bucket keep versions and lock new objects (Object Lock), or whoever may delete can end all history";
    match asked {
        Err(error) => finding(name, Verdict::Warning, &chain(&error), "let this role read the bucket's configuration"),
        Ok(Protection { versioning: Versioning::On, lock: Lock::Compliance { days } }) => {
            finding(name, Verdict::Ok, &format!("versions are kept, and nobody deletes for {days} days"), "")
        }
        Ok(Protection { versioning: Versioning::On, lock: Lock::Governance { days } }) => {
            let what = format!("versions are kept; for {days} days only who may bypass governance deletes");
            finding(name, Verdict::Ok, &what, "")
        }
        Ok(Protection { versioning: Versioning::On, lock: Lock::NoDefault | Lock::Off }) => {
            finding(name, Verdict::Warning, "versions are kept and nothing locks them", remedy)
        }
        Ok(Protection { versioning: Versioning::Suspended | Versioning::Off, lock: _ }) => {
            finding(name, Verdict::Warning, "the bucket keeps no versions", remedy)
        }
    }
}

/// What the store holds of a source; gives the last durable position.
async fn of_store<'a>(env: &LogEnv, source: &'a SourceSettings, found: &mut Vec<Found<'a>>) -> Option<Lsn> {
    let mut push = |finding| found.push(Found { source: Some(source), finding });
    let mut durable = None;
    match History::load(env, &source.name).await {
        Ok(history) => {
            durable = history.last().map(|last| Lsn::from(last.to)).filter(|lsn| *lsn > Lsn::ZERO);
            let what = durable.map_or("nothing yet".to_owned(), |lsn| format!("durable up to {lsn}"));
            push(finding("log", Verdict::Ok, &what, ""));
            if let Some(slot) = history.missing.first() {
                let what = format!("object {slot} of the log is missing");
                push(finding("log", Verdict::Failure, &what, "run `holdfast verify`; a new base begins history anew"));
            }
        }
        Err(error) => push(finding("log", Verdict::Failure, &chain(&error), "run `holdfast verify`")),
    }
    match bases::list(env, &source.name).await {
        Ok(bases) if bases.is_empty() => {
            let remedy = "the daemon takes one by itself; `holdfast backup` takes one now";
            push(finding("base", Verdict::Warning, "there is none yet, so nothing can be restored", remedy));
        }
        Ok(bases) => {
            let newest = bases.last().map(|base| base.taken_at.to_string()).unwrap_or_default();
            push(finding("base", Verdict::Ok, &format!("{} there, the newest of {newest}", bases.len()), ""));
        }
        Err(error) if error.is_out_of_reach() => push(closed_base(env, source, &error).await),
        Err(error) => push(finding("base", Verdict::Failure, &chain(&error), "run `holdfast verify`")),
    }
    durable
}

/// A writer need not open what it writes: clear headers tell that there is a base, and of when.
async fn closed_base(env: &LogEnv, source: &SourceSettings, why: &RestoreError) -> Finding {
    match bases::newest_clear(env, &source.name).await {
        Ok(newest) => {
            let newest = newest.map_or("nothing".to_owned(), |header| header.to_time.to_string());
            let what = format!("the newest is of {newest}, and this role cannot open it: {}", chain(why));
            finding("base", Verdict::Warning, &what, "a writer need not; run check under a role that restores, too")
        }
        Err(error) => finding("base", Verdict::Failure, &chain(&error), "run `holdfast verify`"),
    }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Unknown => "unknown",
        Verdict::Failure => "FAILED",
    }
}

fn as_json(found: &[Found<'_>]) -> serde_json::Value {
    let one = |found: &Found<'_>| {
        json!({
            "source": found.source.map(|source| source.name.to_string()), "name": found.finding.name,
            "verdict": word(found.finding.verdict).to_lowercase(), "what": found.finding.what,
            "remedy": found.finding.remedy,
        })
    };
    json!({ "findings": found.iter().map(one).collect::<Vec<_>>() })
}

fn as_text(found: &[Found<'_>]) -> String {
    let line = |found: &Found<'_>| {
        let of = found.source.map(|source| format!("{}: ", source.name)).unwrap_or_default();
        let Finding { name, verdict, what, remedy } = &found.finding;
        let remedy = if remedy.is_empty() { String::new() } else { format!("\n         {remedy}") };
        format!("{:8} {of}{name}: {what}{remedy}", word(*verdict))
    };
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Warnings alone are done; what could not be asked is not fine (L11).
fn exit(found: &[Found<'_>], has_store: bool) -> Exit {
    match found.iter().map(|found| found.finding.verdict).max_by_key(|verdict| severity(*verdict)) {
        _ if !has_store => Exit::Unavailable,
        Some(Verdict::Failure) => Exit::Failed,
        Some(Verdict::Unknown) => Exit::CouldNotTell,
        Some(Verdict::Ok | Verdict::Warning) | None => Exit::Done,
    }
}

const fn severity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ok => 0,
        Verdict::Warning => 1,
        Verdict::Unknown => 2,
        Verdict::Failure => 3,
    }
}
