//! Reads tables again that were emptied or rewritten before all of their rows had been read: in a later snapshot.
//!
//! ```text
//!   snapshot at `begins`        TRUNCATE queue        snapshot at `point`
//!        │ orders, items, queue ───────┼──────────────────────│ queue
//!        │   COPY queue finds the file that TRUNCATE made: its rows as of `begins` are nowhere any more
//! ```
//! TRUNCATE is not safe under MVCC ([PostgreSQL, "Caveats"](https://www.postgresql.org/docs/current/mvcc-caveats.html)): a
//! snapshot from before it sees an empty table. So such a table is copied as of a later place, as a subscription's initial
//! copy is, and the base stands where the last of them does. Where no log goes on from the base nothing can bring the
//! other tables there: then the base is begun anew.

use std::collections::BTreeSet;

use crate::codec::base::{Content, Identity, Sequence};
use crate::codec::rowsum::RowSum;
use crate::model::{Lsn, Timestamp};
use crate::source::postgres::base::error::BaseTakeError;
use crate::source::postgres::base::survey::{Survey, SurveyedTable};
use crate::source::postgres::base::{Taking, hold_snapshot, in_snapshot, rows};

/// How often a table is read again that is emptied each time.
const TRIES: u32 = 10;

/// Where a base stands, and what it holds of that place.
pub(crate) struct Stand {
    pub(crate) point: Lsn,
    pub(crate) taken_at: Timestamp,
    pub(crate) sequences: Vec<Sequence>,
}

/// Reads `gone` again, until their rows are there; they and what the later place changes are written into the survey.
pub(crate) async fn read(
    taking: &Taking<'_>,
    survey: &mut Survey,
    mut gone: BTreeSet<usize>,
) -> Result<Option<Stand>, BaseTakeError> {
    let mut stand = None;
    for _ in 0..TRIES {
        if gone.is_empty() {
            return Ok(stand);
        }
        tell(taking, survey, &gone);
        // Nothing in the log would bring these to the later place.
        gone.extend(unpublished(survey));
        let held = hold_snapshot(taking.env, taking.order).await?;
        let mut session = in_snapshot(taking.env, taking.order, &held.snapshot).await?;
        let newer = Survey::take(&mut session).await?;
        session.close().await;
        taking.parts.discard(|content| is_of(content, &gone));
        renew(survey, &newer, &gone, held.point)?;
        gone = rows::copy(&taking.in_snapshot(&held), survey, &gone).await?;
        stand = Some(Stand { point: held.point, taken_at: newer.taken_at, sequences: newer.sequences });
        held.session.close().await;
    }
    if gone.is_empty() { Ok(stand) } else { Err(restless(survey, &gone)) }
}

/// What a person should know of a base that begins earlier than it stands.
pub(crate) fn warning(begins: Lsn) -> String {
    format!(
        "tables were emptied or rewritten while it was taken: it needs the log from {begins} on, which is kept with it"
    )
}

/// Says which of the tables it is that does not rest.
pub(crate) fn restless(survey: &Survey, gone: &BTreeSet<usize>) -> BaseTakeError {
    let tables = gone.iter().filter_map(|index| survey.tables.get(*index));
    BaseTakeError::Restless { table: tables.map(SurveyedTable::title).collect::<Vec<_>>().join(", ") }
}

fn tell(taking: &Taking<'_>, survey: &Survey, gone: &BTreeSet<usize>) {
    for table in gone.iter().filter_map(|index| survey.tables.get(*index)) {
        let (source, table) = (&taking.order.source, table.title());
        tracing::info!(%source, %table, "was emptied or rewritten before it was read; it is read again");
    }
}

fn is_of(content: &Content, tables: &BTreeSet<usize>) -> bool {
    let Content::Rows { table, .. } = content else { return false };
    usize::try_from(*table).is_ok_and(|table| tables.contains(&table))
}

fn unpublished(survey: &Survey) -> impl Iterator<Item = usize> {
    let tables = survey.tables.iter().enumerate();
    tables.filter(|(_, table)| table.described.identity == Identity::Nothing).map(|(index, _)| index)
}

/// Tables as the later snapshot has them, without rows yet. One that is not there any more was dropped.
fn renew(survey: &mut Survey, newer: &Survey, gone: &BTreeSet<usize>, at: Lsn) -> Result<(), BaseTakeError> {
    for (_, table) in survey.tables.iter_mut().enumerate().filter(|(index, _)| gone.contains(index)) {
        let is_it = |newer: &&SurveyedTable| newer.described.relid == table.described.relid;
        let newer = newer.tables.iter().find(is_it).ok_or(BaseTakeError::SchemaChanged)?;
        (table.bytes, table.heap_bytes, table.file) = (newer.bytes, newer.heap_bytes, newer.file);
        (table.described.sum, table.described.bytes) = (RowSum::default(), 0);
        table.described.read_at = Some(at);
    }
    Ok(())
}
