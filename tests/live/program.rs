//! The program itself, run as a user runs it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// `holdfast -c CONFIG`, without its verb.
pub(crate) struct Holdfast {
    config: PathBuf,
    variables: Vec<(&'static str, &'static str)>,
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code; nothing if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Holdfast {
    /// The program with a configuration.
    pub(crate) fn new(config: impl AsRef<Path>) -> Self {
        Self { config: config.as_ref().to_owned(), variables: Vec::new() }
    }

    /// The program with variables in its environment.
    pub(crate) fn with(self, variables: &[(&'static str, &'static str)]) -> Self {
        Self { variables: variables.to_vec(), ..self }
    }

    /// Runs a verb to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        output(self.command(args).output().unwrap())
    }

    /// Starts a verb and lets it run; its output is piped. Whoever starts it ends it.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A verb, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.arg("-c").arg(&self.config).args(args).stdin(Stdio::null());
        command.envs(self.variables.iter().copied());
        command
    }
}

/// The output of a program that has ended.
pub(crate) fn output(raw: std::process::Output) -> Output {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Output { code: raw.status.code(), stdout: text(raw.stdout), stderr: text(raw.stderr) }
}

#[test]
fn asking_for_help_succeeds_without_a_configuration() {
    let holdfast = Holdfast::new("/nowhere/holdfast.toml");
    let ran = holdfast.run(&["--help"]);
    let spawned = output(holdfast.spawn(&["--help"]).wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!((spawned.code, spawned.stdout), (ran.code, ran.stdout));
}

/// A key that was made beside a store that cannot be used stands in the way of the one that sealed what is in it.
#[test]
fn init_makes_a_key_only_for_a_store_that_it_has_made() {
    type Prepare = fn(&Path);
    let newer: Prepare = |store| {
        std::fs::create_dir_all(store.join(".holdfast")).unwrap();
        std::fs::write(store.join(".holdfast/format"), "holdfast folder store 99\n").unwrap();
    };
    let foreign: Prepare = |store| {
        std::fs::create_dir_all(store).unwrap();
        std::fs::write(store.join("holiday.jpg"), "x").unwrap();
    };
    let no_folder: Prepare = |store| std::fs::write(store, "a file").unwrap();
    #[rustfmt::skip]
    let cases = [
        // what is there     ends with  key    why
        (newer,              6,         false, "a store that a newer version made"),
        (foreign,            6,         false, "a folder that holds other things"),
        (no_folder,          6,         false, "no folder at all"),
        (|_| {},             0,         true,  "nothing: both are made"),
    ];
    for (prepare, code, key, why) in cases {
        let folder = tempfile::TempDir::new().unwrap();
        prepare(&folder.path().join("store"));
        let config = folder.path().join("holdfast.toml");
        let text = "[service]\nstate_dir = \"state\"\n[key]\nfile = \"key\"\n[[store]]\nfolder = \"store\"\n";
        std::fs::write(&config, text).unwrap();
        let ran = Holdfast::new(&config).run(&["init"]);
        assert_eq!(ran.code, Some(code), "{why}: {ran:?}");
        assert_eq!(folder.path().join("key").exists(), key, "{why}: {ran:?}");
    }
}
