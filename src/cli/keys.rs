//! The verb `keys`: makes keys, changes them, and shows which are at hand and which the store needs; never a key.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::args::KeysVerb;
use crate::cli::ask;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::scene::{MIRRORS_WITHIN, Scene};
use crate::crypto::file::{FileKey, KeyFile, KeyFileError, KeyFileErrorKind, write_identity};
use crate::crypto::keyring::recipient_name;
use crate::crypto::recovery::RecoveryIdentity;
use crate::daemon::mirrors::Deletes;
use crate::daemon::{assemble, chain};
use crate::log::rewrap::{self, Rewrapped};
use crate::log::wrapped::{self, Stretch};
use crate::store;

/// Runs `keys`.
pub async fn run(scene: &Scene, verb: &KeysVerb) -> Result<Exit, Failure> {
    match verb {
        KeysVerb::New { recovery: None } => new(scene)?,
        KeysVerb::New { recovery: Some(path) } => new_recovery(scene, path)?,
        KeysVerb::List => list(scene).await?,
        KeysVerb::Rotate { file } => rotate(scene, *file).await?,
        KeysVerb::Rewrap => return rewrap(scene).await,
    }
    Ok(Exit::Done)
}

fn new(scene: &Scene) -> Result<(), Failure> {
    let path = scene.config.key.need_file()?;
    let key = FileKey::fresh(&*scene.entropy);
    key.write_new(path).map_err(|error| Failure::of(Exit::Failed, error))?;
    let text = format!(
        "key {} is in {}\nKeep a copy away from this machine and away from the store: without it nothing can be read.",
        key.id(),
        path.display()
    );
    scene.out.answer(&json!({ "key": key.id().to_string(), "file": path }), &text);
    Ok(())
}

fn new_recovery(scene: &Scene, path: &Path) -> Result<(), Failure> {
    let identity = RecoveryIdentity::fresh(&*scene.entropy);
    write_identity(path, &identity).map_err(|error| Failure::of(Exit::Failed, error))?;
    let public = identity.public();
    let text = format!(
        "the private half is in {}: take it offline, it opens everything\n\
         Write the public half into [key], and nowhere else:\n  recovery = \"{public}\"",
        path.display()
    );
    let answer = json!({ "recovery": public.to_string(), "key": public.id().to_string(), "file": path });
    scene.out.answer(&answer, &text);
    Ok(())
}

fn unreadable(error: KeyFileError) -> Failure {
    Failure::of(if error.kind == KeyFileErrorKind::Foreign { Exit::Failed } else { Exit::Unavailable }, error)
}

async fn list(scene: &Scene) -> Result<(), Failure> {
    let (mut keys, mut lines) = (Vec::new(), Vec::new());
    let settings = &scene.config.key;
    let mut tell = |name: String, place: String, wraps: bool| {
        let does = if wraps { "wraps new data keys" } else { "opens old ones" };
        lines.push(format!("{name}  {place}  {does}"));
        keys.push(json!({ "key": name, "place": place, "current": wraps }));
    };
    if let Some(kms) = &settings.kms {
        tell(format!("kms {}", kms.target.key_id), "key service".to_owned(), true);
        kms.old.iter().for_each(|old| tell(format!("kms {old}"), "key service".to_owned(), false));
    }
    if let Some(path) = &settings.file {
        let file = KeyFile::read(path).map_err(unreadable)?;
        let place = format!("key file {}", path.display());
        for (at, key) in file.keys.iter().enumerate() {
            tell(key.id().to_string(), place.clone(), at == 0 && settings.kms.is_none());
        }
        for identity in &file.identities {
            tell(format!("recovery {}", identity.public().id()), place.clone(), false);
        }
    }
    if let Some(recovery) = &settings.recovery {
        tell(format!("recovery {}", recovery.id()), "its private half is elsewhere".to_owned(), true);
    }
    let (mut sealed, mut closed, mut not_asked) = (Vec::new(), Vec::new(), None);
    match scene.env().await {
        Ok(env) => {
            for source in store::sources(&*env.store).await? {
                let found = wrapped::stretches(&env, &source).await?;
                sealed.extend(found.stretches);
                closed.extend(found.closed.iter().map(|error| chain(error)));
            }
        }
        Err(failure) => {
            let why = chain(&*failure.error);
            lines.push(format!("the store was not asked: {why}"));
            not_asked = Some(why);
        }
    }
    lines.extend(sealed.iter().map(line));
    lines.extend(closed.iter().map(|error| format!("cannot be read: {error}")));
    let sealed: Vec<_> = sealed.iter().map(value).collect();
    // "Not asked" is not "nothing is sealed".
    let sealed = if not_asked.is_none() { json!(sealed) } else { Value::Null };
    let answer = json!({ "keys": keys, "sealed": sealed, "closed": closed, "store_not_asked": not_asked });
    scene.out.answer(&answer, &lines.join("\n"));
    Ok(())
}

