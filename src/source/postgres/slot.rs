//! The slot and the log are compared at each connect: what the server has forgotten and the log does not hold is a gap.
//!
//! * L3: a slot that is ahead of the log, invalidated or gone is a gap record, a new slot and the wish for a new base.
//! * L5: once our fence is durable, whoever still reads from the slot is ended.

use std::time::Duration;

use crate::clock::{Clock, sleep};
use crate::codec::gap::{Gap, Reason};
use crate::connect::{ConnectError, ConnectTarget, Session, SlotLife, SlotSnapshot, quote_literal};
use crate::model::{Lsn, Timestamp};
use crate::source::error::{SourceError, SourceErrorKind};
use crate::source::postgres::patience::{Wanted, create_slot};

/// How long an ended session may keep the slot.
const RELEASE_TRIES: u32 = 50;
const RELEASE_EVERY: Duration = Duration::from_millis(100);

/// Where a slot is, or is to be.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The database.
    pub target: &'a ConnectTarget,
    /// Time.
    pub clock: &'a dyn Clock,
    /// The slot's name.
    pub slot: &'a str,
}

/// What the log holds, for comparison with the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The last durable position; [`Lsn::ZERO`] if the log holds nothing.
    pub durable: Lsn,
    /// The latest commit time.
    pub latest: Timestamp,
}

/// Whether a new slot may be made where the old one is of no use. It may once an hour: more often something is wrong
/// that a new slot does not cure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Make one; if it was given up before it filled the disk, that is the reason.
    Allowed(Reason),
    /// One was made a short time ago.
    Refused,
}

/// A slot as the server shows it (`pg_replication_slots`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// The server's process that reads from it.
    pub active_pid: Option<i32>,
    /// Up to where the server may forget.
    pub confirmed: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: String,
    /// Bytes of the server's log that it keeps.
    pub retained_bytes: u64,
    /// The database that it is of, if that is not ours.
    pub elsewhere: Option<String>,
}

/// Where the stream is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Transactions whose commit stands below are durable. If this is before the end of the log, what stands between is
    /// sent again, and shows that the server's history is the log's.
    pub at: Lsn,
    /// What was lost, if anything was.
    pub gap: Option<Gap>,
}

/// Reads the state of a slot; `None` if there is none.
pub async fn state(session: &mut Session, slot: &str) -> Result<Option<SlotState>, ConnectError> {
    let sql = format!(
        "SELECT active_pid, confirmed_flush_lsn, coalesce(wal_status, 'lost'), \
         coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint, \
         CASE WHEN database = current_database() AND plugin = 'pgoutput' THEN NULL \
              ELSE coalesce(database, 'none') END \
         FROM pg_replication_slots WHERE slot_name = {}",
        quote_literal(slot)
    );
    let rows = session.simple(&sql).await?.into_iter().flatten().next();
    Ok(rows.map(|row| SlotState {
        active_pid: row.get(0).and_then(|pid| pid.parse().ok()),
        confirmed: row.get(1).and_then(|lsn| lsn.parse().ok()),
        wal_status: row.get(2).unwrap_or("lost").to_owned(),
        retained_bytes: row.get(3).and_then(|bytes| bytes.parse().ok()).unwrap_or(0),
        elsewhere: row.get(4).map(str::to_owned),
    }))
}

/// What became of a slot that is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// There is none any more.
    Gone,
    /// The server invalidated it; it is still there.
    Lost,
}

/// What comparing the slot with the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It serves, from here on.
    Usable(Start),
    /// Only a new one does.
    Useless(Old),
}

