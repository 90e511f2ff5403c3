//! Two kinds of time: what the calendar says (for what is written down) and time since the start (for what is measured).

use std::fmt;
use std::time::Duration;

/// Microseconds from 1970-01-01 UTC to 2000-01-01 UTC, PostgreSQL's epoch.
pub const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A moment of the calendar, in microseconds since 1970-01-01 UTC. It may step back when a clock is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Earlier than every commit.
    pub const MIN: Self = Self(i64::MIN);
    /// Later than every commit.
    pub const MAX: Self = Self(i64::MAX);

    /// A moment from microseconds since 1970-01-01 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// A moment from PostgreSQL's wire, which counts microseconds from 2000-01-01 UTC; saturates at the ends.
    pub const fn from_postgres_micros(micros: i64) -> Self {
        Self(micros.saturating_add(POSTGRES_EPOCH_MICROS))
    }

    /// Microseconds since 1970-01-01 UTC.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Microseconds since 2000-01-01 UTC, as PostgreSQL's wire counts.
    pub const fn postgres_micros(self) -> i64 {
        self.0.saturating_sub(POSTGRES_EPOCH_MICROS)
    }

    /// The number of the day since 1970-01-01; data keys change with it.
    pub const fn day(self) -> i64 {
        self.0.div_euclid(86_400_000_000)
    }

    /// The moment `span` before this one; saturates at the beginning.
    #[must_use]
    pub fn earlier_by(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time `span` later.
    #[must_use]
    pub fn later_by(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Time from `earlier` to `self`; zero if the clock stepped back between them.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with microseconds; `never` for [`Timestamp::MIN`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(f, "{moment:.6}"),
            Err(_) => f.write_str("never"),
        }
    }
}

/// Running time since the process started. It never steps back and means nothing outside this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(Duration);

impl Tick {
    /// A tick that stands `elapsed` after the start.
    pub const fn from_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// Time since the start.
    pub const fn elapsed(self) -> Duration {
        self.0
    }

    /// The tick `wait` later.
    #[must_use]
    pub const fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_in_utc_with_microseconds() {
        assert_eq!(Timestamp::from_postgres_micros(1).to_string(), "2000-01-01T00:00:00.000001Z");
        assert_eq!(Timestamp::from_micros(-1).day(), -1, "a day before the epoch is not day zero");
    }
}
