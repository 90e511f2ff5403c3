//! What the catalog says about tables: which ones the stream carries, and by what their rows are told apart.

use crate::connect::{ConnectError, Row, Session};
use crate::source::postgres::names;

/// A table whose rows the stream carries: ordinary or a leaf, logged, of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedTable {
    /// Its OID.
    pub relid: u32,
    /// Schema and name, quoted where SQL needs it.
    pub name: String,
    /// The letter of its replica identity: `d`efault, `i`ndex, `f`ull, `n`othing.
    pub replica_identity: char,
    /// Whether its rows can be told apart: without that an UPDATE that is published fails.
    pub usable: Usable,
    /// Whether the publication of updates and deletes names it.
    pub keyed: bool,
}

/// Whether a table's rows can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// By an index, or by all columns.
    Yes,
    /// There is no key, it is deferrable, its index is gone, or the identity is NOTHING.
    No,
}

/// The captured tables, in the order of their OIDs.
pub async fn captured_tables(session: &mut Session) -> Result<Vec<CapturedTable>, ConnectError> {
    let rows = session.simple(&named(include_str!("sql/tables.sql"))).await?;
    rows.iter().flatten().map(table).collect()
}

fn table(row: &Row) -> Result<CapturedTable, ConnectError> {
    Ok(CapturedTable {
        relid: number(row, 0)?,
        name: text(row, 1)?.to_owned(),
        replica_identity: text(row, 2)?.chars().next().unwrap_or('d'),
        usable: if flag(row, 3) { Usable::Yes } else { Usable::No },
        keyed: flag(row, 4),
    })
}

/// SQL of ours with our names in it.
pub(super) fn named(sql: &str) -> String {
    let names = [("{schema}", names::SCHEMA), ("{keyed}", names::PUBLICATION_KEYED), ("{ddl}", names::DDL)];
    names.iter().fold(sql.to_owned(), |sql, (place, name)| sql.replace(place, name))
}

const DOING: &str = "read the catalog";

/// A column that is there.
pub(super) fn text(row: &Row, column: usize) -> Result<&str, ConnectError> {
    row.get(column).ok_or(ConnectError::Answer { doing: DOING, lacks: "a column" })
}

/// A column that holds a number.
pub(super) fn number<T: std::str::FromStr>(row: &Row, column: usize) -> Result<T, ConnectError> {
    text(row, column)?.parse().map_err(|_| ConnectError::Answer { doing: DOING, lacks: "a number" })
}

/// A column that holds a boolean; NULL is false.
pub(super) fn flag(row: &Row, column: usize) -> bool {
    row.get(column) == Some("t")
}

/// Whether a query's first column says yes.
pub(super) async fn holds(session: &mut Session, sql: &str) -> Result<bool, ConnectError> {
    Ok(flag(&session.one_row(sql).await?, 0))
}

/// The first columns of a query's rows, without NULLs.
pub(super) async fn texts(session: &mut Session, sql: &str) -> Result<Vec<String>, ConnectError> {
    let rows = session.simple(sql).await?;
    Ok(rows.iter().flatten().filter_map(|row| row.get(0)).map(str::to_owned).collect())
}
