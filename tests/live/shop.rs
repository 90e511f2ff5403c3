//! An installation to try things on: a server with the database `shop`, a store, a key, a state folder, and the program.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::{Holdfast, Output};
use crate::running::Daemon;
use crate::servers::Postgres;

/// The exit codes of the design.
pub(crate) mod exit {
    pub(crate) const DONE: Option<i32> = Some(0);
    pub(crate) const FAILED: Option<i32> = Some(1);
    pub(crate) const USAGE: Option<i32> = Some(2);
    pub(crate) const NOT_RESTORABLE: Option<i32> = Some(3);
    pub(crate) const DAMAGED: Option<i32> = Some(4);
    pub(crate) const FENCED: Option<i32> = Some(5);
    pub(crate) const UNAVAILABLE: Option<i32> = Some(6);
    pub(crate) const COULD_NOT_TELL: Option<i32> = Some(7);
}

/// A server, and a folder with everything of ours.
pub(crate) struct Shop {
    pub(crate) server: Postgres,
    pub(crate) folder: tempfile::TempDir,
}

impl Shop {
    /// A server with the database `shop`, and a configuration; nothing is initialised.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(Postgres::start_with(&[&[("wal_level", "logical")], settings].concat()))
    }

    /// The same on a server of one's own.
    pub(crate) fn on(server: Postgres) -> Self {
        server.psql("postgres", "create database shop");
        let this = Self { server, folder: tempfile::Builder::new().prefix("hf-shop-").tempdir_in("/tmp").unwrap() };
        this.configure("holdfast.toml", "state");
        this
    }

    /// An initialised shop whose database was filled by `sql` before, with a first base.
    pub(crate) fn ready(sql: &str, settings: &[(&str, &str)]) -> Self {
        let this = Self::with(settings);
        this.sql(sql);
        this.ok(&["init"]);
        this.ok(&["backup"]);
        this
    }

    /// Writes a configuration with a state folder of its own; gives the program with it.
    pub(crate) fn configure(&self, name: &str, state: &str) -> Holdfast {
        let text = format!(
            "[service]\nstate_dir = \"{state}\"\n[key]\nfile = \"key\"\n[[store]]\nfolder = \"store\"\n[[source]]\n\
             name = \"main\"\npostgres = \"{}\"\nheartbeat = \"1s\"\n[log]\nsegment_age = \"100ms\"\n[base]\n\
             every = \"never\"\n[schema_image]\nquiet = \"1s\"\nmax_wait = \"5s\"\n",
            self.server.url("shop")
        );
        self.write(name, &text)
    }

    /// Writes any configuration; gives the program with it.
    pub(crate) fn write(&self, name: &str, text: &str) -> Holdfast {
        fs::write(self.path(name), text).unwrap();
        Holdfast::new(self.path(name))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn holdfast(&self) -> Holdfast {
        Holdfast::new(self.path("holdfast.toml"))
    }

    /// Runs a verb.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.holdfast().run(args)
    }

    /// Runs a verb that must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> Output {
        self.expect(args, exit::DONE)
    }

    /// Runs a verb that must end so.
    pub(crate) fn expect(&self, args: &[&str], code: Option<i32>) -> Output {
        let ran = self.run(args);
        assert_eq!(ran.code, code, "{args:?}: {ran:#?}");
        ran
    }

    /// Runs a verb that must succeed, for its JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[&["--json"], args].concat()).stdout).unwrap()
    }

    /// The source `main`, as `list` shows it.
    pub(crate) fn listed(&self) -> Value {
        self.json(&["list"])["sources"][0].clone()
    }

    /// The reasons of the gaps, as `list` shows them.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let gaps = self.listed()["gaps"].clone();
        gaps.as_array().unwrap().iter().map(|gap| gap["reason"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn bases(&self) -> usize {
        self.listed()["bases"].as_array().map_or(0, Vec::len)
    }

    /// Bases of which the store holds anything, whole or not.
    pub(crate) fn base_folders(&self) -> usize {
        let folders = fs::read_dir(self.path("store/base/main")).map(|found| found.map(|one| one.unwrap().path()));
        folders.map_or(0, |found| found.filter(|folder| !files(folder).is_empty()).count())
    }

    /// Runs SQL in the source.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.psql("shop", sql)
    }

    /// Captures what there is.
    pub(crate) fn drain(&self) {
        self.ok(&["run", "--until-caught-up"]);
    }

    /// `NAME=URL` of a database of the same server.
    pub(crate) fn destination(&self, database: &str) -> String {
        format!("main={}", self.server.url(database))
    }

    /// Restores into a database of the same server.
    pub(crate) fn restore(&self, to: &str, database: &str) -> Output {
        self.run(&["restore", "--to", to, "--into", &self.destination(database), "--yes"])
    }

    /// Restores, and gives what a query shows there.
    pub(crate) fn restored(&self, to: &str, database: &str, sql: &str) -> String {
        let ran = self.restore(to, database);
        assert_eq!(ran.code, exit::DONE, "{ran:#?}");
        self.server.psql(database, sql)
    }

    /// Starts the daemon.
    pub(crate) fn daemon(&self) -> Daemon {
        self.daemon_with(&self.holdfast(), &["run"])
    }

    /// Starts the daemon and waits until it captures.
    pub(crate) fn capturing(&self) -> Daemon {
        let daemon = self.daemon();
        daemon.wait_for("capturing");
        daemon
    }

    /// Starts a verb that lasts, its output in a file.
    pub(crate) fn daemon_with(&self, holdfast: &Holdfast, args: &[&str]) -> Daemon {
        Daemon::start(holdfast.command(args), self.folder.path())
    }

    /// Waits until all that has committed by now is acknowledged, and so is durable.
    pub(crate) fn settle(&self) {
        let end = self.sql("select pg_current_wal_insert_lsn()");
        // A commit of ours, so that the stream gets there.
        self.sql("select pg_logical_emit_message(true, 'test', '')");
        let sql = format!(
            "select coalesce(bool_or(confirmed_flush_lsn >= '{end}'), false) from pg_replication_slots \
             where slot_name = 'holdfast_main'"
        );
        self.server.wait_for("postgres", &sql, "t");
    }
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}
