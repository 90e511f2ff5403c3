//! A log that grows while a base of its source begins: capture never stops for one.

use std::sync::Arc;
use std::time::Duration;

use holdfast::log::env::LogEnv;
use holdfast::log::{CutRule, Writer, fence};
use holdfast::model::{Commit, Kind, Lsn, Record, Role};
use holdfast::source::postgres::base::take;
use holdfast::source::postgres::context::PostgresContext;
use holdfast::store::{Fate, Fated, MemoryStore, Op};

use crate::base::{env, main_source, nobody, order};
use crate::init::LOGICAL;
use crate::servers::Postgres;

/// Capture goes on: the log becomes longer, up to where the server is.
async fn grow(log: LogEnv, server: Arc<Postgres>) {
    server.psql("postgres", "insert into t values (1)");
    server.psql("postgres", "select pg_switch_wal()");
    let flushed: Lsn = server.psql("postgres", "select pg_current_wal_flush_lsn()").parse().unwrap();
    let reign = fence::take(&log, &main_source(), None).await.unwrap();
    let rule = CutRule { segment_bytes: 1 << 20, segment_age: Duration::from_secs(1) };
    let mut writer = Writer::new(&log, &main_source(), reign, rule, Box::new(PostgresContext::default()));
    let commit = Commit { position: flushed.position(), time: log.clock.now() };
    let heartbeat = Record { role: Role::Commits(commit), ..Record::own(Kind::Heartbeat, bytes::Bytes::new()) };
    writer.append(&heartbeat).unwrap();
    writer.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn l9_a_log_that_grows_while_a_base_begins_is_not_taken_for_another_servers() {
    let server = Arc::new(Postgres::start_with(&LOGICAL));
    server.psql("postgres", "create table t (a int)");
    let log = env(Arc::new(MemoryStore::new()));
    grow(log.clone(), Arc::clone(&server)).await;
    // When somebody looks at the log, it has just become longer.
    let (mut looks, below, its_server) = (0, log.clone(), Arc::clone(&server));
    let growing = Fated::over(&log.store, move |asked| {
        let looked = asked.is(Op::List, "log/");
        looks += u32::from(looked);
        Fate::first(grow(below.clone(), Arc::clone(&its_server))).when(looked && looks <= 3)
    });
    let env = LogEnv { store: growing, ..log };
    take(&env, &order(server.target()), &nobody()).await.unwrap();
}
