//! The log from where the base begins to the stop, read, proved and applied.

use std::collections::BTreeSet;

use crate::apply::postgres::{Applied, Applier, Misses, RowIdentity, ShapeColumn, TableShape, Transaction};
use crate::codec::base::{Identity, Manifest, Table, TableColumn};
use crate::connect::Session;
use crate::log::{Item, Items, LogEnv};
use crate::model::{LogId, Lsn, Position, Xid};
use crate::restore::error::RestoreError;
use crate::restore::plan::{GapRule, Plan};
use crate::restore::progress::RestoreProgress;
use crate::restore::run::RestoreOrder;
use crate::restore::scan::{Place, commit_lsn};

/// The table as the log describes it if nothing changed since the base.
pub fn shape(table: &Table) -> TableShape {
    let own = || table.columns.iter().filter(|column| !column.generated);
    let place = |name: &String| own().position(|column| column.name == *name);
    let identity = match &table.identity {
        // A key with a generated column is in no message: such a table's updates and deletes cannot be told apart.
        Identity::Key { columns, .. } => {
            columns.iter().map(place).collect::<Option<_>>().map_or(RowIdentity::Nothing, RowIdentity::Key)
        }
        Identity::Full => RowIdentity::Full,
        Identity::Nothing => RowIdentity::Nothing,
    };
    let describe = |column: &TableColumn| ShapeColumn {
        name: column.name.clone(),
        type_oid: column.type_oid,
        typmod: column.typmod,
    };
    TableShape {
        relid: table.relid,
        schema: table.schema.clone(),
        name: table.name.clone(),
        columns: own().map(describe).collect(),
        identity,
    }
}

/// Applies the plan's segments through `session`; `wanted` are the tables to restore, by index.
pub async fn run(
    env: &LogEnv,
    order: &RestoreOrder,
    (manifest, wanted): (&Manifest, &[usize]),
    session: Session,
    progress: &dyn RestoreProgress,
) -> Result<Applied, RestoreError> {
    let plan = &order.plan;
    let Some(log) = plan.log else { return Ok(Applied::default()) };
    let mut shapes = Vec::new();
    let mut passed: BTreeSet<u32> = manifest.passed_over.iter().copied().collect();
    for (index, table) in manifest.tables.iter().enumerate() {
        if wanted.contains(&index) {
            shapes.push(shape(table));
        } else {
            passed.insert(table.relid);
        }
    }
    let misses = match plan.across {
        GapRule::Refuse => Misses::Refused,
        GapRule::Allow => Misses::Counted,
    };
    let later = manifest.tables.iter().filter_map(|table| Some((table.relid, table.read_at?))).collect();
    let mut applier = Applier::new(session, shapes, passed, order.window).await?.bearing(misses).beginning(later);
    let reached = Replay { env, plan, log, progress, begun: None }.read(&mut applier).await?;
    if reached < plan.stop.position {
        return Err(RestoreError::Short { reached: Lsn::from(reached), planned: Lsn::from(plan.stop.position) });
    }
    let (session, done) = applier.finish().await?;
    session.close().await;
    Ok(done)
}

struct Replay<'a> {
    env: &'a LogEnv,
    plan: &'a Plan,
    log: LogId,
    progress: &'a dyn RestoreProgress,
    /// The open transaction, if it is wanted.
    begun: Option<(Xid, Lsn)>,
}

impl Replay<'_> {
    async fn read(&mut self, applier: &mut Applier) -> Result<Position, RestoreError> {
        let plan = self.plan;
        // Everything that completes before the first segment is in the base.
        let from = plan.segments.first().map_or(Position::ZERO, |entry| entry.from);
        let mut log = Items::new(self.env, &plan.source, self.log, plan.segments.clone(), from);
        let (mut items, mut shown) = (Vec::new(), 0);
        while log.next(&mut items).await? {
            if log.segments() > shown {
                self.progress.advance(log.segments() - shown);
                shown = log.segments();
            }
            for item in items.drain(..) {
                self.apply(item, log.position(), applier).await?;
            }
            if log.position() >= plan.stop.position && !log.is_open() {
                break;
            }
        }
        Ok(log.position())
    }

    async fn apply(&mut self, item: Item, at: Position, applier: &mut Applier) -> Result<(), RestoreError> {
        match item {
            Item::Begin(xid, wire) => {
                let place = Place { env: self.env, source: &self.plan.source, log: self.log };
                let commit_lsn = commit_lsn(&wire).map_err(|source| place.wrong(at, source))?;
                let wanted = commit_lsn >= self.plan.begins && commit_lsn.position() < self.plan.stop.position;
                self.begun = wanted.then_some((xid, commit_lsn));
                if wanted {
                    applier.begin(commit_lsn);
                }
            }
            Item::Message(wire) if self.begun.is_some() => applier.message(wire).await?,
            // A transaction that is not wanted still describes tables for those that come after it.
            Item::Message(wire) | Item::Context(wire) => applier.context(&wire)?,
            Item::Commit(commit) => {
                if let Some((xid, commit_lsn)) = self.begun.take() {
                    let transaction = Transaction { xid, commit_lsn, position: commit.position, time: commit.time };
                    applier.commit(transaction).await?;
                }
            }
            Item::Void => {
                if self.begun.take().is_some() {
                    applier.void().await?;
                }
            }
            Item::Gap(_) => applier.gap().await?,
            Item::Session(_) | Item::Heartbeat(_) => {}
        }
        Ok(())
    }
}
