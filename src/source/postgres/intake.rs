//! From the server's messages to records: dedupe, transaction boundaries, gaps. Pure, so that it can be proved alone.
//!
//! * L2: a transaction arrives again after a crash; it is dropped if its commit stands below what is durable, whole.
//! * L3: a change of schema is noticed by the trigger's message, or where triggers are missing by a Relation message
//!   that differs from what the last base knows; its transaction is followed by a gap. What is dropped because it is
//!   durable must have been the log's: nothing is taken behind another history.
//! * L1: a keepalive's position becomes a heartbeat record, durable before it is acknowledged, and only where no
//!   transaction is open.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use crate::codec::gap::{Gap, Reason};
use crate::codec::pgoutput::{Begin, Message, Peek, Relation, peek};
use crate::connect::Event;
use crate::log::tail::Whole;
use crate::model::{Commit, Kind, Lsn, Piece, Position, Record, Role, Tick, Timestamp, Xid};
use crate::source::postgres::continuity::Continuity;
use crate::source::postgres::names;
use crate::source::{Arrival, SourceError, SourceErrorKind};

/// A server that shuts down asks for a reply without pause; this often it gets a durable position.
const HURRY_EVERY: Duration = Duration::from_millis(100);

/// Commands that change rows of no captured table, no shape and nothing that a schema dump says. COMMENT, GRANT and their
/// like are not among them: a restore would not have what they did.
const HARMLESS: [&str; 2] = ["REFRESH MATERIALIZED VIEW", "REINDEX"];

/// Tables as they are known: what a Relation message is compared with. `None` if nothing was promised yet.
pub type Shapes = Option<BTreeMap<u32, Relation>>;

/// What becomes of the message whose pieces are coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Keep,
    Drop,
}

/// Where the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Nothing,
    /// A transaction that is taken.
    Taken,
    /// A transaction that is durable already.
    Passed,
}

/// The state of one session's intake.
#[derive(Debug)]
pub struct Intake {
    resume: Lsn,
    to: Position,
    latest: Timestamp,
    within: Within,
    pieces: Fate,
    shapes: Shapes,
    passed_over: BTreeSet<u32>,
    learning: bool,
    changed: Option<String>,
    drain_to: Option<Lsn>,
    heartbeat_every: Duration,
    heartbeat_at: Option<Tick>,
    hurry_at: Option<Tick>,
    proved: bool,
    continuity: Continuity,
}

impl Intake {
    /// Begins where everything up to `resume` is durable; `latest` is the log's latest commit time.
    pub const fn new(resume: Lsn, latest: Timestamp, heartbeat_every: Duration) -> Self {
        Self {
            resume,
            to: resume.position(),
            latest,
            within: Within::Nothing,
            pieces: Fate::Keep,
            shapes: None,
            passed_over: BTreeSet::new(),
            learning: false,
            changed: None,
            drain_to: None,
            heartbeat_every,
            heartbeat_at: None,
            hurry_at: None,
            proved: false,
            continuity: Continuity::Shown,
        }
    }

    /// Compares Relation messages with these shapes.
    #[must_use]
    pub fn knowing(mut self, shapes: Shapes) -> Self {
        self.shapes = shapes;
        self
    }

    /// Tables of extensions are nobody's promise: what becomes of them is no gap.
    #[must_use]
    pub fn passing_over(mut self, tables: BTreeSet<u32>) -> Self {
        self.passed_over = tables;
        self
    }

    /// The server begins before what is durable: of what it sends again `ours` must be the last.
    #[must_use]
    pub const fn continuing(mut self, ours: Option<Whole>) -> Self {
        self.continuity = Continuity::ask(ours);
        self
    }

    /// Up to where the server's history is known to be the log's.
    pub const fn common(&self) -> Lsn {
        if self.continuity.is_shown() { self.resume } else { Lsn::ZERO }
    }

    /// Says [`Arrival::Drained`] once everything up to `to` has been handed over.
    #[must_use]
    pub const fn draining(mut self, to: Option<Lsn>) -> Self {
        self.drain_to = to;
        self
    }

