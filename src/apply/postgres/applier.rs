//! Takes a log's transactions one by one, and writes them in windows.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use bytes::Bytes;

use crate::apply::postgres::error::ApplyError;
use crate::apply::postgres::flush;
use crate::apply::postgres::shape::{self, TableShape};
use crate::apply::postgres::sql;
use crate::apply::postgres::window::{Tables, Window};
use crate::codec::footer::Counts;
use crate::codec::names;
use crate::codec::pgoutput::{Message, Relation};
use crate::connect::{Session, quote_literal};
use crate::model::{Lsn, Position, Timestamp, Xid};

/// How much is gathered before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowRule {
    /// At this many bytes.
    pub window_bytes: usize,
}

impl Default for WindowRule {
    fn default() -> Self {
        Self { window_bytes: 16 * 1024 * 1024 }
    }
}

/// A transaction of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its number.
    pub xid: Xid,
    /// Where its commit record begins.
    pub commit_lsn: Lsn,
    /// Where it ends.
    pub position: Position,
    /// When it committed.
    pub time: Timestamp,
}

/// What was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// How many transactions.
    pub transactions: u64,
    /// What they did to each table, by its OID at the source.
    pub counts: BTreeMap<u32, Counts>,
    /// The last of them.
    pub last: Option<Transaction>,
    /// How many changes were of rows that were not as the log has them, by the table's OID at the source.
    pub missed: BTreeMap<u32, u64>,
}

/// What to do about a change of a row that is not as the log has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Misses {
    /// It is damage, and ends everything.
    #[default]
    Refused,
    /// History lacks a stretch, and the row with it: the change is counted.
    Counted,
}

/// The transaction whose messages are coming.
#[derive(Debug)]
enum Open {
    None,
    /// It is gathered.
    Gathered {
        commit_lsn: Lsn,
        messages: Vec<Bytes>,
        bytes: usize,
    },
    /// It is larger than a window and streams into a transaction of the target. What to return to if it is void.
    Streamed {
        commit_lsn: Lsn,
        before: Box<(Applied, BTreeSet<u32>)>,
    },
}

/// Applies transactions to one database.
#[derive(Debug)]
pub struct Applier {
    session: Session,
    tables: Tables,
    rule: WindowRule,
    window: Window,
    open: Open,
    pending: Applied,
    indexed: BTreeSet<u32>,
    misses: Misses,
}

impl Applier {
    /// Prepares `session`, whose database has all tables of `shapes` with nothing on them but their identities' keys, and
    /// the schema that [`sql::OWN_SCHEMA`] names with its table of progress. Changes of `passed` are passed over.
    pub async fn new(
        mut session: Session,
        shapes: Vec<TableShape>,
        passed: BTreeSet<u32>,
        rule: WindowRule,
    ) -> Result<Self, ApplyError> {
        // Every row is found by its key's index. The tables have no statistics, so the planner would guess.
        let settings = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
                        SET synchronous_commit = off; SET jit = off; SET max_parallel_workers_per_gather = 0";
        session.simple(settings).await.map_err(ApplyError::session("prepare the session"))?;
        let known = shape::load(&mut session, shapes).await?;
        let tables = Tables { known, passed, ..Tables::default() };
        let mut this = Self {
            session,
            tables,
            rule,
            window: Window::default(),
            open: Open::None,
            pending: Applied::default(),
            indexed: BTreeSet::new(),
            misses: Misses::Refused,
        };
        this.identity_columns("BY DEFAULT").await?;
        Ok(this)
    }

    async fn identity_columns(&mut self, generated: &str) -> Result<(), ApplyError> {
        for table in self.tables.known.values() {
            if let Some(sql) = sql::identity_columns(table, generated) {
                let doing = format!("prepare the identity columns of table {}", table.shape.title());
                self.session.simple(&sql).await.map_err(ApplyError::session(doing))?;
            }
        }
        Ok(())
    }

    /// Takes a log that lacks a stretch.
    #[must_use]
    pub const fn bearing(mut self, misses: Misses) -> Self {
        self.misses = misses;
        self
    }

    /// Takes tables whose rows are of a later place than the others', by their OIDs at the source.
    #[must_use]
    pub fn beginning(mut self, later: BTreeMap<u32, Lsn>) -> Self {
        self.tables.later = later;
        self
    }

    /// History lacks what stood here: what comes does not follow what came.
    pub async fn gap(&mut self) -> Result<(), ApplyError> {
        match self.misses {
            Misses::Refused => Ok(()),
            Misses::Counted => self.flush().await,
        }
    }

    /// A transaction begins.
    pub fn begin(&mut self, commit_lsn: Lsn) {
        self.open = Open::Gathered { commit_lsn, messages: Vec::new(), bytes: 0 };
    }

    /// A message that may describe what follows; also one of a transaction that is not applied. A table that it describes
    /// otherwise than the base does matters once a row of it is to be changed.
    pub fn context(&mut self, wire: &Bytes) -> Result<(), ApplyError> {
        if wire.first() != Some(&b'R') {
            return Ok(());
        }
        match Message::decode(wire) {
            Ok(Message::Relation(relation)) => self.describe(&relation),
            Ok(_) => {}
            Err(source) => return Err(ApplyError::Message { commit_lsn: self.commit_lsn(), source }),
        }
        Ok(())
    }

    fn describe(&mut self, relation: &Relation) {
        let relid = relation.relid;
        // Rows of our own things at the source are not restored.
        if relation.namespace == names::SCHEMA {
            self.tables.passed.insert(relid);
        } else if let Some(table) = self.tables.known.get(&relid) {
            match table.shape.agree(relation) {
                Ok(()) => drop(self.tables.other.remove(&relid)),
                Err(what) => drop(self.tables.other.insert(relid, what)),
            }
        }
        self.tables.names.insert(relid, format!("{}.{}", relation.namespace, relation.name));
    }

