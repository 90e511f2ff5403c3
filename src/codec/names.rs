//! What is Holdfast's own in a captured database and in its stream, by name: whoever captures makes it, and whoever
//! restores leaves it out.

/// With this begins whatever is ours.
pub const OURS: &str = "holdfast";
/// The schema with our triggers' functions and our lists.
pub const SCHEMA: &str = OURS;
/// The publication for all tables. With `identity = "leave"` it publishes inserts and truncates alone.
pub const PUBLICATION: &str = OURS;
/// With `identity = "leave"`: the publication of updates and deletes of tables that have an identity.
pub const PUBLICATION_KEYED: &str = "holdfast_keyed";
/// The event triggers, in the order of their names.
pub const TRIGGERS: [&str; 3] = ["holdfast_ddl", "holdfast_drop", "holdfast_rewrite"];

/// Prefix of the transactional message that proves the whole road.
pub const HEARTBEAT: &str = "holdfast.heartbeat";
/// Prefix of the message that an event trigger writes at each DDL command.
pub const DDL: &str = "holdfast.ddl";
/// Prefix of a mark; its content is the mark's name.
pub const MARK: &str = "holdfast.mark";
