//! Why a log could not be applied; tables and positions are named, values never (L6).

use crate::codec::wire::WireError;
use crate::connect::ConnectError;
use crate::model::Lsn;

/// The log could not be applied to the target.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The target's server refused, or the session broke.
    #[error("apply the log to the target: {doing}")]
    Session {
        /// What was being done.
        doing: String,
        /// What happened.
        #[source]
        source: Box<ConnectError>,
    },
    /// A message of the log is none of pgoutput.
    #[error("read a message of the transaction that commits at {commit_lsn}")]
    Message {
        /// Which transaction.
        commit_lsn: Lsn,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// The log holds rows of a table that the base does not know.
    #[error(
        "the transaction at {commit_lsn} changes table {table}, which the base does not know: the schema changed in \
         between; restore to an earlier point, or to one after the next base"
    )]
    UnknownTable {
        /// Its name, as far as it is known.
        table: String,
        /// Which transaction.
        commit_lsn: Lsn,
    },
    /// The log describes a table otherwise than the base.
    #[error(
        "the log describes table {table} otherwise than the base ({what}): the schema changed in between; restore to an \
         earlier point, or to one after the next base"
    )]
    Disagrees {
        /// Its name.
        table: String,
        /// What differs, by the names of columns.
        what: String,
    },
    /// The target's table is not as the base says.
    #[error("table {table} of the target is not as the base says: {what}")]
    TargetDiffers {
        /// Its name.
        table: String,
        /// What differs.
        what: String,
    },
    /// A change cannot be made to the rows that are there. The log or the base is not what it should be.
    #[error("a change of table {table}, in a transaction up to {commit_lsn}, does not fit its rows: {what}")]
    Conflict {
        /// Its name.
        table: String,
        /// The transaction, or the last one of the window that holds it.
        commit_lsn: Lsn,
        /// What does not fit; never a value.
        what: &'static str,
    },
}

impl ApplyError {
    /// Wraps what a session said.
    pub fn session(doing: impl Into<String>) -> impl FnOnce(ConnectError) -> Self {
        let doing = doing.into();
        move |source| Self::Session { doing, source: Box::new(source) }
    }
}
