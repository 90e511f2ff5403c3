//! COPY in both directions, as fast as the socket: rows go through as the bytes that they are.

use bytes::{Bytes, BytesMut};
use postgres_protocol::message::frontend;

use crate::connect::error::{ConnectError, WireError};
use crate::connect::postgres::frame::{COPY_DATA, Frame};
use crate::connect::postgres::refusal::ServerError;
use crate::connect::postgres::row::rows_of_tag;
use crate::connect::postgres::session::{Session, lost, stray};
use crate::model::Piece;

/// Rows are gathered up to this before they become one message.
const COPY_MESSAGE_BYTES: usize = 64 * 1024;
/// Messages wait for the socket up to this.
const COPY_BUFFER_BYTES_MAX: usize = 512 * 1024;
const OUT: &str = "copy rows out";
const IN: &str = "copy rows in";

/// A message of a COPY, or a piece of one. In text and CSV form a message is one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether the message ends here; a large one comes in several chunks.
    pub ends_message: bool,
}

/// The rows of a `COPY … TO STDOUT`. Dropped before its end, it leaves the session unusable: rows are on the way.
#[derive(Debug)]
pub struct CopyOut<'s> {
    session: &'s mut Session,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Rows,
    Counted(u64),
    Refused(ServerError),
    Ended(u64),
}

impl Session {
    /// Starts a `COPY … TO STDOUT`.
    pub async fn copy_out(&mut self, sql: &str) -> Result<CopyOut<'_>, ConnectError> {
        self.start_copy(OUT, sql, b'H').await?;
        Ok(CopyOut { session: self, stage: Stage::Rows })
    }

    /// Starts a `COPY … FROM STDIN`.
    pub async fn copy_in(&mut self, sql: &str) -> Result<CopyIn<'_>, ConnectError> {
        self.start_copy(IN, sql, b'G').await?;
        Ok(CopyIn { session: self, gathered: BytesMut::new() })
    }

    async fn start_copy(&mut self, doing: &'static str, sql: &str, response: u8) -> Result<(), ConnectError> {
        self.command(doing, |out| frontend::query(sql, out))?;
        match self.answer(doing).await? {
            Frame { tag, .. } if tag == response => Ok(()),
            Frame { tag: b'E', body } => Err(self.settle(doing, &body).await),
            Frame { .. } => Err(stray(doing)),
        }
    }
}

impl CopyOut<'_> {
    /// Waits for rows and appends all that are here; nothing is appended once all have come. Cancel-safe.
    pub async fn next_batch(&mut self, into: &mut Vec<Chunk>) -> Result<(), ConnectError> {
        let before = into.len();
        loop {
            while let Some(chunk) = self.take()? {
                into.push(chunk);
            }
            if into.len() > before || self.rows().is_some() {
                return Ok(());
            }
            self.wait().await?;
        }
    }

    /// The next message or piece; nothing once all have come. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Chunk>, ConnectError> {
        loop {
            if let Some(chunk) = self.take()? {
                return Ok(Some(chunk));
            }
            if self.rows().is_some() {
                return Ok(None);
            }
            self.wait().await?;
        }
    }

    /// How many rows there were, once all have come.
    pub const fn rows(&self) -> Option<u64> {
        match self.stage {
            Stage::Ended(rows) => Some(rows),
            Stage::Rows | Stage::Counted(_) | Stage::Refused(_) => None,
        }
    }

    /// The next chunk, if it is here. An error is told only when the session can go on.
    fn take(&mut self) -> Result<Option<Chunk>, ConnectError> {
        while self.rows().is_none()
            && let Some(fragment) = self.session.reader.inbox.fragment(0).map_err(lost(OUT))?
        {
            match fragment.tag {
                COPY_DATA => {
                    let ends_message = matches!(fragment.piece, Piece::Whole | Piece::Last);
                    return Ok(Some(Chunk { bytes: fragment.body, ends_message }));
                }
                b'c' => {}
                b'C' => self.stage = Stage::Counted(rows_of_tag(&fragment.body)),
                b'E' => self.stage = Stage::Refused(ServerError::read(&fragment.body)),
                _ if self.session.aside(fragment.tag, &fragment.body) => {}
                b'Z' => match std::mem::replace(&mut self.stage, Stage::Ended(0)) {
                    Stage::Counted(rows) => self.stage = Stage::Ended(rows),
                    Stage::Refused(source) => return Err(ConnectError::Server { doing: OUT, source }),
                    Stage::Rows | Stage::Ended(_) => return Err(stray(OUT)),
                },
                _ => return Err(stray(OUT)),
            }
        }
        Ok(None)
    }

    async fn wait(&mut self) -> Result<(), ConnectError> {
        match (self.session.turn().await, &self.stage) {
            (Ok(()), _) => Ok(()),
            // A server that ends the session says why and hangs up.
            (Err(_), Stage::Refused(source)) => Err(ConnectError::Server { doing: OUT, source: source.clone() }),
            (Err(error), Stage::Rows | Stage::Counted(_) | Stage::Ended(_)) => Err(lost(OUT)(error)),
        }
    }
}

