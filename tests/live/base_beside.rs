//! Bases beside others: locks that are held, and roles that may do little.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast::clock::SystemClock;
use holdfast::connect::{ConnectTarget, Mode, Session};
use holdfast::source::postgres::base::{BaseProgress, take};
use holdfast::source::postgres::check::{CheckPlan, Verdict, check_source};
use holdfast::source::postgres::init::IdentityRule;
use holdfast::store::MemoryStore;

use crate::base::{contents, env, main_source, nobody, order, table};
use crate::init::LOGICAL;
use crate::servers::Postgres;

/// Holds a lock from between the survey and the dump on.
struct Locker {
    socket: String,
    table: &'static str,
    begun: AtomicBool,
}

impl Locker {
    fn of(server: &Postgres, table: &'static str) -> Self {
        Self { socket: server.socket_url("postgres"), table, begun: AtomicBool::new(false) }
    }
}

impl BaseProgress for Locker {
    fn begins(&self, _bytes: u64) {
        let psql = crate::servers::binaries().join("psql");
        let hold = format!("begin; lock table {} in access exclusive mode; select pg_sleep(4); commit", self.table);
        let mut holder = Command::new(psql);
        holder.args(["-XAtq", "-d", &self.socket, "-c", &hold]).stdout(std::process::Stdio::null());
        std::thread::spawn(move || assert!(holder.status().unwrap().success()));
        std::thread::sleep(Duration::from_millis(500));
        self.begun.store(true, Ordering::Relaxed);
    }

    fn read(&self, _bytes: u64) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn l12_a_base_that_waits_for_a_locked_table_keeps_nobody_from_the_others() {
    let server = Postgres::start_with(&LOGICAL);
    server.psql("postgres", "create table first (a int); insert into first values (1); create table last (a int)");
    let (target, env) = (server.target(), env(Arc::new(MemoryStore::new())));
    let locker = Arc::new(Locker::of(&server, "last"));
    let progress: Arc<dyn BaseProgress> = Arc::<Locker>::clone(&locker);
    let order = order(target.clone());
    let started = std::time::Instant::now();
    let base = tokio::spawn(async move { take(&env, &order, &progress).await });
    let mut worst = Duration::ZERO;
    while !base.is_finished() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if locker.begun.load(Ordering::Relaxed) {
            let mut session = Session::connect(&target, Mode::Sql, &SystemClock::new(), &[]).await.unwrap();
            let asked = std::time::Instant::now();
            session.execute_batch("begin; lock table public.first in access exclusive mode; rollback").await.unwrap();
            worst = worst.max(asked.elapsed());
        }
    }
    assert_eq!(table(&base.await.unwrap().unwrap(), "public.first").sum.rows(), 1);
    assert!(started.elapsed() > Duration::from_secs(4), "the lock was waited for");
    assert!(worst < Duration::from_millis(2500), "a lock of ours was waited for {worst:?}");
}

/// Applications that lock tables in another order than `pg_dump` does.
#[tokio::test(flavor = "multi_thread")]
async fn l12_no_application_stands_in_a_deadlock_with_a_base() {
    let server = Postgres::start_with(&LOGICAL);
    server
        .psql("postgres", "create table one (a int); create table two (a int); create sequence s1; create sequence s2");
    let (target, env) = (server.target(), env(Arc::new(MemoryStore::new())));
    let done = Arc::new(AtomicBool::new(false));
    let orders = [["two", "one"], ["one", "two"]];
    let applications = orders.map(|[first, then]| {
        let (target, done) = (target.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let mut session = Session::connect(&target, Mode::Sql, &SystemClock::new(), &[]).await.unwrap();
            // Among each other they take turns; it is with the base that they meet.
            let sql = format!(
                "begin; select pg_advisory_xact_lock(7); lock table public.{first} in access exclusive mode; \
                 select pg_sleep(0.003); lock table public.{then} in access exclusive mode; alter sequence public.s2 cache 2; \
                 select pg_sleep(0.003); alter sequence public.s1 cache 2; alter table public.{then} set (fillfactor = 90); rollback"
            );
            let mut times = 0;
            while !done.load(Ordering::Relaxed) {
                session.execute_batch(&sql).await.unwrap();
                times += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            times
        })
    });
    for _ in 0..4 {
        take(&env, &order(target.clone()), &nobody()).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for application in applications {
        assert!(application.await.unwrap() > 4, "it was there all the time");
    }
}

/// `pg_dump` reads with every lock in its hands, and a large schema takes long; here a catalog is kept from it.
#[tokio::test(flavor = "multi_thread")]
async fn l12_a_schema_that_takes_long_to_read_gives_way_to_ddl() {
    let server = Postgres::start_with(&LOGICAL);
    server.psql("postgres", "create table first (a int); insert into first values (1)");
    let (target, env) = (server.target(), env(Arc::new(MemoryStore::new())));
    let progress: Arc<dyn BaseProgress> = Arc::new(Locker::of(&server, "pg_foreign_data_wrapper"));
    let order = order(target.clone());
    let base = tokio::spawn(async move { take(&env, &order, &progress).await });
    let reading = "select count(*) from pg_stat_activity where application_name like 'holdfast schema %' and wait_event_type = 'Lock'";
    server.wait_for("postgres", reading, "1");
    let mut session = Session::connect(&target, Mode::Sql, &SystemClock::new(), &[]).await.unwrap();
    let asked = std::time::Instant::now();
    session.execute_batch("begin; lock table public.first in access exclusive mode; rollback").await.unwrap();
    let waited = asked.elapsed();
    assert!(!base.is_finished(), "the schema was never slow to read");
    assert!(waited < Duration::from_millis(2500), "a lock of ours was waited for {waited:?}");
    assert_eq!(table(&base.await.unwrap().unwrap(), "public.first").sum.rows(), 1);
}

/// `pg_dumpall` connects to `postgres` or `template1` unless it is told where else.
#[tokio::test]
async fn a_role_that_may_connect_to_its_own_database_alone_can_take_a_base() {
    let server = Postgres::start_with(&LOGICAL);
    server.psql("postgres", "create role joe login replication bypassrls in role pg_read_all_data");
    server.psql("postgres", "create database shop");
    server.psql("postgres", "revoke connect on database postgres, template1 from public");
    let target: ConnectTarget = server.url("shop").replace("postgres@", "joe@").parse().unwrap();
    let plan = CheckPlan { source: main_source(), identity: IdentityRule::Full, durable: None };
    let found = check_source(&target, &SystemClock::new(), &plan).await;
    assert!(found.iter().any(|found| (found.name, found.verdict) == ("globals", Verdict::Ok)), "{found:#?}");
    let env = env(Arc::new(MemoryStore::new()));
    let manifest = take(&env, &order(target), &nobody()).await.unwrap();
    let contents = contents(&env, &manifest).await;
    assert!(String::from_utf8_lossy(&contents["globals"]).contains("CREATE ROLE joe"));
}
