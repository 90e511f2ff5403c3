//! A report has one line for each object, also where a part of the log expires while it is verified.

use std::collections::BTreeSet;

use super::*;
use crate::cli::out::Out;
use crate::log::fixture::{Fixture, main_source, transaction, write_segment};
use crate::log::retention::Doomed;
use crate::log::scrub::{Verdict, scrub};
use crate::log::{History, LogEnv, expiry};
use crate::model::Slot;
use crate::store::{Fate, Op, layout};

async fn two_reigns(seed: u64) -> Fixture {
    let fixture = Fixture::new(seed);
    for numbers in [1..5, 5..9] {
        let mut writer = fixture.writer().await;
        for number in numbers {
            write_segment(&mut writer, &transaction(number)).await;
        }
    }
    fixture
}

/// Verifies the log, and gives the lines of the report, the last one without.
async fn report(env: &LogEnv) -> (Outcome, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let mut evidence = Evidence::begin(&path).unwrap_or_else(|failure| panic!("{}", failure.error));
    let bar = CountBar::new(Out::silent(), "verifying");
    let mut watcher = Watcher::new(&bar, Some(&mut evidence));
    let report = scrub(env, &main_source(), crate::log::scrub::Order::all(Depth::Full), &mut watcher).await;
    evidence.end(&json!({ "outcome": "told" })).unwrap_or_else(|failure| panic!("{}", failure.error));
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.pop().unwrap()["outcome"], "told");
    (report.outcome(), lines)
}

fn objects(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["object"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_expires_while_it_is_verified_has_no_line_and_what_stays_has_one() {
    let fixture = two_reigns(450).await;
    let env = fixture.env.clone();
    let expiring = async move {
        let history = History::load(&env, &main_source()).await.unwrap();
        let doomed = Doomed { first: Slot::new(7), bases: Vec::new() };
        expiry::carry_out(&env, &main_source(), &history, &doomed).await.unwrap();
    };
    // Before the segments are listed for the first time.
    let mut expiring = Some(expiring);
    let expiring = fixture.fated(move |asked| {
        let now = expiring.take_if(|_| asked.is(Op::List, "log/"));
        now.map_or(Fate::Done, Fate::first)
    });
    let (outcome, lines) = report(&expiring).await;
    assert_eq!(outcome, Outcome::Sound, "{lines:?}");
    let of_segments = (7..=10).map(|slot| layout::segment(&main_source(), Slot::new(slot)));
    let all: Vec<_> = [layout::boundary(&main_source(), Slot::new(7))].into_iter().chain(of_segments).collect();
    assert_eq!(objects(&lines), all.iter().map(ObjectKey::as_str).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line["verdict"] == "sound"), "{lines:?}");
}

#[tokio::test]
async fn several_findings_about_one_object_stand_in_one_line() {
    let fixture = two_reigns(451).await;
    // Another object of the same log: neither its place nor what it continues is right for the one behind it.
    let other = fixture.object(3).await;
    fixture.store.tamper(&layout::segment(&main_source(), Slot::new(11)), Some(other));
    let (outcome, lines) = report(&fixture.env).await;
    assert_eq!(outcome, Outcome::Damaged);
    let named: BTreeSet<_> = objects(&lines).into_iter().collect();
    assert_eq!((named.len(), lines.len()), (11, 11), "{lines:?}");
    let mut evidence = tempfile::NamedTempFile::new().unwrap();
    let mut book = Evidence::begin(evidence.path()).unwrap_or_else(|failure| panic!("{}", failure.error));
    let one = layout::segment(&main_source(), Slot::new(1));
    for (verdict, what) in [(Verdict::Unreadable, "first"), (Verdict::Damaged, "then")] {
        book.found(&Finding { object: one.clone(), verdict, what: what.to_owned() });
    }
    book.sound(&layout::segment(&main_source(), Slot::new(2)), 1, None);
    book.end(&json!({})).unwrap_or_else(|failure| panic!("{}", failure.error));
    let mut text = String::new();
    std::io::Read::read_to_string(evidence.as_file_mut(), &mut text).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((first["verdict"].as_str(), first["what"].as_str()), (Some("damaged"), Some("first; then")));
    assert_eq!(text.lines().count(), 3);
}