    /// Takes what the server sent.
    pub fn event(&mut self, event: Event, now: Tick, into: &mut Vec<Arrival>) -> Result<(), SourceError> {
        match event {
            Event::XLogData { piece: piece @ (Piece::Middle | Piece::Last), payload, .. } => {
                if self.pieces == Fate::Keep {
                    into.push(record(Role::Inside, piece, payload));
                }
            }
            Event::XLogData { piece, payload, .. } => self.message(piece, payload, into)?,
            Event::Keepalive { wal_end, time, reply_wanted } => {
                let hurry = reply_wanted && self.hurry_at.is_none_or(|due| due <= now);
                let wanted = hurry || self.drain_to.is_some();
                if self.within == Within::Nothing && wal_end >= self.resume {
                    self.settle()?;
                }
                self.keepalive(Commit { position: wal_end.position(), time }, wanted, now, into);
                if hurry {
                    self.hurry_at = Some(now.after(HURRY_EVERY));
                    into.push(Arrival::Hurry);
                }
            }
            Event::CopyDone => into.push(Arrival::Ended),
        }
        Ok(())
    }

    fn message(&mut self, piece: Piece, payload: Bytes, into: &mut Vec<Arrival>) -> Result<(), SourceError> {
        let seen = peek(&payload).map_err(|error| protocol(&error.to_string()))?;
        self.pieces = if self.within == Within::Passed { Fate::Drop } else { Fate::Keep };
        match seen {
            Peek::Begin(begin) => return self.begin(begin, payload, into),
            Peek::Commit(commit) => {
                let end = Commit { position: commit.end_lsn.position(), time: commit.commit_time };
                return self.commit(end, payload, into);
            }
            Peek::Message { transactional: false, lsn, .. } => {
                if lsn >= self.resume {
                    self.settle()?;
                    self.pieces = Fate::Keep;
                    into.push(record(Role::Outside, piece, payload));
                } else {
                    self.pieces = Fate::Drop;
                }
                return Ok(());
            }
            Peek::Message { prefix, .. } if prefix == names::DDL.as_bytes() => self.ddl(&payload),
            Peek::Relation { .. } => self.relation(&payload),
            Peek::Type { .. } | Peek::Origin | Peek::Change { .. } | Peek::Truncate { .. } | Peek::Message { .. } => {}
        }
        match self.within {
            Within::Taken => into.push(record(Role::Inside, piece, payload)),
            Within::Passed => {}
            Within::Nothing => return Err(protocol("a change outside a transaction")),
        }
        Ok(())
    }

    fn begin(&mut self, begin: Begin, payload: Bytes, into: &mut Vec<Arrival>) -> Result<(), SourceError> {
        if self.within != Within::Nothing {
            return Err(protocol("a transaction begins inside another"));
        }
        self.changed = None;
        // A commit record that begins below a durable position ends at or below it: the transaction is durable.
        if begin.final_lsn < self.resume {
            self.within = Within::Passed;
            self.continuity.begin(Xid::new(u64::from(begin.xid)));
        } else {
            self.settle()?;
            self.within = Within::Taken;
            into.push(record(Role::Opens(Xid::new(u64::from(begin.xid))), Piece::Whole, payload));
        }
        Ok(())
    }

    fn commit(&mut self, commit: Commit, payload: Bytes, into: &mut Vec<Arrival>) -> Result<(), SourceError> {
        match std::mem::replace(&mut self.within, Within::Nothing) {
            Within::Nothing => return Err(protocol("a transaction ends that did not begin")),
            Within::Passed => {
                self.continuity.commit(commit);
                if commit.position >= self.resume.position() {
                    self.settle()?;
                }
            }
            Within::Taken => {
                let before = std::mem::replace(&mut self.to, commit.position);
                self.latest = self.latest.max(commit.time);
                into.push(record(Role::Commits(commit), Piece::Whole, payload));
                if let Some(detail) = self.changed.take() {
                    // Whatever a command names, others may depend on it: it concerns everything.
                    let (reason, tables) = (Reason::SchemaChanged, Vec::new());
                    let gap = Gap { exact_until: before, time: commit.time, reason, tables, detail };
                    push_gap(gap, into);
                }
                self.prove(into);
            }
        }
        self.drained(Lsn::from(commit.position), into);
        Ok(())
    }

