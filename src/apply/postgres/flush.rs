//! Writes a window into the target's open transaction: statements pipelined, new rows by COPY, and every count checked.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::apply::postgres::applier::Misses;
use crate::apply::postgres::copytext;
use crate::apply::postgres::error::ApplyError;
use crate::apply::postgres::net::{Bag, Keyed, Net, TableNet};
use crate::apply::postgres::params::{TEXT_ARRAY, TextArray};
use crate::apply::postgres::row::{Cell, Row};
use crate::apply::postgres::shape::{RowIdentity, Table, TargetColumn};
use crate::apply::postgres::sql;
use crate::apply::postgres::window::{Stage, Tables, Window};
use crate::connect::{ConnectError, Pipeline, Session};
use crate::model::Lsn;

/// Rows of one statement.
const ROWS_MAX: usize = 4096;
/// Bytes of one statement's parameters, unless a single row is larger.
const PARAMS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A row with more bytes goes in a statement of its own.
const ROW_BYTES_MAX: usize = 1024 * 1024;
/// COPY text that is gathered before it is handed over.
const COPY_BYTES: usize = 256 * 1024;

/// Makes statements and remembers how many rows each must touch.
struct Statements<'p, 's> {
    pipeline: &'p mut Pipeline<'s>,
    expected: BTreeMap<u64, (u32, u64)>,
    misses: Misses,
}

/// Writes `window`; `indexed` are the tables that have an index over all values. Gives how many rows of each table were not
/// as the window says.
pub async fn write(
    session: &mut Session,
    tables: &Tables,
    window: &Window,
    (indexed, misses): (&mut BTreeSet<u32>, Misses),
) -> Result<BTreeMap<u32, u64>, ApplyError> {
    let mut not_found = BTreeMap::<u32, u64>::new();
    let depth = window.tables.values().map(Vec::len).max().unwrap_or(0);
    for level in 0..depth {
        let stages = || {
            let stage = |(relid, stages): (&u32, &'_ Vec<Stage>)| stages.get(level).is_some().then_some(*relid);
            window.tables.iter().filter_map(stage)
        };
        let mut pipeline = session.pipeline().map_err(ApplyError::session("begin a window"))?;
        let mut statements = Statements { pipeline: &mut pipeline, expected: BTreeMap::new(), misses };
        for relid in stages() {
            if let (Some(table), Some(stage)) = (tables.known.get(&relid), stage_of(window, relid, level)) {
                let changed = change(&mut statements, table, stage, indexed).await;
                changed.map_err(ApplyError::session(format!("change rows of table {}", table.shape.title())))?;
            }
        }
        let expected = std::mem::take(&mut statements.expected);
        let done = pipeline.finish().await.map_err(|error| blame(error, &expected, tables))?;
        drop(pipeline);
        for one in done {
            let Some((relid, rows)) = expected.get(&one.step).filter(|(_, rows)| *rows != one.rows) else { continue };
            match misses {
                Misses::Refused => return Err(miscounted(tables, *relid, *rows, one.rows, window.commit_lsn)),
                Misses::Counted => *not_found.entry(*relid).or_default() += rows.abs_diff(one.rows),
            }
        }
        for relid in stages() {
            if let (Some(table), Some(Stage::Net(net))) = (tables.known.get(&relid), stage_of(window, relid, level)) {
                insert(session, table, net).await?;
            }
        }
    }
    Ok(not_found)
}

fn stage_of(window: &Window, relid: u32, level: usize) -> Option<&Stage> {
    window.tables.get(&relid).and_then(|stages| stages.get(level))
}

/// A step's number means nothing to people: the table is named instead, where one is known.
fn blame(error: ConnectError, expected: &BTreeMap<u64, (u32, u64)>, tables: &Tables) -> ApplyError {
    let step = if let ConnectError::Step { step, .. } = &error { Some(*step) } else { None };
    let relid = step.and_then(|step| expected.range(step..).next()).map(|(_, (relid, _))| *relid);
    let title = relid.and_then(|relid| tables.known.get(&relid)).map(|table| table.shape.title());
    let doing = title.map_or_else(|| "change rows".to_owned(), |title| format!("change rows of table {title}"));
    ApplyError::session(doing)(error)
}

fn miscounted(tables: &Tables, relid: u32, expected: u64, touched: u64, commit_lsn: Lsn) -> ApplyError {
    let table = tables.known.get(&relid).map(|table| table.shape.title()).unwrap_or_default();
    let what = if touched < expected {
        "a row that the log changes or deletes is not there"
    } else {
        "a change of one row found several"
    };
    ApplyError::Conflict { table, commit_lsn, what }
}

async fn change(
    statements: &mut Statements<'_, '_>,
    table: &Table,
    stage: &Stage,
    indexed: &mut BTreeSet<u32>,
) -> Result<(), ConnectError> {
    match stage {
        Stage::Truncate => statements.plain(&sql::truncate(table)),
        Stage::Move { from, to } => {
            let RowIdentity::Key(key) = &table.shape.identity else { return Ok(()) };
            statements.update_one(table, &pick(table, key), (from, to), Everything::Columns)
        }
        Stage::Net(TableNet::Keyed(key, keyed)) => {
            let mut batches = Batches { table, key, statements };
            batches.delete(keyed, Deleted::Gone).await?;
            if batches.statements.misses == Misses::Counted {
                batches.delete(keyed, Deleted::InTheWay).await?;
            }
            batches.update(keyed).await
        }
        Stage::Net(TableNet::Bag(bag)) => statements.delete_equal(table, bag, indexed).await,
        Stage::Net(TableNet::Plain(_)) => Ok(()),
    }
}

fn pick<'t>(table: &'t Table, columns: &[usize]) -> Vec<&'t TargetColumn> {
    columns.iter().filter_map(|at| table.columns.get(*at)).collect()
}

