//! Our own transactional message, now and then: it proves the whole road, moves an idle slot on, and bounds "nothing
//! committed before". On a task and a session of its own, which also watches how much the slot retains (L12).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{Clock, sleep, timeout};
use crate::connect::{ConnectError, ConnectTarget, Mode, Session, quote_literal};
use crate::model::Lsn;
use crate::source::postgres::names;
use crate::source::postgres::slot::{self, SlotState};

/// After a failure the session is opened anew, at the earliest after this.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// The slot is looked at this often, however rare the beats are: a disk fills fast.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A server that does not answer for so long has failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What the task beats on.
#[derive(Clone, Debug)]
pub struct Beat {
    /// The database.
    pub target: ConnectTarget,
    /// The slot that is watched.
    pub slot: String,
    /// How often.
    pub every: Duration,
}

/// What the server and the slot looked like last, and whether they could be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// The slot; `None` until it was asked, or if it is gone.
    pub slot: Option<SlotState>,
    /// The end of the server's log at the last beat.
    pub head: Lsn,
    /// How often a beat failed since the last one that did not.
    pub failures: u32,
}

/// Beats until it is dropped. A failure is told in the pulse, and tried again; capture goes on.
pub async fn run(beat: Beat, pulse: watch::Sender<Pulse>, clock: Arc<dyn Clock>) {
    loop {
        let wait = match session(&beat, &pulse, &*clock).await {
            Ok(never) => never,
            Err(error) => {
                tracing::warn!(error = %error, "heartbeat failed");
                pulse.send_modify(|pulse| pulse.failures = pulse.failures.saturating_add(1));
                RETRY_AFTER
            }
        };
        sleep(&*clock, wait).await;
    }
}

async fn session(beat: &Beat, pulse: &watch::Sender<Pulse>, clock: &dyn Clock) -> Result<Duration, ConnectError> {
    let mut session = Session::connect(&beat.target, Mode::Sql, clock, &[]).await?;
    loop {
        let next = clock.tick().after(beat.every);
        let beaten = timeout(clock, ANSWER_WITHIN, emit(&mut session, names::HEARTBEAT, "{}")).await;
        let Ok(head) = beaten else { return Err(silent()) };
        let head = head?;
        loop {
            let looked = timeout(clock, ANSWER_WITHIN, slot::state(&mut session, &beat.slot)).await;
            let Ok(slot) = looked else { return Err(silent()) };
            pulse.send_replace(Pulse { slot: slot?, head, failures: 0 });
            let now = clock.tick();
            if now >= next {
                break;
            }
            clock.sleep_until(next.min(now.after(LOOK_EVERY))).await;
            if clock.tick() >= next {
                break;
            }
        }
    }
}

const fn silent() -> ConnectError {
    ConnectError::Answer { doing: "beat", lacks: "an answer in time" }
}

/// Writes a transactional message into the stream; gives where it stands. It commits behind that.
pub async fn emit(session: &mut Session, prefix: &str, content: &str) -> Result<Lsn, ConnectError> {
    let (prefix, content) = (quote_literal(prefix), quote_literal(content));
    let sql = format!("SELECT pg_catalog.pg_logical_emit_message(true, {prefix}, {content})");
    let row = session.one_row(&sql).await?;
    let at = row.get(0).and_then(|lsn| lsn.parse().ok());
    at.ok_or(ConnectError::Answer { doing: "write a message", lacks: "its position" })
}
