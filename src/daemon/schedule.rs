//! When the next base and the next run of each job are due: from what succeeded, what failed, and the dice, and nothing else.
//!
//! ```text
//!   succeeded ── every + jitter ──▶ due          failed ── 5 min, doubled with each failure, at most `every` ──▶ due
//!   started ── a minute ──▶ nothing is due before, so that capture begins first
//! ```
//! A job that has never succeeded is due at once. So is one whose last run lies in the future: the clock was set back, and
//! what that time says is not known (L11). Nothing here moves along with the clock: what is due comes.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::entropy::{Entropy, draw};
use crate::model::Timestamp;

/// Capture comes first: so long after the start nothing is due, unless it is to happen more often.
const FIRST_AFTER: Duration = Duration::from_mins(1);
/// The wait after the first failure; it doubles with each more.
const RETRY_AFTER: Duration = Duration::from_mins(5);
/// What the dice add to a rhythm, as its part: many installations must not ask one store at one time.
const JITTER_PART: u32 = 20;

/// Work beside capture, on a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobName {
    /// Names, chain, checkpoints and the end against the slot.
    QuickVerify,
    /// Every byte.
    Verify,
    /// Delete what retention no longer needs.
    Expire,
    /// Remove what broken bases left behind.
    Sweep,
}

impl JobName {
    /// Every job, in the order in which they run if all are due.
    pub const ALL: [Self; 4] = [Self::QuickVerify, Self::Sweep, Self::Expire, Self::Verify];

    /// The name, the same on every surface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QuickVerify => "quick-verify",
            Self::Verify => "verify",
            Self::Expire => "expire",
            Self::Sweep => "sweep",
        }
    }
}

/// A job, and of which store: what becomes of it is known for each by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId {
    /// Which.
    pub job: JobName,
    /// The mirror that it looks at; `None` is the first store.
    pub mirror: Option<String>,
}

impl JobId {
    /// The job of the first store.
    pub const fn of_first(job: JobName) -> Self {
        Self { job, mirror: None }
    }

    /// The labels of its metrics: those of the first store are what they were before there were mirrors.
    pub fn labels(&self) -> Vec<(&'static str, String)> {
        let mirror = self.mirror.clone().map(|mirror| ("mirror", mirror));
        [Some(("job", self.job.name().to_owned())), mirror].into_iter().flatten().collect()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mirror {
            None => f.write_str(self.job.name()),
            Some(mirror) => write!(f, "{} of mirror {mirror}", self.job.name()),
        }
    }
}

/// Why a run did not succeed, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Something stored is damaged, missing or foreign.
    Damaged,
    /// Something could not be read: that is not "fine".
    CouldNotTell,
    /// The job could not do its work.
    Failed,
}

impl Trouble {
    /// The trouble in a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::CouldNotTell => "could_not_tell",
            Self::Failed => "failed",
        }
    }
}

/// A run that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// When it ended, in microseconds since 1970-01-01 UTC.
    pub at_micros: i64,
    /// Why.
    pub trouble: Trouble,
    /// What was found, for people.
    pub sentence: String,
}

/// What is known of a job's runs. It outlives the process; without it a job just runs again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// When it succeeded last, in microseconds since 1970-01-01 UTC.
    pub succeeded_micros: Option<i64>,
    /// What it said then.
    pub said: Option<String>,
    /// How it did not succeed last.
    pub failed: Option<Failed>,
    /// Failures since the last success.
    pub failures_in_a_row: u32,
}

impl Past {
    /// When it succeeded last.
    pub fn succeeded(&self) -> Option<Timestamp> {
        self.succeeded_micros.map(Timestamp::from_micros)
    }

    /// The failure that no success has followed.
    pub fn standing_failure(&self) -> Option<&Failed> {
        self.failed.as_ref().filter(|_| self.failures_in_a_row > 0)
    }

    /// A run has ended.
    pub fn ended(&mut self, now: Timestamp, ended: Result<String, (Trouble, String)>) {
        match ended {
            Ok(said) => {
                self.succeeded_micros = Some(now.micros());
                self.said = Some(said);
                self.failures_in_a_row = 0;
            }
            Err((trouble, sentence)) => {
                self.failed = Some(Failed { at_micros: now.micros(), trouble, sentence });
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
            }
        }
    }
}

