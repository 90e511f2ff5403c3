//! The verb `init`: key, store, and what the source needs; safe to repeat, and `--remove` undoes what it did on the source.

use serde_json::json;

use crate::cli::args::InitArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::keys;
use crate::cli::out;
use crate::cli::scene::Scene;
use crate::config::{Identity, SourceSettings, StorePlace};
use crate::connect::{Mode, Session};
use crate::crypto::KeyError;
use crate::crypto::file::FileKey;
use crate::daemon::assemble;
use crate::log::{History, LogEnv, LogError, ObjectError, ObjectErrorKind, expiry};
use crate::model::SourceName;
use crate::source::postgres::init::{self, IdentityRule, InitPlan, InitReport, Run};
use crate::store::{FolderStore, Refusal, StoreErrorKind};

/// Runs `init`.
pub async fn run(scene: &Scene, args: &InitArgs) -> Result<Exit, Failure> {
    let mut done = Vec::new();
    if args.remove {
        let sentence = "init --remove takes slot, triggers and publication away, and capture ends";
        out::confirm(args.yes || args.dry_run, sentence)?;
    } else {
        store_and_key(scene, args, &mut done).await?;
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

/// The store, and a key for a store that holds nothing yet: never a new key beside a log that another one sealed.
async fn store_and_key(scene: &Scene, args: &InitArgs, done: &mut Vec<String>) -> Result<(), Failure> {
    let place = &scene.config.store.place;
    let opened = assemble::open_store(&scene.config.store, &scene.clock, &scene.entropy).await;
    let opened = match (opened, place) {
        (Ok(store), _) => Some(store),
        (Err(error), StorePlace::Folder(_)) if error.kind == StoreErrorKind::Refused(Refusal::NoStore) => None,
        // A bucket has owners, rules and a price: whoever answers for them makes it. And a store that is there and cannot
        // be opened, one of a newer format for instance, is no place for a new one.
        (Err(error), StorePlace::S3(_) | StorePlace::Folder(_)) => return Err(error.into()),
    };
    let is_empty = match &opened {
        None => true,
        Some(store) => crate::store::sources(&**store).await?.is_empty(),
    };
    if let (true, StorePlace::S3(bucket)) = (is_empty, place) {
        assemble::bucket(bucket, &scene.clock).await?.refuse_foreign().await?;
    }
    // The store first: where it is refused no key is left behind that never sealed anything.
    match (opened, place) {
        (Some(_), _) => done.push(format!("store {place} is there")),
        (None, StorePlace::Folder(folder)) => {
            if !args.dry_run {
                FolderStore::create(folder).await?;
            }
            done.push(format!("store {place} made"));
        }
        (None, StorePlace::S3(_)) => {}
    }
    if scene.config.key.kms.is_some() {
        done.push(keys::prove_service(scene).await?);
    } else {
        key_file(scene, args, is_empty, done)?;
    }
    if is_empty { Ok(()) } else { refuse_strangers(scene).await }
}

/// Refuses a store that holds a log which our key does not open: it is another installation's, and two in one place would
/// end in each other's way. What is damaged or out of reach is not for `init` to judge.
async fn refuse_strangers(scene: &Scene) -> Result<(), Failure> {
    let env = scene.env().await?;
    for source in crate::store::sources(&*env.store).await? {
        if let Err(LogError::Object(ObjectError { kind: ObjectErrorKind::Key(KeyError::OtherKey { .. }), .. })) =
            opened(&env, &source).await
        {
            let place = &scene.config.store.place;
            let sentence = format!(
                "the store {place} holds the log {source} of another installation, or this is not its key; name another \
                 folder, bucket or prefix, or put the key there that sealed it"
            );
            return Err(Failure::text(Exit::Unavailable, sentence));
        }
    }
    Ok(())
}

/// Opens the newest object of a log.
async fn opened(env: &LogEnv, source: &SourceName) -> Result<(), LogError> {
    let history = History::load(env, source).await?;
    match history.last() {
        Some(last) => expiry::prove(env, source, last).await.map(drop),
        None => Ok(()),
    }
}

fn key_file(scene: &Scene, args: &InitArgs, store_is_empty: bool, done: &mut Vec<String>) -> Result<(), Failure> {
    let key = scene.config.key.need_file()?;
    if key.exists() {
        FileKey::read(key).map_err(|error| Failure::of(Exit::Unavailable, error))?;
        done.push(format!("key file {} is there", key.display()));
    } else if !store_is_empty {
        let sentence = format!(
            "the store {} holds a log and the key file {} is missing; put the copy of the key there that sealed it",
            scene.config.store.place,
            key.display()
        );
        return Err(Failure::text(Exit::Unavailable, sentence));
    } else {
        if !args.dry_run {
            let fresh = FileKey::fresh(&*scene.entropy);
            fresh.write_new(key).map_err(|error| Failure::of(Exit::Failed, error))?;
        }
        done.push(format!("key file {} made: keep a copy away from this machine and the store", key.display()));
    }
    Ok(())
}
