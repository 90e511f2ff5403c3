//! Which server a log was captured from last, kept beside the catalog: for a writer that may not open its own log.
//!
//! The log's own record of its last session is sealed. Where it can be opened it is what counts; this file holds the same
//! two numbers, no secret among them, and losing it loses one comparison at one start.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::model::SourceName;

/// The file of one source.
#[derive(Clone, Debug)]
pub struct LastServer(PathBuf);

impl LastServer {
    /// The file in a state folder.
    pub fn of(state_dir: &Path, source: &SourceName) -> Self {
        Self(state_dir.join(format!("last-server-{source}.json")))
    }

    /// What stands in it, in the words of a session's record; `None` where there is none, or none that can be read: whoever
    /// asks says then that it compares less.
    pub fn recall(&self) -> Option<Bytes> {
        std::fs::read(&self.0).ok().map(Bytes::from)
    }

    /// Keeps what is true now, as a whole or not at all.
    pub fn keep(&self, session: &str) -> io::Result<()> {
        let beside = self.0.with_extension("new");
        std::fs::write(&beside, session)?;
        std::fs::rename(&beside, &self.0)
    }
}
