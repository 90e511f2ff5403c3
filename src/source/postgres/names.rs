//! What Holdfast puts into a PostgreSQL database, by name: all of it begins with `holdfast`.

pub use crate::codec::names::{DDL, HEARTBEAT, MARK, PUBLICATION, PUBLICATION_KEYED, SCHEMA, TRIGGERS};

use crate::codec::names::OURS;
use crate::model::SourceName;

/// The slot of a source: one per source, since two sources may be databases of one cluster.
pub fn slot(source: &SourceName) -> String {
    format!("{OURS}_{}", source.as_str().replace('-', "_"))
}

/// A temporary slot for a base of a source; it lives as long as its session.
pub fn base_slot(source: &SourceName, backend_pid: i32) -> String {
    format!("{}_base_{backend_pid}", slot(source))
}
