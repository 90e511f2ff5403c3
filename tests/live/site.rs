//! One installation of Holdfast beside a server: its configuration, its daemon, its clients, and its log read back.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use holdfast::clock::{Clock, SystemClock};
use holdfast::codec::gap::Gap;
use holdfast::codec::pgoutput::{Column, Message};
use holdfast::codec::segment::Suite;
use holdfast::connect::{Mode, Session};
use holdfast::crypto::Keyring;
use holdfast::crypto::file::FileKey;
use holdfast::entropy::OsEntropy;
use holdfast::log::{History, Item, Items, LogEnv};
use holdfast::model::{Lsn, Position, SourceName};
use holdfast::store::FolderStore;

use crate::init::LOGICAL;
use crate::program::{Holdfast, Output};
use crate::running::Daemon;
use crate::scale::scale;
use crate::servers::Postgres;

/// A server, a store, a key, a state folder and the configuration that names them.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    pub(crate) server: Postgres,
    pub(crate) holdfast: Holdfast,
    pub(crate) http: SocketAddr,
}

impl Site {
    /// An installation that `init` has prepared, with a table `public.load (id bigint primary key, pad text)`.
    pub(crate) fn new(source: &str, log: &str) -> Self {
        Self::storing("folder = \"{at}/store\"", &[], source, log)
    }

    /// The same with another store, and variables for the program; `{at}` is the installation's folder.
    pub(crate) fn storing(store: &str, variables: &[(&'static str, &'static str)], source: &str, log: &str) -> Self {
        Self::keyed("file = \"{at}/key\"", store, variables, &[source, log])
    }

    /// The same with another key, too; the settings are those of the source and of the log.
    pub(crate) fn keyed(
        key: &str,
        store: &str,
        variables: &[(&'static str, &'static str)],
        [source, log]: &[&str; 2],
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("hf-site-").tempdir().unwrap();
        let server = Postgres::start_with(&LOGICAL);
        server.psql("postgres", "create table public.load (id bigint primary key, pad text)");
        let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let at = folder.path().display();
        let [key, store] = [key, store].map(|place| place.replace("{at}", &at.to_string()));
        let config = format!(
            "[service]\nname = \"a <test>\"\nstate_dir = \"{at}/state\"\n[key]\n{key}\n\
             [[store]]\n{store}\n[[source]]\nname = \"main\"\npostgres = \"{}\"\n{source}\n\
             [log]\n{log}\n[base]\nevery = \"never\"\n[schema_image]\nquiet = \"1h\"\nmax_wait = \"2h\"\n\
             [listen]\nhttp = \"{http}\"\n",
            server.url("postgres")
        );
        fs::write(folder.path().join("holdfast.toml"), config).unwrap();
        let holdfast = Holdfast::new(folder.path().join("holdfast.toml")).with(variables);
        let site = Self { folder, server, holdfast, http };
        site.must(&["init"]);
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a verb that succeeds.
    pub(crate) fn must(&self, args: &[&str]) -> Output {
        let ran = self.holdfast.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        ran
    }

    /// Runs a verb that succeeds, and reads its JSON.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let ran = self.must(&[args, &["--json"]].concat());
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// Starts the daemon; what it logs goes to a file.
    pub(crate) fn daemon(&self, args: &[&str]) -> Daemon {
        self.daemon_with(args, &[])
    }

    /// Starts the daemon with variables in its environment.
    pub(crate) fn daemon_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Daemon {
        let mut command = self.holdfast.command(&[args, &["run"]].concat());
        command.envs(variables.iter().copied());
        Daemon::start(command, self.folder.path())
    }

    /// Starts the daemon and waits until it captures.
    pub(crate) fn capturing(&self) -> Daemon {
        let mut daemon = self.daemon(&[]);
        daemon.wait_until("it captures", || self.status_of("phase") == Some("capturing".into()));
        daemon
    }

    /// A field of the one source in the daemon's status; `None` if no daemon answers.
    pub(crate) fn status_of(&self, field: &str) -> Option<serde_json::Value> {
        let ran = self.holdfast.run(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&ran.stdout).ok()?;
        if status["daemon"] == true { status["sources"][0].get(field).cloned() } else { None }
    }

    /// Waits until everything that is committed by now is durable.
    pub(crate) fn caught_up(&self, daemon: &mut Daemon) {
        let here: Lsn = self.server.psql("postgres", "select pg_current_wal_lsn()").parse().unwrap();
        self.server.psql("postgres", "select pg_logical_emit_message(true, 'here', '')");
        daemon.wait_until("it is durable", || {
            let durable = self.status_of("durable").and_then(|lsn| lsn.as_str()?.parse::<Lsn>().ok());
            durable.is_some_and(|durable| durable > here)
        });
    }

    /// Code and body of a page.
    pub(crate) fn get(&self, page: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.http).ok()?;
        write!(stream, "GET {page} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    pub(crate) async fn env(&self) -> LogEnv {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store = FolderStore::open(&self.path("store"), Arc::clone(&clock)).await.unwrap();
        LogEnv {
            store: Arc::new(store),
            keys: Arc::new(Keyring::of_file(FileKey::read(&self.path("key")).unwrap())),
            suite: Suite::default(),
            clock,
            entropy: Arc::new(OsEntropy),
        }
    }

    /// What the log holds, read from store and key alone.
    pub(crate) async fn captured(&self) -> Captured {
        let (env, source): (_, SourceName) = (self.env().await, "main".parse().unwrap());
        let history = History::load(&env, &source).await.unwrap();
        assert!(history.missing.is_empty(), "missing: {:?}", history.missing);
        let mut captured = Captured { end: Lsn::from(history.last().unwrap().to), ..Captured::default() };
        let live = history.live().cloned().collect();
        let mut log = Items::new(&env, &source, history.log.unwrap(), live, Position::ZERO);
        let (mut items, mut open) = (Vec::new(), Vec::new());
        while log.next(&mut items).await.unwrap() {
            items.drain(..).for_each(|item| captured.take(item, &mut open));
        }
        captured
    }
}

/// What a log holds of `public.load`, in its order.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    pub(crate) ids: Vec<u64>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) end: Lsn,
    tables: BTreeMap<u32, String>,
}

