//! One source's loop: the order of effects is written here and nowhere else.
//!
//! append ▸ durable ▸ catalog ▸ acknowledge (L1). The source is asked only while there is room for what it hands over
//! (L8); the catalog is a cache whose trouble stops nothing (L9).

use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::codec::gap::Gap;
use crate::log::{Durable, LogError, Writer};
use crate::source::{Arrival, Source, SourceError};
use crate::step::Step;
use crate::store::StoreError;

/// Who wants to know what happens in a pipeline. Returns at once, always.
pub trait Observer: Send + Sync {
    /// A segment is durable, and everything before it. Called before it is acknowledged.
    fn durable(&self, durable: &Durable);
    /// History is not exact any more; a base begins it anew.
    fn base_wanted(&self, gap: &Gap);
    /// The store began to take no checkpoints. Capture goes on; whoever has nobody to tell leaves it at that.
    fn checkpoints_fail(&self, _error: &StoreError) {}
}

/// Why a pipeline ended in order. Everything it was handed is durable and acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// Everything that was there at its start has been handed over.
    Drained,
    /// The source ended the session.
    SessionOver,
}

/// Why a pipeline broke. What was not durable comes again.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Captures one source until told to stop.
pub struct Pipeline {
    writer: Writer,
    source: Box<dyn Source>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    arrivals: Vec<Arrival>,
}

enum Next {
    Arrived,
    Due,
    Durable(Durable),
    Stop,
}

impl Pipeline {
    /// A pipeline from `source` to `writer`.
    pub fn new(writer: Writer, source: Box<dyn Source>, clock: Arc<dyn Clock>, observer: Arc<dyn Observer>) -> Self {
        Self { writer, source, clock, observer, arrivals: Vec::new() }
    }

    /// Captures until the end, one way or another.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<Ended, PipelineError> {
        loop {
            match self.next_step(&mut stop).await? {
                Next::Arrived => {
                    if let Some(ended) = self.take_arrivals()? {
                        return self.finish(ended).await;
                    }
                }
                Next::Due => self.writer.cut()?,
                Next::Durable(durable) => self.settle(&durable).await?,
                Next::Stop => return self.finish(Ended::Stopped).await,
            }
        }
    }

    /// Whatever comes first. Cancel-safe in each of its branches.
    async fn next_step(&mut self, stop: &mut watch::Receiver<bool>) -> Result<Next, PipelineError> {
        let Self { writer, source, clock, arrivals, .. } = self;
        let (has_room, due) = (writer.has_room(), writer.due_at());
        tokio::select! {
            biased;
            stopped = stop.wait_for(|stop| *stop) => { drop(stopped); Ok(Next::Stop) }
            durable = writer.next_durable() => Ok(Next::Durable(durable?)),
            () = clock.sleep_until(due.unwrap_or_default()), if due.is_some() => Ok(Next::Due),
            arrived = source.next(arrivals), if has_room => { arrived?; Ok(Next::Arrived) }
        }
    }

    fn take_arrivals(&mut self) -> Result<Option<Ended>, PipelineError> {
        let mut ended = None;
        for arrival in self.arrivals.drain(..) {
            match arrival {
                Arrival::Record(record) => {
                    Step::RecordRead.reached();
                    self.writer.append(&record)?;
                }
                Arrival::Hurry => self.writer.cut()?,
                Arrival::BaseWanted(gap) => self.observer.base_wanted(&gap),
                Arrival::Drained => ended = Some(Ended::Drained),
                Arrival::Ended => ended = Some(Ended::SessionOver),
            }
        }
        Ok(ended)
    }

    async fn settle(&mut self, durable: &Durable) -> Result<(), PipelineError> {
        self.observer.durable(durable);
        if let Some(error) = self.writer.checkpoint_trouble() {
            self.observer.checkpoints_fail(&error);
        }
        Step::Catalogued.reached();
        Ok(self.source.acknowledge(durable.position()).await?)
    }

    async fn finish(mut self, ended: Ended) -> Result<Ended, PipelineError> {
        self.writer.cut()?;
        while !self.writer.is_idle() {
            let durable = self.writer.next_durable().await?;
            self.settle(&durable).await?;
        }
        self.source.close().await?;
        Ok(ended)
    }
}

#[cfg(test)]
mod tests;
