//! What Holdfast puts into a PostgreSQL database, by name: all of it begins with `holdfast`.

use crate::model::SourceName;

/// The schema with our triggers' functions and our lists.
pub const SCHEMA: &str = "holdfast";
/// The publication for all tables. With `identity = "leave"` it publishes inserts and truncates alone.
pub const PUBLICATION: &str = "holdfast";
/// With `identity = "leave"`: the publication of updates and deletes of tables that have an identity.
pub const PUBLICATION_KEYED: &str = "holdfast_keyed";

/// Prefix of the transactional message that proves the whole road.
pub const HEARTBEAT: &str = "holdfast.heartbeat";
/// Prefix of the message that an event trigger writes at each DDL command.
pub const DDL: &str = "holdfast.ddl";
/// Prefix of a mark; its content is the mark's name.
pub const MARK: &str = "holdfast.mark";

/// The slot of a source: one per source, since two sources may be databases of one cluster.
pub fn slot(source: &SourceName) -> String {
    format!("holdfast_{}", source.as_str().replace('-', "_"))
}

/// A temporary slot for a base of a source; it lives as long as its session.
pub fn base_slot(source: &SourceName, backend_pid: i32) -> String {
    format!("{}_base_{backend_pid}", slot(source))
}
