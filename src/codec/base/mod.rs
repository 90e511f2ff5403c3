//! The manifest of a base: what it holds, where in the source's history it stands, and how to tell that it is whole.
//!
//! ```text
//! { "format": 1, "base": ID, "log": ID or null, "source": "main", "point": "16/B374D848", "begins": "16/B3740000" if earlier,
//!   "taken_at": µs, "finished_at": µs,                                            since 1970-01-01 UTC
//!   "server":    { "version", "system_id", "timeline", "pg_dump" },
//!   "database":  { "name", "encoding", "collate", "ctype" },
//!   "parts":     [ { "number": 1.., "bytes", "plain_bytes", "sha256": of the sealed object,
//!                    "content": "globals" | "pre_data" | "post_data" | { "rows": { "table": index, "piece": 1.. } } | "stale" } ],
//!   "tables":    [ { "relid", "schema", "name", "kind", "columns", "identity", "identity_before", "bytes",
//!                    "sum": { "rows", "hash" }, "read_at": "16/B374D848" if it was read again } ],
//!   "sequences": [ { "schema", "name", "last_value", "is_called" } ],
//!   "extensions": [ { "name", "schema", "version" } ], "passed_over": [ relid, … ] if any, "warnings": [ "…" ] }
//! ```
//!
//! A table that was emptied or rewritten before all of it had been read is read again in a later snapshot. Such a base
//! begins where its first snapshot stood, and stands at its point once the log in between is applied to the other tables:
//!
//! ```text
//!   begins ──────────────▶ point ──────────▶ any later target
//!   orders: rows, and the log from here on
//!                          queue: rows, and the log from here on         (emptied meanwhile, "read_at" the point)
//! ```
//!
//! It is JSON, so that a person with the key and no Holdfast can read it, and it is written last: a base without a
//! manifest is none. Names that this version does not know are refused, for what they mean may matter to a restore.

mod check;

pub use check::BaseError;

use serde::Deserialize;
use serde::Serialize;

use crate::codec::rowsum::RowSum;
use crate::codec::text;
use crate::model::BaseId;
use crate::model::LogId;
use crate::model::Lsn;
use crate::model::SourceName;
use crate::model::Timestamp;

/// The format that this version writes, and the only one so far.
pub const FORMAT: u32 = 1;

/// A full copy of one source at an exact position: every commit before [`Manifest::point`] and none from there on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this shape, [`FORMAT`].
    pub format: u32,
    /// Which base this is.
    #[serde(with = "text")]
    pub base: BaseId,
    /// The log that goes on where it stands; none if no log was there.
    #[serde(with = "text::option")]
    pub log: Option<LogId>,
    /// The source's name in the configuration.
    #[serde(with = "text")]
    pub source: SourceName,
    /// Where in the source's history it stands.
    #[serde(with = "text")]
    pub point: Lsn,
    /// Where its first snapshot stood, if tables were read again in later ones: the log from there on belongs to it.
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    pub begins: Option<Lsn>,
    /// When its last snapshot was taken.
    #[serde(with = "text::micros")]
    pub taken_at: Timestamp,
    /// When its last part was durable.
    #[serde(with = "text::micros")]
    pub finished_at: Timestamp,
    /// The server that it was taken from.
    pub server: Server,
    /// The database that it was taken from.
    pub database: Database,
    /// Its objects, in the order of their numbers.
    pub parts: Vec<Part>,
    /// Its tables; parts refer to them by index.
    pub tables: Vec<Table>,
    /// Its sequences.
    pub sequences: Vec<Sequence>,
    /// The extensions that were installed.
    pub extensions: Vec<Extension>,
    /// Tables that belong to extensions, by OID: they come back as the extension makes them, and changes to them are
    /// passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<u32>,
    /// What a person should know before relying on it, in sentences.
    pub warnings: Vec<String>,
}

impl Manifest {
    /// From where on the log is needed to bring it to its point, and further.
    pub fn begins(&self) -> Lsn {
        self.begins.unwrap_or(self.point)
    }
}

/// The server of a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `server_version_num`, 150020 for 15.20.
    pub version: u32,
    /// The cluster's system identifier.
    pub system_id: u64,
    /// The timeline that it was on.
    pub timeline: u32,
    /// What `pg_dump --version` said.
    pub pg_dump: String,
}

/// The database of a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its encoding, in PostgreSQL's words.
    pub encoding: String,
    /// Its collation.
    pub collate: String,
    /// Its classes of characters.
    pub ctype: String,
}

/// One object of a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its number in its name; the first is 1.
    pub number: u32,
    /// Its size in the store.
    pub bytes: u64,
    /// The size of what it holds.
    pub plain_bytes: u64,
    /// SHA-256 of the sealed object, 64 hexadecimal digits.
    pub sha256: String,
    /// What it holds.
    pub content: Content,
}

/// What a part holds. Of several parts with one kind of text, the text is theirs one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Content {
    /// Roles, memberships and tablespaces, by `pg_dumpall --globals-only`.
    Globals,
    /// What has to be there before rows are, by `pg_dump --section=pre-data`.
    PreData,
    /// What comes after the rows, by `pg_dump --section=post-data`.
    PostData,
    /// Rows of a table as lines of COPY text.
    Rows {
        /// The table's index in the manifest.
        table: u32,
        /// Which piece of the table's rows; the first is 1.
        piece: u32,
    },
    /// What was read in vain, such as rows whose table was emptied meanwhile: it counts as nothing.
    Stale,
}

/// One table of a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its OID, by which the log's rows find it.
    pub relid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What kind of table it is.
    pub kind: TableKind,
    /// Its columns in the order of their numbers, without those that were dropped.
    pub columns: Vec<TableColumn>,
    /// By what its rows are told apart.
    pub identity: Identity,
    /// The letter of its replica identity before `init` forced another; none if it was left alone.
    pub identity_before: Option<char>,
    /// How many rows it holds, and their checksum.
    pub sum: RowSum,
    /// The size of its rows as lines of COPY text.
    pub bytes: u64,
    /// Of which place its rows are, if not of that where the base begins.
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Lsn>,
}

/// A kind of table that holds rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// It stands alone.
    Ordinary,
    /// It is a partition and has none itself.
    Leaf,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableColumn {
    /// Its number, which no other column of the table ever had.
    pub attnum: i16,
    /// Its name.
    pub name: String,
    /// The OID of its type.
    pub type_oid: u32,
    /// Its type's modifier, -1 for none.
    pub typmod: i32,
    /// Whether its values are computed from others'.
    pub generated: bool,
    /// Whether it belongs to the identity.
    pub in_key: bool,
}

/// By what a table's rows are told apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Identity {
    /// By the columns of a unique index.
    Key {
        /// The index's schema.
        index_schema: String,
        /// The index's name.
        index_name: String,
        /// The constraint that the index belongs to, if there is one.
        constraint: Option<String>,
        /// The names of its columns, in its order.
        columns: Vec<String>,
    },
    /// By all columns.
    Full,
    /// By nothing: its updates and deletes are not in the log.
    Nothing,
}

/// One sequence of a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its last value.
    pub last_value: i64,
    /// Whether that value was given out.
    pub is_called: bool,
}

/// One extension that was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// Its schema.
    pub schema: String,
    /// Its version.
    pub version: String,
}

#[cfg(test)]
mod tests;
