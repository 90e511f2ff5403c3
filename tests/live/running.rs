//! A daemon that a test has started: waited for, ended in one way or another, and killed when it is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// So much of what a daemon said explains most failures.
const LINES_SHOWN: usize = 40;

/// A process that lasts; killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a verb that lasts; what it says goes to a file of its own in `folder`.
    pub(crate) fn start(mut command: Command, folder: &Path) -> Self {
        let log = tempfile::Builder::new().prefix("daemon-").suffix(".log").tempfile_in(folder).unwrap();
        let (_, log) = log.keep().unwrap();
        let out = File::options().append(true).open(&log).unwrap();
        let child = command.stdout(out.try_clone().unwrap()).stderr(out).stdin(Stdio::null()).spawn().unwrap();
        Self { child, log }
    }

    /// What it has said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The end of what it has said.
    pub(crate) fn logged(&self) -> String {
        let said = self.said();
        let lines: Vec<_> = said.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }

    /// Waits until it says something.
    pub(crate) fn wait_for(&self, text: &str) {
        eventually(text, || self.said().contains(text).then_some(()), || self.said());
    }

    /// Waits until something is so, while it lives.
    pub(crate) fn wait_until(&mut self, what: &str, so: impl Fn() -> bool) {
        let started = Instant::now();
        while !so() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the daemon ended before {what}: {status}\n{}", self.logged());
            }
            assert!(started.elapsed() < PATIENCE, "not in time: {what}\n{}", self.logged());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ends_within(&mut self, patience: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < patience, "it does not end\n{}", self.logged());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end; gives its exit code and what it said.
    pub(crate) fn ended(&mut self) -> (Option<i32>, String) {
        let status = self.ends_within(PATIENCE);
        (status.code(), self.said())
    }

    /// Ends it in order; gives its exit code and what it said.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Looks again and again until there is something to see.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>, why_not: impl Fn() -> String) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < PATIENCE, "{what} does not happen:\n{}", why_not());
        std::thread::sleep(Duration::from_millis(50));
    }
}
