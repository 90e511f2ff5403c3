//! How long we wait for others on the server, and what we say about them when that was not enough.

use std::time::Duration;

use crate::clock::{Clock, sleep, timeout};
use crate::connect::{ConnectError, ConnectTarget, CreatedSlot, Mode, Session, SlotLife, SlotSnapshot};
use crate::source::error::{SourceError, SourceErrorKind};
use crate::source::postgres::catalog::texts;

/// How long a lock of ours may stand in the queue: who comes behind it waits as long (L12).
pub(super) const LOCK_WAIT: Duration = Duration::from_millis(1500);
/// How often a lock is asked for before it is given up.
pub(super) const LOCK_TRIES: u32 = 30;
/// What passes between two tries, so that those who queued behind us get their turn.
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(500);
/// How long a new slot may wait for open transactions.
pub(super) const SLOT_WAIT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);

/// Runs `sql`, which takes locks, in short tries: `lock_timeout` bounds each.
pub(super) async fn with_short_locks(
    session: &mut Session,
    clock: &dyn Clock,
    doing: &'static str,
    sql: &str,
) -> Result<(), SourceError> {
    let bounded = format!("set local lock_timeout = '{}ms'; {sql}", LOCK_WAIT.as_millis());
    for _ in 1..LOCK_TRIES {
        match session.execute_batch(&bounded).await {
            Err(error) if is_lock_trouble(&error) => sleep(clock, LOCK_PAUSE).await,
            other => return other.map_err(|error| SourceErrorKind::from(error).when(doing)),
        }
    }
    session.execute_batch(&bounded).await.map_err(|error| SourceErrorKind::from(error).when(doing))
}

/// Whether the server gave up on a lock, rather than on what was asked.
pub(super) fn is_lock_trouble(error: &ConnectError) -> bool {
    matches!(error.sqlstate(), Some("55P03" | "40P01")) // lock_not_available, deadlock_detected
}

/// A slot that is wanted.
pub(super) struct Wanted<'a> {
    /// Its name, which may hold the number of the server's process.
    pub(super) name: &'a (dyn Fn(i32) -> String + Sync),
    /// How long it lives.
    pub(super) life: SlotLife,
    /// Whether its snapshot is shared.
    pub(super) snapshot: SlotSnapshot,
}

/// Makes a slot in a new replication session, but waits no longer than [`SLOT_WAIT`] for open transactions. `observer`
/// is asked what was waited for.
pub(super) async fn create_slot(
    target: &ConnectTarget,
    clock: &dyn Clock,
    observer: &mut Session,
    wanted: Wanted<'_>,
) -> Result<(Session, CreatedSlot), SourceError> {
    let doing = "making a replication slot";
    let connected = Session::connect(target, Mode::Replication, clock, &[("statement_timeout", "0")]).await;
    let mut maker = connected.map_err(|error| SourceErrorKind::from(error).when(doing))?;
    let name = (wanted.name)(maker.pid());
    let cancel = maker.cancel_token();
    let made = timeout(clock, SLOT_WAIT, maker.create_slot(&name, wanted.life, wanted.snapshot)).await;
    match made {
        Ok(Ok(slot)) => Ok((maker, slot)),
        Ok(Err(error)) => Err(SourceErrorKind::from(error).when(doing)),
        Err(_) => {
            // Without a cancel the server would go on waiting, and then make a slot that nobody reads.
            let cancelled = cancel.cancel(clock).await;
            cancelled.map_err(|error| SourceErrorKind::from(error).when(doing))?;
            Err(blocked(observer, doing, "the new replication slot").await)
        }
    }
}

/// Waits until every transaction that is now writing in this database has ended: none of them may have begun before
/// what was just made.
pub(super) async fn outlive_writers(session: &mut Session, clock: &dyn Clock) -> Result<(), SourceError> {
    let doing = "waiting for open transactions";
    let failed = |error: ConnectError| SourceErrorKind::from(error).when(doing);
    let open = "select backend_xid::text from pg_stat_activity
            where datname = current_database() and backend_xid is not null and pid <> pg_backend_pid()
        union all select transaction::text from pg_prepared_xacts where database = current_database()";
    let ours = texts(session, open).await.map_err(failed)?;
    let due = clock.tick().after(SLOT_WAIT);
    loop {
        let now = texts(session, open).await.map_err(failed)?;
        if !ours.iter().any(|xid| now.contains(xid)) {
            return Ok(());
        }
        if clock.tick() >= due {
            return Err(blocked(session, doing, "init").await);
        }
        sleep(clock, POLL).await;
    }
}

/// The error that names the oldest open transactions, without what they run (it may hold values).
async fn blocked(observer: &mut Session, doing: &'static str, what: &str) -> SourceError {
    let oldest = "(select format('process %s of %s (%s, database %s), since %s', pid, usename, application_name, datname,
                xact_start) from pg_stat_activity
            where backend_xid is not null and pid <> pg_backend_pid() order by xact_start limit 3)
        union all (select format('prepared transaction %L of %s (database %s), since %s', gid, owner, database, prepared)
            from pg_prepared_xacts order by prepared limit 3)";
    let who = texts(observer, oldest).await.unwrap_or_default().join("; ");
    let who = if who.is_empty() { "it has just ended".to_owned() } else { who };
    let kind = SourceErrorKind::Blocked {
        what: format!("{what} waited {} s for open transactions to end: {who}", SLOT_WAIT.as_secs()),
        remedy: "end them (a forgotten prepared transaction by ROLLBACK PREPARED), then do this again".to_owned(),
    };
    kind.when(doing)
}
