//! The `mark` verb: puts a named point into the history of every source, and waits for a while until it is durable.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::args::MarkArgs;
use crate::cli::ask;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::scene::Scene;
use crate::clock::sleep;
use crate::codec::pgoutput::Message;
use crate::codec::segment::Flags;
use crate::config::SourceSettings;
use crate::connect::{ConnectError, Mode, Session, quote_literal};
use crate::daemon::assemble;
use crate::log::{History, LogEnv, Reader};
use crate::model::{Lsn, SourceName};
use crate::source::postgres::names;

/// How long to wait until a mark is durable.
const DURABLE_WITHIN: Duration = Duration::from_secs(15);
/// How often to ask.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// A mark in one source's history.
struct Marked {
    source: SourceName,
    at: Lsn,
    xid: String,
    durable: bool,
}

/// Runs `mark`.
pub async fn run(scene: &Scene, args: &MarkArgs) -> Result<Exit, Failure> {
    let sources = scene.config.need_sources()?;
    let env = scene.env().await?;
    for source in sources {
        if is_marked(&env, &source.name, &args.name).await? {
            let sentence = format!("source {} has a mark {:?} already; choose another name", source.name, args.name);
            return Err(Failure::text(Exit::Failed, sentence));
        }
    }
    let mut marks = Vec::new();
    for source in sources {
        marks.push(set(scene, source, &args.name).await?);
    }
    let has_daemon = wait(scene, &mut marks).await?;
    let lines: Vec<_> = marks.iter().map(|mark| line(mark, has_daemon)).collect();
    let told: Vec<_> = marks.iter().map(summary).collect();
    scene.out.answer(&json!({ "mark": args.name, "sources": told }), &lines.join("\n"));
    Ok(Exit::Done)
}

/// One message that commits with its own transaction: what commits before the mark is restored with it.
async fn set(scene: &Scene, source: &SourceSettings, name: &str) -> Result<Marked, Failure> {
    let failed = |error: ConnectError| Failure::of(Exit::Failed, error);
    let target = assemble::target(source)?;
    let mut session = Session::connect(&target, Mode::Sql, &*scene.clock, &[]).await.map_err(failed)?;
    let sql = format!(
        "SELECT pg_catalog.pg_logical_emit_message(true, {}, {}), pg_catalog.pg_current_xact_id()",
        quote_literal(names::MARK),
        quote_literal(name)
    );
    let row = session.one_row(&sql).await.map_err(failed)?;
    session.close().await;
    let lacks = || failed(ConnectError::Answer { doing: "set a mark", lacks: "its position" });
    Ok(Marked {
        source: source.name.clone(),
        at: row.get(0).and_then(|lsn| lsn.parse().ok()).ok_or_else(lacks)?,
        xid: row.get(1).ok_or_else(lacks)?.to_owned(),
        durable: false,
    })
}

/// Waits for the daemon to make the marks durable; `false` if none runs.
async fn wait(scene: &Scene, marks: &mut [Marked]) -> Result<bool, Failure> {
    let due = scene.clock.tick().after(DURABLE_WITHIN);
    loop {
        let Some(status) = ask::daemon(scene, &json!({ "verb": "status" })).await? else { return Ok(false) };
        for mark in &mut *marks {
            mark.durable |= durable(&status, &mark.source).is_some_and(|durable| durable > mark.at);
        }
        if marks.iter().all(|mark| mark.durable) || scene.clock.tick() >= due {
            return Ok(true);
        }
        sleep(&*scene.clock, ASK_EVERY).await;
    }
}

fn durable(status: &Value, source: &SourceName) -> Option<Lsn> {
    let sources = status.get("sources")?.as_array()?;
    let ours = sources.iter().find(|one| one.get("source").and_then(Value::as_str) == Some(source.as_str()))?;
    ours.get("durable")?.as_str()?.parse().ok()
}

/// Whether the log holds that mark. Only segments that say that they hold one are read.
async fn is_marked(env: &LogEnv, source: &SourceName, name: &str) -> Result<bool, Failure> {
    let history = History::load(env, source).await?;
    let Some(log) = history.log else { return Ok(false) };
    for entry in history.live().filter(|entry| entry.flags.has(Flags::HOLDS_MARK)) {
        let mut reader = Reader::new(env, source, log, vec![entry.clone()]);
        while let Some(mut segment) = reader.next().await? {
            while let Some(records) = segment.next_frame().map_err(crate::log::LogError::from)? {
                if records.iter().any(|record| holds(&record.wire, name)) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

fn holds(wire: &[u8], name: &str) -> bool {
    match Message::decode(wire) {
        Ok(Message::Message { prefix, content, .. }) => {
            prefix == names::MARK.as_bytes() && content.0 == name.as_bytes()
        }
        Ok(_) | Err(_) => false,
    }
}

fn summary(mark: &Marked) -> Value {
    json!({
        "source": mark.source.to_string(),
        "lsn": mark.at.to_string(),
        "xid": mark.xid,
        "durable": mark.durable,
    })
}

fn line(mark: &Marked, has_daemon: bool) -> String {
    let state = match (mark.durable, has_daemon) {
        (true, _) => "durable",
        (false, true) => "not durable yet: see `holdfast status`",
        (false, false) => "not durable yet: no daemon runs",
    };
    format!("{}: marked at {}, transaction {}, {state}", mark.source, mark.at, mark.xid)
}
