//! One session with a server: commands and their answers in order, and what the server said about itself.
//!
//! Reading and writing are driven together, so that two full socket buffers never wait for one another. A command
//! whose future is dropped halfway leaves answers on the way; the session then refuses every further command.

use std::collections::BTreeMap;
use std::io;

use bytes::{Bytes, BytesMut};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use crate::connect::error::{ConnectError, WireError};
use crate::connect::postgres::dial::CancelToken;
use crate::connect::postgres::frame::{Frame, MESSAGE_BYTES_MAX};
use crate::connect::postgres::refusal::ServerError;
use crate::connect::postgres::row::Row;
use crate::connect::postgres::url::ConnectTarget;
use crate::connect::postgres::wire::{Reader, Writer};

/// Where the session stands, as the server last said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transaction {
    /// In no transaction.
    #[default]
    None,
    /// In one.
    Open,
    /// In one that can only be rolled back.
    Failed,
}

/// What the server says about itself at the start, and whenever it changes.
#[derive(Debug, Default)]
pub(super) struct About {
    parameters: BTreeMap<String, String>,
    pub(super) pid: i32,
    pub(super) key: i32,
}

impl About {
    /// Reads the body of a `ParameterStatus`: `name | 0 | value | 0`.
    pub(super) fn note(&mut self, body: &[u8]) {
        let mut parts = body.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            self.parameters.insert(name, value);
        }
    }
}

/// A session with one database of one server.
#[derive(Debug)]
pub struct Session {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    target: ConnectTarget,
    about: About,
    transaction: Transaction,
    /// A command is under way, or was given up.
    pub(super) busy: bool,
}

impl Session {
    pub(super) fn new(reader: Reader, writer: Writer, target: ConnectTarget, about: About) -> Self {
        Self { reader, writer, target, about, transaction: Transaction::None, busy: false }
    }

    /// Where this session is.
    pub const fn target(&self) -> &ConnectTarget {
        &self.target
    }

    /// The process at the server that serves this session.
    pub const fn pid(&self) -> i32 {
        self.about.pid
    }