impl Captured {
    fn take(&mut self, item: Item, open: &mut Vec<u64>) {
        match item {
            Item::Begin(..) | Item::Void => open.clear(),
            Item::Message(wire) | Item::Context(wire) => match Message::decode(&wire).unwrap() {
                Message::Relation(relation) => drop(self.tables.insert(relation.relid, relation.name)),
                Message::Insert { relid, new } if self.tables[&relid] == "load" => match new.columns().next() {
                    Some(Column::Text(id)) => open.push(std::str::from_utf8(id).unwrap().parse().unwrap()),
                    other => panic!("no id: {other:?}"),
                },
                Message::Begin(_)
                | Message::Commit(_)
                | Message::Origin { .. }
                | Message::Type { .. }
                | Message::Insert { .. }
                | Message::Update { .. }
                | Message::Delete { .. }
                | Message::Truncate { .. }
                | Message::Message { .. } => {}
            },
            Item::Commit(_) => self.ids.append(open),
            Item::Gap(wire) => self.gaps.push(Gap::decode(&wire).unwrap()),
            Item::Session(_) | Item::Heartbeat(_) => {}
        }
    }

    /// Every id once, and exactly these.
    pub(crate) fn must_be(&self, mut recorded: Vec<u64>, when: &str) {
        let mut ids = self.ids.clone();
        ids.sort_unstable();
        recorded.sort_unstable();
        let repeated: Vec<_> = ids.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).take(5).collect();
        assert!(repeated.is_empty(), "{when}: repeated {repeated:?}");
        let lost: Vec<_> = recorded.iter().filter(|id| ids.binary_search(id).is_err()).take(5).collect();
        assert!(lost.is_empty(), "{when}: lost {lost:?} of {}", recorded.len());
        assert_eq!(ids.len(), recorded.len(), "{when}: more than the clients wrote");
    }
}

/// Clients that insert rows as fast as they are let, and record what the server told them is committed.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<Vec<u64>>>,
}

impl Load {
    /// Starts clients, as many as the scale makes of them; `next` gives every row its own id.
    pub(crate) fn start(site: &Site, next: &Arc<AtomicU64>, clients: usize, pad: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (stop, next, target) = (Arc::clone(&stop), Arc::clone(next), site.server.target());
            tokio::spawn(async move {
                let mut recorded = Vec::new();
                let mut session = Session::connect(&target, Mode::Sql, &SystemClock::new(), &[]).await.unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let ids: Vec<_> = (0..3).map(|_| next.fetch_add(1, Ordering::Relaxed)).collect();
                    let row = |id: &u64| {
                        format!("({id}, (select string_agg(md5(random()::text), '') from generate_series(1, {pad})))")
                    };
                    let rows: Vec<_> = ids.iter().map(row).collect();
                    // The server may be shut down by the test; what was not answered is not recorded.
                    if session
                        .execute_batch(&format!("insert into public.load values {}", rows.join(",")))
                        .await
                        .is_err()
                    {
                        break;
                    }
                    recorded.extend(ids);
                }
                recorded
            })
        };
        let clients = (0..clients * usize::try_from(scale()).unwrap()).map(client).collect();
        Self { stop, clients }
    }

    /// Stops; gives what is committed.
    pub(crate) async fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for client in self.clients {
            all.extend(client.await.unwrap());
        }
        all
    }
}
