//! The verb `init`: key, store, and what the source needs; safe to repeat, and `--remove` undoes what it did on the source.

use std::path::Path;

use serde_json::json;

use crate::cli::args::InitArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::keys;
use crate::cli::out;
use crate::cli::scene::Scene;
use crate::config::{Identity, SourceSettings, StorePlace, StoreSettings};
use crate::connect::{Mode, Session};
use crate::crypto::file::FileKey;
use crate::daemon::{assemble, mirrors, strangers};
use crate::source::postgres::init::{self, IdentityRule, InitPlan, InitReport, Run};
use crate::store::{FolderStore, Refusal, StoreErrorKind};

/// Runs `init`.
pub async fn run(scene: &Scene, args: &InitArgs) -> Result<Exit, Failure> {
    let mut done = Vec::new();
    if args.remove {
        let sentence = "init --remove takes slot, triggers and publication away, and capture ends";
        out::confirm(args.yes || args.dry_run, sentence)?;
    } else {
        stores_and_key(scene, args, &mut done).await?;
    }
    let mut warnings = Vec::new();
    for source in &scene.config.sources {
        let report = on_source(scene, source, args).await?;
        done.extend(report.done.iter().map(|what| format!("{}: {what}", source.name)));
        done.extend(report.already.iter().map(|what| format!("{}: {what}: there already", source.name)));
        warnings.extend(report.warnings.iter().map(|what| format!("{}: {what}", source.name)));
    }
    let would = if args.dry_run { "would be done; nothing was changed:\n" } else { "" };
    let mut text = format!("{would}{}", done.join("\n"));
    for warning in &warnings {
        text.push_str("\nwarning: ");
        text.push_str(warning);
    }
    scene.out.answer(&json!({ "done": done, "warnings": warnings, "dry_run": args.dry_run }), &text);
    Ok(Exit::Done)
}

async fn on_source(scene: &Scene, source: &SourceSettings, args: &InitArgs) -> Result<InitReport, Failure> {
    let failed = |error| Failure::of(Exit::Failed, error);
    let admin = assemble::admin_target(source)?;
    let session = Session::connect(&admin, Mode::Sql, &*scene.clock, &[]).await;
    let mut session = session.map_err(|error| Failure::of(Exit::Failed, error))?;
    let run = if args.dry_run { Run::Dry } else { Run::Do };
    if args.remove {
        return init::remove(&mut session, &*scene.clock, &source.name, run).await.map_err(failed);
    }
    let role = assemble::target(source)?.user().to_owned();
    let plan = InitPlan { source: source.name.clone(), identity: rule(source), role };
    init::init(&mut session, &*scene.clock, &plan, run).await.map_err(failed)
}

/// What happens to tables without identity, as configured.
pub const fn rule(source: &SourceSettings) -> IdentityRule {
    match source.identity {
        Identity::Full => IdentityRule::Full,
        Identity::Leave => IdentityRule::Leave,
    }
}

/// Does on a source what `check --fix` offers: all that `init` would do there.
pub async fn prepare(scene: &Scene, source: &SourceSettings) -> Result<(), Failure> {
    let args = InitArgs { remove: false, dry_run: false, yes: true };
    on_source(scene, source, &args).await.map(drop)
}

