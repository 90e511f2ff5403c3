//! Finds transactions by what they did: the one just before the accident.
//!
//! Footers say which segments touch a table; only those are decoded, and what completes the transactions in them. Keys and
//! values are compared here and shown only to who asks for them (L6).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use crate::apply::postgres::Transaction;
use crate::codec::footer::{Counts, Footer};
use crate::codec::pgoutput::{Column, Message, OldRow, Relation, Tuple};
use crate::codec::segment::ObjectKind;
use crate::codec::wire::WireError;
use crate::log::{Assembler, Entry, History, Item, LogEnv, LogError, Reader};
use crate::model::{LogId, Lsn, Slot, SourceName, Timestamp, Xid};
use crate::restore::error::RestoreError;
use crate::restore::scan::{Place, commit_lsn};

/// Rows of one transaction that are shown.
const ROWS_MAX: usize = 100;

/// What was done to a row or a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
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

/// Whether keys and values are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// They stay sealed.
    #[default]
    Sealed,
    /// They are shown.
    Shown,
}

/// What to look for. What is not given matches everything.
#[derive(Clone, Debug, Default)]
pub struct FindOrder {
    /// A table, by name or by schema and name.
    pub table: Option<String>,
    /// Committed at this time or later.
    pub since: Option<Timestamp>,
    /// Committed at this time or earlier.
    pub until: Option<Timestamp>,
    /// Did one of these.
    pub ops: BTreeSet<Op>,
    /// Touched a row whose key is this: `VALUE`, or `COLUMN=VALUE`; all must hold.
    pub key: Vec<String>,
    /// Whether keys and values are shown.
    pub values: Values,
    /// At most so many, the newest.
    pub limit: usize,
}

/// A row that a transaction touched.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FoundRow {
    /// In which table.
    pub table: String,
    /// How.
    pub op: Op,
    /// Its columns and values; `None` is NULL. A value that was not sent is left out.
    pub values: Vec<(String, Option<String>)>,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which, and when.
    pub transaction: Transaction,
    /// What it did to each table.
    pub tables: BTreeMap<String, Counts>,
    /// The rows that match, if values are shown; at most some hundred.
    pub rows: Vec<FoundRow>,
}

/// Finds transactions, oldest first.
pub async fn find(env: &LogEnv, source: &SourceName, order: &FindOrder) -> Result<Vec<Found>, RestoreError> {
    let history = History::load(env, source).await?;
    let Some(log) = history.log else { return Ok(Vec::new()) };
    let since = order.since.unwrap_or(Timestamp::MIN);
    // Times step back, so a segment that begins later may hold an earlier commit; none holds one later than its maximum.
    let live: Vec<Entry> = history.live().cloned().collect();
    let first = live.iter().position(|entry| entry.to_time >= since && entry.to > entry.from).unwrap_or(live.len());
    let needs = live.get(first).map_or(Slot::FIRST, |entry| entry.needs_from);
    let late: Vec<Entry> = live.into_iter().filter(|entry| entry.slot >= needs).collect();
    let touching = touching(env, source, log, &late, order).await?;
    let mut found = VecDeque::new();
    for run in runs(&late, &touching) {
        read(Place { env, source, log }, run, order, &mut found).await?;
    }
    Ok(found.into())
}

/// The segments that touch what is looked for, by their footers.
async fn touching(
    env: &LogEnv,
    source: &SourceName,
    log: LogId,
    entries: &[Entry],
    order: &FindOrder,
) -> Result<BTreeSet<Slot>, RestoreError> {
    let mut reader = Reader::new(env, source, log, entries.to_vec());
    let mut slots = BTreeSet::new();
    while let Some(segment) = reader.next().await? {
        if may_match(&segment.footer, order) {
            slots.insert(segment.entry.slot);
        }
    }
    Ok(slots)
}

fn may_match(footer: &Footer, order: &FindOrder) -> bool {
    let Some(table) = &order.table else { return footer.transactions > 0 || !footer.subjects.is_empty() };
    footer.subjects.iter().any(|subject| {
        let named = subject.name.is_empty() || is_named(&subject.name, table);
        let did = |op: &Op| match op {
            Op::Insert => subject.counts.inserts > 0,
            Op::Update => subject.counts.updates > 0,
            Op::Delete => subject.counts.deletes > 0,
            Op::Truncate => subject.counts.truncates > 0,
        };
        named && (order.ops.is_empty() || order.ops.iter().any(did))
    })
}

fn is_named(qualified: &str, asked: &str) -> bool {
    qualified == asked || qualified.split_once('.').is_some_and(|(_, name)| name == asked)
}

/// Consecutive segments to decode: those that touch what is looked for, and those that complete transactions in them.
fn runs(entries: &[Entry], touching: &BTreeSet<Slot>) -> Vec<Vec<Entry>> {
    let mut wanted = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.kind == ObjectKind::Data && entry.to > entry.from) {
        let span = entry.needs_from..=entry.slot;
        if touching.range(span.clone()).next().is_some() {
            wanted.extend(entries.iter().map(|entry| entry.slot).filter(|slot| span.contains(slot)));
        }
    }
    let mut runs: Vec<Vec<Entry>> = Vec::new();
    let mut goes_on = false;
    for entry in entries {
        let is_wanted = wanted.contains(&entry.slot);
        match (runs.last_mut().filter(|_| goes_on), is_wanted) {
            (Some(run), true) => run.push(entry.clone()),
            (None, true) => runs.push(vec![entry.clone()]),
            (_, false) => {}
        }
        goes_on = is_wanted;
    }
    runs
}

