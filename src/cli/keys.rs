//! The verb `keys`: makes the key file, and shows which keys are at hand; never a key.

use serde_json::json;

use crate::cli::args::KeysVerb;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::scene::Scene;
use crate::crypto::file::{FileKey, KeyFileErrorKind};

/// Runs `keys new` or `keys list`.
pub fn run(scene: &Scene, verb: KeysVerb) -> Result<Exit, Failure> {
    let path = &scene.config.key.file;
    match verb {
        KeysVerb::New => {
            let key = FileKey::fresh(&*scene.entropy);
            key.write_new(path).map_err(|error| Failure::of(Exit::Failed, error))?;
            let text = format!(
                "key {} is in {}\nKeep a copy away from this machine and away from the store: without it nothing can be read.",
                key.id(),
                path.display()
            );
            scene.out.answer(&json!({ "key": key.id().to_string(), "file": path }), &text);
        }
        KeysVerb::List => {
            let key = FileKey::read(path).map_err(|error| {
                let exit = if error.kind == KeyFileErrorKind::Foreign { Exit::Failed } else { Exit::Unavailable };
                Failure::of(exit, error)
            })?;
            let id = key.id().to_string();
            let text = format!("{id}  key file {}  wraps new data keys", path.display());
            scene.out.answer(&json!({ "keys": [{ "key": id, "file": path, "current": true }] }), &text);
        }
    }
    Ok(Exit::Done)
}
