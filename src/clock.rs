//! The only clock: what the calendar says, what has elapsed, and waiting; by hand in tests, so that they replay.

use std::sync::Mutex;
use std::time::Duration;

use crate::model::{Tick, Timestamp};

/// Where time comes from. Everything that needs it takes a `Clock`.
#[async_trait::async_trait]
pub trait Clock: std::fmt::Debug + Send + Sync {
    /// What the calendar says: for what is written down. It may step back.
    fn now(&self) -> Timestamp;
    /// Time since the start: for what is measured. It never steps back.
    fn tick(&self) -> Tick;
    /// Waits until `due`; returns at once if that is past. Cancel-safe.
    async fn sleep_until(&self, due: Tick);
}

/// Waits for `wait` from now, the moment of the call: not from whenever the future is first polled.
pub fn sleep(clock: &dyn Clock, wait: Duration) -> impl Future<Output = ()> + Send + '_ {
    clock.sleep_until(clock.tick().after(wait))
}

/// Holds up the thread: for one that has nothing else to do, and for waits that are too short for a timer.
#[expect(clippy::disallowed_methods, reason = "the one place that waits")]
pub fn rest(wait: Duration) {
    std::thread::sleep(wait);
}

/// The work took longer than it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer within {0:?}")]
pub struct Elapsed(pub Duration);

/// Gives `work` at most `wait` from this call.
pub fn timeout<F: Future>(
    clock: &dyn Clock,
    wait: Duration,
    work: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    let over = sleep(clock, wait);
    async move {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = over => Err(Elapsed(wait)),
        }
    }
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose ticks start now.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait::async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    fn now(&self) -> Timestamp {
        let micros = |elapsed: Duration| i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => micros(after),
            Err(before) => -micros(before.duration()),
        })
    }

    fn tick(&self) -> Tick {
        Tick::from_start(self.start.elapsed())
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that waits")]
    async fn sleep_until(&self, due: Tick) {
        let wait = due.since(self.tick());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// A clock that moves only when it is told to.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<(Timestamp, Tick)>,
    moved: tokio::sync::Notify,
}

impl ManualClock {
    /// A clock that shows `now` until it is moved.
    pub fn new(now: Timestamp) -> Self {
        Self { state: Mutex::new((now, Tick::default())), moved: tokio::sync::Notify::new() }
    }

    /// Moves both times on and wakes who waits for that.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *state = (Timestamp::from_micros(state.0.micros().saturating_add(micros)), state.1.after(by));
        drop(state);
        self.moved.notify_waiters();
    }

    fn read(&self) -> (Timestamp, Tick) {
        *self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.read().0
    }

    fn tick(&self) -> Tick {
        self.read().1
    }

    async fn sleep_until(&self, due: Tick) {
        loop {
            let moved = self.moved.notified();
            if self.read().1 >= due {
                return;
            }
            moved.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_a_sleeper_exactly_when_it_is_moved_there() {
        let clock = ManualClock::new(Timestamp::from_micros(7));
        let sleeper = sleep(&clock, Duration::from_secs(2));
        tokio::pin!(sleeper);
        clock.advance(Duration::from_secs(1));
        assert!(futures::poll!(sleeper.as_mut()).is_pending(), "a second too early");
        clock.advance(Duration::from_secs(1));
        sleeper.await;
        assert_eq!(clock.now(), Timestamp::from_micros(2_000_007));
    }
}
