//! A process whose disk is watched, and fails it once: `shim.c` between it and the C library, and what it wrote down.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::life::CHILD;

/// One thing that the process did to names or bytes below its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    /// What: the name of the call, more or less.
    pub(crate) op: String,
    /// Whether the disk did it.
    pub(crate) done: bool,
    /// To what, below the folder.
    pub(crate) path: PathBuf,
    /// From what, where a name is made of another one.
    pub(crate) from: PathBuf,
    /// The bytes that were written.
    pub(crate) bytes: Vec<u8>,
}

/// A process that has ended.
pub(crate) struct Watched {
    /// What it left behind: `store`, `key`, and in `ack` what it was told is durable.
    pub(crate) folder: TempDir,
    /// All it did, in order.
    pub(crate) effects: Vec<Effect>,
    /// Whether it reached its end.
    pub(crate) succeeded: bool,
    /// What it said.
    pub(crate) said: String,
}

impl Watched {
    /// Runs the child, which fails at `fail` (`sync:3`, the third sync of a file of the store).
    pub(crate) fn run(fail: Option<&str>) -> Self {
        let ran = Self::run_as(CHILD, "store", fail);
        assert!(ran.effects.iter().any(|effect| effect.op == "sync"), "no sync was seen: {}", ran.said);
        ran
    }

    /// Runs a test as the child, with calls failing below that part of its folder.
    pub(crate) fn run_as(child_test: &str, part: &str, fail: Option<&str>) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("ack")).unwrap();
        let log = TempDir::new().unwrap();
        let log = log.path().join("effects");
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", child_test, "--nocapture"]).env("DISK_PART", part);
        child.env("DISK_ROOT", folder.path()).env("DISK_LOG", &log).env("LD_PRELOAD", shim());
        if let Some(fail) = fail {
            child.env("DISK_FAIL", fail);
        }
        let ran = child.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        let text = fs::read_to_string(&log).unwrap_or_else(|_| panic!("the shim did not come between: {said}"));
        let effects: Vec<_> = text.lines().map(|line| parse(line, folder.path())).collect();
        Self { folder, effects, succeeded: ran.status.success(), said }
    }

    /// Where it failed; nothing if that call never came.
    pub(crate) fn failed_at(&self) -> Option<usize> {
        self.effects.iter().position(|effect| !effect.done)
    }
}

fn parse(line: &str, root: &Path) -> Effect {
    let fields: Vec<_> = line.split('\t').collect();
    let below = |path: &str| Path::new(path).strip_prefix(root).unwrap_or(Path::new("")).to_owned();
    Effect {
        op: fields[0].to_owned(),
        done: fields[1] == "ok",
        path: below(fields[2]),
        from: below(fields[3]),
        bytes: hex::decode(fields[4]).unwrap(),
    }
}

/// The shim, compiled once.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/shim.c");
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-shim-{}.so", std::process::id()));
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&made).arg(source).arg("-ldl");
        let ran = cc.output().expect("this test compiles with cc, as the cryptographic library does");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        made
    })
}
