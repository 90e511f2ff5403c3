//! Sessions with servers and nothing more: how one is reached, what may be asked of it, and errors without row values.
//!
//! ```text
//!  ConnectTarget ──▶ dial (TCP, unix socket, TLS) ──▶ startup (pins, SCRAM) ──▶ Session ─┬─▶ simple, query_params
//!                                                                                        ├─▶ CopyOut, CopyIn
//!                                                                                        ├─▶ Pipeline
//!                                                                                        └─▶ ReplicationStream + Feedback
//! ```
//!
//! Laws kept here: L6 (what a server says about rows never reaches an error: [`ServerError`]) and L8 (every buffer
//! has a bound: a message larger than a piece is passed on in pieces).

pub mod error;
pub mod kms;
pub mod postgres;
pub mod tls;

pub use error::{ConnectError, WireError};
pub use postgres::{
    CancelToken, Chunk, ConnectTarget, CopyIn, CopyOut, CreatedSlot, Event, Feedback, Mode, Pipeline,
    ReplicationStream, Row, ServerError, Session, SlotLife, SlotSnapshot, SslMode, Status, StepDone, SystemIdentity,
    TargetError, Transaction, quote_ident, quote_literal,
};
pub use tls::{TlsError, Verify};