/// How often a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// Time from one success to the next run.
    pub every: Duration,
    /// What the dice add.
    pub jitter: Duration,
}

/// When the next run is due, for a process that began at `begun`, which is not in the future.
pub fn due(rhythm: Rhythm, past: &Past, begun: Timestamp, now: Timestamp) -> Timestamp {
    let earliest = begun.later_by(FIRST_AFTER.min(rhythm.every));
    let failed = past.standing_failure().map(|failed| Timestamp::from_micros(failed.at_micros));
    let due = match (failed, past.succeeded()) {
        (Some(failed), _) if failed <= now => {
            let doubled = RETRY_AFTER.saturating_mul(1 << past.failures_in_a_row.saturating_sub(1).min(16));
            failed.later_by(doubled.min(rhythm.every))
        }
        (None, Some(succeeded)) if succeeded <= now => succeeded.later_by(rhythm.every.saturating_add(rhythm.jitter)),
        (Some(_) | None, _) => earliest,
    };
    due.max(earliest)
}

/// Whether a run is so late that somebody should look: it was due a whole rhythm ago.
pub fn is_overdue(every: Duration, due: Timestamp, now: Timestamp) -> bool {
    now.since(due) > every
}

/// How long until a base is due after the one that was `taken` last; zero if there is none, or if it is so far in the
/// future that a clock must have been wrong. The microsecond at which it was taken is the dice: the same base gives the
/// same wait, after a restart too.
pub fn base_due_in(every: Duration, taken: Option<Timestamp>, now: Timestamp) -> Duration {
    let Some(taken) = taken.filter(|taken| taken.since(now) <= every) else { return Duration::ZERO };
    let dice = u128::from(taken.micros().unsigned_abs());
    every.saturating_add(part_of(every, dice)).saturating_sub(now.since(taken))
}

/// A throw of the dice for a rhythm.
pub fn jitter(every: Duration, entropy: &dyn Entropy) -> Duration {
    part_of(every, u128::from_le_bytes(draw(entropy)))
}

