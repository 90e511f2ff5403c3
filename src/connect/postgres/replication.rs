//! Replication commands, and the stream that they start: messages in, positions out, each on a half of its own.
//!
//! ```text
//!   XLogData    'w' | start u64 | end u64 | time i64 | payload       from the server, inside CopyData
//!   Keepalive   'k' | wal_end u64 | time i64 | reply_wanted u8       from the server
//!   Status      'r' | write u64 | flush u64 | apply u64 | time i64 | reply_wanted u8       to the server
//! ```
//! Integers are big-endian, times microseconds since 2000-01-01 UTC. Source: PostgreSQL manual, *Streaming
//! Replication Protocol*.

use bytes::{Buf, BufMut, Bytes};
use postgres_protocol::message::frontend;

use crate::connect::error::{ConnectError, WireError};
use crate::connect::postgres::frame::{COPY_DATA, Fragment, Frame};
use crate::connect::postgres::refusal::ServerError;
use crate::connect::postgres::row::{Row, quote_ident};
use crate::connect::postgres::session::{Session, lost, stray};
use crate::connect::postgres::wire::{Reader, Writer, quieten};
use crate::model::{Lsn, Piece, Timestamp};

const STREAM: &str = "read the replication stream";
const FEEDBACK: &str = "report a position to the server";
/// The head of `XLogData`; pieces of a large message are even without it.
const XLOG_HEAD_BYTES: usize = 25;

/// Which server this is and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// The cluster's own number, the same for its standbys and copies.
    pub system_id: u64,
    /// The timeline, which grows when a standby is promoted.
    pub timeline: u32,
    /// How far its log is flushed.
    pub flushed: Lsn,
    /// The database of the session.
    pub database: String,
}

/// How long a slot lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotLife {
    /// Until it is dropped.
    Permanent,
    /// As long as the session.
    Temporary,
}

/// Whether the new slot's snapshot can be shared with other sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotSnapshot {
    /// Exported, until the session's next command.
    Export,
    /// None.
    Nothing,
}

/// A slot that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedSlot {
    /// The slot gives every transaction whose commit stands here or later; the snapshot holds the others.
    pub consistent_point: Lsn,
    /// For `SET TRANSACTION SNAPSHOT`, if it was exported.
    pub snapshot: Option<String>,
}

