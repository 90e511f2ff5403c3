//! Bases of real servers: one instant of a busy database, every kind of table row for row, and nothing half taken.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use holdfast::clock::{Clock, ManualClock, SystemClock};
use holdfast::codec::base::{Content, Identity, Manifest, Table};
use holdfast::codec::rowsum::RowSplitter;
use holdfast::codec::segment::{ObjectKind, Suite};
use holdfast::connect::{ConnectTarget, Mode, Session};
use holdfast::crypto::Keyring;
use holdfast::crypto::file::FileKey;
use holdfast::crypto::stream::sha256;
use holdfast::entropy::{OsEntropy, SeededEntropy};
use holdfast::log::env::LogEnv;
use holdfast::log::object::Object;
use holdfast::model::{Lsn, SourceName};
use holdfast::source::postgres::base::sweep::sweep;
use holdfast::source::postgres::base::{BaseOrder, BaseProgress, NoProgress, take};
use holdfast::source::postgres::init::IdentityRule;
use holdfast::step::Death;
use holdfast::store::{FolderStore, Keys, MemoryStore, Part, Store, layout};

use crate::init::{LOGICAL, initialised};
use crate::scale::scale;
use crate::servers::Postgres;

/// A log's surroundings, with a key of its own.
pub(crate) fn env(store: Arc<dyn Store>) -> LogEnv {
    LogEnv {
        store,
        keys: Arc::new(Keyring::of_file(FileKey::fresh(&SeededEntropy::new(7)))),
        suite: Suite::default(),
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(OsEntropy),
    }
}

pub(crate) fn main_source() -> SourceName {
    "main".parse().unwrap()
}

pub(crate) fn order(target: ConnectTarget) -> BaseOrder {
    BaseOrder { source: main_source(), target, jobs: 2, log: None, system_id: None, claims: None }
}

pub(crate) fn nobody() -> Arc<dyn BaseProgress> {
    Arc::new(NoProgress)
}

/// The plain bytes of all parts, by what they hold; every part is checked against the manifest.
pub(crate) async fn contents(env: &LogEnv, manifest: &Manifest) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::<String, Vec<u8>>::new();
    for part in &manifest.parts {
        let key = layout::base_part(&main_source(), manifest.base, part.number);
        let bytes = env.store.get(&key, Part::Whole).await.unwrap().bytes();
        assert_eq!(hex::encode(sha256(&bytes)), part.sha256);
        let mut object = Object::open(env, &key, bytes).await.unwrap();
        assert_eq!(object.header.kind, ObjectKind::BasePart);
        let name = match part.content {
            Content::Stale => panic!("nothing was emptied"),
            Content::Globals => "globals".to_owned(),
            Content::PreData => "pre-data".to_owned(),
            Content::PostData => "post-data".to_owned(),
            Content::Rows { table, .. } => {
                let table = &manifest.tables[usize::try_from(table).unwrap()];
                format!("{}.{}", table.schema, table.name)
            }
        };
        let into = found.entry(name).or_default();
        let before = into.len();
        while let Some(frame) = object.next_frame().unwrap() {
            into.extend_from_slice(&frame);
        }
        assert_eq!(u64::try_from(into.len() - before).unwrap(), part.plain_bytes);
    }
    found
}

pub(crate) fn table<'m>(manifest: &'m Manifest, name: &str) -> &'m Table {
    manifest.tables.iter().find(|table| format!("{}.{}", table.schema, table.name) == name).unwrap()
}

