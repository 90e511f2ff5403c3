//! PostgreSQL as a source: a logical slot's stream, what `init` puts into the database, and bases.
//!
//! ```text
//!  stream ──▶ intake (pure) ──▶ records        slot: what the server keeps against what the log holds
//!     ▲                            │           context: what a segment repeats so that it can be read alone
//!     └── feedback ◀── durable ◀───┘           heartbeat: proves the road, watches the slot
//! ```

pub mod base;
pub mod catalog;
pub mod check;
pub mod context;
mod continuity;
pub mod feedback;
pub mod heartbeat;
pub mod init;
pub mod intake;
pub mod names;
mod patience;
mod published;
mod reader;
pub mod slot;
pub mod stream;
