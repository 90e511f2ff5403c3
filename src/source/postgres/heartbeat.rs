//! Our own transactional message, now and then: it proves the whole road, moves an idle slot on, and bounds "nothing
//! committed before". On a task and a session of its own, which also watches how much the slot retains (L12).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{Clock, sleep};
use crate::connect::{ConnectError, ConnectTarget, Mode, Session, quote_literal};
use crate::source::postgres::names;
use crate::source::postgres::slot::{self, SlotState};

/// After a failure the session is opened anew, at the earliest after this.
const RETRY_AFTER: Duration = Duration::from_secs(5);

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

/// What the slot looked like last, and whether it could be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// The slot; `None` until it was asked, or if it is gone.
    pub slot: Option<SlotState>,
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
        emit(&mut session, names::HEARTBEAT, "{}").await?;
        let slot = slot::state(&mut session, &beat.slot).await?;
        pulse.send_replace(Pulse { slot, failures: 0 });
        sleep(clock, beat.every).await;
    }
}

/// Writes a transactional message into the stream.
pub async fn emit(session: &mut Session, prefix: &str, content: &str) -> Result<(), ConnectError> {
    let (prefix, content) = (quote_literal(prefix), quote_literal(content));
    session.simple(&format!("SELECT pg_catalog.pg_logical_emit_message(true, {prefix}, {content})")).await.map(drop)
}