/// Which columns an UPDATE may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Everything {
    /// All that were sent.
    Columns,
    /// All that were sent but those of the key, which are as they were.
    ButTheKey,
}

impl Statements<'_, '_> {
    fn plain(&mut self, sql: &str) -> Result<(), ConnectError> {
        self.pipeline.parse("", sql, &[])?;
        self.pipeline.bind_execute("", [], &[]).map(drop)
    }

    fn expect(&mut self, step: u64, table: &Table, rows: usize) {
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        self.expected.insert(step, (table.shape.relid, rows));
    }

    fn arrays(&mut self, table: &Table, sql: &str, arrays: &[TextArray], rows: usize) -> Result<(), ConnectError> {
        let types = vec![TEXT_ARRAY; arrays.len()];
        self.pipeline.parse("", sql, &types)?;
        let params = arrays.iter().map(|array| Some(array.as_bytes())).collect::<Vec<_>>();
        let step = self.pipeline.bind_execute("", params, &[1])?;
        self.expect(step, table, rows);
        Ok(())
    }

    fn texts(&mut self, table: &Table, sql: &str, params: &[Option<&[u8]>], rows: usize) -> Result<(), ConnectError> {
        self.pipeline.parse("", sql, &[])?;
        let step = self.pipeline.bind_execute("", params.iter().copied(), &[])?;
        self.expect(step, table, rows);
        Ok(())
    }

    fn update_one(
        &mut self,
        table: &Table,
        key: &[&TargetColumn],
        (from, to): (&[Cell], &[Cell]),
        which: Everything,
    ) -> Result<(), ConnectError> {
        let (set, values): (Vec<_>, Vec<_>) = table
            .columns
            .iter()
            .zip(to)
            .filter(|(column, cell)| {
                let sent = **cell != Cell::Unchanged;
                sent && (which == Everything::Columns || !key.iter().any(|part| part.name == column.name))
            })
            .unzip();
        if set.is_empty() {
            return Ok(());
        }
        let params: Vec<_> = from.iter().chain(values).map(Cell::text).collect();
        self.texts(table, &sql::update_one(table, key, &set), &params, 1)
    }

