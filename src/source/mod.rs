//! What captures: follows a source, tells what arrived, and acknowledges what is durable.
//!
//! A source hands over its records in its own order and is told when they may be forgotten. It never decides what is
//! durable (L1), and it never waits for a store: keep-alives are its own task (L9, L12).

pub mod error;
pub mod postgres;
pub mod script;

pub use error::{SourceError, SourceErrorKind};

use crate::codec::gap::Gap;
use crate::model::{Position, Record};

/// What a source hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next record.
    Record(Record),
    /// The source wants to know what is durable, now: cut, do not wait for the age of the segment.
    Hurry,
    /// History is not exact from here on, and only a new base begins it anew. The gap's record was handed over before.
    BaseWanted(Gap),
    /// Everything that was there when the source was opened has been handed over.
    Drained,
    /// The source ended the session in order; what was handed over is all there is.
    Ended,
}

/// Something that is captured.
#[async_trait::async_trait]
pub trait Source: Send {
    /// Waits for something to arrive, then hands over all that is at hand. Cancel-safe: what was not handed over comes
    /// with the next call.
    async fn next(&mut self, into: &mut Vec<Arrival>) -> Result<(), SourceError>;

    /// Everything up to `position` is durable in every store that the configuration requires: it may be forgotten.
    /// Returns at once; the source's own task tells the server.
    async fn acknowledge(&mut self, position: Position) -> Result<(), SourceError>;

    /// Ends the session in order, once all that was acknowledged has been told to the server.
    async fn close(&mut self) -> Result<(), SourceError>;
}
