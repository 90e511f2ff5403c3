//! Our own PostgreSQL session: one road for TLS, authentication, pinned settings and errors, with COPY BOTH.
//!
//! Read in this order: `url` (where), `dial` (a socket), `startup` (who we are), `frame` and `wire` (messages),
//! `session`, `copy`, `pipeline`, `replication`.

mod copy;
mod dial;
mod frame;
mod pipeline;
mod quiet;
mod refusal;
mod replication;
mod row;
mod session;
mod sqlstate;
mod startup;
mod url;
mod wire;

pub use copy::{Chunk, CopyIn, CopyOut};
pub use dial::CancelToken;
pub use pipeline::{Pipeline, StepDone};
pub use refusal::ServerError;
pub use replication::{
    CreatedSlot, Event, Feedback, ReplicationStream, SlotLife, SlotSnapshot, Status, SystemIdentity,
};
pub use row::{Row, quote_ident, quote_literal};
pub use session::{Session, Transaction};
pub use startup::Mode;
pub use url::{ConnectTarget, SslMode, TargetError};
