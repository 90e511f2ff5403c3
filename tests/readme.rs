//! The ten minutes of the README, run as they stand, in an empty folder with a throwaway server.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test reads its environment and waits by the machine's clock")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

#[expect(dead_code, reason = "the live tests use more of it")]
#[path = "live/servers.rs"]
mod servers;

/// The commands of every block that is marked as shell, in order.
fn commands(readme: &str) -> String {
    let blocks = readme.split("\n```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_readmes_commands_bring_back_every_order_before_the_accident() {
    let server = servers::Postgres::start_with(&[("wal_level", "logical")]);
    let folder = tempfile::Builder::new().prefix("hf-readme-").tempdir_in("/tmp").unwrap();
    let script = commands(&fs::read_to_string("README.md").unwrap());
    assert!(script.contains("holdfast restore --to before-xid:"), "the README lost its tour");
    let url = server.url("postgres");
    let port = url.rsplit(':').next().and_then(|rest| rest.split('/').next()).expect("a URL has a port");
    let programs = Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().unwrap();
    let path = std::env::join_paths(
        [programs.to_owned(), servers::binaries().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    // What the script started ends with it, also where a command of it fails.
    let guarded = format!("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    let ran = Command::new("bash")
        .arg("-c")
        .arg(guarded)
        .current_dir(folder.path())
        .env("PATH", path.unwrap())
        .envs([("PGHOST", "127.0.0.1"), ("PGPORT", port), ("PGUSER", "postgres")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let daemon = fs::read_to_string(folder.path().join("daemon.log")).unwrap_or_default();
    assert!(ran.status.success(), "{}\n{stdout}\n{stderr}\n{daemon}", ran.status);
    assert!(stdout.lines().any(|line| line == "1001"), "a thousand orders and the last good one:\n{stdout}\n{stderr}");
    let left = server.psql("shop", "select count(*) from pg_replication_slots");
    assert_eq!(left, "0", "init --remove leaves nothing behind");
}