    /// Traffic elsewhere moves the server's log while this database is idle; its position is kept from time to time, at
    /// once when it is wanted.
    fn keepalive(&mut self, sent: Commit, wanted: bool, now: Tick, into: &mut Vec<Arrival>) {
        let due = *self.heartbeat_at.get_or_insert_with(|| now.after(self.heartbeat_every));
        if self.within == Within::Nothing && sent.position > self.to && (wanted || due <= now) {
            self.heartbeat_at = Some(now.after(self.heartbeat_every));
            self.to = sent.position;
            let heartbeat = Record { role: Role::Commits(sent), ..Record::own(Kind::Heartbeat, Bytes::new()) };
            into.push(Arrival::Record(heartbeat));
            self.prove(into);
        }
        self.drained(Lsn::from(sent.position), into);
    }

    /// What comes now lies behind the log's end.
    fn settle(&mut self) -> Result<(), SourceError> {
        self.continuity.settle().map_err(|kind| kind.when("comparing what the server sends again with the log"))
    }

    /// The first position of a session is made durable at once: it proves that the whole road works.
    fn prove(&mut self, into: &mut Vec<Arrival>) {
        if !std::mem::replace(&mut self.proved, true) {
            into.push(Arrival::Hurry);
        }
    }

    fn drained(&mut self, at: Lsn, into: &mut Vec<Arrival>) {
        if self.within == Within::Nothing
            && let Some(to) = self.drain_to
            && at >= to
        {
            self.drain_to = None;
            into.push(Arrival::Drained);
        }
    }

    fn ddl(&mut self, payload: &Bytes) {
        let detail = match Message::decode(payload) {
            Ok(Message::Message { content, .. }) => ddl_detail(content.0),
            Ok(_) | Err(_) => Some("a DDL message that cannot be read".to_owned()),
        };
        let Some(detail) = detail else { return };
        self.note(&detail);
        // The gap is told, and the base behind it knows the tables as they are from here on. Without this each table that
        // was changed or made would be a gap once more when it is first written to.
        if let Some(shapes) = &mut self.shapes {
            shapes.clear();
            self.learning = true;
        }
    }

    fn relation(&mut self, payload: &Bytes) {
        let (Some(shapes), Ok(Message::Relation(relation))) = (&mut self.shapes, Message::decode(payload)) else {
            return;
        };
        if relation.namespace == names::SCHEMA || self.passed_over.contains(&relation.relid) {
            return;
        }
        let name = format!("{}.{}", relation.namespace, relation.name);
        let known = shapes.get(&relation.relid);
        let same = known.map_or(self.learning, |known| {
            known.same_shape(&relation) && known.name == relation.name && known.namespace == relation.namespace
        });
        shapes.insert(relation.relid, relation);
        if !same && self.within == Within::Taken {
            self.note(&format!("table {name} is not as the last base knows it"));
        }
    }

    fn note(&mut self, what: &str) {
        let changed = self.changed.get_or_insert_with(String::new);
        // A burst of DDL in one transaction is told by its first few commands.
        if changed.len() < 400 {
            if !changed.is_empty() {
                changed.push_str("; ");
            }
            changed.push_str(what);
        }
    }
}

/// A gap's record, and the wish for a base behind it.
pub fn push_gap(gap: Gap, into: &mut Vec<Arrival>) {
    into.push(Arrival::Record(Record::own(Kind::Gap, gap.encode())));
    into.push(Arrival::BaseWanted(gap));
}

const fn record(role: Role, piece: Piece, wire: Bytes) -> Arrival {
    Arrival::Record(Record { kind: Kind::Wire, role, piece, wire })
}

/// Tag and objects of our trigger's message; names, never values. `None` for a command that is no change.
fn ddl_detail(content: &[u8]) -> Option<String> {
    // A message that is no JSON says nothing of what was done, and that something was: taken for harmless it would hide a
    // change of schema (L3).
    let message: serde_json::Value = serde_json::from_slice(content).unwrap_or_default();
    let tag = message.get("tag").and_then(|tag| tag.as_str());
    if tag.is_some_and(|tag| HARMLESS.contains(&tag)) {
        return None;
    }
    let object = message.get("objects").and_then(|objects| objects.get(0)?.get("identity")?.as_str());
    Some([tag.unwrap_or("DDL"), object.unwrap_or("")].join(" ").trim_end().to_owned())
}

fn protocol(what: &str) -> SourceError {
    SourceErrorKind::Protocol { what: what.to_owned() }.when("reading the replication stream")
}

#[cfg(test)]
mod tests;
