//! Finds transactions: by table, time, operation and key; the one just before the accident.
//!
//! L11: where an object is lost or changes were never captured, that is told, since what is looked for may lie there.
//! Only segments whose times can match are read. Keys and values leave the log only where they were asked for (L6).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::codec::footer::Counts;
use crate::codec::gap::{Gap, Reason};
use crate::codec::names;
use crate::codec::pgoutput::{Column, Message, OldRow, Relation, Tuple};
use crate::codec::wire::WireError;
use crate::log::{Entry, History, Hole, Item, Items, LogEnv};
use crate::model::{Commit, Lsn, Position, SourceName, Timestamp, Xid};
use crate::restore::error::RestoreError;
use crate::restore::loss::runs;
use crate::restore::scan::{Place, commit_lsn};
use crate::store::layout;

/// Commit times may step back, by a clock that is set; segments that begin this long after `until` are not read.
const STEP_BACK_MAX: Duration = Duration::from_hours(1);
/// Rows that are shown of one transaction.
const ROWS_SHOWN_MAX: usize = 100;

/// What happened to a row or a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// It appeared.
    Insert,
    /// It changed.
    Update,
    /// It went.
    Delete,
    /// The table was emptied.
    Truncate,
}

/// Whether rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// They stay sealed.
    Hidden,
    /// They are shown.
    Shown,
}

/// What is looked for. Everything that is given must hold.
#[derive(Clone, Debug)]
pub struct FindOrder {
    /// In whose history.
    pub source: SourceName,
    /// It touched this table, by name or by schema and name.
    pub table: Option<String>,
    /// It committed at or after this.
    pub since: Option<Timestamp>,
    /// It committed at or before this.
    pub until: Option<Timestamp>,
    /// It did one of these; empty for anything.
    pub ops: BTreeSet<Op>,
    /// It touched the row with these values: of the key's only column, or of named columns.
    pub key: Vec<(Option<String>, String)>,
    /// Whether rows are shown.
    pub values: Values,
    /// At most so many, the newest.
    pub limit: usize,
}

/// What a transaction did to one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// The table.
    pub table: String,
    /// How often it did what.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A change of one row, shown because it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The table.
    pub table: String,
    /// What happened to it.
    pub op: Op,
    /// What it was, as far as the log says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<BTreeMap<String, Option<String>>>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<BTreeMap<String, Option<String>>>,
}

/// A transaction that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Whose.
    pub source: String,
    /// Its number: what `before-xid:` and `xid:` take.
    pub xid: u64,
    /// Where its commit record begins.
    pub commit_lsn: String,
    /// Where it ends: what `lsn:` takes.
    pub end_lsn: String,
    /// When it committed.
    pub time: String,
    /// What it did.
    pub tables: Vec<Touched>,
    /// Its matching rows, at most a hundred.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Shown>,
}

/// What was found, and where nobody could look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sought {
    /// The transactions, the oldest first.
    pub found: Vec<Found>,
    /// Stretches in which more may have happened: what is lost, and what was never captured.
    pub not_seen: Vec<String>,
}

/// Finds transactions in what a store holds of their source.
pub async fn find(env: &LogEnv, order: &FindOrder, history: &History) -> Result<Sought, RestoreError> {
    let Some(log) = history.log else { return Ok(Sought::default()) };
    let live: Vec<_> = history.live().cloned().collect();
    let place = Place { env, source: &order.source, log };
    let mut finder =
        Finder { order, relations: BTreeMap::new(), open: None, found: VecDeque::new(), not_seen: Vec::new() };
    let entries = in_time(&live, order);
    let holes = history.holes();
    finder
        .not_seen
        .extend(holes.iter().filter(|hole| lies_in(hole, &entries)).map(|hole| of_hole(&order.source, hole)));
    for run in runs(&entries, &holes) {
        finder.open = None;
        let from = run.first().map_or(Position::ZERO, |entry| entry.from);
        let (mut items, mut batch) = (Items::new(env, &order.source, log, run.to_vec(), from), Vec::new());
        while items.next(&mut batch).await? {
            for item in batch.drain(..) {
                finder.take(item).map_err(|error| place.wrong(items.position(), error))?;
            }
        }
    }
    Ok(Sought { found: finder.found.into(), not_seen: finder.not_seen })
}

