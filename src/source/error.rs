//! What can go wrong with a source, and what the caller can do about it.

use crate::connect::ConnectError;

/// A source cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("source: {doing}")]
pub struct SourceError {
    /// What was being done.
    pub doing: &'static str,
    /// What the caller can do.
    #[source]
    pub kind: SourceErrorKind,
}

/// What is wrong with a source.
#[derive(Debug, thiserror::Error)]
pub enum SourceErrorKind {
    /// The session broke or could not be made; a new one may work.
    #[error("the session with the server failed")]
    Session(#[source] Box<ConnectError>),
    /// The thread of a session's socket could not be started, or is gone.
    #[error("the thread that reads from the server failed")]
    Thread(#[source] std::io::Error),
    /// Another process uses the slot.
    #[error("slot {slot} is in use by another session (process {pid} of the server)")]
    SlotBusy {
        /// Which slot.
        slot: String,
        /// The server's process.
        pid: i32,
    },
    /// There is no slot, publication or trigger of ours; `init` makes them.
    #[error("{what} is missing; run `holdfast init`")]
    NotInitialised {
        /// What is missing.
        what: String,
    },
    /// The server is not the one that the log is of.
    #[error("the server is another one than the log's: system identifier {theirs}, the log has {ours}")]
    OtherServer {
        /// The log's.
        ours: String,
        /// The server's.
        theirs: String,
    },
    /// The server is ours, but its history is not the one that the log continues.
    #[error("{what}; the server was restored, promoted or put back: begin a new store, or bring the right server back")]
    OtherHistory {
        /// What shows it.
        what: String,
    },
    /// The server sent what the protocol does not have.
    #[error("the server sent what the protocol does not have: {what}")]
    Protocol {
        /// What was wrong; never a value.
        what: String,
    },
    /// The server lacks something that capture needs.
    #[error("{what}; {remedy}")]
    Unfit {
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Open transactions of others were waited for in vain.
    #[error("{what}; {remedy}")]
    Blocked {
        /// What waited, and for whom.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// A scripted source was told to fail.
    #[error("the script says: fail")]
    Scripted,
}

impl From<ConnectError> for SourceErrorKind {
    fn from(error: ConnectError) -> Self {
        Self::Session(Box::new(error))
    }
}

impl SourceErrorKind {
    /// The error of doing something.
    pub const fn when(self, doing: &'static str) -> SourceError {
        SourceError { doing, kind: self }
    }
}
