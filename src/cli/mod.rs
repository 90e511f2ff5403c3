//! The command line: one verb, one file, and one match from verb to function.

pub mod args;
pub mod ask;
pub mod backup;
pub mod catalog;
pub mod check;
pub mod evidence;
pub mod exit;
pub mod expire;
pub mod failure;
pub mod find;
pub mod histories;
pub mod hold;
pub mod init;
pub mod keys;
pub mod list;
pub mod mark;
pub mod out;
pub mod process;
pub mod progress;
pub mod restore;
pub mod run;
pub mod scene;
pub mod status;
pub mod verify;

use std::ffi::OsString;

use crate::cli::args::{Args, Verb};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::out::Out;
use crate::cli::scene::Scene;

/// Runs the verb of a command line, the program's name first.
pub fn main(line: impl IntoIterator<Item = OsString>) -> Exit {
    process::keep_memory_private();
    let args = match Args::read(line) {
        Ok(args) => args,
        Err(error) => {
            // Nothing more can be done about a terminal that does not take the help.
            return if error.print().is_ok() { Exit::from(&error) } else { Exit::Failed };
        }
    };
    if let Some(death) = args.death() {
        death.arm();
    }
    out::begin_logging(&args);
    if matches!(args.verb, Verb::Run(_)) {
        process::let_servers_go_first();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(dispatch(&args))),
        Err(error) => Err(Failure::of(Exit::Failed, error)),
    };
    match ended {
        Ok(exit) => exit,
        Err(failure) => {
            Out::new(&args).failure(&failure);
            failure.exit
        }
    }
}

async fn dispatch(args: &Args) -> Result<Exit, Failure> {
    let scene = Scene::set(args)?;
    match &args.verb {
        Verb::Keys(verb) => keys::run(&scene, verb).await,
        Verb::Run(run) => run::run(&scene, run).await,
        Verb::Backup(backup) => backup::run(&scene, backup).await,
        Verb::Init(init) => init::run(&scene, init).await,
        Verb::Verify(verify) => verify::run(&scene, verify).await,
        Verb::Expire(expire) => expire::run(&scene, expire).await,
        Verb::Hold(verb) => hold::run(&scene, verb).await,
        Verb::Status => status::run(&scene).await,
        Verb::Mark(mark) => mark::run(&scene, mark).await,
        Verb::Catalog(verb) => catalog::run(&scene, *verb).await,
        Verb::Check(check) => check::run(&scene, check).await,
        Verb::Find(find) => find::run(&scene, find).await,
        Verb::List(list) => list::run(&scene, list).await,
        Verb::Restore(restore) => Box::pin(restore::run(&scene, restore)).await,
    }
}
