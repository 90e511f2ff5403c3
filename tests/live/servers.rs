//! Throwaway PostgreSQL servers: started in a fresh folder, stopped and removed when dropped.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use holdfast::clock::SystemClock;
use holdfast::connect::{ConnectTarget, Mode, Session};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// A PostgreSQL server of our own on 127.0.0.1 and on a unix socket; superuser `postgres`, trust for everybody.
pub(crate) struct Postgres {
    /// Holds `data`, the socket and `log`; removed when dropped.
    folder: tempfile::TempDir,
    port: u16,
    settings: Vec<(String, String)>,
    child: Option<Child>,
}

impl Postgres {
    /// A server as it comes, without fsync.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with settings, such as `("wal_level", "logical")`.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_on(template(), settings)
    }

    /// A server that is nobody's copy: the others all have one system identifier.
    pub(crate) fn start_of_its_own(settings: &[(&str, &str)]) -> Self {
        let making = tempfile::Builder::new().prefix("hf-pg-making-").tempdir_in("/tmp").unwrap();
        Self::start_on(&initialised(making.path()), settings)
    }

    /// A server that first recovers a copy of a physical copy.
    pub(crate) fn start_recovery(copy: &Path, settings: &[(&str, &str)]) -> Self {
        fs::write(copy.join("recovery.signal"), "").unwrap();
        give_to_server(&copy.join("recovery.signal"));
        Self::start_on(copy, settings)
    }

    fn start_on(data: &Path, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("hf-pg-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        run(Command::new("cp").arg("-a").arg(data).arg(folder.path().join("data")));
        give_to_server(folder.path());
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut this = Self { folder, port: 0, settings, child: None };
        // Somebody else may take the free port before the server does.
        assert!((0..5).any(|_| this.launch(free_port())), "PostgreSQL does not start:\n{}", this.log());
        this
    }

    /// The URL of a database over TCP.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The URL of a database over the unix socket.
    pub(crate) fn socket_url(&self, database: &str) -> String {
        format!("postgres://postgres@/{database}?host={}&port={}", self.folder.path().display(), self.port)
    }

    /// A target for the database `postgres` over TCP.
    pub(crate) fn target(&self) -> ConnectTarget {
        self.url("postgres").parse().unwrap()
    }

    /// A session of ours with the database `postgres`.
    pub(crate) async fn session(&self, mode: Mode) -> Session {
        Session::connect(&self.target(), mode, &SystemClock::new(), &[]).await.unwrap()
    }

    /// Runs SQL by psql and gives back its plain output; an error fails the test.
    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        let output = Command::new(binaries().join("psql"))
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", sql, "-h"])
            .arg(self.folder.path())
            .args(["-p", &self.port.to_string()])
            .output()
            .unwrap();
        assert!(output.status.success(), "psql {sql:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Runs SQL again and again until its output is what is expected.
    pub(crate) fn wait_for(&self, database: &str, sql: &str, expected: &str) {
        let started = Instant::now();
        loop {
            let seen = self.psql(database, sql);
            if seen == expected {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{sql:?} stays {seen:?}, expected {expected:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Replaces `pg_hba.conf` and makes the server read it.
    pub(crate) fn set_hba(&self, lines: &str) {
        self.place("pg_hba.conf", lines);
        // psql comes in by the socket, which has to stay open for it.
        assert!(lines.contains("local all postgres trust"), "psql needs: local all postgres trust");
        // New sessions see the file once the postmaster has read it, which its log tells.
        let reloads = || self.log().matches("received SIGHUP").count();
        let (before, started) = (reloads(), Instant::now());
        signal(self.pid(), Signal::HUP);
        while reloads() == before {
            assert!(started.elapsed() < PATIENCE, "the server does not reload:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        let wrong =
            self.psql("postgres", "select line_number || ' ' || error from pg_hba_file_rules where error is not null");
        assert_eq!(wrong, "", "a line of pg_hba.conf is wrong");
    }

    /// Writes a file into the data folder, readable by the server alone; gives back its path.
    pub(crate) fn place(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.data_dir().join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        give_to_server(&path);
        path
    }

    /// The process id of the postmaster.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server was stopped").id()
    }

    /// The data folder.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Where the server logs.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Ends every session and stops.
    pub(crate) fn stop_fast(&mut self) {
        self.stop(Signal::INT);
    }

    /// Stops without a checkpoint, as after a crash.
    pub(crate) fn stop_immediate(&mut self) {
        self.stop(Signal::QUIT);
    }

    /// Starts again on the same port; stops fast first if it runs.
    pub(crate) fn restart(&mut self) {
        self.stop_fast();
        assert!(self.launch(self.port), "PostgreSQL does not start again:\n{}", self.log());
    }

    /// Sends a signal to the postmaster without waiting for what it does.
    pub(crate) fn send(&self, what: Signal) {
        signal(self.pid(), what);
    }

    fn stop(&mut self, how: Signal) {
        let Some(mut child) = self.child.take() else { return };
        signal(child.id(), how);
        let started = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if started.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("PostgreSQL did not stop:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn launch(&mut self, port: u16) -> bool {
        self.port = port;
        let folder = self.folder.path().to_str().unwrap();
        let log = fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = as_server(binaries().join("postgres"));
        command.arg("-D").arg(self.data_dir()).args(["-p", &port.to_string(), "-k", folder]);
        let own = [
            ("listen_addresses", "127.0.0.1"),
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("shared_buffers", "32MB"),
            ("log_replication_commands", "on"),
        ];
        for (name, value) in own {
            command.args(["-c", &format!("{name}={value}")]);
        }
        for (name, value) in &self.settings {
            command.args(["-c", &format!("{name}={value}")]);
        }
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let child = self.child.insert(child);
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if child.try_wait().unwrap().is_some() {
                self.child = None;
                return false;
            }
            let state = fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
            if state.starts_with(&child.id().to_string())
                && state.lines().nth(7).is_some_and(|line| line.trim() == "ready")
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.stop(Signal::QUIT);
        false
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), Signal::QUIT);
            drop(child.wait());
        }
    }
}

fn signal(pid: u32, what: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, what).unwrap_or_default(); // it may be gone already
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The newest PostgreSQL of this machine.
pub(crate) fn binaries() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut versions: Vec<(u32, PathBuf)> = versions
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .collect();
        versions.sort();
        let packaged = versions.into_iter().rev().map(|(_, path)| path);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = packaged.chain(std::env::split_paths(&path));
        let all: Vec<_> =
            all.filter(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file()).collect();
        all.into_iter().next().expect("these tests need PostgreSQL 13 or later: apt-get install postgresql")
    })
}

/// An initialized data folder to copy; made once per machine and kind of server, since initdb takes seconds.
fn template() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let version = Command::new(binaries().join("postgres")).arg("--version").output().unwrap().stdout;
        let version: String = String::from_utf8(version).unwrap().chars().filter(char::is_ascii_alphanumeric).collect();
        let user = rustix::process::getuid().as_raw();
        let ready = PathBuf::from(format!("/tmp/hf-pg-template-1-{version}-{user}"));
        if !ready.join("PG_VERSION").is_file() {
            let making = tempfile::Builder::new().prefix("hf-pg-making-").tempdir_in("/tmp").unwrap();
            let data = initialised(making.path());
            // Another process may have been faster; then its folder is as good.
            if fs::rename(&data, &ready).is_err() {
                assert!(ready.join("PG_VERSION").is_file(), "{} cannot be made", ready.display());
            }
        }
        ready
    })
}

fn initialised(folder: &Path) -> PathBuf {
    give_to_server(folder);
    let data = folder.join("data");
    let options = ["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-D"];
    run(as_server(binaries().join("initdb")).args(options).arg(&data));
    data
}

/// PostgreSQL refuses to run as root, so root runs it as `postgres`.
pub(crate) fn as_server(program: impl AsRef<OsStr>) -> Command {
    if rustix::process::getuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
        command.current_dir("/tmp");
        command
    } else {
        Command::new(program)
    }
}

fn give_to_server(path: &Path) {
    if rustix::process::getuid().is_root() {
        run(Command::new("chown").arg("postgres:postgres").arg(path));
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
