//! What is true now, for everyone who asks: status, metrics, the status page. Small, and behind one short lock.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::model::{Epoch, Lsn, Slot, SourceName, Tick, Timestamp};

/// What a source is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Connecting, fencing, comparing.
    #[default]
    Starting,
    /// Following the stream.
    Capturing,
    /// Broken, and waiting to try again.
    Waiting,
    /// Ended in order.
    Stopped,
}

/// What is true of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceState {
    /// What it is doing.
    pub phase: Phase,
    /// Our reign over its log.
    pub epoch: Epoch,
    /// The last durable position.
    pub durable: Lsn,
    /// The latest durable commit time; `None` before the first.
    pub durable_time: Option<Timestamp>,
    /// The last durable slot of the log.
    pub slot: Slot,
    /// When something became durable last, heartbeats included.
    pub durable_tick: Tick,
    /// Segments made durable by this process.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// WAL that the slot holds back on the server.
    pub retained_bytes: u64,
    /// The slot's `wal_status`.
    pub wal_status: String,
    /// How the last life ended, if it broke, and what to do.
    pub trouble: Option<String>,
    /// Whether history is waiting for a base.
    pub gap: Option<String>,
    /// When the last base's snapshot was taken.
    pub base_time: Option<Timestamp>,
    /// Whether one is being taken.
    pub base_running: bool,
}

/// The states of all sources.
#[derive(Debug, Default)]
pub struct Board(Mutex<BTreeMap<SourceName, SourceState>>);

impl Board {
    /// Changes what is true of a source.
    pub fn update(&self, source: &SourceName, change: impl FnOnce(&mut SourceState)) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(states.entry(source.clone()).or_default());
    }

    /// What is true of all sources now.
    pub fn read(&self) -> BTreeMap<SourceName, SourceState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is true of one source now.
    pub fn of(&self, source: &SourceName) -> SourceState {
        self.read().remove(source).unwrap_or_default()
    }
}
