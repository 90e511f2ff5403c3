//! Rows of a base into the target's tables: several COPYs at once, every part and every table's sum proved.
//!
//! A table's rows are one stream that its parts cut anywhere. Who loads some of the parts takes the rows that begin in
//! them: it skips the end of a row that began before, and reads on to the end of its last one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use bytes::Bytes;
use futures::future::try_join_all;

use crate::codec::base::{Content, Manifest, Part, Table};
use crate::codec::rowsum::{RowSplitter, RowSum};
use crate::connect::{CopyIn, Session, quote_ident};
use crate::log::LogEnv;
use crate::restore::bases::PartReader;
use crate::restore::database::Door;
use crate::restore::error::RestoreError;
use crate::restore::progress::RestoreProgress;

/// Plain bytes of parts that one COPY takes at least, if the table has so many.
const SHARE_BYTES_MIN: u64 = 32 * 1024 * 1024;

/// What to load, and from where.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    /// What opens the parts.
    pub env: &'a LogEnv,
    /// The base.
    pub manifest: &'a Manifest,
    /// The target.
    pub door: Door<'a>,
    /// How many COPYs at once.
    pub jobs: usize,
    /// Who wants to know.
    pub progress: &'a dyn RestoreProgress,
}

/// Some of a table's parts: the rows that begin in them.
#[derive(Clone, Copy, Debug)]
struct Share {
    table: usize,
    from: usize,
    to: usize,
    bytes: u64,
    alone: bool,
}

impl<'a> Load<'a> {
    /// Loads the rows of the tables that `wanted` names by index, and proves each table's sum. How many rows.
    pub async fn run(self, wanted: &[usize]) -> Result<u64, RestoreError> {
        let parts = self.parts();
        let shares = Mutex::new(shares(&parts, wanted, self.jobs));
        let sums = Mutex::new(BTreeMap::<usize, RowSum>::new());
        let workers = (0..self.jobs.max(1)).map(|_| self.work(&parts, &shares, &sums));
        try_join_all(workers).await?;
        let sums = sums.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut rows = 0;
        for (table, index) in wanted.iter().filter_map(|index| self.manifest.tables.get(*index).zip(Some(index))) {
            let sum = sums.get(index).copied().unwrap_or_default();
            if sum != table.sum {
                let what = format!("its parts hold {} rows, the manifest says {}", sum.rows(), table.sum.rows());
                return Err(RestoreError::Differs { table: title(table), what });
            }
            rows += sum.rows();
        }
        Ok(rows)
    }

    fn parts(&self) -> BTreeMap<usize, Vec<&'a Part>> {
        let mut parts: BTreeMap<usize, Vec<&Part>> = BTreeMap::new();
        for part in &self.manifest.parts {
            if let Content::Rows { table, .. } = part.content
                && let Ok(table) = usize::try_from(table)
            {
                parts.entry(table).or_default().push(part);
            }
        }
        parts
    }

    async fn work(
        self,
        parts: &BTreeMap<usize, Vec<&Part>>,
        shares: &Mutex<VecDeque<Share>>,
        sums: &Mutex<BTreeMap<usize, RowSum>>,
    ) -> Result<(), RestoreError> {
        let next = || shares.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front();
        let Some(mut share) = next() else { return Ok(()) };
        let mut session = self.door.open().await?;
        loop {
            if let (Some(parts), Some(table)) = (parts.get(&share.table), self.manifest.tables.get(share.table)) {
                let sum = self.copy(&mut session, table, parts, share).await?;
                let mut sums = sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                sums.entry(share.table).or_default().merge(sum);
            }
            share = match next() {
                Some(share) => share,
                None => break,
            };
        }
        session.close().await;
        Ok(())
    }

    async fn copy(
        self,
        session: &mut Session,
        table: &Table,
        parts: &[&Part],
        share: Share,
    ) -> Result<RowSum, RestoreError> {
        let failed = || RestoreError::session(format!("load rows into table {}", title(table)));
        // Who fills a table that the same transaction emptied may write its rows as they will be for ever.
        if share.alone {
            let name = quoted(table);
            session.simple(&format!("BEGIN; TRUNCATE ONLY {name}")).await.map_err(failed())?;
        }
        let mut copy = session.copy_in(&copy_sql(table, share.alone)).await.map_err(failed())?;
        let mut splitter = RowSplitter::default();
        self.send(&mut copy, &mut splitter, table, (parts, share)).await?;
        let taken = copy.finish().await.map_err(failed())?;
        if share.alone {
            session.simple("COMMIT").await.map_err(failed())?;
        }
        let base = self.manifest.base;
        let cut = |source| RestoreError::Rows { base, table: title(table), source };
        let sum = splitter.finish().map_err(cut)?;
        if sum.rows() == taken {
            Ok(sum)
        } else {
            let what = format!("the target took {taken} rows of {}", sum.rows());
            Err(RestoreError::Differs { table: title(table), what })
        }
    }

    async fn send(
        self,
        copy: &mut CopyIn<'_>,
        splitter: &mut RowSplitter,
        table: &Table,
        (parts, share): (&[&Part], Share),
    ) -> Result<(), RestoreError> {
        let mut edge = Edge { skipping: self.begins_inside(parts, share.from).await?, ended: true };
        for (at, part) in parts.iter().enumerate().skip(share.from) {
            if at >= share.to && edge.ended {
                break;
            }
            let mut reader = PartReader::open(self.env, self.manifest, part).await?;
            while let Some(frame) = reader.next_frame()? {
                let mine = edge.mine(frame, at < share.to);
                if !mine.is_empty() {
                    splitter.push(&mine);
                    let sent = copy.send(&mine).await;
                    sent.map_err(RestoreError::session(format!("load rows into table {}", title(table))))?;
                }
            }
            if at < share.to {
                self.progress.advance(part.bytes);
            }
        }
        Ok(())
    }

    /// Whether the part before ends inside a row.
    async fn begins_inside(self, parts: &[&Part], from: usize) -> Result<bool, RestoreError> {
        let Some(before) = from.checked_sub(1).and_then(|before| parts.get(before)) else { return Ok(false) };
        let mut reader = PartReader::open(self.env, self.manifest, before).await?;
        let mut last = None;
        while let Some(frame) = reader.next_frame()? {
            last = frame.last().copied().or(last);
        }
        Ok(last != Some(b'\n'))
    }
}