fn part_of(every: Duration, dice: u128) -> Duration {
    let most = every.checked_div(JITTER_PART).unwrap_or_default().as_micros();
    let micros = dice.checked_rem(most.saturating_add(1)).unwrap_or(0);
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use proptest::prelude::*;

    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds as i64 * 1_000_000)
    }

    fn past(succeeded: Option<u64>, failed: Option<(u64, u32)>) -> Past {
        Past {
            succeeded_micros: succeeded.map(|seconds| at(seconds).micros()),
            failed: failed.map(|(seconds, _)| Failed {
                at_micros: at(seconds).micros(),
                trouble: Trouble::Failed,
                sentence: String::new(),
            }),
            failures_in_a_row: failed.map_or(0, |(_, failures)| failures),
            ..Past::default()
        }
    }

    #[test]
    fn a_job_is_due_a_rhythm_after_its_last_success_and_sooner_after_a_failure() {
        let (begun, now) = (100 * DAY, 100 * DAY + HOUR);
        let minute = 60;
        #[rustfmt::skip]
        let cases = [
            // succeeded             failed                         due                    why
            (None,                   None,                          begun + minute,        "never yet: once capture has begun"),
            (Some(now - HOUR),       None,                          now + 23 * HOUR + 5,   "a day and the dice after"),
            (Some(now - 9 * DAY),    None,                          begun + minute,        "long due: not before capture has begun"),
            (Some(now + DAY),        None,                          begun + minute,        "the clock was set back: nobody knows when that was"),
            (Some(now - HOUR),       Some((now - minute, 1)),       now + 4 * minute,      "five minutes after a failure"),
            (Some(now - HOUR),       Some((now - minute, 3)),       now + 19 * minute,     "later and later"),
            (None,                   Some((now - minute, 60)),      now - minute + DAY,    "at most a rhythm"),
            (None,                   Some((now + DAY, 1)),          begun + minute,        "failed in the future: the clock again"),
            (Some(now - HOUR),       Some((now - 2 * HOUR, 0)),     now + 23 * HOUR + 5,   "a failure that a success followed is over"),
        ];
        for (succeeded, failed, expected, why) in cases {
            let rhythm = Rhythm { every: Duration::from_secs(DAY), jitter: Duration::from_secs(5) };
            assert_eq!(due(rhythm, &past(succeeded, failed), at(begun), at(now)), at(expected), "{why}");
        }
    }

    #[test]
    fn a_base_is_due_a_rhythm_after_the_last_one_and_at_once_without_one() {
        let day = Duration::from_secs(DAY);
        assert_eq!(base_due_in(day, None, at(DAY)), Duration::ZERO);
        let base_at = |micros| Timestamp::from_micros(at(DAY).micros() + micros);
        let wait = base_due_in(day, Some(base_at(7)), base_at(7));
        assert!(wait >= day && wait <= day + day / JITTER_PART, "{wait:?}");
        let hour = Duration::from_secs(HOUR);
        assert_eq!(base_due_in(day, Some(base_at(7)), base_at(7).later_by(hour)) + hour, wait);
        assert_ne!(base_due_in(day, Some(base_at(8)), base_at(8)), wait, "another base, another throw");
        assert_eq!(base_due_in(day, Some(base_at(7)), at(9 * DAY)), Duration::ZERO);
        assert_eq!(
            base_due_in(day, Some(at(9 * DAY)), at(2 * DAY)),
            Duration::ZERO,
            "the clock was set back by a week"
        );
    }

    #[test]
    fn a_success_ends_a_row_of_failures_and_a_failure_keeps_the_last_success() {
        let mut past = Past::default();
        past.ended(at(1), Ok("sound".to_owned()));
        past.ended(at(2), Err((Trouble::Damaged, "slot 3".to_owned())));
        past.ended(at(3), Err((Trouble::CouldNotTell, "no answer".to_owned())));
        let standing = past.standing_failure().unwrap();
        assert_eq!(
            (standing.trouble, past.failures_in_a_row, past.succeeded()),
            (Trouble::CouldNotTell, 2, Some(at(1)))
        );
        past.ended(at(4), Ok("sound".to_owned()));
        assert_eq!((past.standing_failure(), past.succeeded()), (None, Some(at(4))));
    }

    proptest! {
        #[test]
        fn whatever_the_clock_says_a_job_is_due_within_a_rhythm_and_its_jitter(
            succeeded in proptest::option::of(0..u64::from(u32::MAX)), failed in proptest::option::of((0..u64::from(u32::MAX), 1..99_u32)),
            begun in 0..u64::from(u32::MAX), now in 0..u64::from(u32::MAX), every in 1..9 * DAY, seed: u64,
        ) {
            let every = Duration::from_secs(every);
            let rhythm = Rhythm { every, jitter: jitter(every, &SeededEntropy::new(seed)) };
            prop_assert!(rhythm.jitter <= every / JITTER_PART);
            let due = due(rhythm, &past(succeeded, failed), at(begun.min(now)), at(now));
            prop_assert!(due.since(at(now)) <= every + rhythm.jitter.max(FIRST_AFTER));
        }

        #[test]
        fn time_that_passes_brings_the_next_run_whatever_the_clock_said_before(
            succeeded in proptest::option::of(0..u64::from(u32::MAX)), failed in proptest::option::of((0..u64::from(u32::MAX), 1..99_u32)),
            mut begun in 0..u64::from(u32::MAX), start in 0..u64::from(u32::MAX), every in 60..9 * DAY,
        ) {
            let rhythm = Rhythm { every: Duration::from_secs(every), jitter: Duration::from_secs(every / 20) };
            let past = past(succeeded, failed);
            let within = start + every + every / 20 + 61;
            let mut looks = (start..=within).step_by(every.div_ceil(20) as usize).chain([within]);
            let ran = looks.any(|now| {
                begun = begun.min(now);
                due(rhythm, &past, at(begun), at(now)) <= at(now)
            });
            prop_assert!(ran);
        }
    }
}
