//! Watches the slot beside capture, and gives it up before it fills the source's disk (L12).
//!
//! The guard and the heartbeat have a session of their own, so they work also while the store is down and nothing
//! streams. Giving up ends whoever reads from the slot and drops it; the next life finds it gone, records the gap with
//! its reason, and makes a new one. Who was fenced gives nothing up: the slot is another daemon's to guard (L5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{Clock, timeout};
use crate::connect::{ConnectTarget, Mode, Session};
use crate::daemon::board::Board;
use crate::daemon::metrics as words;
use crate::log::{LogEnv, LogError, fence};
use crate::model::{Epoch, SourceName};
use crate::source::postgres::heartbeat::{self, Beat, Pulse};
use crate::source::postgres::slot;
use crate::source::{SourceError, SourceErrorKind};

/// Capture's next life may take the slot again before it is dropped; so often it is ended anew.
const TRIES: u32 = 5;
/// How long the store may take to say whether the log is still ours.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// How long one try may take.
const TRY_WITHIN: Duration = Duration::from_secs(30);

/// What guards one source.
pub struct Guard {
    /// Which source.
    pub source: SourceName,
    /// Where it is.
    pub target: ConnectTarget,
    /// Its slot.
    pub slot: String,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// WAL at which the slot is given up.
    pub slot_bytes_max: u64,
    /// What is true now.
    pub board: Arc<Board>,
    /// Set when the slot is given up; capture's next life asks for it.
    pub given_up: Arc<AtomicBool>,
    /// The log's surroundings.
    pub env: LogEnv,
}

impl Guard {
    /// Beats and watches, until it is dropped.
    pub async fn run(self) {
        self.board.update(&self.source, |state| {
            state.slot_bytes_max = self.slot_bytes_max;
            state.heartbeat = self.heartbeat;
        });
        let (tell, pulse) = watch::channel(Pulse::default());
        let beat = Beat { target: self.target.clone(), slot: self.slot.clone(), every: self.heartbeat };
        tokio::select! {
            biased;
            () = self.watch(pulse) => {}
            () = heartbeat::run(beat, tell, Arc::clone(&self.env.clock)) => {}
        }
    }

    async fn watch(&self, mut pulse: watch::Receiver<Pulse>) {
        while pulse.changed().await.is_ok() {
            let mut seen = pulse.borrow_and_update().clone();
            // Another installation in the same cluster may call its source as we do.
            seen.slot = seen.slot.filter(|slot| slot.elsewhere.is_none());
            let now = self.clock().tick();
            self.board.update(&self.source, |state| state.beat(&seen, now));
            let retained = seen.slot.map_or(0, |slot| slot.retained_bytes);
            if seen.failures == 0 && retained > self.slot_bytes_max {
                if self.is_fenced().await {
                    tracing::warn!(source = %self.source, "the slot holds back too much; another daemon has it now");
                    return;
                }
                self.give_up(retained).await;
            }
        }
    }

    /// Whether another daemon took over the log. A store that cannot say does not hold the act back: nobody keeps up with
    /// a slot that holds back so much, and the source's disk comes first (L12).
    async fn is_fenced(&self) -> bool {
        let state = self.board.of(&self.source);
        if state.epoch == Epoch::default() {
            return false;
        }
        let look = fence::still_ours(&self.env, &self.source, state.epoch, state.slot.next());
        matches!(timeout(self.clock(), LOOK_WITHIN, look).await, Ok(Err(LogError::Fenced { .. })))
    }

    fn clock(&self) -> &dyn Clock {
        &*self.env.clock
    }

    async fn give_up(&self, retained: u64) {
        tracing::error!(
            source = %self.source, retained, slot_bytes_max = self.slot_bytes_max,
            "the slot is given up before it fills the source's disk: what was not captured is a gap"
        );
        self.given_up.store(true, Ordering::Relaxed);
        for _ in 0..TRIES {
            match timeout(self.clock(), TRY_WITHIN, self.drop_slot()).await {
                Ok(Ok(())) => {
                    metrics::counter!(words::SLOTS_GIVEN_UP.name, "source" => self.source.to_string()).increment(1);
                    return;
                }
                Ok(Err(error)) => {
                    let causes = crate::daemon::chain(&error);
                    tracing::warn!(source = %self.source, error = causes, "the slot is still there");
                }
                Err(elapsed) => tracing::warn!(source = %self.source, error = %elapsed, "the slot is still there"),
            }
        }
    }

    async fn drop_slot(&self) -> Result<(), SourceError> {
        let session = Session::connect(&self.target, Mode::Sql, self.clock(), &[]).await;
        let mut session = session.map_err(|error| SourceErrorKind::from(error).when("connecting"))?;
        let given_up = slot::give_up(&mut session, &self.slot, self.clock()).await;
        session.close().await;
        given_up
    }
}
