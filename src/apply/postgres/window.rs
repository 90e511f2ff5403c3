//! A window: whole source transactions, as the net effect on each table, in stages where order matters. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use bytes::Bytes;

use crate::apply::postgres::error::ApplyError;
use crate::apply::postgres::net::{Misfit, TableNet, Taken};
use crate::apply::postgres::row::{self, Row};
use crate::apply::postgres::shape::{RowIdentity, Table};
use crate::codec::footer::Counts;
use crate::codec::pgoutput::{Message, OldRow, Peek, Relids, peek};
use crate::codec::wire::WireError;
use crate::model::Lsn;

/// What a change costs beside its bytes, roughly.
const CHANGE_BYTES: usize = 256;

/// Something to do to a table, after what stands before it.
#[derive(Debug)]
pub enum Stage {
    /// Empty it.
    Truncate,
    /// Change rows; each is changed once.
    Net(TableNet),
    /// Give a row another key.
    Move {
        /// The old key's values.
        from: Row,
        /// The row's values; those that were not sent stay.
        to: Row,
    },
}

/// The tables that a log may touch.
#[derive(Debug, Default)]
pub struct Tables {
    /// Those that are restored.
    pub known: BTreeMap<u32, Table>,
    /// Those whose changes are passed over: our own, and those that nobody asked for.
    pub passed: BTreeSet<u32>,
    /// Those whose rows hold already what committed before a place.
    pub later: BTreeMap<u32, Lsn>,
    /// Those that the log describes otherwise than the base now, and what differs.
    pub other: BTreeMap<u32, String>,
    /// What the log calls them.
    pub names: BTreeMap<u32, String>,
}

impl Tables {
    /// Refuses a change of a table that the log describes otherwise than the base.
    pub fn must_agree(&self, wire: &[u8]) -> Result<(), ApplyError> {
        let Some(Ok(Peek::Change { relid, .. })) = (!self.other.is_empty()).then(|| peek(wire)) else { return Ok(()) };
        match (self.other.get(&relid), self.known.get(&relid)) {
            (Some(what), Some(table)) => Err(ApplyError::Disagrees { table: table.shape.title(), what: what.clone() }),
            (_, _) => Ok(()),
        }
    }

    fn get(&self, relid: u32, commit_lsn: Lsn) -> Result<Option<&Table>, ApplyError> {
        if self.passed.contains(&relid) || self.later.get(&relid).is_some_and(|place| commit_lsn < *place) {
            return Ok(None);
        }
        self.known.get(&relid).map(Some).ok_or_else(|| ApplyError::UnknownTable {
            table: self.names.get(&relid).cloned().unwrap_or_else(|| format!("with OID {relid}")),
            commit_lsn,
        })
    }
}

/// The net effect of some transactions.
#[derive(Debug, Default)]
pub struct Window {
    /// What to do to each table, by its OID at the source.
    pub tables: BTreeMap<u32, Vec<Stage>>,
    /// What it was made of.
    pub counts: BTreeMap<u32, Counts>,
    /// How much it holds.
    pub bytes: usize,
    /// The last transaction that is in it.
    pub commit_lsn: Lsn,
}

impl Window {
    /// Takes a change of the transaction that commits at `commit_lsn`.
    pub fn add(&mut self, tables: &Tables, wire: &Bytes, commit_lsn: Lsn) -> Result<(), ApplyError> {
        let malformed = |source: WireError| ApplyError::Message { commit_lsn, source };
        self.bytes = self.bytes.saturating_add(wire.len()).saturating_add(CHANGE_BYTES);
        self.commit_lsn = commit_lsn;
        match Message::decode(wire).map_err(malformed)? {
            Message::Insert { relid, new } => {
                let Some(table) = tables.get(relid, commit_lsn)? else { return Ok(()) };
                let new = of_width(table, row::read(wire, new).map_err(malformed)?, commit_lsn)?;
                self.count(relid).inserts += 1;
                self.net(table).insert(new).map_err(misfit(table, commit_lsn))
            }
            Message::Update { relid, old, new } => {
                let Some(table) = tables.get(relid, commit_lsn)? else { return Ok(()) };
                let new = of_width(table, row::read(wire, new).map_err(malformed)?, commit_lsn)?;
                let old = old.map(|old| old_row(table, wire, old, commit_lsn)).transpose()?;
                self.count(relid).updates += 1;
                match self.net(table).update(old, new).map_err(misfit(table, commit_lsn))? {
                    Taken::Merged => {}
                    Taken::Move { from, to } => self.stages(relid).push(Stage::Move { from, to }),
                }
                Ok(())
            }
            Message::Delete { relid, old } => {
                let Some(table) = tables.get(relid, commit_lsn)? else { return Ok(()) };
                let old = old_row(table, wire, old, commit_lsn)?;
                self.count(relid).deletes += 1;
                self.net(table).delete(old).map_err(misfit(table, commit_lsn))
            }
            Message::Truncate { relids, .. } => self.truncate(tables, relids, commit_lsn),
            Message::Begin(_)
            | Message::Commit(_)
            | Message::Origin { .. }
            | Message::Relation(_)
            | Message::Type { .. }
            | Message::Message { .. } => Ok(()),
        }
    }

    /// Whatever was to be done to these tables is moot.
    fn truncate(&mut self, tables: &Tables, relids: Relids<'_>, commit_lsn: Lsn) -> Result<(), ApplyError> {
        for relid in relids.iter() {
            if tables.get(relid, commit_lsn)?.is_some() {
                self.count(relid).truncates += 1;
                self.tables.insert(relid, vec![Stage::Truncate]);
            }
        }
        Ok(())
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    fn count(&mut self, relid: u32) -> &mut Counts {
        self.counts.entry(relid).or_default()
    }

    fn stages(&mut self, relid: u32) -> &mut Vec<Stage> {
        self.tables.entry(relid).or_default()
    }

    /// The net effect that stands last.
    fn net(&mut self, table: &Table) -> &mut TableNet {
        let stages = self.stages(table.shape.relid);
        if !matches!(stages.last(), Some(Stage::Net(_))) {
            stages.push(Stage::Net(TableNet::new(&table.shape.identity)));
        }
        match stages.last_mut() {
            Some(Stage::Net(net)) => net,
            Some(Stage::Truncate | Stage::Move { .. }) | None => unreachable!("one was just put there"),
        }
    }
}

fn misfit(table: &Table, commit_lsn: Lsn) -> impl FnOnce(Misfit) -> ApplyError {
    let table = table.shape.title();
    move |what| ApplyError::Conflict { table, commit_lsn, what }
}

fn of_width(table: &Table, row: Row, commit_lsn: Lsn) -> Result<Row, ApplyError> {
    let what = "a row has another number of values than the table has columns";
    if row.len() == table.columns.len() { Ok(row) } else { Err(misfit(table, commit_lsn)(what)) }
}

fn old_row(table: &Table, wire: &Bytes, old: OldRow<'_>, commit_lsn: Lsn) -> Result<Row, ApplyError> {
    let (OldRow::Key(tuple) | OldRow::Full(tuple)) = old;
    let row = row::read(wire, tuple).map_err(|source| ApplyError::Message { commit_lsn, source })?;
    let needs_all = table.shape.identity == RowIdentity::Full;
    if needs_all && matches!(old, OldRow::Key(_)) {
        let what = "the older version of a row lacks values: the table's replica identity was not FULL";
        return Err(misfit(table, commit_lsn)(what));
    }
    of_width(table, row, commit_lsn)
}

#[cfg(test)]
mod tests;