    fn commit_lsn(&self) -> Lsn {
        match &self.open {
            Open::None => self.window.commit_lsn,
            Open::Gathered { commit_lsn, .. } | Open::Streamed { commit_lsn, .. } => *commit_lsn,
        }
    }

    /// A message of the open transaction.
    pub async fn message(&mut self, wire: Bytes) -> Result<(), ApplyError> {
        match wire.first() {
            Some(b'I' | b'U' | b'D') => self.tables.must_agree(&wire)?,
            Some(b'T') => {}
            Some(_) | None => return self.context(&wire),
        }
        match &mut self.open {
            Open::None => Ok(()),
            Open::Gathered { messages, bytes, .. } => {
                *bytes = bytes.saturating_add(wire.len()).saturating_add(64);
                messages.push(wire);
                if *bytes > self.rule.window_bytes { self.stream().await } else { Ok(()) }
            }
            Open::Streamed { commit_lsn, .. } => {
                self.window.add(&self.tables, &wire, *commit_lsn)?;
                if self.window.bytes > self.rule.window_bytes { self.write().await } else { Ok(()) }
            }
        }
    }

    /// The open transaction outgrows a window: what came before it is committed, then it gets a transaction of its own.
    async fn stream(&mut self) -> Result<(), ApplyError> {
        self.flush().await?;
        let Open::Gathered { commit_lsn, messages, .. } = std::mem::replace(&mut self.open, Open::None) else {
            return Ok(());
        };
        let before = Box::new((self.pending.clone(), self.indexed.clone()));
        self.open = Open::Streamed { commit_lsn, before };
        self.begin_target().await?;
        for wire in messages {
            self.window.add(&self.tables, &wire, commit_lsn)?;
        }
        self.write().await
    }

    /// The open transaction is complete.
    pub async fn commit(&mut self, transaction: Transaction) -> Result<(), ApplyError> {
        let open = std::mem::replace(&mut self.open, Open::None);
        self.pending.transactions += 1;
        self.pending.last = Some(transaction);
        match open {
            Open::None => Ok(()),
            Open::Gathered { commit_lsn, messages, .. } => {
                for wire in messages {
                    self.window.add(&self.tables, &wire, commit_lsn)?;
                }
                if self.window.bytes > self.rule.window_bytes { self.flush().await } else { Ok(()) }
            }
            Open::Streamed { .. } => {
                self.write().await?;
                self.commit_target().await
            }
        }
    }

    /// The open transaction never happened.
    pub async fn void(&mut self) -> Result<(), ApplyError> {
        match std::mem::replace(&mut self.open, Open::None) {
            Open::None | Open::Gathered { .. } => Ok(()),
            Open::Streamed { before, .. } => {
                self.window = Window::default();
                (self.pending, self.indexed) = *before;
                let undone = self.session.simple("ROLLBACK").await;
                undone.map(drop).map_err(ApplyError::session("undo a transaction that was not completed"))
            }
        }
    }

    /// What has been taken so far. It is in the target once [`Applier::finish`] has returned.
    pub const fn taken(&self) -> &Applied {
        &self.pending
    }

    async fn begin_target(&mut self) -> Result<(), ApplyError> {
        let begun = self.session.simple("BEGIN").await;
        begun.map(drop).map_err(ApplyError::session("begin a transaction"))
    }

    /// Writes the window into the target's open transaction.
    async fn write(&mut self) -> Result<(), ApplyError> {
        let window = std::mem::take(&mut self.window);
        for (relid, counts) in &window.counts {
            let sum = self.pending.counts.entry(*relid).or_default();
            sum.inserts += counts.inserts;
            sum.updates += counts.updates;
            sum.deletes += counts.deletes;
            sum.truncates += counts.truncates;
        }
        let missed = flush::write(&mut self.session, &self.tables, &window, (&mut self.indexed, self.misses)).await?;
        for (relid, changes) in missed {
            let sum = self.pending.missed.entry(relid).or_default();
            *sum = sum.saturating_add(changes);
        }
        Ok(())
    }

    /// Commits with a note of how far it is.
    async fn commit_target(&mut self) -> Result<(), ApplyError> {
        let Some(last) = self.pending.last else { return Ok(()) };
        let sql = format!(
            "UPDATE {}.progress SET applied_to = {}, transactions = {}; COMMIT",
            sql::OWN_SCHEMA,
            quote_literal(&Lsn::from(last.position).to_string()),
            self.pending.transactions
        );
        self.session.simple(&sql).await.map(drop).map_err(ApplyError::session("commit a window"))
    }

    /// Writes what is gathered, and commits it.
    async fn flush(&mut self) -> Result<(), ApplyError> {
        if self.window.is_empty() {
            self.window = Window::default();
            return Ok(());
        }
        self.begin_target().await?;
        self.write().await?;
        self.commit_target().await
    }

    /// Writes the rest and removes what applying needed. A transaction that is still open is forgotten.
    pub async fn finish(mut self) -> Result<(Session, Applied), ApplyError> {
        self.void().await?;
        self.flush().await?;
        self.identity_columns("ALWAYS").await?;
        let indexed: Vec<_> = self.indexed.iter().filter_map(|relid| self.tables.known.get(relid)).collect();
        for table in indexed {
            let dropped = self.session.simple(&sql::drop_row_index(table)).await;
            dropped.map_err(ApplyError::session("drop an index that applying needed"))?;
        }
        Ok((self.session, self.pending))
    }
}