/// Compares slot and log, and says where to begin. It changes nothing: what [`renew`] does cannot be taken back, and is
/// for a writer that has just made sure that the log is still its own (L5).
pub async fn reconcile(session: &mut Session, slot: &str, held: Held) -> Result<Found, SourceError> {
    let failed = |error: ConnectError| SourceErrorKind::from(error).when("comparing the slot with the log");
    let Some(state) = state(session, slot).await.map_err(failed)? else {
        if held.durable == Lsn::ZERO {
            let what = format!("replication slot {slot}");
            return Err(SourceErrorKind::NotInitialised { what }.when("looking for the slot"));
        }
        return Ok(Found::Useless(Old::Gone));
    };
    let Some(confirmed) = state.confirmed.filter(|_| state.wal_status != "lost") else {
        return Ok(Found::Useless(Old::Lost));
    };
    let usable = |at, gap| Ok(Found::Usable(Start { at, gap }));
    if held.durable == Lsn::ZERO {
        return usable(confirmed, None);
    }
    if confirmed > held.durable {
        let detail = format!("the slot confirmed {confirmed}, the log holds up to {}", held.durable);
        return usable(confirmed, Some(gap(held, Reason::SlotAhead, detail)));
    }
    usable(confirmed, None)
}

/// Makes a new slot in place of one that is of no use.
pub async fn renew(
    session: &mut Session,
    place: Place<'_>,
    (old, held): (Old, Held),
    renewal: Renewal,
) -> Result<Start, SourceError> {
    let slot = place.slot;
    let Renewal::Allowed(reason) = renewal else {
        let what = format!("slot {slot} was lost twice within an hour");
        let remedy = "raise max_slot_wal_keep_size or slot_bytes_max, and see why capture cannot keep up".to_owned();
        return Err(SourceErrorKind::Unfit { what, remedy }.when("comparing the slot with the log"));
    };
    if old == Old::Lost {
        let dropped = session.drop_slot(slot).await;
        dropped.map_err(|error| SourceErrorKind::from(error).when("dropping the slot that was lost"))?;
    }
    let name = |_pid| slot.to_owned();
    let wanted = Wanted { name: &name, life: SlotLife::Permanent, snapshot: SlotSnapshot::Nothing };
    let (made_in, created) = create_slot(place.target, place.clock, session, wanted).await?;
    made_in.close().await;
    let at = created.consistent_point;
    let detail = format!("nothing between {} and {at} was captured", held.durable);
    Ok(Start { at, gap: Some(gap(held, reason, detail)) })
}

const fn gap(held: Held, reason: Reason, detail: String) -> Gap {
    Gap { exact_until: held.durable.position(), time: held.latest, reason, tables: Vec::new(), detail }
}

/// Ends whoever reads from the slot, and waits until it is free.
pub async fn release(session: &mut Session, slot: &str, clock: &dyn Clock) -> Result<(), SourceError> {
    let failed = |error: ConnectError| SourceErrorKind::from(error).when("ending the slot's old session");
    let mut holder = 0;
    for _ in 0..RELEASE_TRIES {
        let state = state(session, slot).await.map_err(failed)?;
        let Some(pid) = state.and_then(|state| state.active_pid) else { return Ok(()) };
        if holder != pid {
            holder = pid;
            session.simple(&format!("SELECT pg_terminate_backend({pid})")).await.map_err(failed)?;
        }
        sleep(clock, RELEASE_EVERY).await;
    }
    Err(SourceErrorKind::SlotBusy { slot: slot.to_owned(), pid: holder }.when("waiting for the slot"))
}

/// Gives the slot up before it fills the source's disk (L12): the next session records the gap and makes a new one. A slot of
/// another database has the name of ours by chance, and is another installation's (L5).
pub async fn give_up(session: &mut Session, slot: &str, clock: &dyn Clock) -> Result<(), SourceError> {
    let doing = "giving the slot up";
    let state = state(session, slot).await.map_err(|error| SourceErrorKind::from(error).when(doing))?;
    if let Some(database) = state.and_then(|state| state.elsewhere) {
        return Err(of_another(slot, &database).when(doing));
    }
    release(session, slot, clock).await?;
    let sql = format!("SELECT pg_drop_replication_slot({})", quote_literal(slot));
    let dropped = session.simple(&sql).await;
    dropped.map(drop).map_err(|error| SourceErrorKind::from(error).when(doing))
}

/// A slot that has our name and is not ours.
pub(super) fn of_another(slot: &str, database: &str) -> SourceErrorKind {
    let what = format!("slot {slot} is of database {database}");
    let remedy = "give this source another name, or see who made that slot".to_owned();
    SourceErrorKind::Unfit { what, remedy }
}