/// Whether what was lost lies among what is looked at, or right before it.
fn lies_in(hole: &Hole, entries: &[Entry]) -> bool {
    let (first, last) = (entries.first().map(|entry| entry.slot), entries.last().map(|entry| entry.slot));
    first.is_some_and(|first| hole.slot.next() >= first) && last.is_some_and(|last| hole.slot <= last)
}

fn of_hole(source: &SourceName, hole: &Hole) -> String {
    let object = layout::segment(source, hole.slot);
    format!("source {source}: object {object} is lost; what committed from {} on is not known", Lsn::from(hole.until))
}

/// The segments in which a matching transaction may complete, and those before them in which it may begin.
fn in_time(live: &[Entry], order: &FindOrder) -> Vec<Entry> {
    let latest = order.until.map(|until| {
        let slack = i64::try_from(STEP_BACK_MAX.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(until.micros().saturating_add(slack))
    });
    let may_match = |entry: &&Entry| {
        order.since.is_none_or(|since| entry.to_time >= since) && latest.is_none_or(|latest| entry.from_time <= latest)
    };
    let first = live.iter().filter(may_match).map(|entry| entry.needs_from).min();
    let last = live.iter().filter(may_match).map(|entry| entry.slot).max();
    let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
    live.iter().filter(|entry| (first..=last).contains(&entry.slot)).cloned().collect()
}

/// The transaction whose changes are coming.
struct Open {
    xid: Xid,
    commit_lsn: Lsn,
    counts: BTreeMap<u32, Counts>,
    matches: bool,
    rows: Vec<Shown>,
}

struct Finder<'a> {
    order: &'a FindOrder,
    relations: BTreeMap<u32, Relation>,
    open: Option<Open>,
    found: VecDeque<Found>,
    not_seen: Vec<String>,
}

/// A change, taken apart as far as finding needs it.
struct Change<'a> {
    relid: u32,
    op: Op,
    old: Option<Tuple<'a>>,
    new: Option<Tuple<'a>>,
}