async fn read(
    place: Place<'_>,
    run: Vec<Entry>,
    order: &FindOrder,
    found: &mut VecDeque<Found>,
) -> Result<(), RestoreError> {
    let from = run.first().map(|entry| entry.from).unwrap_or_default();
    let mut reader = Reader::new(place.env, place.source, place.log, run);
    let mut assembler = Assembler::new(from);
    let mut search = Search { order, relations: BTreeMap::new(), open: None };
    let mut items = Vec::new();
    while let Some(mut segment) = reader.next().await? {
        if segment.entry.kind == ObjectKind::Fence {
            items.extend(assembler.fence());
        }
        while let Some(records) = segment.next_frame().map_err(LogError::from)? {
            for record in records {
                assembler.push(record, &mut items)?;
                for item in items.drain(..) {
                    let done = search.take(item).map_err(|source| place.wrong(assembler.position(), source))?;
                    if let Some(one) = done {
                        found.push_back(one);
                        if found.len() > order.limit {
                            found.pop_front();
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// A transaction that is being read.
struct Candidate {
    begun: (Xid, Lsn),
    tables: BTreeMap<String, Counts>,
    rows: Vec<FoundRow>,
    matches: bool,
}

struct Search<'o> {
    order: &'o FindOrder,
    relations: BTreeMap<u32, Relation>,
    open: Option<Candidate>,
}

impl Search<'_> {
    fn take(&mut self, item: Item) -> Result<Option<Found>, WireError> {
        match item {
            Item::Begin(xid, wire) => {
                let begun = (xid, commit_lsn(&wire)?);
                self.open = Some(Candidate { begun, tables: BTreeMap::new(), rows: Vec::new(), matches: false });
            }
            Item::Message(wire) | Item::Context(wire) => self.message(&wire)?,
            Item::Commit(commit) => {
                let Some(Candidate { begun: (xid, commit_lsn), tables, rows, matches }) = self.open.take() else {
                    return Ok(None);
                };
                let in_time = self.order.since.is_none_or(|since| commit.time >= since)
                    && self.order.until.is_none_or(|until| commit.time <= until);
                let transaction = Transaction { xid, commit_lsn, position: commit.position, time: commit.time };
                return Ok((matches && in_time).then_some(Found { transaction, tables, rows }));
            }
            Item::Void => self.open = None,
            Item::Session(_) | Item::Gap(_) | Item::Heartbeat(_) => {}
        }
        Ok(None)
    }

    fn message(&mut self, wire: &[u8]) -> Result<(), WireError> {
        match Message::decode(wire)? {
            Message::Relation(relation) => drop(self.relations.insert(relation.relid, relation)),
            Message::Insert { relid, new } => self.change(relid, Op::Insert, None, Some(new)),
            Message::Update { relid, old, new } => self.change(relid, Op::Update, old.map(tuple), Some(new)),
            Message::Delete { relid, old } => self.change(relid, Op::Delete, Some(tuple(old)), None),
            Message::Truncate { relids, .. } => {
                for relid in relids.iter() {
                    self.change(relid, Op::Truncate, None, None);
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

    fn change(&mut self, relid: u32, op: Op, old: Option<Tuple<'_>>, new: Option<Tuple<'_>>) {
        let (Some(open), Some(relation)) = (&mut self.open, self.relations.get(&relid)) else { return };
        let table = format!("{}.{}", relation.namespace, relation.name);
        let counts = open.tables.entry(table.clone()).or_default();
        match op {
            Op::Insert => counts.inserts += 1,
            Op::Update => counts.updates += 1,
            Op::Delete => counts.deletes += 1,
            Op::Truncate => counts.truncates += 1,
        }
        let of_table = self.order.table.as_ref().is_none_or(|asked| is_named(&table, asked));
        let of_op = self.order.ops.is_empty() || self.order.ops.contains(&op);
        let has_key = |tuple: &Tuple<'_>| self.order.key.iter().all(|key| is_key(relation, *tuple, key));
        let of_key = self.order.key.is_empty() || old.iter().chain(&new).any(has_key);
        if !(of_table && of_op && of_key) {
            return;
        }
        open.matches = true;
        if self.order.values == Values::Shown && open.rows.len() < ROWS_MAX {
            let values = new.or(old).map(|tuple| values(relation, tuple)).unwrap_or_default();
            open.rows.push(FoundRow { table, op, values });
        }
    }
}

const fn tuple(old: OldRow<'_>) -> Tuple<'_> {
    match old {
        OldRow::Key(tuple) | OldRow::Full(tuple) => tuple,
    }
}

/// Whether a row has the key: the named column has the value, or, without a name, any column of the key.
fn is_key(relation: &Relation, tuple: Tuple<'_>, key: &str) -> bool {
    let named = key.split_once('=').filter(|(name, _)| relation.columns.iter().any(|column| column.name == *name));
    relation.columns.iter().zip(tuple.columns()).any(|(column, value)| {
        let wanted = match named {
            Some((name, wanted)) if name == column.name => wanted,
            None if column.in_key => key,
            Some(_) | None => return false,
        };
        value == Column::Text(wanted.as_bytes())
    })
}

fn values(relation: &Relation, tuple: Tuple<'_>) -> Vec<(String, Option<String>)> {
    let shown = |(column, value): (&crate::codec::pgoutput::RelationColumn, Column<'_>)| match value {
        Column::Null => Some((column.name.clone(), None)),
        Column::Text(text) => Some((column.name.clone(), Some(String::from_utf8_lossy(text).into_owned()))),
        Column::Unchanged | Column::Binary(_) => None,
    };
    relation.columns.iter().zip(tuple.columns()).filter_map(shown).collect()
}
