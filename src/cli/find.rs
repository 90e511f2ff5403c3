//! The verb `find`: which transactions touched this? The one just before the accident, and its number for `restore`.

use serde_json::json;

use crate::cli::args::{self, FindArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::histories::histories;
use crate::cli::restore::failed;
use crate::cli::scene::Scene;
use crate::codec::footer::Counts;
use crate::restore::find::{FindOrder, Found, Op, Shown, Values, find};
use crate::store::sources;

/// Runs `find`.
pub async fn run(scene: &Scene, args: &FindArgs) -> Result<Exit, Failure> {
    let env = scene.env().await?;
    let all = match &args.source {
        Some(source) => vec![source.clone()],
        None => sources(&*env.store).await?,
    };
    let histories = histories(scene, &env, all).await.map_err(|error| failed(error.into()))?;
    let (mut found, mut not_seen) = (Vec::new(), Vec::new());
    for (source, history) in histories {
        let order = FindOrder {
            source,
            table: args.table.clone(),
            since: args.since,
            until: args.until,
            ops: args.op.iter().map(|op| of(*op)).collect(),
            key: args.key.iter().map(|text| key(text)).collect(),
            values: if args.show_values { Values::Shown } else { Values::Hidden },
            limit: args.limit,
        };
        let sought = find(&env, &order, &history).await.map_err(failed)?;
        found.extend(sought.found);
        not_seen.extend(sought.not_seen);
    }
    let mut lines: Vec<_> = found.iter().map(line).collect();
    if found.is_empty() {
        lines.push("no transaction found".to_owned());
    }
    lines.extend(not_seen.iter().map(|stretch| format!("NOT SEEN  {stretch}")));
    scene.out.answer(&json!({ "transactions": found, "not_seen": not_seen }), &lines.join("\n"));
    // What was not found may be where nobody could look.
    Ok(if found.is_empty() && !not_seen.is_empty() { Exit::CouldNotTell } else { Exit::Done })
}

const fn of(op: args::Op) -> Op {
    match op {
        args::Op::Insert => Op::Insert,
        args::Op::Update => Op::Update,
        args::Op::Delete => Op::Delete,
        args::Op::Truncate => Op::Truncate,
    }
}

/// `VALUE`, or `COLUMN=VALUE`.
fn key(text: &str) -> (Option<String>, String) {
    match text.split_once('=') {
        Some((column, value)) if !column.is_empty() => (Some(column.to_owned()), value.to_owned()),
        Some(_) | None => (None, text.to_owned()),
    }
}

fn line(found: &Found) -> String {
    let touched = |table: &str, counts: &Counts| {
        let Counts { inserts, updates, deletes, truncates } = *counts;
        let all = [(inserts, "inserted"), (updates, "updated"), (deletes, "deleted"), (truncates, "truncated")];
        let all: Vec<_> =
            all.iter().filter(|(many, _)| *many > 0).map(|(many, what)| format!("{many} {what}")).collect();
        format!("{table}: {}", all.join(", "))
    };
    let tables: Vec<_> = found.tables.iter().map(|table| touched(&table.table, &table.counts)).collect();
    let mut line = format!("xid {:<10} {}  ends at {:<12} {}", found.xid, found.time, found.end_lsn, tables.join("; "));
    for row in &found.rows {
        line.push_str("\n    ");
        line.push_str(&shown(row));
    }
    line
}

fn shown(row: &Shown) -> String {
    let json = serde_json::to_string(row);
    json.unwrap_or_else(|_| format!("a row of {} that cannot be shown", row.table))
}
