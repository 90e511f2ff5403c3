//! Tells the server what is durable, on a task of its own: never blocked behind an upload, a decoder or a queue (L9).
//!
//! write = flush = apply = the last durable position, every few seconds, and at once when it moves or the server asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{Clock, sleep};
use crate::connect::{ConnectError, Feedback, Status};
use crate::model::Lsn;
use crate::step::Step;

/// How often the server hears from us even if nothing moves; far below the least sensible `wal_sender_timeout` (5 s).
const EVERY: Duration = Duration::from_millis(1500);
/// While draining the server is asked how far it is, this often.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// What the task is to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Everything up to here is durable.
    pub durable: Lsn,
    /// The server asked for a reply so many times.
    pub asked: u64,
    /// Whether we want to know how far the server is.
    pub asking: bool,
    /// Whether to end the stream.
    pub leave: bool,
}

/// Runs until it is told to leave, or the session breaks.
pub async fn run(
    mut feedback: Feedback,
    mut told: watch::Receiver<Told>,
    clock: Arc<dyn Clock>,
) -> Result<(), ConnectError> {
    let mut acknowledged = Lsn::ZERO;
    loop {
        let now = *told.borrow_and_update();
        let status = Status { durable: now.durable, time: clock.now(), reply_wanted: now.asking };
        feedback.status(status).await?;
        if now.durable > acknowledged {
            acknowledged = now.durable;
            Step::Acknowledged.reached();
        }
        if now.leave {
            return feedback.copy_done().await;
        }
        tokio::select! {
            biased;
            changed = told.changed() => if changed.is_err() { return Ok(()) },
            () = sleep(&*clock, if now.asking { ASK_EVERY } else { EVERY }) => {}
        }
    }
}
