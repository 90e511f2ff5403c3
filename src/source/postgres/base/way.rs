//! Gives way to those who wait for a lock of `pg_dump`: it never is the reason for a deadlock, nor for a long wait (L12).
//!
//! ```text
//!   pg_dump      locks one ─────────── waits for two ─ ─ ─ ✕ ended by us
//!   application  locks two ── waits for one ─ ─ ─ ─ ─ ─ ─ ─ ─│ has it, and goes on
//! ```
//! `pg_dump` asks for the lock of one table after another, and waits for each with the others in its hands. Together with
//! an application that locks two tables in another order that is a deadlock, and the server may choose the application to
//! end it, a second later ([`deadlock_timeout`](https://www.postgresql.org/docs/current/runtime-config-locks.html)). And it
//! reads with every lock in its hands, which takes long where there are many tables.

use std::time::Duration;

use crate::clock::sleep;
use crate::connect::{ConnectTarget, Session};
use crate::log::LogEnv;
use crate::source::postgres::base::error::BaseTakeError;
use crate::source::postgres::base::{BaseOrder, sql};

/// How often we look who waits: well within the time after which the server looks for deadlocks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Who looks that nobody waits for `pg_dump`.
pub(crate) struct Way {
    session: Session,
    name: String,
}

impl Way {
    /// Looks after a `pg_dump` that is not begun yet.
    pub(crate) async fn watch(env: &LogEnv, order: &BaseOrder) -> Result<Self, BaseTakeError> {
        let session = sql(env, order, &[]).await?;
        let name = format!("holdfast schema {}", session.pid());
        Ok(Self { session, name })
    }

    /// The target for it: by the name of its session it is found.
    pub(crate) fn target(&self, order: &BaseOrder) -> ConnectTarget {
        order.target.with_application_name(&self.name)
    }

    /// Returns once somebody needs a table that it has locked, while it waits itself or for a second already.
    pub(crate) async fn is_needed(&mut self, env: &LogEnv) -> Result<(), BaseTakeError> {
        let needed = format!(
            "WITH dump AS (SELECT l.* FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
                            WHERE l.locktype = 'relation' AND a.application_name = '{}' AND a.usename = current_user) \
             SELECT EXISTS (SELECT FROM pg_locks w JOIN dump d USING (locktype, database, relation) \
                             WHERE d.granted AND NOT w.granted AND w.mode = 'AccessExclusiveLock' \
                               AND (EXISTS (SELECT FROM dump WHERE NOT granted) \
                                    OR w.waitstart < clock_timestamp() - interval '1 second'))",
            self.name
        );
        while self.session.one_row(&needed).await?.get(0) != Some("t") {
            sleep(&*env.clock, LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Ends its session: a program that was killed leaves a query behind, which holds its locks until it ends.
    pub(crate) async fn give(mut self) -> Result<(), BaseTakeError> {
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
              WHERE application_name = '{}' AND usename = current_user",
            self.name
        );
        self.session.execute_batch(&end).await?;
        self.session.close().await;
        Ok(())
    }
}
