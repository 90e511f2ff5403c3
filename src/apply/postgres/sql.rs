//! The statements that change a table's rows. Pure.

use std::fmt::Write;

use crate::apply::postgres::shape::{Table, TargetColumn};
use crate::connect::quote_ident;

/// The schema that a restore keeps its own things in; while it is there, the restore is not complete.
pub const OWN_SCHEMA: &str = "holdfast_restore";

/// The table's name.
pub fn name(table: &Table) -> String {
    format!("{}.{}", quote_ident(&table.shape.schema), quote_ident(&table.shape.name))
}

fn column(column: &TargetColumn) -> String {
    quote_ident(&column.name)
}

fn list<T>(items: impl IntoIterator<Item = T>, separator: &str, write: impl Fn(T) -> String) -> String {
    items.into_iter().map(write).collect::<Vec<_>>().join(separator)
}

/// Takes rows as COPY text.
pub fn copy_in(table: &Table) -> String {
    if table.columns.is_empty() {
        return format!("COPY {} FROM STDIN", name(table));
    }
    format!("COPY {} ({}) FROM STDIN", name(table), list(&table.columns, ", ", column))
}

/// Empties a table.
pub fn truncate(table: &Table) -> String {
    format!("TRUNCATE ONLY {}", name(table))
}

/// Deletes the rows with these keys; each parameter is one key column of all rows as `text[]`.
pub fn delete_many(table: &Table, key: &[&TargetColumn]) -> String {
    format!("DELETE FROM ONLY {} t USING {} WHERE {}", name(table), unnest(key.len()), joined(key, 0))
}

/// Updates rows: the first parameters are the key columns, the others the columns that change, of all rows as `text[]`.
pub fn update_many(table: &Table, key: &[&TargetColumn], set: &[&TargetColumn]) -> String {
    let assign = |(at, target): (usize, &&TargetColumn)| {
        format!("{} = s.c{}::{}", column(target), key.len() + at + 1, target.sql_type) //
    };
    format!(
        "UPDATE ONLY {} t SET {} FROM {} WHERE {}",
        name(table),
        list(set.iter().enumerate(), ", ", assign),
        unnest(key.len() + set.len()),
        joined(key, 0)
    )
}

fn unnest(columns: usize) -> String {
    let params = list(1..=columns, ", ", |at| format!("${at}::text[]"));
    let names = list(1..=columns, ", ", |at| format!("c{at}"));
    format!("unnest({params}) AS s ({names})")
}

fn joined(key: &[&TargetColumn], before: usize) -> String {
    list(key.iter().enumerate(), " AND ", |(at, target)| {
        format!("t.{} {} s.c{}::{}", column(target), target.equals, before + at + 1, target.sql_type)
    })
}

/// Deletes one row by its key; the parameters are read by the columns' own types.
pub fn delete_one(table: &Table, key: &[&TargetColumn]) -> String {
    format!("DELETE FROM ONLY {} t WHERE {}", name(table), matched(key, 0))
}

/// Updates one row: the first parameters are the key columns, the others the columns that change.
pub fn update_one(table: &Table, key: &[&TargetColumn], set: &[&TargetColumn]) -> String {
    let assign = |(at, target): (usize, &&TargetColumn)| format!("{} = ${}", column(target), key.len() + at + 1);
    let set = list(set.iter().enumerate(), ", ", assign);
    format!("UPDATE ONLY {} t SET {set} WHERE {}", name(table), matched(key, 0))
}

fn matched(key: &[&TargetColumn], before: usize) -> String {
    list(key.iter().enumerate(), " AND ", |(at, target)| {
        format!("t.{} {} ${}::{}", column(target), target.equals, before + at + 1, target.sql_type)
    })
}

/// Deletes as many rows that are equal to the first parameters as the last parameter says. Values are equal if their
/// texts are: `json`, `xml` and `point` have no operator for it, and equal numbers may be written apart.
pub fn delete_equal(table: &Table) -> String {
    let row = format!("ROW({})", list(&table.columns, ", ", |target| format!("x.{}", column(target))));
    let params =
        list(table.columns.iter().enumerate(), ", ", |(at, target)| format!("${}::{}", at + 1, target.sql_type));
    let hash = |row: &str| format!("{OWN_SCHEMA}.row_hash({row})");
    let params = format!("ROW({params})");
    format!(
        "DELETE FROM ONLY {name} WHERE ctid = ANY (ARRAY(SELECT x.ctid FROM ONLY {name} x \
         WHERE {} OPERATOR(pg_catalog.=) {} AND {row}::text COLLATE \"C\" OPERATOR(pg_catalog.=) {params}::text \
         LIMIT ${}::int8))",
        hash(&row),
        hash(&params),
        table.columns.len() + 1,
        name = name(table),
    )
}

/// The function behind the indexes that find rows by all their values. It says that it never changes its mind, which
/// holds as long as every session pins the same settings, and so only until the restore is done.
pub const ROW_HASH: &str = "CREATE OR REPLACE FUNCTION holdfast_restore.row_hash(record) RETURNS int8 \
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE \
    AS $$BEGIN RETURN pg_catalog.hashtextextended($1::text COLLATE \"C\", 0); END$$";

/// The name of a table's index over all values.
pub fn row_index(table: &Table) -> String {
    format!("holdfast_row_{}", table.shape.relid)
}

/// Makes that index.
pub fn create_row_index(table: &Table) -> String {
    let columns = list(&table.columns, ", ", column);
    let index = quote_ident(&row_index(table));
    format!("CREATE INDEX {index} ON ONLY {} ({OWN_SCHEMA}.row_hash(ROW({columns})))", name(table))
}

/// Drops it.
pub fn drop_row_index(table: &Table) -> String {
    format!("DROP INDEX IF EXISTS {}.{}", quote_ident(&table.shape.schema), quote_ident(&row_index(table)))
}

/// Lets identity columns take values, and takes that back: `GENERATED ALWAYS` refuses them in an UPDATE.
pub fn identity_columns(table: &Table, generated: &str) -> Option<String> {
    let mut sql = String::new();
    for target in &table.columns {
        if let Some(owner) = &target.always {
            let column = column(target);
            let _infallible = write!(sql, "ALTER TABLE {owner} ALTER COLUMN {column} SET GENERATED {generated};");
        }
    }
    (!sql.is_empty()).then_some(sql)
}
