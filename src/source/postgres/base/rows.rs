//! Copies all tables by several workers that share one snapshot: the small ones at once, before somebody empties them, then
//! the largest first, in ranges of ctid.
//!
//! Each stretch is copied within a savepoint and the savepoint is rolled back: so the lock on the table is let go with the
//! stretch, and DDL that waits for it waits a second or two, not for the base (L12). What happens to the table then is
//! noticed: by its file where rows would be missing, for whoever reads it again, by the schema's fingerprint otherwise.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use crate::codec::base::Content;
use crate::codec::rowsum::{RowSplitter, RowSum};
use crate::connect::Session;
use crate::log::LogEnv;
use crate::source::postgres::base::error::BaseTakeError;
use crate::source::postgres::base::parts::{PartWriter, Parts};
use crate::source::postgres::base::survey::{Survey, SurveyedTable};
use crate::source::postgres::base::{BaseProgress, Taking, in_snapshot};

/// A table larger than this is copied in ranges of this size.
const RANGE_BYTES: u64 = 64 * 1024 * 1024;
/// Up to this size a table is small: such are queues and staging tables, which are emptied now and then, and one that is
/// emptied before it was copied must be read again. They take no time worth balancing.
const SMALL_BYTES: u64 = 1024 * 1024;
/// PostgreSQL's page (`BLCKSZ`), unless the server was built otherwise; ranges only need to be of about equal size.
const PAGE_BYTES: u64 = 8192;

/// A stretch of one table.
#[derive(Clone, Debug)]
struct Stretch {
    table: usize,
    relid: u32,
    file: u32,
    sql: String,
    bytes: u64,
}

/// What a worker found in one stretch.
enum Found {
    /// Its rows.
    Rows { table: usize, sum: RowSum, bytes: u64 },
    /// Another file than the snapshot knows: TRUNCATE emptied the table, or VACUUM FULL rewrote it.
    OtherFile { table: usize },
}

/// Copies the tables of the survey that `wanted` names by index, and writes their sums and sizes into it. Gives those whose
/// rows were not there any more.
pub(crate) async fn copy(
    taking: &Taking<'_>,
    survey: &mut Survey,
    wanted: &BTreeSet<usize>,
) -> Result<BTreeSet<usize>, BaseTakeError> {
    let queue = Arc::new(Mutex::new(stretches(survey, wanted)));
    let mut workers = JoinSet::new();
    for _ in 0..taking.order.jobs.max(1) {
        let session = in_snapshot(taking.env, taking.order, &taking.held.snapshot).await?;
        let worker = Worker {
            env: taking.env.clone(),
            parts: Arc::clone(&taking.parts),
            progress: Arc::clone(&taking.progress),
            queue: Arc::clone(&queue),
            session,
        };
        workers.spawn(worker.run());
    }
    let mut gone = BTreeSet::new();
    while let Some(done) = workers.join_next().await {
        for found in done.map_err(|_| BaseTakeError::Worker)?? {
            match found {
                Found::Rows { table, sum, bytes } => {
                    if let Some(table) = survey.tables.get_mut(table) {
                        table.described.sum.merge(sum);
                        table.described.bytes += bytes;
                    }
                }
                Found::OtherFile { table } => drop(gone.insert(table)),
            }
        }
    }
    Ok(gone)
}

fn stretches(survey: &Survey, wanted: &BTreeSet<usize>) -> VecDeque<Stretch> {
    let tables = survey.tables.iter().enumerate().filter(|(index, _)| wanted.contains(index));
    let mut all: Vec<_> = tables.flat_map(|(index, table)| of_table(index, table)).collect();
    all.sort_by_key(|stretch| (stretch.bytes > SMALL_BYTES, std::cmp::Reverse(stretch.bytes)));
    all.into()
}

/// Long values stand in another file: of a table with many of them a range is fewer pages (L12).
fn of_table(index: usize, table: &SurveyedTable) -> Vec<Stretch> {
    let heap_pages = table.heap_bytes.div_ceil(PAGE_BYTES);
    let pages = heap_pages.div_ceil(table.bytes.div_ceil(RANGE_BYTES).max(1)).max(1);
    let ranges = heap_pages.div_ceil(pages);
    let stretch = |sql, bytes| Stretch { table: index, relid: table.described.relid, file: table.file, sql, bytes };
    if ranges <= 1 {
        return vec![stretch(table.copy_whole(), table.bytes)];
    }
    let range = |number: u64| {
        let from = number * pages;
        let to = (number + 1 < ranges).then(|| from + pages);
        stretch(table.copy_range(from, to), table.bytes.div_ceil(ranges))
    };
    (0..ranges).map(range).collect()
}

