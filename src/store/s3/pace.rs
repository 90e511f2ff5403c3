//! Asks more slowly when the store says so, and faster again when it has stopped saying so; drops nothing (L8).
//!
//! Each `SlowDown` doubles the time between two requests, each answer takes a tenth off it, and below
//! [`GAP_MIN`] there is no gap any more: additive patience would take an hour to come back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::model::Tick;

/// The first gap, and the one that is as good as none.
const GAP_MIN: Duration = Duration::from_millis(10);
/// The longest: a store that takes less than a request per second takes nothing.
const GAP_MAX: Duration = Duration::from_secs(1);

/// The time between the starts of two requests, and when the next one may start.
#[derive(Debug, Default)]
pub struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    gap: Duration,
    next: Tick,
    told: u64,
}

impl Pace {
    /// Waits for this request's turn.
    pub(crate) async fn turn(&self, clock: &dyn Clock) {
        let due = {
            let mut state = self.state();
            if state.gap.is_zero() {
                return;
            }
            let due = state.next.max(clock.tick());
            state.next = due.after(state.gap);
            due
        };
        clock.sleep_until(due).await;
    }

    /// The store asks for fewer requests.
    pub(crate) fn slow_down(&self) {
        let mut state = self.state();
        state.gap = state.gap.saturating_mul(2).clamp(GAP_MIN, GAP_MAX);
        state.told = state.told.saturating_add(1);
    }

    /// The store answered.
    pub(crate) fn went_well(&self) {
        let mut state = self.state();
        state.gap = state.gap.mul_f64(0.9);
        if state.gap < GAP_MIN {
            state.gap = Duration::ZERO;
        }
    }

    /// The time between the starts of two requests now; zero when nothing holds them back.
    pub fn gap(&self) -> Duration {
        self.state().gap
    }

    /// How often the store has asked for fewer requests.
    pub fn told(&self) -> u64 {
        self.state().told
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::model::Timestamp;

    #[tokio::test]
    async fn l8_the_rate_falls_with_each_slow_down_and_comes_back_with_answers() {
        let (clock, pace) = (ManualClock::new(Timestamp::from_micros(0)), Pace::default());
        pace.turn(&clock).await;
        for expected in [10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
            pace.slow_down();
            assert_eq!(pace.gap(), Duration::from_millis(expected), "doubled, up to a second");
        }
        pace.turn(&clock).await;
        let second = pace.turn(&clock);
        tokio::pin!(second);
        assert!(futures::poll!(second.as_mut()).is_pending(), "a request waits for its turn");
        clock.advance(Duration::from_secs(1));
        second.await;
        let answers = (1..=100).find(|_| {
            pace.went_well();
            pace.gap().is_zero()
        });
        assert_eq!(answers, Some(44), "the full rate is back after so many answers");
    }
}