/// A `COPY … FROM STDIN` under way. It counts only once `finish` has answered; dropped, it leaves the session unusable.
#[derive(Debug)]
pub struct CopyIn<'s> {
    session: &'s mut Session,
    gathered: BytesMut,
}

impl CopyIn<'_> {
    /// Sends bytes of the rows; where they are cut does not matter. An error is the server's, and ends the COPY.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() < COPY_MESSAGE_BYTES {
            return Ok(());
        }
        self.wrap()?;
        while self.session.writer.out.len() > COPY_BUFFER_BYTES_MAX {
            self.session.turn().await.map_err(lost(IN))?;
            self.listen().await?;
        }
        Ok(())
    }

    /// Ends the COPY; how many rows the server took.
    pub async fn finish(mut self) -> Result<u64, ConnectError> {
        self.wrap()?;
        frontend::copy_done(&mut self.session.writer.out);
        let mut rows = 0;
        loop {
            match self.session.answer(IN).await? {
                Frame { tag: b'C', body } => rows = rows_of_tag(&body),
                Frame { tag: b'Z', .. } => return Ok(rows),
                Frame { tag: b'E', body } => return Err(self.session.settle(IN, &body).await),
                Frame { .. } => return Err(stray(IN)),
            }
        }
    }

    /// Gives up: no row of this COPY is kept. The session can go on; a transaction that it was in has failed.
    pub async fn abort(mut self) -> Result<(), ConnectError> {
        self.gathered.clear();
        self.session.append(IN, |out| frontend::copy_fail("given up by the sender", out))?;
        loop {
            match self.session.answer(IN).await? {
                Frame { tag: b'Z', .. } => return Ok(()),
                Frame { tag: b'E', .. } => {} // the server's acknowledgement
                Frame { .. } => return Err(stray(IN)),
            }
        }
    }

    fn wrap(&mut self) -> Result<(), ConnectError> {
        if !self.gathered.is_empty() {
            let message = frontend::CopyData::new(&*self.gathered);
            message.map_err(|_| ConnectError::Unsendable { doing: IN })?.write(&mut self.session.writer.out);
            self.gathered.clear();
        }
        Ok(())
    }

    /// While rows go out the server says nothing, unless something is wrong.
    async fn listen(&mut self) -> Result<(), ConnectError> {
        match self.session.heard(IN)? {
            None => Ok(()),
            // What is still in the buffer goes out later: the server skips the rows of a COPY that is over.
            Some(Frame { tag: b'E', body }) => Err(self.session.settle(IN, &body).await),
            Some(Frame { .. }) => Err(lost(IN)(WireError::Malformed("an answer before the rows ended"))),
        }
    }
}
