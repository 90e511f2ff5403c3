//! The restored rows against the base: sums where the target is the base's own point, else counts.

use std::collections::VecDeque;
use std::sync::Mutex;

use futures::future::try_join_all;

use crate::apply::postgres::Applied;
use crate::codec::base::{Manifest, Table};
use crate::codec::rowsum::{RowSplitter, RowSum};
use crate::connect::{Chunk, ConnectError, Row, Session};
use crate::restore::database::Door;
use crate::restore::error::RestoreError;
use crate::restore::load::{column_list, quoted, title};
use crate::restore::progress::RestoreProgress;

/// How a table was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Rows and checksum are those of the base.
    Sum,
    /// The rows are as many as base and log say.
    Count,
    /// The rows were counted; a TRUNCATE or a gap hides how many there should be.
    Counted,
}

/// A table that was restored.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Compared {
    /// Schema and name.
    pub table: String,
    /// How many rows it has.
    pub rows: u64,
    /// Its checksum, where it was compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How it was compared.
    pub how: How,
}

/// The sum of a table's rows, as the target writes them.
pub async fn sum(session: &mut Session, table: &Table) -> Result<RowSum, RestoreError> {
    let failed = || RestoreError::session(format!("read the rows of table {}", title(table)));
    let sql = format!("COPY {}{} TO STDOUT", quoted(table), column_list(table));
    let mut copy = session.copy_out(&sql).await.map_err(failed())?;
    let (mut splitter, mut chunks) = (RowSplitter::default(), Vec::<Chunk>::new());
    loop {
        copy.next_batch(&mut chunks).await.map_err(failed())?;
        if chunks.is_empty() {
            break;
        }
        chunks.drain(..).for_each(|chunk| splitter.push(&chunk.bytes));
    }
    splitter.finish().map_err(|_| RestoreError::Differs {
        table: title(table),
        what: "the target's rows ended inside one".to_owned(),
    })
}

/// Compares the tables that `wanted` names by index, `jobs` at once.
pub async fn run(
    door: Door<'_>,
    manifest: &Manifest,
    wanted: &[usize],
    (applied, jobs): (&Applied, usize),
    progress: &dyn RestoreProgress,
) -> Result<Vec<Compared>, RestoreError> {
    let queue = Mutex::new(wanted.iter().copied().collect::<VecDeque<_>>());
    let work = || async {
        let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front();
        let mut done = Vec::new();
        let Some(mut index) = next() else { return Ok(done) };
        let mut session = door.open().await?;
        loop {
            if let Some(table) = manifest.tables.get(index) {
                done.push((index, compare(&mut session, table, applied).await?));
                progress.advance(1);
            }
            index = match next() {
                Some(index) => index,
                None => break,
            };
        }
        session.close().await;
        Ok::<_, RestoreError>(done)
    };
    let all = try_join_all((0..jobs.clamp(1, wanted.len().max(1))).map(|_| work())).await?;
    let mut all: Vec<_> = all.into_iter().flatten().collect();
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, compared)| compared).collect())
}

async fn compare(session: &mut Session, table: &Table, applied: &Applied) -> Result<Compared, RestoreError> {
    let differs = |what: String| Err(RestoreError::Differs { table: title(table), what });
    // Heartbeats alone leave every row as the base has it.
    if applied.counts.is_empty() {
        let sum = sum(session, table).await?;
        if sum != table.sum {
            let (rows, digest) = (table.sum.rows(), table.sum.digest());
            return differs(format!("{} rows with sum {}, base {rows} with {digest}", sum.rows(), sum.digest()));
        }
        return Ok(Compared { table: title(table), rows: sum.rows(), digest: Some(sum.digest()), how: How::Sum });
    }
    let doing = RestoreError::session(format!("count the rows of table {}", title(table)));
    let counted = session.one_row(&format!("SELECT count(*) FROM ONLY {}", quoted(table))).await;
    let number = |row: Row| row.get(0).and_then(|count| count.parse::<u64>().ok());
    let lacks = ConnectError::Answer { doing: "count rows", lacks: "a number" };
    let rows = counted.and_then(|row| number(row).ok_or(lacks)).map_err(doing)?;
    let counts = applied.counts.get(&table.relid).copied().unwrap_or_default();
    if counts.truncates > 0 || applied.missed.contains_key(&table.relid) {
        return Ok(Compared { table: title(table), rows, digest: None, how: How::Counted });
    }
    let expected = table.sum.rows().saturating_add(counts.inserts).saturating_sub(counts.deletes);
    if rows == expected {
        Ok(Compared { table: title(table), rows, digest: None, how: How::Count })
    } else {
        differs(format!("{rows} rows, base and log say {expected}"))
    }
}