    async fn delete_equal(
        &mut self,
        table: &Table,
        bag: &Bag,
        indexed: &mut BTreeSet<u32>,
    ) -> Result<(), ConnectError> {
        let sql = sql::delete_equal(table);
        let mut prepared = false;
        for (row, more) in bag.rows().filter(|(_, more)| *more < 0) {
            if indexed.insert(table.shape.relid) && !table.columns.is_empty() {
                self.plain(sql::ROW_HASH)?;
                self.plain(&sql::create_row_index(table))?;
            }
            if !std::mem::replace(&mut prepared, true) {
                self.pipeline.close_statement("equal")?;
                self.pipeline.parse("equal", &sql, &[])?;
            }
            let fewer = more.unsigned_abs();
            let limit = fewer.to_string();
            let params = row.iter().map(Cell::text).chain([Some(limit.as_bytes())]).collect::<Vec<_>>();
            let step = self.pipeline.bind_execute("equal", params, &[])?;
            self.expected.insert(step, (table.shape.relid, fewer));
            self.pipeline.relieve().await?;
        }
        Ok(())
    }
}

/// Which rows a DELETE is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deleted {
    /// Those that the source deleted; all are there.
    Gone,
    /// Those whose key a new row has. The source deleted them in a stretch that the log lacks; else none is there.
    InTheWay,
}

/// Gathers rows of a table into statements of many.
struct Batches<'b, 'p, 's> {
    table: &'b Table,
    key: &'b [usize],
    statements: &'b mut Statements<'p, 's>,
}

/// Rows that one statement changes.
struct Batch<'r> {
    rows: Vec<(&'r Row, Option<&'r Row>)>,
    bytes: usize,
}

impl Batches<'_, '_, '_> {
    async fn delete(&mut self, keyed: &Keyed, which: Deleted) -> Result<(), ConnectError> {
        let mut batch = Batch { rows: Vec::new(), bytes: 0 };
        for (key, net) in keyed.rows() {
            let wanted = match (net, which) {
                (Net::Delete, Deleted::Gone) | (Net::Insert(_), Deleted::InTheWay) => true,
                (Net::Delete, Deleted::InTheWay) | (Net::Insert(_), Deleted::Gone) | (Net::Update(_), _) => false,
            };
            if wanted {
                batch.push(key, None);
                if batch.is_full() {
                    self.send_deletes(&mut batch, which).await?;
                }
            }
        }
        self.send_deletes(&mut batch, which).await
    }

    async fn send_deletes(&mut self, batch: &mut Batch<'_>, which: Deleted) -> Result<(), ConnectError> {
        let key = pick(self.table, self.key);
        let rows = batch.take();
        if rows.is_empty() {
            return Ok(());
        }
        let there = |rows: usize| if which == Deleted::Gone { rows } else { 0 };
        if self.table.one_by_one || rows.len() == 1 {
            let sql = sql::delete_one(self.table, &key);
            for (cells, _) in rows {
                let params: Vec<_> = cells.iter().map(Cell::text).collect();
                self.statements.texts(self.table, &sql, &params, there(1))?;
                self.statements.pipeline.relieve().await?;
            }
            return Ok(());
        }
        let arrays = columns(key.len(), rows.iter().map(|(cells, _)| cells.iter()));
        self.statements.arrays(self.table, &sql::delete_many(self.table, &key), &arrays, there(rows.len()))?;
        self.statements.pipeline.relieve().await
    }

    /// Rows that change in the same columns go together.
    async fn update(&mut self, keyed: &Keyed) -> Result<(), ConnectError> {
        let mut batches: BTreeMap<Vec<usize>, Batch<'_>> = BTreeMap::new();
        for (key, net) in keyed.rows() {
            let Net::Update(row) = net else { continue };
            let set = |(at, cell): (usize, &Cell)| (*cell != Cell::Unchanged && !self.key.contains(&at)).then_some(at);
            let set: Vec<usize> = row.iter().enumerate().filter_map(set).collect();
            if row_bytes(key, Some(row)) > ROW_BYTES_MAX {
                // An array of such values would soon be larger than any value may be.
                self.send_updates(&set, &mut Batch { rows: vec![(key, Some(row))], bytes: 0 }).await?;
                continue;
            }
            let batch = batches.entry(set.clone()).or_insert(Batch { rows: Vec::new(), bytes: 0 });
            batch.push(key, Some(row));
            if batch.is_full() {
                let mut full = Batch { rows: batch.take(), bytes: 0 };
                self.send_updates(&set, &mut full).await?;
            }
        }
        for (set, mut batch) in batches {
            self.send_updates(&set, &mut batch).await?;
        }
        Ok(())
    }

    async fn send_updates(&mut self, set: &[usize], batch: &mut Batch<'_>) -> Result<(), ConnectError> {
        let key = pick(self.table, self.key);
        let rows = batch.take();
        // An update that changes nothing but its row's version leaves no trace in a restore.
        if rows.is_empty() || set.is_empty() {
            return Ok(());
        }
        if self.table.one_by_one || rows.len() == 1 {
            for (cells, row) in rows {
                let row = row.map_or(&[][..], Vec::as_slice);
                self.statements.update_one(self.table, &key, (cells, row), Everything::ButTheKey)?;
                self.statements.pipeline.relieve().await?;
            }
            return Ok(());
        }
        let width = key.len() + set.len();
        let values = rows.iter().map(|(cells, row)| {
            let row = row.map_or(&[][..], Vec::as_slice);
            cells.iter().chain(set.iter().filter_map(|at| row.get(*at)))
        });
        let arrays = columns(width, values);
        let sql = sql::update_many(self.table, &key, &pick(self.table, set));
        self.statements.arrays(self.table, &sql, &arrays, rows.len())?;
        self.statements.pipeline.relieve().await
    }
}

