//! What is true now, as machines and people read it: one JSON value behind `status`, `/status` and `/ready`, and a page.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::board::{Board, JobState, KeySight, Phase, SourceState};
use crate::daemon::policy;
use crate::daemon::schedule::{self, JobId};
use crate::model::{SourceName, Tick, Timestamp};
use crate::store::mirror::{Duty, MirrorSight};

/// What is shown, and what it is compared with.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The platform's name.
    pub service: Option<String>,
    /// How much time of history may be lost.
    pub rpo: Duration,
    /// How old the last base may be: twice the time between two; `None` without a schedule.
    pub base_age_max: Option<Duration>,
}

/// Two times of one moment.
pub type Now = (Tick, Timestamp);

/// Everything, as JSON.
pub fn value(board: &Board, sight: &Sight, now: Now) -> Value {
    let states = board.read();
    let jobs = board.jobs();
    let sources: Vec<_> = states.iter().map(|(name, state)| source(name, state, now)).collect();
    let mirrors = board.mirrors();
    let (of_sources, of_mirrors) = (alarms(&states, sight, now), mirror_alarms(&mirrors));
    let all_alarms = [key_alarms(&board.keys(), now.0), of_sources, of_mirrors, job_alarms(&jobs, now.1)].concat();
    json!({
        "service": sight.service,
        "time": now.1.to_string(),
        "ready": not_ready(&states, sight, now).is_empty(),
        "alarms": all_alarms,
        "sources": sources,
        "mirrors": mirrors.iter().map(|sight| mirror(sight, now.1)).collect::<Vec<_>>(),
        "jobs": jobs.iter().map(|(id, state)| job(id, state)).collect::<Vec<_>>(),
    })
}

fn source(name: &SourceName, state: &SourceState, (tick, now): Now) -> Value {
    json!({
        "source": name.to_string(),
        "phase": state.phase,
        "trouble": state.trouble,
        "durable": state.durable.to_string(),
        "durable_time": state.durable_time.map(|time| time.to_string()),
        "lag_seconds": seconds(state.lag(tick)),
        "lag_bytes": state.lag_bytes().get(),
        "epoch": state.epoch.get(),
        "slot": state.slot.get(),
        "segments": state.segments,
        "segment_bytes": state.bytes,
        "retained_bytes": state.retained_bytes,
        "slot_bytes_max": state.slot_bytes_max,
        "wal_status": state.wal_status,
        "heartbeat_failures": state.heartbeat_failures,
        "missing_objects": state.missing,
        "gap": state.gap,
        "base_time": state.base_time.map(|time| time.to_string()),
        "base_age_seconds": state.base_time.map(|time| seconds(now.since(time))),
        "base_running": state.base_running,
    })
}

fn mirror(sight: &MirrorSight, now: Timestamp) -> Value {
    json!({
        "mirror": sight.name,
        "required": sight.duty == Duty::Required,
        "phase": sight.phase.name(),
        "trouble": sight.trouble,
        "behind_objects": sight.behind_objects,
        "behind_bytes": sight.behind_bytes,
        "behind_seconds": sight.behind_since.map_or(0.0, |since| seconds(now.since(since))),
        "last_success": sight.last_success.map(|time| time.to_string()),
        "copied": sight.copied,
        "damaged": sight.damaged.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "first_lacks": sight.first_lacks,
        "undeleted": sight.undeleted,
        "holds_up": sight.holds_up,
    })
}

/// What a person should do about the mirrors.
fn mirror_alarms(mirrors: &[MirrorSight]) -> Vec<String> {
    let of = |mirror: &MirrorSight| {
        let why = mirror.trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
        let verdicts = policy::mirror_verdicts(mirror).into_iter();
        verdicts.map(|(_, sentence)| format!("{sentence} (mirror {}){why}", mirror.name)).collect::<Vec<_>>()
    };
    mirrors.iter().flat_map(of).collect()
}

fn job(id: &JobId, state: &JobState) -> Value {
    let failed = state.past.failed.as_ref().map(|failed| {
        json!({
            "time": Timestamp::from_micros(failed.at_micros).to_string(), "kind": failed.trouble.name(),
            "what": failed.sentence,
        })
    });
    json!({
        "job": id.job.name(),
        "mirror": id.mirror,
        "every_seconds": seconds(state.every),
        "last_success": state.past.succeeded().map(|time| time.to_string()),
        "said": state.past.said,
        "last_failure": failed,
        "failures_in_a_row": state.past.failures_in_a_row,
        "due": state.due.to_string(),
        "running_since": state.running.map(|time| time.to_string()),
    })
}