impl Session {
    /// `IDENTIFY_SYSTEM`.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, ConnectError> {
        let doing = "identify the server";
        let row = self.one_row("IDENTIFY_SYSTEM").await?;
        Ok(SystemIdentity {
            system_id: field(&row, 0, doing, "a system id")?,
            timeline: field(&row, 1, doing, "a timeline")?,
            flushed: field(&row, 2, doing, "a position")?,
            database: field(&row, 3, doing, "a database; is this a replication session?")?,
        })
    }

    /// `TIMELINE_HISTORY`: the text of a timeline's history file. Timeline 1 has none, and is refused by the server.
    pub async fn timeline_history(&mut self, timeline: u32) -> Result<Bytes, ConnectError> {
        let row = self.one_row(&format!("TIMELINE_HISTORY {timeline}")).await?;
        row.bytes(1).cloned().ok_or(ConnectError::Answer { doing: "read a timeline's history", lacks: "the file" })
    }

    /// Makes a logical slot for pgoutput. Waits for every transaction with an xid that is open anywhere in the
    /// cluster: bound it from outside.
    pub async fn create_slot(
        &mut self,
        name: &str,
        life: SlotLife,
        snapshot: SlotSnapshot,
    ) -> Result<CreatedSlot, ConnectError> {
        let doing = "create a replication slot";
        let life = match life {
            SlotLife::Permanent => "",
            SlotLife::Temporary => " TEMPORARY",
        };
        // PostgreSQL 15 brought the form in parentheses; before, there were keywords.
        let snapshot = match (snapshot, self.version_num() >= 150_000) {
            (SlotSnapshot::Export, true) => "(SNAPSHOT 'export')",
            (SlotSnapshot::Nothing, true) => "(SNAPSHOT 'nothing')",
            (SlotSnapshot::Export, false) => "EXPORT_SNAPSHOT",
            (SlotSnapshot::Nothing, false) => "NOEXPORT_SNAPSHOT",
        };
        let name = quote_ident(name);
        let row = self.one_row(&format!("CREATE_REPLICATION_SLOT {name}{life} LOGICAL pgoutput {snapshot}")).await?;
        Ok(CreatedSlot {
            consistent_point: field(&row, 1, doing, "a consistent point")?,
            snapshot: row.get(2).map(str::to_owned),
        })
    }

    /// Drops a slot that nobody uses.
    pub async fn drop_slot(&mut self, name: &str) -> Result<(), ConnectError> {
        self.execute_batch(&format!("DROP_REPLICATION_SLOT {}", quote_ident(name))).await
    }

    /// Starts the stream of a logical slot at `start` (the server goes no further back than the slot's
    /// `confirmed_flush`). `options` are pgoutput's, such as `proto_version` and `publication_names`.
    pub async fn start_replication(
        mut self,
        slot: &str,
        start: Lsn,
        options: &[(&str, &str)],
    ) -> Result<(ReplicationStream, Feedback), ConnectError> {
        let doing = "start the replication stream";
        let literal = |text: &str| format!("'{}'", text.replace('\'', "''")); // this grammar knows no E''
        let options: Vec<_> =
            options.iter().map(|(name, value)| format!("{} {}", quote_ident(name), literal(value))).collect();
        let options = if options.is_empty() { String::new() } else { format!(" ({})", options.join(", ")) };
        let sql = format!("START_REPLICATION SLOT {} LOGICAL {start}{options}", quote_ident(slot));
        self.command(doing, |out| frontend::query(&sql, out))?;
        match self.answer(doing).await? {
            Frame { tag: b'W', .. } => {}
            Frame { tag: b'E', body } => return Err(self.settle(doing, &body).await),
            Frame { .. } => return Err(stray(doing)),
        }
        let (reader, writer) = quieten(self.reader, self.writer).map_err(lost(doing))?;
        let stream = ReplicationStream { reader, message: (Lsn::ZERO, Lsn::ZERO), stage: Stage::Streaming };
        Ok((stream, Feedback { writer }))
    }
}

fn field<T: std::str::FromStr>(
    row: &Row,
    column: usize,
    doing: &'static str,
    lacks: &'static str,
) -> Result<T, ConnectError> {
    row.get(column).and_then(|text| text.parse().ok()).ok_or(ConnectError::Answer { doing, lacks })
}

/// Something that the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message of the output plugin, or a piece of a large one.
    XLogData {
        /// Where its change begins; the same for all pieces of a message.
        start: Lsn,
        /// How far the server's log was when it sent this.
        end: Lsn,
        /// All of the message, or which piece.
        piece: Piece,
        /// The plugin's bytes.
        payload: Bytes,
    },
    /// The server is alive.
    Keepalive {
        /// How far it has sent; may be acknowledged if nothing is open or undelivered.
        wal_end: Lsn,
        /// What its clock says.
        time: Timestamp,
        /// Whether it wants a status at once.
        reply_wanted: bool,
    },
    /// The server ends the stream: it was asked to, or is shutting down.
    CopyDone,
}

#[derive(Debug)]
enum Stage {
    Streaming,
    /// Told at the next call: events that came before it go first.
    Failed(ConnectError),
    Ended,
}

/// What comes from the server.
#[derive(Debug)]
pub struct ReplicationStream {
    reader: Reader,
    /// Start and end of the message whose pieces are coming.
    message: (Lsn, Lsn),
    stage: Stage,
}