impl<'r> Batch<'r> {
    fn push(&mut self, key: &'r Row, row: Option<&'r Row>) {
        self.bytes = self.bytes.saturating_add(row_bytes(key, row));
        self.rows.push((key, row));
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= ROWS_MAX || self.bytes >= PARAMS_BYTES_MAX
    }

    fn take(&mut self) -> Vec<(&'r Row, Option<&'r Row>)> {
        self.bytes = 0;
        std::mem::take(&mut self.rows)
    }
}

fn row_bytes(key: &Row, row: Option<&Row>) -> usize {
    key.iter().chain(row.into_iter().flatten()).map(|cell| cell.len() + 8).sum()
}

fn columns<'c, R: Iterator<Item = &'c Cell>>(width: usize, rows: impl Iterator<Item = R>) -> Vec<TextArray> {
    let mut arrays = vec![TextArray::default(); width];
    for row in rows {
        arrays.iter_mut().zip(row).for_each(|(array, cell)| array.push(cell));
    }
    arrays
}

/// New rows, by COPY.
async fn insert(session: &mut Session, table: &Table, net: &TableNet) -> Result<(), ApplyError> {
    let mut rows: Box<dyn Iterator<Item = &Row> + Send> = match net {
        TableNet::Keyed(_, keyed) => Box::new(keyed.rows().filter_map(|(_, net)| match net {
            Net::Insert(row) => Some(row),
            Net::Update(_) | Net::Delete => None,
        })),
        TableNet::Bag(bag) => Box::new(bag.rows().flat_map(|(row, more)| {
            let times = usize::try_from(more).unwrap_or(0);
            std::iter::repeat_n(row, times)
        })),
        TableNet::Plain(rows) => Box::new(rows.iter()),
    };
    let Some(first) = rows.next() else { return Ok(()) };
    let failed = || ApplyError::session(format!("insert rows into table {}", table.shape.title()));
    let mut copy = session.copy_in(&sql::copy_in(table)).await.map_err(failed())?;
    let (mut lines, mut count) = (Vec::new(), 0_u64);
    for row in std::iter::once(first).chain(rows) {
        copytext::push_row(row, &mut lines);
        count += 1;
        if lines.len() >= COPY_BYTES {
            copy.send(&lines).await.map_err(failed())?;
            lines.clear();
        }
    }
    copy.send(&lines).await.map_err(failed())?;
    let taken = copy.finish().await.map_err(failed())?;
    if taken == count {
        Ok(())
    } else {
        let what = "the target took another number of rows than it was given".to_owned();
        Err(ApplyError::TargetDiffers { table: table.shape.title(), what })
    }
}