/// The stores, and a key where they hold nothing yet: never a new key beside a log that another one sealed.
async fn stores_and_key(scene: &Scene, args: &InitArgs, done: &mut Vec<String>) -> Result<(), Failure> {
    let (mut holding, mut missing) = (Vec::new(), Vec::new());
    for settings in scene.config.stores() {
        match look(scene, settings).await? {
            Stand::Missing => missing.push(settings),
            Stand::Holding => holding.push(settings),
            Stand::Empty => {}
        }
    }
    let first = &scene.config.store;
    mirrors_of_ours(scene, &holding).await?;
    if let (true, Some(mirror)) = (!holding.contains(&first), holding.first()) {
        // A new log in an empty first store would hide the one that the mirror holds.
        let (what, mirror) = (if missing.contains(&first) { "not there" } else { "empty" }, &mirror.name);
        let sentence = format!(
            "store {} is {what}, and mirror {mirror} holds a log: bring the store back, or make the mirror the first \
             one with `holdfast store promote {mirror}`",
            first.name
        );
        return Err(Failure::text(Exit::Unavailable, sentence));
    }
    let fresh = if scene.config.key.kms.is_some() {
        done.push(keys::prove_service(scene).await?);
        None
    } else {
        key_file(scene, holding.is_empty(), done)?
    };
    for settings in holding {
        let alone = scene.config.clone().with_store_alone(&settings.name)?;
        let env = assemble::log_env(&alone, &scene.clock, &scene.entropy).await?;
        let ours = strangers::refuse(&env, &settings.place.to_string()).await;
        ours.map_err(assemble::AssembleError::from)?;
    }
    for settings in scene.config.stores() {
        let place = &settings.place;
        match place {
            StorePlace::Folder(folder) if missing.contains(&settings) => {
                if !args.dry_run {
                    FolderStore::create(folder).await?;
                }
                done.push(format!("store {place} made"));
            }
            StorePlace::Folder(_) | StorePlace::S3(_) => done.push(format!("store {place} is there")),
        }
    }
    // Last: a key that was made for nothing would stand in the way of the one that is needed.
    if let Some(path) = fresh {
        if !args.dry_run {
            let key = FileKey::fresh(&*scene.entropy);
            key.write_new(path).map_err(|error| Failure::of(Exit::Failed, error))?;
        }
        done.push(format!("key file {} made: keep a copy away from this machine and the store", path.display()));
    }
    Ok(())
}

/// Refuses a mirror that holds another installation's log: to say that it holds one, and could be promoted, would be the
/// worst advice.
async fn mirrors_of_ours(scene: &Scene, holding: &[&StoreSettings]) -> Result<(), Failure> {
    let open = async |settings| assemble::open_store(settings, &scene.clock, &scene.entropy).await;
    let mut ours: Vec<_> = scene.config.sources.iter().map(|source| source.name.clone()).collect();
    if holding.contains(&&scene.config.store) {
        ours = mirrors::own_sources(&*open(&scene.config.store).await?, &scene.config).await?;
    }
    for mirror in holding.iter().filter(|settings| ***settings != scene.config.store) {
        let looked = strangers::refuse_as_mirror(&*open(mirror).await?, &mirror.place.to_string(), &ours).await;
        looked.map_err(assemble::AssembleError::from)?;
    }
    Ok(())
}

/// What stands where a store is to be.
enum Stand {
    /// Nothing: a folder that can be made.
    Missing,
    /// A store without a log.
    Empty,
    /// A store with a log.
    Holding,
}

async fn look(scene: &Scene, settings: &StoreSettings) -> Result<Stand, Failure> {
    let opened = assemble::open_store(settings, &scene.clock, &scene.entropy).await;
    let store = match (opened, &settings.place) {
        (Ok(store), _) => store,
        (Err(error), StorePlace::Folder(_)) if error.kind == StoreErrorKind::Refused(Refusal::NoStore) => {
            return Ok(Stand::Missing);
        }
        // One that is there and cannot be opened may hold a log. And a bucket has owners, rules and a price: whoever
        // answers for them makes it.
        (Err(error), StorePlace::Folder(_) | StorePlace::S3(_)) => return Err(error.into()),
    };
    if !crate::store::sources(&*store).await?.is_empty() {
        return Ok(Stand::Holding);
    }
    if let StorePlace::S3(bucket) = &settings.place {
        assemble::bucket(bucket, &scene.clock).await?.refuse_foreign().await?;
    }
    Ok(Stand::Empty)
}

/// The key file, if it is to be made.
fn key_file<'a>(scene: &'a Scene, store_is_empty: bool, done: &mut Vec<String>) -> Result<Option<&'a Path>, Failure> {
    let key = scene.config.key.need_file()?;
    if key.exists() {
        FileKey::read(key).map_err(|error| Failure::of(Exit::Unavailable, error))?;
        done.push(format!("key file {} is there", key.display()));
        return Ok(None);
    }
    if store_is_empty {
        return Ok(Some(key));
    }
    let sentence = format!(
        "the store {} holds a log and the key file {} is missing; put the copy of the key there that sealed it",
        scene.config.store.place,
        key.display()
    );
    Err(Failure::text(Exit::Unavailable, sentence))
}
