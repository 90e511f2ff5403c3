//! Many statements on their way at once: what applying the log needs to be faster than a network's round trips.
//!
//! Appending never waits; [`Pipeline::relieve`] waits when too much is buffered or unanswered (L8), and reads answers
//! while it writes, so that two full socket buffers never wait for one another.

use std::collections::VecDeque;

use postgres_protocol::message::frontend;

use crate::connect::error::ConnectError;
use crate::connect::postgres::frame::Frame;
use crate::connect::postgres::refusal::ServerError;
use crate::connect::postgres::row::rows_of_tag;
use crate::connect::postgres::session::{Session, bind, lost, stray};

/// Bytes that wait for the socket.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// Steps that wait for an answer. A server keeps answers to some hundred back until a sync: this is far above that.
const STEPS_MAX: usize = 64 * 1024;
const DOING: &str = "run a pipeline";

const _: () = assert!(STEPS_MAX / 2 > 8192, "half of the steps must always be answered without a sync");

/// An executed step and the rows that it touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepDone {
    /// Which step, counted from zero at the pipeline's start; parses and executions count.
    pub step: u64,
    /// Rows inserted, updated, deleted, or given.
    pub rows: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Parse(u64),
    Execute(u64),
    Sync,
}

/// Statements of the extended protocol, sent without waiting for answers. Call [`Pipeline::relieve`] between appends
/// and [`Pipeline::finish`] at the end; dropped with answers on the way, it leaves the session unusable.
///
/// After an error the server skips to the next sync, and then goes on: a transaction must not reach over a sync
/// unless it is begun and committed by statements of its own.
#[derive(Debug)]
pub struct Pipeline<'s> {
    session: &'s mut Session,
    awaited: VecDeque<Awaited>,
    steps: u64,
    done: Vec<StepDone>,
    refused: Option<(u64, ServerError)>,
}

impl Session {
    /// Starts a pipeline.
    pub fn pipeline(&mut self) -> Result<Pipeline<'_>, ConnectError> {
        if self.busy {
            return Err(ConnectError::Unfinished { doing: DOING });
        }
        Ok(Pipeline { session: self, awaited: VecDeque::new(), steps: 0, done: Vec::new(), refused: None })
    }
}

