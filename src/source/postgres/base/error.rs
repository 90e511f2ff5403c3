//! Why a base could not be taken, and what to do about it.

use std::time::Duration;

use crate::codec::base::BaseError;
use crate::codec::rowsum::CutRow;
use crate::connect::ConnectError;
use crate::crypto::{KeyError, SealError};
use crate::model::Lsn;
use crate::store::StoreError;

/// A base could not be taken. What was written of it is no base.
#[derive(Debug, thiserror::Error)]
pub enum BaseTakeError {
    /// The server did not do what it was asked.
    #[error("the server did not serve the base")]
    Session(#[source] Box<ConnectError>),
    /// The store did not take it.
    #[error("the store did not take the base")]
    Store(#[from] StoreError),
    /// A part could not be sealed.
    #[error("a part of the base could not be sealed")]
    Seal(#[from] SealError),
    /// There is no data key to seal with.
    #[error("the base cannot be sealed")]
    Key(#[from] KeyError),
    /// The manifest could not be written.
    #[error("the base's manifest is wrong")]
    Manifest(#[from] BaseError),
    /// The rows of a table stopped inside one.
    #[error("the rows of table {table} stopped inside one")]
    Cut {
        /// Which table.
        table: String,
        /// Where.
        #[source]
        source: CutRow,
    },
    /// An object of the base's name is there already, which nobody but us can have made.
    #[error("an object of this base is there already: another process uses the same randomness")]
    Twin,
    /// The snapshot waits for a transaction that writes.
    #[error("no snapshot within {waited:?}: it waits for {by}; end that transaction and try again")]
    Blocked {
        /// How long.
        waited: Duration,
        /// Whose.
        by: String,
    },
    /// The server exported none.
    #[error("the server made a slot without a snapshot")]
    NoSnapshot,
    /// The schema changed while the base was taken.
    #[error("the schema kept changing while the base was taken; try again when the DDL is over")]
    SchemaChanged,
    /// A lock on every table was not to be had for long enough to read the schema.
    #[error("the schema could not be read: tables are locked again and again; take the base when no DDL runs")]
    Locked,
    /// A table was emptied or rewritten each time before its rows had been read.
    #[error(
        "table {table} was emptied or rewritten again and again while it was read; take the base at a quieter time"
    )]
    Restless {
        /// Which table, by schema and name.
        table: String,
    },
    /// There is no `pg_dump` that can read this server.
    #[error("no {program} of version {major} or later was found; install postgresql-client-{major}")]
    NoTool {
        /// Which program.
        program: &'static str,
        /// The server's major version.
        major: u32,
    },
    /// A program could not be run.
    #[error("{program} could not be run")]
    Tool {
        /// Which.
        program: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {said}")]
    ToolFailed {
        /// Which.
        program: &'static str,
        /// The first line of what it said.
        said: String,
    },
    /// The server's catalog answered with something else than was asked.
    #[error("the catalog's answer lacks {what}")]
    Catalog {
        /// What.
        what: &'static str,
    },
    /// The log in this store is of another server.
    #[error(
        "the store holds the history of server {ours}, this is server {theirs}: its base would be glued to a history that \
         is not its own; give it a store, or a prefix, of its own"
    )]
    OtherServer {
        /// The server that the history is of.
        ours: u64,
        /// This one.
        theirs: u64,
    },
    /// The log in this store goes on beyond what this server has.
    #[error(
        "the log in the store is durable up to {durable}, this server stands at {point}: it is another one, or was put \
         back, and its base would be glued to a history that is not its own"
    )]
    Behind {
        /// Where the log ends.
        durable: Lsn,
        /// Where the snapshot stands.
        point: Lsn,
    },
    /// A worker ended without a result.
    #[error("a worker of the base was ended")]
    Worker,
}

impl From<ConnectError> for BaseTakeError {
    fn from(error: ConnectError) -> Self {
        Self::Session(Box::new(error))
    }
}