struct Worker {
    env: LogEnv,
    parts: Arc<Parts>,
    progress: Arc<dyn BaseProgress>,
    queue: Arc<Mutex<VecDeque<Stretch>>>,
    session: Session,
}

impl Worker {
    async fn run(mut self) -> Result<Vec<Found>, BaseTakeError> {
        let mut all = Vec::new();
        while let Some(stretch) = self.take() {
            let found = self.copy(&stretch).await?;
            if let Found::OtherFile { table } = found {
                self.queue.lock().unwrap_or_else(PoisonError::into_inner).retain(|stretch| stretch.table != table);
            }
            all.push(found);
        }
        self.session.close().await;
        Ok(all)
    }

    fn take(&self) -> Option<Stretch> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    async fn copy(&mut self, stretch: &Stretch) -> Result<Found, BaseTakeError> {
        let table =
            u32::try_from(stretch.table).map_err(|_| BaseTakeError::Catalog { what: "a sane number of tables" })?;
        let mut writer = PartWriter::new(&self.env, &self.parts, Content::Rows { table, piece: 0 });
        let mut sum = RowSplitter::default();
        let mut bytes = 0;
        self.session.execute_batch("SAVEPOINT stretch").await?;
        let mut rows = self.session.copy_out(&stretch.sql).await?;
        let mut batch = Vec::new();
        loop {
            rows.next_batch(&mut batch).await?;
            if batch.is_empty() {
                break;
            }
            let mut read = 0;
            for chunk in batch.drain(..) {
                sum.push(&chunk.bytes);
                read += u64::try_from(chunk.bytes.len()).unwrap_or(0);
                writer.push(&chunk.bytes, chunk.ends_message).await?;
            }
            bytes += read;
            self.progress.read(read);
        }
        let is_its_file = self.let_go(stretch).await?;
        // Also where the rows are of no use: the numbers of parts have no holes.
        writer.finish().await?;
        let sum = sum.finish().map_err(|source| BaseTakeError::Cut { table: stretch.table.to_string(), source })?;
        let table = stretch.table;
        Ok(if is_its_file { Found::Rows { table, sum, bytes } } else { Found::OtherFile { table } })
    }

    /// Lets go of the table's lock, and tells whether the rows were in the file that the snapshot knows. COPY held the
    /// lock, so the file that is there now is the one that it read; the function asks the newest catalog.
    async fn let_go(&mut self, stretch: &Stretch) -> Result<bool, BaseTakeError> {
        let row = self.session.one_row(&format!("SELECT pg_relation_filenode({})", stretch.relid)).await?;
        let file = row.get(0).and_then(|file| file.parse().ok());
        self.session.execute_batch("ROLLBACK TO SAVEPOINT stretch").await?;
        Ok(file == Some(stretch.file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::base::{Identity, Table, TableColumn, TableKind};

    fn table(bytes: u64, heap_bytes: u64) -> SurveyedTable {
        let (name, type_oid) = ("v".to_owned(), 25);
        let column = TableColumn { attnum: 1, name, type_oid, typmod: -1, generated: false, in_key: false };
        let described = Table {
            relid: 1,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            kind: TableKind::Ordinary,
            columns: vec![column],
            identity: Identity::Full,
            identity_before: None,
            sum: RowSum::default(),
            bytes: 0,
            read_at: None,
        };
        SurveyedTable { described, bytes, heap_bytes, file: 1 }
    }

    #[test]
    fn l12_a_range_is_bounded_by_all_that_its_rows_take_and_not_by_their_own_file_alone() {
        const MIB: u64 = 1024 * 1024;
        #[rustfmt::skip]
        let cases = [
            // bytes            heap            ranges  last from      why
            (0,                 0,              1,      None,          "an empty table"),
            (64 * MIB,          64 * MIB,       1,      None,          "one stretch is enough"),
            (200 * MIB,         200 * MIB,      4,      Some(19_200),  "the rows' own file"),
            (40_960 * MIB,      20 * MIB,       640,    Some(2_556),   "long values beside it"),
            (640 * MIB,         2 * PAGE_BYTES, 2,      Some(1),       "a page cannot be cut"),
        ];
        for (bytes, heap_bytes, ranges, last_from, why) in cases {
            let stretches = of_table(0, &table(bytes, heap_bytes));
            assert_eq!(stretches.len(), ranges, "{why}");
            let last = &stretches.last().unwrap().sql;
            let from =
                last_from.map_or("COPY \"public\".\"t\"".to_owned(), |from| format!("ctid >= '({from},0)'::tid)"));
            assert!(last.contains(&from) && !last.contains("ctid <"), "{why}: {last}");
        }
    }
}
