//! What is true now, for everyone who asks: status, metrics, the status page. Small, and behind one short lock.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::daemon::schedule::{JobId, Past};
use crate::model::{Epoch, LagBytes, Lsn, Slot, SourceName, Tick, Timestamp};
use crate::source::postgres::heartbeat::Pulse;
use crate::store::mirror::MirrorSight;

/// Heartbeats that may wait to be durable and are remembered one by one; the oldest tells the lag.
const PULSES_MAX: usize = 64;
/// A source that was not heard of for so many heartbeats is silent, and its lag is not zero.
const SILENT_AFTER: u32 = 3;

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
    /// Ended, and nobody tries again: a person must look.
    Failed,
}

impl Phase {
    /// The phase in a word, the same on every surface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Capturing => "capturing",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
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
    /// WAL at which the slot is given up.
    pub slot_bytes_max: u64,
    /// The slot's `wal_status`.
    pub wal_status: String,
    /// Heartbeats that failed in a row.
    pub heartbeat_failures: u32,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// How the last life ended, if it broke, and what to do.
    pub trouble: Option<String>,
    /// Objects of the log that are missing in the store.
    pub missing: u64,
    /// Whether history is waiting for a base.
    pub gap: Option<String>,
    /// When the last base's snapshot was taken.
    pub base_time: Option<Timestamp>,
    /// When the oldest base's snapshot was taken.
    pub base_first: Option<Timestamp>,
    /// Whether one is being taken.
    pub base_running: bool,
    /// Where the server stood at recent heartbeats that are not durable yet, oldest first.
    pulses: VecDeque<(Lsn, Tick)>,
    /// When the server was last heard of, and where it stood.
    heard: Option<(Lsn, Tick)>,
}

impl SourceState {
    /// Something became durable.
    pub fn became_durable(&mut self, durable: Lsn, now: Tick) {
        self.durable = durable;
        self.durable_tick = now;
        while self.pulses.front().is_some_and(|(at, _)| *at <= durable) {
            self.pulses.pop_front();
        }
    }

    /// A heartbeat was sent, and the slot looked at; or that failed.
    pub fn beat(&mut self, pulse: &Pulse, now: Tick) {
        self.heartbeat_failures = pulse.failures;
        if pulse.failures > 0 {
            return;
        }
        self.retained_bytes = pulse.slot.as_ref().map_or(0, |slot| slot.retained_bytes);
        pulse.slot.as_ref().map_or("none", |slot| &slot.wal_status).clone_into(&mut self.wal_status);
        self.heard = Some((pulse.head, now));
        // When it is full the oldest still tells the truth about the lag.
        if pulse.head > self.durable && self.pulses.len() < PULSES_MAX {
            self.pulses.push_back((pulse.head, now));
        }
    }

    /// How old the oldest change is that is not durable. Where the source was not heard of, time since then counts: what
    /// cannot be seen is not zero (L11).
    pub fn lag(&self, now: Tick) -> Duration {
        let silent = self.heartbeat.saturating_mul(SILENT_AFTER);
        match (self.pulses.front(), self.heard) {
            (Some((_, since)), _) => now.since(*since),
            (None, Some((_, heard))) if now.since(heard) > silent => now.since(heard),
            (None, Some(_)) => Duration::ZERO,
            (None, None) => now.since(self.durable_tick),
        }
    }

    /// How far the log trails the server, as it was last heard of.
    pub fn lag_bytes(&self) -> LagBytes {
        let head = self.heard.map_or(self.durable, |(head, _)| head);
        self.durable.position().lag_behind(head.position())
    }
}

/// What is true of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobState {
    /// How often it runs.
    pub every: Duration,
    /// How its runs ended.
    pub past: Past,
    /// When the next is due.
    pub due: Timestamp,
    /// Since when one is under way.
    pub running: Option<Timestamp>,
}

/// What is true of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySight {
    /// What is wrong with the key service, and what to do.
    pub trouble: Option<String>,
    /// Since when.
    pub since: Option<Tick>,
    /// When sealing ends unless a new data key comes; `None` without a key service.
    pub seals_until: Option<Tick>,
}

/// The states of all sources, of the keys, of the mirrors, and of the jobs beside capture.
#[derive(Debug, Default)]
pub struct Board {
    sources: Mutex<BTreeMap<SourceName, SourceState>>,
    keys: Mutex<KeySight>,
    mirrors: Mutex<Vec<MirrorSight>>,
    jobs: Mutex<BTreeMap<JobId, JobState>>,
}

impl Board {
    /// What is true of the mirrors from now on.
    pub fn see_mirrors(&self, sights: Vec<MirrorSight>) {
        *self.mirrors.lock().unwrap_or_else(PoisonError::into_inner) = sights;
    }

    /// What is true of the mirrors now, in the order of the configuration.
    pub fn mirrors(&self) -> Vec<MirrorSight> {
        self.mirrors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is true of a source.
    pub fn update(&self, source: &SourceName, change: impl FnOnce(&mut SourceState)) {
        let mut states = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        change(states.entry(source.clone()).or_default());
    }

    /// Changes what is true of the keys.
    pub fn see_keys(&self, sight: KeySight) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = sight;
    }

    /// What is true of the keys now.
    pub fn keys(&self) -> KeySight {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is true of all sources now.
    pub fn read(&self) -> BTreeMap<SourceName, SourceState> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what is true of a job.
    pub fn job(&self, job: JobId, state: JobState) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).insert(job, state);
    }

    /// What is true of all jobs now.
    pub fn jobs(&self) -> BTreeMap<JobId, JobState> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is true of one source now.
    pub fn of(&self, source: &SourceName) -> SourceState {
        self.read().remove(source).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse(head: u64) -> Pulse {
        Pulse { head: Lsn::new(head), ..Pulse::default() }
    }

    fn at(seconds: u64) -> Tick {
        Tick::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn lag_is_the_age_of_the_oldest_heartbeat_that_is_not_durable() {
        let mut state = SourceState { heartbeat: Duration::from_secs(10), ..SourceState::default() };
        assert_eq!(state.lag(at(7)), Duration::from_secs(7), "never heard of");
        state.beat(&pulse(100), at(10));
        state.beat(&pulse(200), at(20));
        assert_eq!((state.lag(at(25)), state.lag_bytes().get()), (Duration::from_secs(15), 200));
        state.became_durable(Lsn::new(150), at(26));
        assert_eq!((state.lag(at(27)), state.lag_bytes().get()), (Duration::from_secs(7), 50));
        state.became_durable(Lsn::new(200), at(28));
        assert_eq!((state.lag(at(29)), state.lag_bytes().get()), (Duration::ZERO, 0));
    }

    #[test]
    fn l11_a_source_that_is_silent_has_a_lag() {
        let mut state = SourceState { heartbeat: Duration::from_secs(10), ..SourceState::default() };
        state.beat(&pulse(100), at(10));
        state.became_durable(Lsn::new(100), at(11));
        assert_eq!(state.lag(at(40)), Duration::ZERO, "within three heartbeats");
        state.beat(&Pulse { failures: 1, ..pulse(500) }, at(41));
        assert_eq!(state.lag(at(41)), Duration::from_secs(31), "a failed heartbeat says nothing of the server");
    }

    #[test]
    fn l8_a_long_outage_of_the_store_does_not_grow_the_board() {
        let mut state = SourceState::default();
        for beat in 1..10_000 {
            state.beat(&pulse(beat), at(beat));
        }
        assert_eq!((state.pulses.len(), state.lag(at(10_001))), (PULSES_MAX, Duration::from_secs(10_000)));
    }
}