fn recipients(stretch: &Stretch) -> Vec<String> {
    stretch.header.wraps.iter().map(recipient_name).collect()
}

fn line(stretch: &Stretch) -> String {
    let (from, to) = (stretch.header.sealed_at, stretch.last_header.sealed_at);
    let (first, many) = (&stretch.first, stretch.objects);
    format!("{from} to {to}: {many} objects from {first} on, sealed for {}", recipients(stretch).join(", "))
}

fn value(stretch: &Stretch) -> Value {
    json!({
        "first": stretch.first.to_string(), "last": stretch.last.to_string(), "objects": stretch.objects,
        "epoch": stretch.header.epoch.get(), "from": stretch.header.sealed_at.to_string(),
        "to": stretch.last_header.sealed_at.to_string(), "sealed_for": recipients(stretch),
    })
}

async fn rotate(scene: &Scene, file: bool) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let mut made = None;
    if file {
        let path = scene.config.key.need_file()?;
        let key = FileKey::fresh(&*scene.entropy);
        KeyFile::put_in_front(path, &key).map_err(unreadable)?;
        lines.push(format!(
            "key {} stands first in {} now: copy the file anew, then restart the daemon; what the old keys opened they\n\
             open for ever, so keep them secret, and in the file until keys rewrap has run",
            key.id(),
            path.display()
        ));
        made = Some(key.id().to_string());
    }
    let answer = ask::daemon(scene, &json!({ "verb": "keys_rotate" })).await?;
    lines.push(match answer {
        Some(_) => "the daemon seals the next segment but few under a new data key".to_owned(),
        None => "no daemon runs: the next one begins with a new data key".to_owned(),
    });
    scene.out.answer(&json!({ "daemon": answer.is_some(), "key": made }), &lines.join("\n"));
    Ok(())
}

/// Wraps what can be opened, and names what cannot.
async fn rewrap(scene: &Scene) -> Result<Exit, Failure> {
    let behind = scene.behind(&scene.env().await?, Deletes::Nothing).await?;
    let env = behind.env.clone();
    let (mut now, mut already, mut closed) = (0_u64, 0_u64, Vec::new());
    for source in store::sources(&*env.store).await? {
        let found = wrapped::stretches(&env, &source).await?;
        closed.extend(found.closed.iter().map(|error| chain(error)));
        for stretch in found.stretches {
            match rewrap::wrap_again(&env, &stretch.header).await {
                Ok(Rewrapped::Now) => now += 1,
                Ok(Rewrapped::Already) => already += 1,
                Err(error) if error.is_store_trouble() => return Err(error.into()),
                Err(error) => closed.push(format!("{}: {}", line(&stretch), chain(&error))),
            }
        }
    }
    let mut text = format!("{now} data keys were wrapped again, {already} needed nothing");
    if now > 0 {
        text.push_str("\nbefore an old key goes: holdfast verify, with a configuration that names the new one alone");
    }
    for stretch in &closed {
        text.push_str("\ncannot be opened: ");
        text.push_str(stretch);
    }
    scene.settle(&behind, MIRRORS_WITHIN).await;
    scene.out.answer(&json!({ "wrapped": now, "already": already, "closed": closed }), &text);
    Ok(if closed.is_empty() { Exit::Done } else { Exit::Unavailable })
}

/// What `init` says of the keys of a configuration with a key service: it must give data keys now.
pub async fn prove_service(scene: &Scene) -> Result<String, Failure> {
    let keys = assemble::keyring(&scene.config.key).await?;
    let proved = keys.prove(&*scene.clock, &*scene.entropy).await;
    proved.map_err(assemble::AssembleError::from)?;
    Ok(format!("the key service gives data keys ({})", keys.at_hand().join(", ")))
}
