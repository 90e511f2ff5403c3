//! A source with a store of its own: captured when told to, its bases taken when told to, restored beside itself.

use std::sync::Arc;
use std::time::Duration;

use holdfast::apply::postgres::WindowRule;
use holdfast::clock::SystemClock;
use holdfast::codec::base::Manifest;
use holdfast::codec::gap::Gap;
use holdfast::codec::segment::Suite;
use holdfast::connect::Mode;
use holdfast::crypto::Keyring;
use holdfast::crypto::file::FileKey;
use holdfast::daemon::pipeline::{Ended, Observer, Pipeline};
use holdfast::entropy::OsEntropy;
use holdfast::log::fence;
use holdfast::log::tail::Tail;
use holdfast::log::{CutRule, Durable, History, LogEnv, Writer};
use holdfast::model::{Lsn, SourceName};
use holdfast::restore::{GapRule, RestoreError, RestoreOrder, RestoreReport, Roles, Survey, Unwatched, restore};
use holdfast::source::postgres::base::{self, BaseOrder, BaseProgress, NoProgress};
use holdfast::source::postgres::context::PostgresContext;
use holdfast::source::postgres::heartbeat::emit;
use holdfast::source::postgres::init::IdentityRule;
use holdfast::source::postgres::slot::{Found, Held};
use holdfast::source::postgres::stream::{Known, Opened, PostgresSettings};
use holdfast::store::MemoryStore;
use tokio::sync::watch;

use crate::init::initialised;
use crate::servers::Postgres;

/// Nobody watches the pipeline.
struct Nobody;

impl Observer for Nobody {
    fn durable(&self, _durable: &Durable) {}

    fn base_wanted(&self, _gap: &Gap) {}
}

/// A server whose database `postgres` is captured into a store in memory.
pub(crate) struct Site {
    pub(crate) server: Postgres,
    pub(crate) env: LogEnv,
    pub(crate) source: SourceName,
    pub(crate) segment_bytes: usize,
    pub(crate) window: WindowRule,
}

impl Site {
    /// A server that holds what `sql` makes, initialised for capture.
    pub(crate) async fn start(sql: &str) -> Self {
        let settings = [("wal_level", "logical"), ("synchronous_commit", "off"), ("max_wal_senders", "10")];
        let server = Postgres::start_with(&settings);
        server.psql("postgres", sql);
        initialised(&server, IdentityRule::Full).await;
        let env = LogEnv {
            store: Arc::new(MemoryStore::default()),
            keys: Arc::new(Keyring::of_file(FileKey::fresh(&OsEntropy))),
            suite: Suite::ChaCha20Poly1305,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(OsEntropy),
        };
        let source = "main".parse().unwrap();
        Self { server, env, source, segment_bytes: 64 * 1024, window: WindowRule::default() }
    }

    /// Runs SQL at the source.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.psql("postgres", sql)
    }

    /// Captures everything that was committed by now.
    pub(crate) async fn capture(&self) {
        let settings = PostgresSettings {
            name: self.source.clone(),
            target: self.server.target(),
            publications: vec!["holdfast".to_owned()],
            heartbeat: Duration::from_secs(1),
        };
        let mut opened = Opened::connect(&settings, &self.env.clock).await.unwrap();
        let reign = fence::take(&self.env, &self.source, None).await.unwrap();
        let held = Held { durable: Lsn::from(reign.cursor.to), latest: reign.cursor.to_time };
        let passed_over = std::collections::BTreeSet::new();
        let known = Known { held, tail: Tail::Unknown, shapes: None, passed_over, drain: true };
        opened.release().await.unwrap();
        let Found::Usable(start) = opened.reconcile(held).await.unwrap() else { panic!("the slot is of no use") };
        let source = opened.stream(start, known).await.unwrap();
        let rule = CutRule { segment_bytes: self.segment_bytes, segment_age: Duration::from_millis(100) };
        let writer = Writer::new(&self.env, &self.source, reign, rule, Box::new(PostgresContext::default()));
        let (_keep, stop) = watch::channel(false);
        let pipeline = Pipeline::new(writer, Box::new(source), Arc::clone(&self.env.clock), Arc::new(Nobody));
        assert_eq!(pipeline.run(stop).await.unwrap(), Ended::Drained);
    }

    /// Takes a base.
    pub(crate) async fn base(&self) -> Manifest {
        let log = History::load(&self.env, &self.source).await.unwrap().log;
        let (source, target) = (self.source.clone(), self.server.target());
        let order = BaseOrder { source, target, jobs: 2, log, system_id: None, claims: None };
        let progress: Arc<dyn BaseProgress> = Arc::new(NoProgress);
        base::take(&self.env, &order, &progress).await.unwrap()
    }

    /// Puts a mark into the history.
    pub(crate) async fn mark(&self, name: &str) {
        emit(&mut self.server.session(Mode::Sql).await, "holdfast.mark", name).await.unwrap();
    }

    /// Looks at what is stored.
    pub(crate) async fn survey(&self) -> Survey {
        Survey::take(&self.env, &self.source).await.unwrap()
    }

    /// Restores into a new database of the same server.
    pub(crate) async fn restore(&self, to: &str, database: &str) -> Result<RestoreReport, RestoreError> {
        let plan = self.survey().await.plan(&to.parse().unwrap(), GapRule::Refuse, &[]).await?;
        let order = RestoreOrder {
            plan,
            target: self.server.url(database).parse().unwrap(),
            roles: Roles::Create,
            jobs: 2,
            only: Vec::new(),
            window: self.window,
        };
        restore(&self.env, &order, &Unwatched).await
    }

    /// Everything in a database that a user put there, as one text: the schema, every table's rows, every sequence.
    pub(crate) fn everything(&self, database: &str) -> String {
        let tables = "select quote_ident(nspname) || '.' || quote_ident(relname) from pg_class c join pg_namespace n \
            on n.oid = relnamespace where relkind = 'r' and relpersistence = 'p' and nspname !~ '^(pg_|holdfast|information_schema)' order by 1";
        let mut all = String::new();
        for table in self.server.psql(database, tables).lines() {
            let rows = format!(
                "select '{}' || ': ' || case when length(x::text) < 999 then x::text else md5(x::text) end from only {table} x order by x::text collate \"C\"",
                table.replace('\'', "''")
            );
            all.push_str(&self.server.psql(database, &rows));
            all.push('\n');
        }
        all
    }

    /// What the clock of server and daemon says, as a target.
    pub(crate) fn now(&self) -> String {
        self.env.clock.now().to_string()
    }
}

/// Tells what differs, line by line.
pub(crate) fn assert_same(restored: &str, expected: &str, why: &str) {
    let diff = |a: &str, b: &str| {
        a.lines().filter(|line| !b.lines().any(|other| other == *line)).map(str::to_owned).collect::<Vec<_>>()
    };
    let (surplus, lacking) = (diff(restored, expected), diff(expected, restored));
    assert!(surplus.is_empty() && lacking.is_empty(), "{why}: surplus {surplus:#?}, lacking {lacking:#?}");
    assert_eq!(restored, expected, "{why}");
}
