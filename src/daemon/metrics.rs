//! Every metric's name, kind, unit and labels, in one place; alerts and dashboards are compared with this list.
//!
//! What moves is counted where it happens; what is true now is taken from the board when somebody asks.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use crate::daemon::board::{JobState, KeySight, Phase, SourceState};
use crate::daemon::schedule::JobId;
use crate::model::{SourceName, Tick, Timestamp};
use crate::store::mirror;
use crate::store::mirror::MirrorSight;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is what is true now.
    Gauge,
    /// How often something took how long.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

const SOURCE: &[&str] = &["source"];
/// What is done with the first store has no mirror.
const JOB: &[&str] = &["job", "mirror"];

const MIRROR: &[&str] = &["mirror"];

macro_rules! metrics_table {
    ($($constant:ident: $kind:ident $name:literal $unit:ident $labels:expr, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric =
                Metric { name: $name, kind: Kind::$kind, unit: Unit::$unit, labels: $labels, help: $help };
        )*
        /// Every metric.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics_table! {
    UP: Gauge "holdfast_source_up" Count SOURCE, "Whether the source is followed: 1 while it is captured, else 0.";
    LAG_SECONDS: Gauge "holdfast_lag_seconds" Seconds SOURCE, "How old the oldest change is that is not durable.";
    LAG_BYTES: Gauge "holdfast_lag_bytes" Bytes SOURCE, "How far the log trails the server.";
    DURABLE_POSITION: Gauge "holdfast_durable_position" Count SOURCE, "The last durable position, as a number.";
    SEGMENTS: Counter "holdfast_segments_total" Count SOURCE, "Segments that became durable.";
    SEGMENT_BYTES: Counter "holdfast_segment_bytes_total" Bytes SOURCE, "Sealed bytes of segments that became durable.";
    PUT_SECONDS: Histogram "holdfast_put_seconds" Seconds SOURCE, "How long the store took for one segment.";
    SLOT_RETAINED_BYTES: Gauge "holdfast_slot_retained_bytes" Bytes SOURCE, "WAL that the slot holds back on the server.";
    SLOT_BYTES_MAX: Gauge "holdfast_slot_bytes_max" Bytes SOURCE, "WAL at which the slot is given up.";
    SLOT_WAL_STATUS: Gauge "holdfast_slot_wal_status" Count &["source", "status"], "1 for what the server says of the slot's WAL.";
    BASE_FAILURES: Counter "holdfast_base_failures_total" Count SOURCE, "Bases that could not be taken.";
    SLOTS_GIVEN_UP: Counter "holdfast_slots_given_up_total" Count SOURCE, "Slots given up before they filled a disk.";
    HEARTBEAT_FAILURES: Gauge "holdfast_heartbeat_failures" Count SOURCE, "Heartbeats that failed in a row.";
    BASE_AGE_SECONDS: Gauge "holdfast_base_age_seconds" Seconds SOURCE, "Time since the last base's snapshot.";
    RESTORABLE_SECONDS: Gauge "holdfast_restorable_seconds" Seconds SOURCE,
        "From the oldest base to the last durable commit.";
    GAPS: Counter "holdfast_gaps_total" Count &["source", "reason"], "Stretches of history that were not captured.";
    GAP_OPEN: Gauge "holdfast_gap_open" Count SOURCE, "1 while history waits for a base.";
    ERRORS: Counter "holdfast_errors_total" Count &["source", "kind"], "Lives of a source that broke, and times when checkpoints began to fail.";
    JOB_FAILED: Gauge "holdfast_job_failed" Count JOB, "1 while the last run of a job did not succeed.";
    JOB_FAILURES: Counter "holdfast_job_failures_total" Count &["job", "mirror", "kind"],
        "Runs of a job that found damage, could not tell or failed.";
    JOB_RUNNING: Gauge "holdfast_job_running" Count JOB, "1 while a run of a job is under way.";
    JOB_SUCCESS_AGE_SECONDS: Gauge "holdfast_job_success_age_seconds" Seconds JOB, "Time since a job succeeded last.";
    JOB_OVERDUE_SECONDS: Gauge "holdfast_job_overdue_seconds" Seconds JOB, "How long ago a run was due that has not ended.";
    JOB_SECONDS: Gauge "holdfast_job_seconds" Seconds JOB, "How long the last run of a job took.";
    CATALOG_STALE: Gauge "holdfast_catalog_stale" Count &[], "1 while the catalog holds less than the store.";
    KEY_UP: Gauge "holdfast_key_up" Count &[], "Whether the key service does what is asked of it: 1, else 0.";
    KEY_SEALS_SECONDS: Gauge "holdfast_key_seals_seconds" Seconds &[], "How long sealing can go on without the key service.";
    KEY_TROUBLES: Counter "holdfast_key_troubles_total" Count &["kind"], "How often trouble with the key service began.";
    MIRROR_IN_STEP: Gauge "holdfast_mirror_in_step" Count MIRROR, "1 while the mirror holds all that the first store holds.";
    MIRROR_LAG_OBJECTS: Gauge "holdfast_mirror_lag_objects" Count MIRROR, "Objects that the mirror lacks.";
    MIRROR_LAG_BYTES: Gauge "holdfast_mirror_lag_bytes" Bytes MIRROR, "Their bytes; an estimate after an outage.";
    MIRROR_LAG_SECONDS: Gauge "holdfast_mirror_lag_seconds" Seconds MIRROR, "How old the oldest object is that the mirror lacks.";
    MIRROR_SILENT_SECONDS: Gauge "holdfast_mirror_silent_seconds" Seconds MIRROR, "Time since the mirror last took something, or was found whole.";
    MIRROR_DAMAGED: Gauge "holdfast_mirror_damaged" Count MIRROR, "Foreign objects in the mirror's slots.";
    MIRROR_HOLDS_UP: Gauge "holdfast_mirror_holds_up" Count MIRROR, "1 while nothing is acknowledged because of this mirror.";
    MIRROR_TROUBLES: Counter "holdfast_mirror_troubles_total" Count &["mirror", "kind"], "How often trouble with a mirror began.";
    CATALOG_REBUILDS: Counter "holdfast_catalog_rebuilds_total" Count &[], "How often the catalog was made anew.";
}

/// The values that PostgreSQL's `wal_status` has; an unknown one shows as none of them.
const WAL_STATUSES: [&str; 4] = ["reserved", "extended", "unreserved", "lost"];

/// Seconds at which the histogram of puts is cut: from a local disk to a store that hardly answers.
const PUT_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// What collects the metrics of this process. There can be one; whoever asks again gets the same.
pub fn recorder() -> Result<PrometheusHandle, BuildError> {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let builder = PrometheusBuilder::new().set_buckets(&PUT_BUCKETS)?;
    let handle = builder.install_recorder()?;
    for metric in ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
    Ok(RECORDER.get_or_init(|| handle).clone())
}

/// Shows what is true now.
pub fn show(states: &BTreeMap<SourceName, SourceState>, (tick, now): (Tick, Timestamp)) {
    for (name, state) in states {
        let source = name.to_string();
        let set = |metric: Metric, value: f64| metrics::gauge!(metric.name, "source" => source.clone()).set(value);
        set(UP, flag(state.phase == Phase::Capturing));
        set(LAG_SECONDS, state.lag(tick).as_secs_f64());
        set(LAG_BYTES, number(state.lag_bytes().get()));
        set(DURABLE_POSITION, number(state.durable.get()));
        set(SLOT_RETAINED_BYTES, number(state.retained_bytes));
        set(SLOT_BYTES_MAX, number(state.slot_bytes_max));
        set(HEARTBEAT_FAILURES, f64::from(state.heartbeat_failures));
        set(GAP_OPEN, flag(state.gap.is_some()));
        for status in WAL_STATUSES {
            let gauge = metrics::gauge!(SLOT_WAL_STATUS.name, "source" => source.clone(), "status" => status);
            gauge.set(flag(state.wal_status == status));
        }
        if let Some(base) = state.base_time {
            set(BASE_AGE_SECONDS, now.since(base).as_secs_f64());
        }
        if let (Some(first), Some(last)) = (state.base_first, state.durable_time) {
            set(RESTORABLE_SECONDS, last.since(first).as_secs_f64());
        }
    }
}

/// Shows how the jobs stand.
pub fn show_jobs(jobs: &BTreeMap<JobId, JobState>, now: Timestamp) {
    for (id, state) in jobs {
        let labels = id.labels();
        let set = |metric: Metric, value: f64| metrics::gauge!(metric.name, &labels).set(value);
        set(JOB_FAILED, flag(state.past.standing_failure().is_some()));
        set(JOB_RUNNING, flag(state.running.is_some()));
        set(JOB_OVERDUE_SECONDS, now.since(state.due).as_secs_f64());
        if let Some(succeeded) = state.past.succeeded() {
            set(JOB_SUCCESS_AGE_SECONDS, now.since(succeeded).as_secs_f64());
        }
    }
}

/// Shows how the keys are. A key file is never in trouble, and nothing ends sealing under it.
pub fn show_keys(keys: &KeySight, tick: Tick) {
    metrics::gauge!(KEY_UP.name).set(flag(keys.trouble.is_none()));
    if let Some(until) = keys.seals_until {
        metrics::gauge!(KEY_SEALS_SECONDS.name).set(until.since(tick).as_secs_f64());
    }
}

/// Shows how the mirrors are.
pub fn show_mirrors(mirrors: &[MirrorSight], now: Timestamp) {
    for mirror in mirrors {
        let set = |metric: Metric, value: f64| metrics::gauge!(metric.name, "mirror" => mirror.name.clone()).set(value);
        set(MIRROR_IN_STEP, flag(mirror.phase == mirror::Phase::InStep));
        set(MIRROR_LAG_OBJECTS, number(mirror.behind_objects));
        set(MIRROR_LAG_BYTES, number(mirror.behind_bytes));
        set(MIRROR_LAG_SECONDS, mirror.behind_since.map_or(0.0, |since| now.since(since).as_secs_f64()));
        if let Some(last) = mirror.last_success {
            set(MIRROR_SILENT_SECONDS, now.since(last).as_secs_f64());
        }
        set(MIRROR_DAMAGED, number(u64::try_from(mirror.damaged.len()).unwrap_or(u64::MAX)));
        set(MIRROR_HOLDS_UP, flag(mirror.holds_up));
    }
}

const fn flag(set: bool) -> f64 {
    if set { 1.0 } else { 0.0 }
}

/// Above 2^53 bytes or positions the last digits are lost, which no graph shows.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a gauge is a float")]
const fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_the_unit_and_the_kind() {
        for metric in ALL {
            let name = metric.name;
            assert!(name.starts_with("holdfast_"), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            let unit = name.trim_end_matches("_total").trim_end_matches("_max");
            assert_eq!(metric.unit == Unit::Bytes, unit.ends_with("_bytes"), "{name}");
            assert_eq!(metric.unit == Unit::Seconds, unit.ends_with("_seconds"), "{name}");
            assert_eq!(ALL.iter().filter(|other| other.name == name).count(), 1, "{name}");
        }
    }
}