fn sorted(lines: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<_> = lines.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

/// What `COPY` gives now, in our own settings.
async fn copied(server: &Postgres, sql: &str) -> Vec<u8> {
    let mut session = server.session(Mode::Sql).await;
    let mut rows = session.copy_out(sql).await.unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = rows.next().await.unwrap() {
        all.extend_from_slice(&chunk.bytes);
    }
    all
}

#[tokio::test]
async fn every_kind_of_table_is_in_the_base_row_for_row() {
    let server = Postgres::start_with(&LOGICAL);
    #[rustfmt::skip]
    let cases = [
        // table                        made by                                                          its rows                                why
        ("public.empty",                "create table empty (a int primary key)",                         "copy public.empty to stdout",          "no rows are no part"),
        ("public.bare",                 "create table bare (); insert into bare select; insert into bare select", "copy public.bare to stdout",   "rows without columns are rows"),
        ("odd.we\"ird na'me\\",         "create schema odd create table \"we\"\"ird na'me\\\" (\"a b\" int, \"select\" text); insert into odd.\"we\"\"ird na'me\\\" values (1, E'tab\\tline\\nback\\\\slash')", "copy odd.\"we\"\"ird na'me\\\" to stdout", "any name, any text"),
        ("public.computed",             "create table computed (a int, b int generated always as (a * 2) stored, c int); insert into computed (a, c) values (1, 5), (2, 6)", "copy public.computed (a, c) to stdout", "what is computed is not copied"),
        ("public.shrunk",               "create table shrunk (a int, b text, c int); insert into shrunk values (1, 'x', 2); alter table shrunk drop column b", "copy public.shrunk to stdout", "dropped columns are gone"),
        ("public.leaf",                 "create table root (a int, b int) partition by list (a); create table leaf partition of root default; insert into root values (1, 2)", "copy public.leaf to stdout", "leaves hold the rows"),
        ("public.parent",               "create table parent (a int); create table child () inherits (parent); insert into parent values (1); insert into child values (2)", "copy public.parent to stdout", "a parent's own rows alone"),
        ("public.long",                 "create table long (a text); insert into long select string_agg(md5(i::text), '') from generate_series(1, 1500000) i; insert into long values ('short')", "copy public.long to stdout", "a row longer than several parts"),
        ("public.kinds",                "create table kinds (a timestamptz, b interval, c float8, d bytea, e money, f text[]); insert into kinds values ('2026-11-23 10:15+02', '1 mon -2 days', 0.1, '\\xff00', 12.5, '{a,NULL}')", "copy public.kinds to stdout", "text forms follow the pins"),
    ];
    for (_, sql, ..) in &cases {
        server.psql("postgres", sql);
    }
    server.psql("postgres", "create unlogged table unlogged (a int); create sequence counter; select nextval('counter'); select nextval('counter')");
    initialised(&server, IdentityRule::Full).await;
    let env = env(Arc::new(MemoryStore::new()));
    let manifest = take(&env, &order(server.target()), &nobody()).await.unwrap();
    let contents = contents(&env, &manifest).await;
    for (name, _, copy, why) in cases {
        let (table, rows) = (table(&manifest, name), contents.get(name).map_or(&[][..], Vec::as_slice));
        let expected = copied(&server, copy).await;
        assert!(sorted(rows) == sorted(&expected), "{why}: {} bytes, expected {}", rows.len(), expected.len());
        let mut sum = RowSplitter::default();
        sum.push(&expected);
        assert_eq!(table.sum, sum.finish().unwrap(), "{why}");
        assert_eq!(table.bytes, u64::try_from(expected.len()).unwrap(), "{why}");
    }
    assert!(!manifest.tables.iter().any(|table| table.schema == "holdfast" || table.name == "unlogged"));
    let computed = table(&manifest, "public.computed");
    let columns: Vec<_> = computed.columns.iter().map(|column| (column.attnum, column.generated)).collect();
    assert_eq!(columns, [(1, false), (2, true), (3, false)]);
    assert_eq!((&computed.identity, computed.identity_before), (&Identity::Full, Some('d')), "init forced it");
    assert!(matches!(&table(&manifest, "public.empty").identity, Identity::Key { columns, .. } if columns == &["a"]));
    let counter = manifest.sequences.iter().find(|sequence| sequence.name == "counter").unwrap();
    assert_eq!((counter.last_value, counter.is_called), (2, true));
    assert!(manifest.warnings.iter().any(|warning| warning.contains("unlogged")), "{:?}", manifest.warnings);
    let schema = String::from_utf8(contents["pre-data"].clone()).unwrap();
    assert!(schema.contains("CREATE TABLE public.computed") && !schema.contains("CREATE TABLE holdfast."), "{schema}");
    assert_eq!(server.psql("postgres", "select count(*) from pg_replication_slots where temporary"), "0");
}

#[tokio::test]
async fn a_table_in_ranges_has_every_row_once() {
    let server = Postgres::start_with(&LOGICAL);
    server.psql("postgres", "create table large (a int, b text); insert into large select i, repeat(md5(i::text), 20) from generate_series(1, 220000) i; delete from large where a % 7 = 0");
    assert_eq!(server.psql("postgres", "select pg_relation_size('large') > 2 * 64 * 1024 * 1024"), "t");
    let env = env(Arc::new(MemoryStore::new()));
    let manifest = take(&env, &order(server.target()), &nobody()).await.unwrap();
    let mut whole = RowSplitter::default();
    whole.push(&copied(&server, "copy public.large to stdout").await);
    assert_eq!(table(&manifest, "public.large").sum, whole.finish().unwrap());
    let pieces = contents(&env, &manifest).await;
    assert!(sorted(&pieces["public.large"]) == sorted(&copied(&server, "copy public.large to stdout").await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_is_one_instant_of_a_database_that_never_rests() {
    let server = Postgres::start_with(&LOGICAL);
    server.psql("postgres", "create table account (id int primary key, money int, moves int); insert into account select i, 100, 0 from generate_series(1, 50) i; create table move (writer int, number int, primary key (writer, number))");
    initialised(&server, IdentityRule::Full).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..8 {
        let (target, stop) = (server.target(), Arc::clone(&stop));
        writers.push(tokio::spawn(async move {
            let mut session = Session::connect(&target, Mode::Sql, &SystemClock::new(), &[]).await.unwrap();
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                // Lower ids first, so that two writers never wait for one another.
                let (one, other) = (1 + (number * 7 + writer) % 49, 50);
                let sql = format!(
                    "begin; update public.account set money = money - 1, moves = moves + 1 where id = {one};
                     update public.account set money = money + 1 where id = {other};
                     insert into public.move values ({writer}, {number}); commit"
                );
                session.execute_batch(&sql).await.unwrap();
            }
        }));
    }
    for _ in 0..5 * scale() {
        let env = env(Arc::new(MemoryStore::new()));
        let manifest = take(&env, &order(server.target()), &nobody()).await.unwrap();
        let contents = contents(&env, &manifest).await;
        let numbers = |name: &str| -> Vec<Vec<i64>> {
            let text = String::from_utf8(contents[name].clone()).unwrap();
            text.lines().map(|line| line.split('\t').map(|field| field.parse().unwrap()).collect()).collect()
        };
        let (accounts, moves) = (numbers("public.account"), numbers("public.move"));
        assert_eq!(accounts.iter().map(|row| row[1]).sum::<i64>(), 50 * 100, "money is neither made nor lost");
        assert_eq!(accounts.iter().map(|row| row[2]).sum::<i64>(), i64::try_from(moves.len()).unwrap());
        for writer in 0..8 {
            let own = moves.iter().filter(|row| row[0] == writer).map(|row| row[1]);
            assert_eq!(own.clone().max().unwrap_or(0), i64::try_from(own.count()).unwrap(), "no move is skipped");
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Runs SQL between the snapshot and the rows: at the first attempt alone, or at each.
struct Meddler {
    socket: String,
    sql: &'static str,
    times: u32,
    done: AtomicU32,
}

impl BaseProgress for Meddler {
    fn begins(&self, _bytes: u64) {
        if self.done.fetch_add(1, Ordering::Relaxed) < self.times {
            let psql = crate::servers::binaries().join("psql");
            let output = Command::new(psql).args(["-XAtq", "-d", &self.socket, "-c", self.sql]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
    }

    fn read(&self, _bytes: u64) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_between_snapshot_and_rows_is_never_taken_for_the_snapshot() {
    #[rustfmt::skip]
    let cases = [
        // sql                                              rows    why
        ("truncate t",                                      0,      "a truncated table reads as empty under every snapshot"),
        ("alter table t add column c int default 7",        1000,   "the dump has the new column, the snapshot has not"),
        ("alter table t alter column a type bigint",        1000,   "a rewritten table reads as empty under an old snapshot"),
        ("vacuum full t",                                   1000,   "a new file"),
        ("create table later (a int)",                      1000,   "the dump has a table that the snapshot has not"),
        ("drop table other",                                1000,   "the survey has a table that is gone"),
    ];
    for (sql, rows, why) in cases {
        let server = Postgres::start_with(&LOGICAL);
        server.psql("postgres", "create table t (a int primary key); insert into t select generate_series(1, 1000); create table other (a int)");
        let env = env(Arc::new(MemoryStore::new()));
        let meddler = Meddler { socket: server.socket_url("postgres"), sql, times: 1, done: AtomicU32::new(0) };
        let meddler = Arc::new(meddler);
        let progress: Arc<dyn BaseProgress> = Arc::<Meddler>::clone(&meddler);
        let manifest = take(&env, &order(server.target()), &progress).await.unwrap();
        assert!(meddler.done.load(Ordering::Relaxed) >= 2, "{why}: the first attempt was taken for good");
        assert_eq!(table(&manifest, "public.t").sum.rows(), rows, "{why}");
        let mut keys = Keys::new(&*env.store, layout::bases_prefix(&main_source()), None);
        while let Some(key) = keys.next().await.unwrap() {
            assert!(key.as_str().contains(&manifest.base.to_string()), "{why}: {key} is of the attempt thrown away");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l12_a_base_does_not_keep_ddl_waiting() {
    let server = Postgres::start_with(&LOGICAL);
    server.psql("postgres", "create table first (a text); insert into first values (repeat('x', 100000)); create table last (a int, b text); insert into last select i, repeat(md5(i::text), 30) from generate_series(1, 300000) i");
    let target = server.target();
    let env = env(Arc::new(MemoryStore::new()));
    let one_job = BaseOrder { jobs: 1, ..order(target.clone()) };
    let base = tokio::spawn(async move { take(&env, &one_job, &nobody()).await });
    let mut worst = Duration::ZERO;
    while !base.is_finished() {
        let mut session = Session::connect(&target, Mode::Sql, &SystemClock::new(), &[]).await.unwrap();
        let started = std::time::Instant::now();
        // Not a change of the schema, but the lock of one.
        session.execute_batch("begin; lock table public.last in access exclusive mode; rollback").await.unwrap();
        worst = worst.max(started.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(table(&base.await.unwrap().unwrap(), "public.last").sum.rows(), 300_000);
    assert!(worst < Duration::from_secs(2), "a lock of ours was waited for {worst:?}");
}

const URL: &str = "HOLDFAST_TEST_BASE_URL";
const FOLDER: &str = "HOLDFAST_TEST_BASE_FOLDER";
const DIE: &str = "HOLDFAST_TEST_BASE_DIES_AT";

/// Run by the next test in a process of its own, which a drill then kills; alone, it takes a base without a drill.
#[tokio::test]
async fn a_base_is_taken_by_a_process_of_its_own() {
    let (server, folder);
    let (target, path) = if let (Ok(url), Ok(path)) = (std::env::var(URL), std::env::var(FOLDER)) {
        std::env::var(DIE).unwrap().parse::<Death>().unwrap().arm();
        (url.parse().unwrap(), path)
    } else {
        server = Postgres::start_with(&LOGICAL);
        folder = tempfile::tempdir().unwrap();
        FolderStore::create(&folder.path().join("s")).await.unwrap();
        (server.target(), folder.path().join("s").to_str().unwrap().to_owned())
    };
    let store = FolderStore::open(Path::new(&path), Arc::new(SystemClock::new())).await.unwrap();
    take(&env(Arc::new(store)), &order(target), &nobody()).await.unwrap();
}

#[tokio::test]
async fn a_base_killed_between_its_parts_is_no_base_and_is_swept_once_it_is_surely_dead() {
    let server = Postgres::start_with(&LOGICAL);
    server.psql("postgres", "create table t (a int); insert into t values (1)");
    for death in ["base-object", "base-object:3", "manifest"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        FolderStore::create(&path).await.unwrap();
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "base::a_base_is_taken_by_a_process_of_its_own"])
            .envs([(URL, server.url("postgres").as_str()), (FOLDER, path.to_str().unwrap()), (DIE, death)])
            .output()
            .unwrap();
        assert!(!ran.status.success(), "{death} was never reached");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store: Arc<dyn Store> = Arc::new(FolderStore::open(&path, Arc::clone(&clock)).await.unwrap());
        let now = env(Arc::clone(&store));
        assert_eq!(sweep(&now, &main_source(), None).await.unwrap(), 0, "it may be under way somewhere");
        let tomorrow = Arc::new(ManualClock::new(clock.now()));
        tomorrow.advance(Duration::from_hours(25));
        let later = LogEnv { clock: tomorrow, ..now };
        let removed = sweep(&later, &main_source(), None).await.unwrap();
        let left = store.list(&layout::bases_prefix(&main_source()), None).await.unwrap();
        if death == "manifest" {
            assert!(removed == 0 && left.iter().any(|key| key.as_str().ends_with("manifest")), "a base stays");
        } else {
            assert!(removed > 0 && left.is_empty(), "{death}: removed {removed}, left {left:?}");
        }
        server.wait_for("postgres", "select count(*) from pg_replication_slots", "0");
    }
}

#[tokio::test]
async fn a_base_stands_at_a_point_of_the_log_that_was_not_reached_before_it() {
    let server = Postgres::start_with(&LOGICAL);
    let before: Lsn = server.psql("postgres", "select pg_current_wal_lsn()").parse().unwrap();
    let manifest = take(&env(Arc::new(MemoryStore::new())), &order(server.target()), &nobody()).await.unwrap();
    let after: Lsn = server.psql("postgres", "select pg_current_wal_lsn()").parse().unwrap();
    assert!(before <= manifest.point && manifest.point <= after);
    assert_eq!(
        manifest.server.system_id.to_string(),
        server.psql("postgres", "select system_identifier from pg_control_system()")
    );
    assert_eq!(manifest.database.encoding, "UTF8");
}
