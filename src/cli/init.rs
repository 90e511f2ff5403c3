//! `init`: key, store, and what the source needs; safe to repeat, and `--remove` undoes what it did on the source.

use serde_json::json;

use crate::cli::args::InitArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::scene::Scene;
use crate::crypto::file::FileKey;
use crate::store::FolderStore;

/// Runs `init`.
pub async fn run(scene: &Scene, args: &InitArgs) -> Result<Exit, Failure> {
    let mut done = Vec::new();
    if !args.remove {
        store_and_key(scene, args, &mut done).await?;
    }
    scene.out.answer(&json!({ "done": done }), &done.join("\n"));
    Ok(Exit::Done)
}

/// The store, and a key for a store that holds nothing yet: never a new key beside a log that another one sealed.
async fn store_and_key(scene: &Scene, args: &InitArgs, done: &mut Vec<String>) -> Result<(), Failure> {
    let folder = &scene.config.store.folder;
    let opened = FolderStore::open(folder, std::sync::Arc::clone(&scene.clock)).await;
    let is_empty = match &opened {
        Err(_) => true,
        Ok(store) => crate::store::sources(store).await?.is_empty(),
    };
    let key = &scene.config.key.file;
    if key.exists() {
        FileKey::read(key).map_err(|error| Failure::of(Exit::Unavailable, error))?;
        done.push(format!("key file {} is there", key.display()));
    } else if !is_empty {
        let sentence = format!(
            "the store {} holds a log and the key file {} is missing; put the copy of the key there that sealed it",
            folder.display(),
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
    if opened.is_ok() {
        done.push(format!("store {} is there", folder.display()));
    } else {
        if !args.dry_run {
            FolderStore::create(folder).await?;
        }
        done.push(format!("store {} made", folder.display()));
    }
    Ok(())
}
