//! A source that plays a list: for tests, chaos and benches, with the same contract as a server.

use std::collections::VecDeque;

use crate::model::Position;
use crate::source::error::{SourceError, SourceErrorKind};
use crate::source::{Arrival, Source};

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// These arrive together.
    Arrive(Vec<Arrival>),
    /// Nothing arrives until something is acknowledged.
    UntilAcknowledged(Position),
    /// The session breaks.
    Fail,
}

/// Plays its lines, then waits for ever.
#[derive(Debug)]
pub struct ScriptedSource {
    lines: VecDeque<Line>,
    acknowledged: Position,
    told: tokio::sync::Notify,
}

impl ScriptedSource {
    /// A source that plays `lines`.
    pub fn new(lines: impl IntoIterator<Item = Line>) -> Self {
        let lines = lines.into_iter().collect();
        Self { lines, acknowledged: Position::ZERO, told: tokio::sync::Notify::new() }
    }

    /// What was acknowledged last.
    pub const fn acknowledged(&self) -> Position {
        self.acknowledged
    }
}

#[async_trait::async_trait]
impl Source for ScriptedSource {
    async fn next(&mut self, into: &mut Vec<Arrival>) -> Result<(), SourceError> {
        loop {
            match self.lines.front_mut() {
                Some(Line::Arrive(arrivals)) => {
                    into.append(arrivals);
                    self.lines.pop_front();
                    return Ok(());
                }
                Some(Line::Fail) => {
                    self.lines.pop_front();
                    return Err(SourceErrorKind::Scripted.when("playing a script"));
                }
                Some(Line::UntilAcknowledged(position)) if *position <= self.acknowledged => {
                    self.lines.pop_front();
                }
                Some(Line::UntilAcknowledged(_)) | None => self.told.notified().await,
            }
        }
    }

    async fn acknowledge(&mut self, position: Position) -> Result<(), SourceError> {
        self.acknowledged = self.acknowledged.max(position);
        self.told.notify_one();
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
}