impl Finder<'_> {
    fn take(&mut self, item: Item) -> Result<(), WireError> {
        match item {
            Item::Begin(xid, wire) => {
                let commit_lsn = commit_lsn(&wire)?;
                self.open = Some(Open { xid, commit_lsn, counts: BTreeMap::new(), matches: false, rows: Vec::new() });
            }
            Item::Message(wire) | Item::Context(wire) => self.message(&wire)?,
            Item::Commit(commit) => self.commit(commit),
            Item::Void | Item::Session(_) => self.open = None,
            Item::Gap(wire) => self.gap(&Gap::decode(&wire)?),
            Item::Heartbeat(_) => {}
        }
        Ok(())
    }

    /// A schema that changed hides no transaction.
    fn gap(&mut self, gap: &Gap) {
        let (until, time, source) = (Lsn::from(gap.exact_until), gap.time, &self.order.source);
        let what = match gap.reason {
            Reason::NotPublished => {
                let tables: Vec<_> = gap.tables.iter().map(ToString::to_string).collect();
                format!("updates and deletes of {} are not captured", tables.join(", "))
            }
            Reason::SchemaChanged => return,
            lossy @ (Reason::SlotLost | Reason::SlotAhead | Reason::SlotGivenUp | Reason::OtherHistory) => {
                lossy.name().to_owned()
            }
        };
        self.not_seen.push(format!("source {source}: a gap from {until} ({time}) on: {what}"));
    }

    fn message(&mut self, wire: &Bytes) -> Result<(), WireError> {
        match Message::decode(wire)? {
            Message::Relation(relation) => {
                self.relations.insert(relation.relid, relation);
            }
            Message::Insert { relid, new } => self.change(&Change { relid, op: Op::Insert, old: None, new: Some(new) }),
            Message::Update { relid, old, new } => {
                let old = old.map(|(OldRow::Key(old) | OldRow::Full(old))| old);
                self.change(&Change { relid, op: Op::Update, old, new: Some(new) });
            }
            Message::Delete { relid, old: OldRow::Key(old) | OldRow::Full(old) } => {
                self.change(&Change { relid, op: Op::Delete, old: Some(old), new: None });
            }
            Message::Truncate { relids, .. } => {
                for relid in relids.iter() {
                    self.change(&Change { relid, op: Op::Truncate, old: None, new: None });
                }
            }
            Message::Begin(_)
            | Message::Commit(_)
            | Message::Origin { .. }
            | Message::Type { .. }
            | Message::Message { .. } => {}
        }
        Ok(())
    }

    fn change(&mut self, change: &Change<'_>) {
        let Some(relation) = self.relations.get(&change.relid) else { return };
        let Some(open) = &mut self.open else { return };
        // Our own tables are nobody's business.
        if relation.namespace == names::SCHEMA {
            return;
        }
        let counts = open.counts.entry(change.relid).or_default();
        match change.op {
            Op::Insert => counts.inserts += 1,
            Op::Update => counts.updates += 1,
            Op::Delete => counts.deletes += 1,
            Op::Truncate => counts.truncates += 1,
        }
        if !matches(self.order, relation, change) {
            return;
        }
        open.matches = true;
        if self.order.values == Values::Shown && open.rows.len() < ROWS_SHOWN_MAX {
            let values = |tuple: Option<Tuple<'_>>| tuple.map(|tuple| values(relation, tuple));
            let (old, new) = (values(change.old), values(change.new));
            open.rows.push(Shown { table: name(relation), op: change.op, old, new });
        }
    }

    fn commit(&mut self, commit: Commit) {
        let Some(open) = self.open.take() else { return };
        let in_time = self.order.since.is_none_or(|since| commit.time >= since)
            && self.order.until.is_none_or(|until| commit.time <= until);
        // Our own heartbeats and marks touch no table, and are nobody's accident.
        if !in_time || !open.matches {
            return;
        }
        let touched = |(relid, counts): (&u32, &Counts)| {
            self.relations.get(relid).map(|relation| Touched { table: name(relation), counts: *counts })
        };
        let found = Found {
            source: self.order.source.to_string(),
            xid: open.xid.get(),
            commit_lsn: open.commit_lsn.to_string(),
            end_lsn: Lsn::from(commit.position).to_string(),
            time: commit.time.to_string(),
            tables: open.counts.iter().filter_map(touched).collect(),
            rows: open.rows,
        };
        self.found.push_back(found);
        if self.found.len() > self.order.limit {
            self.found.pop_front();
        }
    }
}

fn name(relation: &Relation) -> String {
    format!("{}.{}", relation.namespace, relation.name)
}

fn matches(order: &FindOrder, relation: &Relation, change: &Change<'_>) -> bool {
    let table = order.table.as_ref().is_none_or(|wanted| *wanted == relation.name || *wanted == name(relation));
    let op = order.ops.is_empty() || order.ops.contains(&change.op);
    let row = [change.old, change.new].into_iter().flatten();
    table && op && (order.key.is_empty() || row.into_iter().any(|tuple| has_key(order, relation, tuple)))
}

fn has_key(order: &FindOrder, relation: &Relation, tuple: Tuple<'_>) -> bool {
    let keys = relation.columns.iter().filter(|column| column.in_key).count();
    order.key.iter().all(|(wanted, value)| {
        let mut columns = relation.columns.iter().zip(tuple.columns());
        columns.any(|(column, held)| {
            let named = match wanted {
                Some(wanted) => *wanted == column.name,
                // A value alone means the key's only column; where all columns are the key, any of them.
                None => column.in_key && (keys == 1 || keys == relation.columns.len()),
            };
            named && matches!(held, Column::Text(text) | Column::Binary(text) if text == value.as_bytes())
        })
    })
}

fn values(relation: &Relation, tuple: Tuple<'_>) -> BTreeMap<String, Option<String>> {
    let columns = relation.columns.iter().zip(tuple.columns());
    let value = |held: Column<'_>| match held {
        Column::Null => Some(None),
        Column::Unchanged => None,
        Column::Text(text) => Some(Some(String::from_utf8_lossy(text).into_owned())),
        Column::Binary(bytes) => Some(Some(hex::encode(bytes))),
    };
    columns.filter_map(|(column, held)| value(held).map(|value| (column.name.clone(), value))).collect()
}
