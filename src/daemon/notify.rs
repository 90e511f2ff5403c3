//! Tells the service manager how the daemon is: ready, what it does, alive, leaving. Nothing happens where none asked.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::clock::{Clock, sleep};
use crate::daemon::board::{Board, Phase, SourceState};
use crate::model::SourceName;

/// How often the manager hears what is going on.
const EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether every source has begun.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Tells until it is dropped. Ready means that every source is captured or its trouble is known: a server that is down
/// at boot must not keep the service from starting.
pub async fn run(board: Arc<Board>, sources: usize, clock: Arc<dyn Clock>) {
    let states = || board.read();
    while !has_begun(&states(), sources) {
        sleep(&*clock, LOOK_EVERY).await;
    }
    tell(&[NotifyState::Ready, NotifyState::Status(&sentence(&states()))]);
    let watchdog = sd_notify::watchdog_enabled();
    // Half of what the manager waits, so that one late beat does no harm.
    let every = watchdog.map_or(EVERY, |most| (most / 2).min(EVERY));
    loop {
        sleep(&*clock, every).await;
        tell(&[NotifyState::Status(&sentence(&states()))]);
        if watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// The daemon leaves.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("flushing what was captured")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(error = %error, "the service manager does not listen");
    }
}

fn has_begun(states: &std::collections::BTreeMap<SourceName, SourceState>, sources: usize) -> bool {
    states.len() == sources && states.values().all(|state| state.phase != Phase::Starting)
}

fn sentence(states: &std::collections::BTreeMap<SourceName, SourceState>) -> String {
    let of = |(name, state): (&SourceName, &SourceState)| {
        let trouble = state.trouble.as_ref().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        format!("{name} {} at {}{trouble}", state.phase.name(), state.durable)
    };
    states.iter().map(of).collect::<Vec<_>>().join(", ")
}