/// Where a share's rows begin and end.
struct Edge {
    /// The end of a row that began before is still coming.
    skipping: bool,
    /// What was taken ends with a row.
    ended: bool,
}

impl Edge {
    /// The bytes of `frame` that are of rows which begin in the share; `inside` says whether the frame is of its parts.
    fn mine(&mut self, mut frame: Bytes, inside: bool) -> Bytes {
        let line_end = |frame: &Bytes| memchr::memchr(b'\n', frame).map(|at| at + 1);
        if self.skipping {
            let Some(at) = line_end(&frame) else { return Bytes::new() };
            self.skipping = false;
            frame = frame.slice(at..);
        }
        if !inside {
            if self.ended {
                return Bytes::new();
            }
            if let Some(at) = line_end(&frame) {
                frame.truncate(at);
            }
        }
        self.ended = frame.last().map_or(self.ended, |last| *last == b'\n');
        frame
    }
}

/// The work, largest first.
fn shares(parts: &BTreeMap<usize, Vec<&Part>>, wanted: &[usize], jobs: usize) -> VecDeque<Share> {
    let mut shares = Vec::new();
    for (&table, parts) in parts.iter().filter(|(table, _)| wanted.contains(table)) {
        let total: u64 = parts.iter().map(|part| part.plain_bytes).sum();
        let many = u64::try_from(jobs.max(1)).unwrap_or(1);
        let goal = total.div_ceil(many).max(SHARE_BYTES_MIN);
        let (mut from, mut bytes) = (0, 0);
        for (at, part) in parts.iter().enumerate() {
            bytes += part.plain_bytes;
            if bytes >= goal || at + 1 == parts.len() {
                let alone = from == 0 && at + 1 == parts.len();
                shares.push(Share { table, from, to: at + 1, bytes, alone });
                (from, bytes) = (at + 1, 0);
            }
        }
    }
    shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    shares.into()
}

/// Schema and name, for people.
pub fn title(table: &Table) -> String {
    format!("{}.{}", table.schema, table.name)
}

/// Schema and name, in SQL.
pub fn quoted(table: &Table) -> String {
    format!("{}.{}", quote_ident(&table.schema), quote_ident(&table.name))
}

/// The columns that hold values of their own, in SQL, with parentheses; nothing if there are none.
pub fn column_list(table: &Table) -> String {
    let own = table.columns.iter().filter(|column| !column.generated);
    let names: Vec<_> = own.map(|column| quote_ident(&column.name)).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

fn copy_sql(table: &Table, freeze: bool) -> String {
    let freeze = if freeze { " WITH (FREEZE)" } else { "" };
    format!("COPY {}{} FROM STDIN{freeze}", quoted(table), column_list(table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_row_is_loaded_once_however_parts_and_shares_cut_it(
            rows in proptest::collection::vec("[a-c]{0,9}", 0..12),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
            borders in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let stream: Vec<u8> = rows.iter().flat_map(|row| row.bytes().chain([b'\n'])).collect();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).chain([0, stream.len()]).collect();
            cuts.sort_unstable();
            let parts: Vec<Bytes> = cuts.windows(2).map(|two| Bytes::copy_from_slice(&stream[two[0]..two[1]])).collect();
            let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let mut borders: Vec<_> = borders.iter().map(|at| at.index(parts.len() + 1)).chain([0, parts.len()]).collect();
            borders.sort_unstable();
            let mut loaded = Vec::new();
            for share in borders.windows(2) {
                let before = share[0].checked_sub(1).map(|at| &parts[at]);
                let skipping = before.is_some_and(|part| part.last() != Some(&b'\n'));
                let mut edge = Edge { skipping, ended: true };
                for (at, part) in parts.iter().enumerate().skip(share[0]) {
                    if at >= share[1] && edge.ended {
                        break;
                    }
                    loaded.extend_from_slice(&edge.mine(part.clone(), at < share[1]));
                }
            }
            prop_assert_eq!(loaded, stream);
        }
    }
}