impl Pipeline<'_> {
    /// Prepares a statement under a name, which lives as long as the session (the empty name: until the next parse).
    /// Parameters without an OID, or with zero, are inferred. Gives back the step's number.
    pub fn parse(&mut self, name: &str, sql: &str, param_oids: &[u32]) -> Result<u64, ConnectError> {
        self.session.append(DOING, |out| frontend::parse(name, sql, param_oids.iter().copied(), out))?;
        Ok(self.step(Awaited::Parse))
    }

    /// Executes a prepared statement. `formats`: none means text, one means all, else one each; 0 text, 1 binary.
    /// Gives back the step's number.
    pub fn bind_execute<'p>(
        &mut self,
        statement: &str,
        params: impl IntoIterator<Item = Option<&'p [u8]>>,
        formats: &[i16],
    ) -> Result<u64, ConnectError> {
        self.session.append(DOING, |out| {
            bind(statement, params, formats, out)?;
            frontend::execute("", 0, out)
        })?;
        Ok(self.step(Awaited::Execute))
    }

    /// Frees a prepared statement's name. An unknown name is no error.
    pub fn close_statement(&mut self, name: &str) -> Result<u64, ConnectError> {
        self.session.append(DOING, |out| frontend::close(b'S', name, out))?;
        Ok(self.step(Awaited::Parse))
    }

    /// Ends what an error skips; outside an explicit transaction it commits.
    pub fn sync(&mut self) {
        frontend::sync(&mut self.session.writer.out);
        self.awaited.push_back(Awaited::Sync);
    }

    /// Waits, if too much is buffered or unanswered, until half of it is gone. An error is a step's, as from `finish`.
    pub async fn relieve(&mut self) -> Result<(), ConnectError> {
        if self.session.writer.out.len() <= BUFFER_BYTES_MAX && self.awaited.len() <= STEPS_MAX {
            return Ok(());
        }
        while self.session.writer.out.len() > BUFFER_BYTES_MAX / 2 || self.awaited.len() > STEPS_MAX / 2 {
            self.turn().await?;
        }
        Ok(())
    }

    /// Hands everything to the socket without waiting for the answers.
    pub async fn flush(&mut self) -> Result<(), ConnectError> {
        while !self.session.writer.is_idle() {
            self.turn().await?;
        }
        Ok(())
    }

    /// What has been executed since this was last asked, in order.
    pub fn take_done(&mut self) -> Vec<StepDone> {
        std::mem::take(&mut self.done)
    }

    /// Syncs if there is something to sync and waits for every answer. On an error the session can go on, and stands
    /// where [`Session::transaction`] says; the first error is the one that is told.
    pub async fn finish(&mut self) -> Result<Vec<StepDone>, ConnectError> {
        self.drain().await?;
        match self.refused.take() {
            None => Ok(self.take_done()),
            Some((step, source)) => Err(ConnectError::Step { step, source }),
        }
    }

    async fn drain(&mut self) -> Result<(), ConnectError> {
        if self.awaited.back().is_some_and(|last| *last != Awaited::Sync) {
            self.sync();
        }
        loop {
            self.hear()?;
            if self.awaited.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.session.turn().await {
                // A server that ends the session says why and hangs up.
                return match self.refused.take() {
                    Some((step, source)) => Err(ConnectError::Step { step, source }),
                    None => Err(lost(DOING)(error)),
                };
            }
        }
    }

    /// Reads or writes once, then looks at what came. After an error it waits until the session can go on.
    async fn turn(&mut self) -> Result<(), ConnectError> {
        self.session.turn().await.map_err(lost(DOING))?;
        self.hear()?;
        if self.refused.is_none() {
            return Ok(());
        }
        self.drain().await?;
        match self.refused.take() {
            Some((step, source)) => Err(ConnectError::Step { step, source }),
            None => Ok(()),
        }
    }

    fn step(&mut self, kind: impl FnOnce(u64) -> Awaited) -> u64 {
        let step = self.steps;
        self.steps = step.saturating_add(1);
        self.awaited.push_back(kind(step));
        step
    }

    /// Looks at every answer that is here.
    fn hear(&mut self) -> Result<(), ConnectError> {
        while let Some(Frame { tag, body }) = self.session.heard(DOING)? {
            match (tag, self.awaited.front().copied()) {
                (b'2' | b'D', Some(Awaited::Execute(_))) => {}
                (b'1' | b'3', Some(Awaited::Parse(_))) | (b'Z', Some(Awaited::Sync)) => drop(self.awaited.pop_front()),
                (b'C' | b'I', Some(Awaited::Execute(step))) => {
                    self.awaited.pop_front();
                    self.done.push(StepDone { step, rows: rows_of_tag(&body) });
                }
                (b'E', Some(Awaited::Parse(step) | Awaited::Execute(step))) => self.refuse(step, &body),
                // A commit that a sync makes may fail (a deferred constraint), or the server may end the session.
                (b'E', Some(Awaited::Sync) | None) => self.refuse(self.steps, &body),
                (_, _) => return Err(stray(DOING)),
            }
        }
        Ok(())
    }

    /// The server skips everything up to the next sync.
    fn refuse(&mut self, step: u64, body: &[u8]) {
        self.refused.get_or_insert_with(|| (step, ServerError::read(body)));
        while self.awaited.front().is_some_and(|next| *next != Awaited::Sync) {
            self.awaited.pop_front();
        }
        if self.awaited.is_empty() {
            self.sync();
        }
    }
}

impl Drop for Pipeline<'_> {
    fn drop(&mut self) {
        self.session.busy = !self.awaited.is_empty();
    }
}