impl ReplicationStream {
    /// Waits for an event, and appends it and all that came with it. Cancel-safe: a call dropped while it waits has
    /// taken nothing. After an error, or after [`Event::CopyDone`], the stream is over.
    pub async fn next(&mut self, into: &mut Vec<Event>) -> Result<(), ConnectError> {
        let before = into.len();
        loop {
            match std::mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Streaming => self.stage = self.drain(into),
                Stage::Failed(error) => return Err(error),
                Stage::Ended => return Err(lost(STREAM)(WireError::Closed)),
            }
            if into.len() > before {
                return Ok(());
            }
            if matches!(self.stage, Stage::Streaming) {
                self.reader.fill().await.map_err(lost(STREAM))?;
            }
        }
    }

    /// Takes every event that is here.
    fn drain(&mut self, into: &mut Vec<Event>) -> Stage {
        loop {
            match self
                .reader
                .inbox
                .fragment(XLOG_HEAD_BYTES)
                .and_then(|found| found.map(|some| self.event(some)).transpose())
            {
                Ok(None) => return Stage::Streaming,
                Ok(Some(Heard::Aside)) => {}
                Ok(Some(Heard::Event(event))) => into.push(event),
                Ok(Some(Heard::End)) => {
                    into.push(Event::CopyDone);
                    return Stage::Ended;
                }
                Ok(Some(Heard::Refusal(source))) => {
                    return Stage::Failed(ConnectError::Server { doing: STREAM, source });
                }
                Err(error) => return Stage::Failed(lost(STREAM)(error)),
            }
        }
    }

    fn event(&mut self, fragment: Fragment) -> Result<Heard, WireError> {
        match (fragment.tag, fragment.piece) {
            (COPY_DATA, Piece::Middle | Piece::Last) => Ok(self.data(fragment.piece, fragment.body)),
            (COPY_DATA, Piece::First | Piece::Whole) => self.opened(fragment.piece, fragment.body),
            // A server that shuts down sends CommandComplete without CopyDone before it.
            (b'c' | b'C', _) => Ok(Heard::End),
            (b'E', _) => Ok(Heard::Refusal(ServerError::read(&fragment.body))),
            (b'N' | b'S' | b'A', _) => Ok(Heard::Aside),
            (_, _) => Err(WireError::Malformed("a message that a replication stream does not know")),
        }
    }

    fn opened(&mut self, piece: Piece, mut body: Bytes) -> Result<Heard, WireError> {
        let short = |_| WireError::Malformed("a replication message shorter than its head");
        match body.try_get_u8().map_err(short)? {
            b'w' => {
                let start = Lsn::new(body.try_get_u64().map_err(short)?);
                let end = Lsn::new(body.try_get_u64().map_err(short)?);
                body.try_get_i64().map_err(short)?; // the time of sending tells nothing about the change
                self.message = (start, end);
                Ok(self.data(piece, body))
            }
            b'k' => {
                let wal_end = Lsn::new(body.try_get_u64().map_err(short)?);
                let time = Timestamp::from_postgres_micros(body.try_get_i64().map_err(short)?);
                let reply_wanted = body.try_get_u8().map_err(short)? != 0;
                Ok(Heard::Event(Event::Keepalive { wal_end, time, reply_wanted }))
            }
            _ => Err(WireError::Malformed("a replication message of an unknown kind")),
        }
    }

    const fn data(&self, piece: Piece, payload: Bytes) -> Heard {
        let (start, end) = self.message;
        Heard::Event(Event::XLogData { start, end, piece, payload })
    }
}

enum Heard {
    Event(Event),
    Aside,
    End,
    Refusal(ServerError),
}

/// What the server is told: the position up to which it may forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Reported as written, flushed and applied: with `synchronous_commit = remote_apply` commits wait for the last.
    pub durable: Lsn,
    /// What our clock says.
    pub time: Timestamp,
    /// Whether the server should answer with a keepalive at once.
    pub reply_wanted: bool,
}

/// What goes to the server; it can live on a task of its own.
#[derive(Debug)]
pub struct Feedback {
    writer: Writer,
}

impl Feedback {
    /// Reports a position. Dropped halfway, the rest of the message goes out before the next one.
    pub async fn status(&mut self, status: Status) -> Result<(), ConnectError> {
        let out = &mut self.writer.out;
        out.put_u8(COPY_DATA);
        out.put_u32(4 + 1 + 4 * 8 + 1);
        out.put_u8(b'r');
        for _ in 0..3 {
            out.put_u64(status.durable.get());
        }
        out.put_i64(status.time.postgres_micros());
        out.put_u8(u8::from(status.reply_wanted));
        self.writer.flush().await.map_err(lost(FEEDBACK))
    }

    /// Asks the server to end the stream, which it answers with [`Event::CopyDone`].
    pub async fn copy_done(&mut self) -> Result<(), ConnectError> {
        frontend::copy_done(&mut self.writer.out);
        self.writer.flush().await.map_err(lost(FEEDBACK))
    }
}