    /// A setting that the server reports by itself, such as `server_version` or `TimeZone`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.about.parameters.get(name).map(String::as_str)
    }

    /// The server's version as `server_version_num` writes it: 150020 for 15.20; zero if it says none.
    pub fn version_num(&self) -> u32 {
        version_num(self.parameter("server_version").unwrap_or_default())
    }

    /// Where the session stood when it last became ready.
    pub const fn transaction(&self) -> Transaction {
        self.transaction
    }

    /// What it takes to interrupt this session's command from elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        CancelToken { target: self.target.clone(), pid: self.about.pid, key: self.about.key }
    }

    /// Runs statements by the simple protocol: the rows of each, in text form. Several statements in one text are one
    /// transaction, unless they say otherwise.
    pub async fn simple(&mut self, sql: &str) -> Result<Vec<Vec<Row>>, ConnectError> {
        let doing = "run SQL";
        self.command(doing, |out| frontend::query(sql, out))?;
        let (mut results, mut rows, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
        loop {
            let Frame { tag, body } = self.answer(doing).await?;
            match tag {
                b'D' => rows.push(bounded_row(doing, body, &mut bytes)?),
                b'C' | b'I' => results.push(std::mem::take(&mut rows)),
                b'T' => {}
                b'Z' => return Ok(results),
                b'E' => return Err(self.settle(doing, &body).await),
                _ => return Err(stray(doing)),
            }
        }
    }

    /// Runs statements whose rows do not matter.
    pub async fn execute_batch(&mut self, sql: &str) -> Result<(), ConnectError> {
        self.simple(sql).await.map(drop)
    }

    /// The first row of the last statement in `sql` that gives one; an error if none does.
    pub async fn one_row(&mut self, sql: &str) -> Result<Row, ConnectError> {
        let rows = self.simple(sql).await?.into_iter().rev().find_map(|rows| rows.into_iter().next());
        rows.ok_or(ConnectError::Answer { doing: "run SQL", lacks: "a row" })
    }

    /// Runs one statement with parameters `$1`, `$2`… in text form; their types are what the server infers.
    pub async fn query_params(&mut self, sql: &str, params: &[Option<&[u8]>]) -> Result<Vec<Row>, ConnectError> {
        let doing = "run SQL with parameters";
        self.command(doing, |out| {
            frontend::parse("", sql, [], out)?;
            bind("", params.iter().copied(), &[], out)?;
            frontend::execute("", 0, out)?;
            frontend::sync(out);
            Ok(())
        })?;
        let (mut rows, mut bytes) = (Vec::new(), 0_usize);
        loop {
            let Frame { tag, body } = self.answer(doing).await?;
            match tag {
                b'D' => rows.push(bounded_row(doing, body, &mut bytes)?),
                b'1' | b'2' | b'C' | b'I' => {}
                b'Z' => return Ok(rows),
                b'E' => return Err(self.settle(doing, &body).await),
                _ => return Err(stray(doing)),
            }
        }
    }

    /// Ends the session politely.
    pub async fn close(mut self) {
        frontend::terminate(&mut self.writer.out);
        // The server ends the session just as well when the socket closes.
        drop(self.writer.flush().await);
    }

    /// Puts a command's messages into the outgoing buffer: all of them or none.
    pub(super) fn command(
        &mut self,
        doing: &'static str,
        write: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), ConnectError> {
        if self.busy {
            return Err(ConnectError::Unfinished { doing });
        }
        self.append(doing, write)?;
        self.busy = true;
        Ok(())
    }

    /// Adds messages to a command under way: all of them or none.
    pub(super) fn append(
        &mut self,
        doing: &'static str,
        write: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), ConnectError> {
        let before = self.writer.out.len();
        write(&mut self.writer.out).map_err(|_| {
            self.writer.out.truncate(before); // the encoder leaves half a message behind
            ConnectError::Unsendable { doing }
        })
    }

    /// The next message that belongs to the command.
    pub(super) async fn answer(&mut self, doing: &'static str) -> Result<Frame, ConnectError> {
        loop {
            match self.heard(doing)? {
                Some(frame) => return Ok(frame),
                None => self.turn().await.map_err(lost(doing))?,
            }
        }
    }

    /// The next message that belongs to the command, if it is here.
    pub(super) fn heard(&mut self, doing: &'static str) -> Result<Option<Frame>, ConnectError> {
        while let Some(frame) = self.reader.inbox.frame().map_err(lost(doing))? {
            if !self.aside(frame.tag, &frame.body) {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Takes note of what the server says at any time. Notices are dropped: they may speak of rows (L6).
    pub(super) fn aside(&mut self, tag: u8, body: &[u8]) -> bool {
        match tag {
            b'S' => self.about.note(body),
            b'N' | b'A' => {}
            b'Z' => {
                self.busy = false;
                self.transaction = match body.first() {
                    Some(b'T') => Transaction::Open,
                    Some(b'E') => Transaction::Failed,
                    Some(_) | None => Transaction::None,
                };
                return false;
            }
            _ => return false,
        }
        true
    }

    /// Reads or writes, whichever can go on first.
    pub(super) async fn turn(&mut self) -> Result<(), WireError> {
        if self.writer.is_idle() {
            return self.reader.fill().await;
        }
        let (reader, writer) = (&mut self.reader, &mut self.writer);
        tokio::select! {
            biased;
            read = reader.fill() => read,
            written = writer.push() => match written {
                // A server that dies says why before it hangs up: that is still to be read.
                Err(WireError::Socket(_)) => {
                    writer.give_up();
                    Ok(())
                }
                Ok(()) => Ok(()),
                Err(error) => Err(error),
            },
        }
    }

    /// After an error: reads on until the server is ready again, and tells what it said.
    pub(super) async fn settle(&mut self, doing: &'static str, refusal: &[u8]) -> ConnectError {
        let source = ServerError::read(refusal);
        while let Ok(frame) = self.answer(doing).await {
            if frame.tag == b'Z' {
                break;
            }
        }
        ConnectError::Server { doing, source }
    }
}

/// Reads a row; an answer that is held whole has a bound (L8).
fn bounded_row(doing: &'static str, body: Bytes, bytes: &mut usize) -> Result<Row, ConnectError> {
    *bytes = bytes.saturating_add(body.len());
    if *bytes > MESSAGE_BYTES_MAX {
        return Err(lost(doing)(WireError::TooLarge { bytes: *bytes, bytes_max: MESSAGE_BYTES_MAX }));
    }
    Row::read(body).map_err(lost(doing))
}

/// Appends a `Bind` of the unnamed portal. An empty `formats` means text, one means all, else one each; results in text.
pub(super) fn bind<'p>(
    statement: &str,
    params: impl IntoIterator<Item = Option<&'p [u8]>>,
    formats: &[i16],
    out: &mut BytesMut,
) -> io::Result<()> {
    let write = |value: Option<&[u8]>, out: &mut BytesMut| {
        Ok(value.map_or(IsNull::Yes, |bytes| {
            out.extend_from_slice(bytes);
            IsNull::No
        }))
    };
    frontend::bind("", statement, formats.iter().copied(), params, write, [], out).map_err(|error| match error {
        frontend::BindError::Conversion(error) => io::Error::other(error),
        frontend::BindError::Serialization(error) => error,
    })
}

pub(super) fn lost(doing: &'static str) -> impl Fn(WireError) -> ConnectError {
    move |source| ConnectError::Lost { doing, source }
}

pub(super) fn stray(doing: &'static str) -> ConnectError {
    lost(doing)(WireError::Malformed("a message that does not belong to the command"))
}

/// 150020 for `15.20 (Debian …)`, 190000 for `19beta1`.
fn version_num(text: &str) -> u32 {
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit()).map(|digits| digits.parse::<u32>().ok());
    let major = numbers.next().flatten().unwrap_or(0);
    let dotted = text.trim_start_matches(|letter: char| letter.is_ascii_digit()).starts_with('.');
    let minor = if dotted { numbers.next().flatten().unwrap_or(0) } else { 0 };
    major.saturating_mul(10_000).saturating_add(minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_numbered_as_the_server_numbers_it() {
        #[rustfmt::skip]
        let cases = [
            ("15.20 (Debian 15.20-0+deb12u1)", 150_020, "a distribution's"),
            ("18.4", 180_004, "plain"),
            ("19beta1", 190_000, "not minor 1"),
            ("19devel", 190_000, "from the tree"),
            ("", 0, "nothing said"),
        ];
        for (text, number, why) in cases {
            assert_eq!(version_num(text), number, "{why}");
        }
    }
}
