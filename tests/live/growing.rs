//! A log that grows while a base of its source begins: capture never stops for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use holdfast::crypto::Sealed;
use holdfast::log::env::LogEnv;
use holdfast::log::{CutRule, Writer, fence};
use holdfast::model::{Commit, Kind, Lsn, ObjectKey, Record, Role};
use holdfast::source::postgres::base::take;
use holdfast::source::postgres::context::PostgresContext;
use holdfast::store::{MemoryStore, Part, PutNew, Store, StoreError};

use crate::base::{env, main_source, nobody, order};
use crate::init::LOGICAL;
use crate::servers::Postgres;

/// Capture goes on while a base is taken: when somebody looks at the log, it has just become longer.
struct Growing {
    log: LogEnv,
    server: Arc<Postgres>,
    looks: AtomicU32,
}

impl Growing {
    async fn grow(&self) {
        self.server.psql("postgres", "insert into t values (1)");
        self.server.psql("postgres", "select pg_switch_wal()");
        let flushed: Lsn = self.server.psql("postgres", "select pg_current_wal_flush_lsn()").parse().unwrap();
        let reign = fence::take(&self.log, &main_source(), None).await.unwrap();
        let rule = CutRule { segment_bytes: 1 << 20, segment_age: Duration::from_secs(1) };
        let context = Box::new(PostgresContext::default());
        let mut writer = Writer::new(&self.log, &main_source(), reign, rule, context);
        let commit = Commit { position: flushed.position(), time: self.log.clock.now() };
        let heartbeat = Record { role: Role::Commits(commit), ..Record::own(Kind::Heartbeat, bytes::Bytes::new()) };
        writer.append(&heartbeat).unwrap();
        writer.flush().await.unwrap();
    }
}

#[async_trait::async_trait]
impl Store for Growing {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        self.log.store.put_new(key, body).await
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        self.log.store.get(key, part).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        if prefix.starts_with("log/") && self.looks.fetch_add(1, Ordering::SeqCst) < 3 {
            self.grow().await;
        }
        self.log.store.list(prefix, after).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.log.store.delete(key).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.log.store.size(key).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l9_a_log_that_grows_while_a_base_begins_is_not_taken_for_another_servers() {
    let server = Arc::new(Postgres::start_with(&LOGICAL));
    server.psql("postgres", "create table t (a int)");
    let log = env(Arc::new(MemoryStore::new()));
    let growing = Growing { log: log.clone(), server: Arc::clone(&server), looks: AtomicU32::new(0) };
    growing.grow().await;
    let env = LogEnv { store: Arc::new(growing), ..log };
    take(&env, &order(server.target()), &nobody()).await.unwrap();
}