/// What the jobs found that a person should do something about; and which of them do not get to run.
fn job_alarms(jobs: &BTreeMap<JobId, JobState>, now: Timestamp) -> Vec<String> {
    let mut alarms = Vec::new();
    for (id, state) in jobs {
        if let Some(failed) = state.past.standing_failure() {
            let at = Timestamp::from_micros(failed.at_micros);
            alarms.push(format!("{} ({id}, {at}): {}", policy::job_trouble(failed.trouble), failed.sentence));
        }
        if schedule::is_overdue(state.every, state.due, now) {
            let running = if state.running.is_some() { ", and its run does not end" } else { "" };
            alarms.push(format!("job {id} was due at {} and has not succeeded since{running}", state.due));
        }
    }
    alarms
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Why not everything is captured within the objective; empty if it is.
pub fn not_ready(states: &BTreeMap<SourceName, SourceState>, sight: &Sight, (tick, _): Now) -> Vec<String> {
    let mut why = Vec::new();
    for (name, state) in states {
        if state.phase != Phase::Capturing {
            let trouble = state.trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
            why.push(format!("source {name} is {}{trouble}", state.phase.name()));
        }
        let lag = state.lag(tick);
        if lag > sight.rpo {
            why.push(format!("source {name} is {lag:.0?} behind; objectives.rpo is {:.0?}", sight.rpo));
        }
    }
    if states.is_empty() {
        why.push("no source has begun".to_owned());
    }
    why
}

/// What a person should do something about.
fn alarms(states: &BTreeMap<SourceName, SourceState>, sight: &Sight, now: Now) -> Vec<String> {
    let mut alarms = not_ready(states, sight, now);
    for (name, state) in states {
        if let Some(gap) = &state.gap {
            alarms.push(format!("source {name} has a gap ({gap}); it lasts until the next base"));
        }
        let late = state.base_time.zip(sight.base_age_max).filter(|(base, age_max)| now.1.since(*base) > *age_max);
        if let Some((base, _)) = late {
            alarms.push(format!("source {name} has had no base since {base}"));
        }
        if state.slot_bytes_max > 0 && state.retained_bytes > state.slot_bytes_max / 2 {
            alarms.push(format!("the slot of source {name} holds back more than half of slot_bytes_max"));
        }
    }
    alarms
}

/// What a person should do about the keys.
fn key_alarms(keys: &KeySight, tick: Tick) -> Vec<String> {
    let Some(trouble) = &keys.trouble else { return Vec::new() };
    let left = keys.seals_until.map_or(Duration::ZERO, |until| until.since(tick));
    vec![format!("{trouble}; sealing can go on for {} h", left.as_secs() / 3600)]
}

/// Whether every source's task is alive.
pub fn is_alive(states: &BTreeMap<SourceName, SourceState>) -> bool {
    states.values().all(|state| state.phase != Phase::Failed)
}

/// A status value in plain lines.
pub fn text(status: &Value) -> String {
    let mut text = String::new();
    let sources = status.get("sources").and_then(Value::as_array);
    for source in sources.into_iter().flatten() {
        let word = |name: &str| plain(source.get(name));
        let number = |name: &str| source.get(name).and_then(Value::as_u64).unwrap_or(0);
        let lines = [
            format!("{}: {}", word("source"), word("phase")),
            format!("  durable   {}, last commit {}", word("durable"), word("durable_time")),
            format!("  lag       {} s, {} bytes", word("lag_seconds"), number("lag_bytes")),
            format!("  slot      {} bytes held back, {}", number("retained_bytes"), word("wal_status")),
            format!("  log       epoch {}, slot {}", number("epoch"), number("slot")),
            format!(
                "  base      {}{}",
                word("base_time"),
                if is_set(source, "base_running") { ", one is being taken" } else { "" }
            ),
        ];
        let missing = number("missing_objects");
        let missing = (missing > 0).then(|| format!("  missing   {missing} objects of the log; run holdfast verify"));
        for line in lines.into_iter().chain(missing) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    for mirror in status.get("mirrors").and_then(Value::as_array).into_iter().flatten() {
        let [name, phase, objects, age] =
            ["mirror", "phase", "behind_objects", "behind_seconds"].map(|name| plain(mirror.get(name)));
        // Writing into a String cannot fail.
        let _written = writeln!(text, "mirror {name}: {phase}, {objects} objects and {age} s behind");
    }
    for job in status.get("jobs").and_then(Value::as_array).into_iter().flatten() {
        let word = |name: &str| plain(job.get(name));
        let under_way = if job.get("running_since").is_some_and(Value::is_string) { ", under way" } else { "" };
        let (name, success, due) = (word("job"), word("last_success"), word("due"));
        let mirror = job.get("mirror").and_then(Value::as_str);
        let of = mirror.map(|mirror| format!(" of mirror {mirror}")).unwrap_or_default();
        let _written = writeln!(text, "job {name}{of}: last success {success}, due {due}{under_way}");
    }
    for alarm in status.get("alarms").and_then(Value::as_array).into_iter().flatten() {
        // Writing into a String cannot fail.
        let _written = writeln!(text, "attention: {}", plain(Some(alarm)));
    }
    text
}

fn is_set(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => other.to_string(),
    }
}

/// The page for people: nothing is loaded from elsewhere, and it comes again every ten seconds.
pub fn page(status: &Value) -> String {
    let title = status.get("service").and_then(Value::as_str).unwrap_or("holdfast");
    let ready = if is_set(status, "ready") { ("good", "everything is captured") } else { ("bad", "look here") };
    let mut rows = String::new();
    for source in status.get("sources").and_then(Value::as_array).into_iter().flatten() {
        let shown =
            ["source", "phase", "durable", "durable_time", "lag_seconds", "lag_bytes", "retained_bytes", "base_time"];
        rows.push_str("<tr>");
        for name in shown {
            let _written = write!(rows, "<td>{}</td>", escaped(&plain(source.get(name))));
        }
        rows.push_str("</tr>\n");
    }
    let alarms = status.get("alarms").and_then(Value::as_array).into_iter().flatten();
    let alarms: Vec<_> = alarms.map(|alarm| format!("<li>{}</li>\n", escaped(&plain(Some(alarm))))).collect();
    let alarms = alarms.concat();
    let title = escaped(title);
    let time = escaped(&plain(status.get("time")));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}: Holdfast</title>\
         <meta http-equiv=\"refresh\" content=\"10\"><style>{STYLE}</style></head><body>\n\
         <h1>{title} <span class=\"{}\">{}</span></h1>\n<ul>\n{alarms}</ul>\n\
         <table><tr><th>source</th><th>phase</th><th>durable</th><th>last commit</th><th>lag, s</th><th>lag, bytes</th>\
         <th>held back, bytes</th><th>last base</th></tr>\n{rows}</table>\n\
         <p>{time} · <a href=\"/status\">status</a> · <a href=\"/metrics\">metrics</a></p>\n</body></html>\n",
        ready.0, ready.1
    )
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem;color:#222;background:#fff}\
table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ccc;text-align:left}\
.good{color:#17692b}.bad{color:#a11212}h1 span{font-size:1rem}";

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(phase: Phase, trouble: Option<&str>) -> Board {
        let board = Board::default();
        board.update(&"main".parse().unwrap(), |state| {
            state.phase = phase;
            state.trouble = trouble.map(str::to_owned);
        });
        board
    }

    fn sight() -> Sight {
        Sight { service: Some("<shop>".to_owned()), rpo: Duration::from_mins(1), base_age_max: None }
    }

    #[test]
    fn l11_ready_means_that_every_source_is_captured_within_the_objective() {
        let at = |seconds| (Tick::from_start(Duration::from_secs(seconds)), Timestamp::default());
        #[rustfmt::skip]
        let cases = [
            // phase             at    ready   why
            (Phase::Capturing,   10,   true,   "just begun"),
            (Phase::Capturing,   61,   false,  "nothing was heard of the source for longer than the objective"),
            (Phase::Starting,    10,   false,  "not yet"),
            (Phase::Waiting,     10,   false,  "broken"),
            (Phase::Failed,      10,   false,  "given up"),
        ];
        for (phase, seconds, ready, why) in cases {
            let status = value(&board(phase, None), &sight(), at(seconds));
            assert_eq!(status["ready"], json!(ready), "{why}: {status}");
            assert_eq!(status["alarms"].as_array().unwrap().is_empty(), ready, "{why}");
        }
        assert_eq!(value(&Board::default(), &sight(), at(1))["ready"], json!(false), "nothing is not everything");
    }

    #[test]
    fn the_page_holds_what_is_shown_and_nothing_that_a_name_could_smuggle_in() {
        let board = board(Phase::Waiting, Some("The store <does> not take segments"));
        let page = page(&value(&board, &sight(), (Tick::default(), Timestamp::default())));
        assert!(page.contains("&lt;shop&gt;") && page.contains("&lt;does&gt;") && page.contains("waiting"), "{page}");
        assert!(!page.contains("<shop>") && !page.contains("http://") && !page.contains("https://"), "{page}");
    }
}
