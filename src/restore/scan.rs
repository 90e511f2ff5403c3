//! Reads segments for planning: what completes in them, marks and gaps.

use crate::apply::postgres::Transaction;
use crate::codec::gap::Gap;
use crate::codec::names;
use crate::codec::pgoutput::{Message, Peek, peek};
use crate::codec::session::SessionRecord;
use crate::codec::wire::WireError;
use crate::log::{Item, Items, LogEnv};
use crate::model::{LogId, Lsn, Position, SourceName};
use crate::restore::cut::{Completion, Window};
use crate::restore::error::RestoreError;
use crate::restore::loss::PlacedGap;

/// What segments hold, as planning needs it.
#[derive(Debug, Default)]
pub struct Scanned {
    /// What completes, in order.
    pub completions: Vec<Completion>,
    /// The gaps, in order.
    pub gaps: Vec<PlacedGap>,
    /// Where the first session's stream began.
    pub began: Option<Position>,
}

/// Where in a log something is read.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// What opens it.
    pub env: &'a LogEnv,
    /// Whose.
    pub source: &'a SourceName,
    /// Which log.
    pub log: LogId,
}

impl Place<'_> {
    /// Reads the segments of `window`.
    pub async fn scan(self, window: &Window) -> Result<Scanned, RestoreError> {
        let mut log = Items::new(self.env, self.source, self.log, window.entries.clone(), window.from);
        let mut state = State { begun: None, marks: Vec::new(), started: Position::ZERO };
        let (mut scanned, mut items) = (Scanned::default(), Vec::new());
        while log.next(&mut items).await? {
            for item in items.drain(..) {
                let taken = state.take(item, log.position(), &mut scanned);
                taken.map_err(|source| self.wrong(log.position(), source))?;
            }
        }
        Ok(scanned)
    }

    /// An error about a message near a position.
    pub fn wrong(self, at: Position, source: WireError) -> RestoreError {
        RestoreError::Message { source_name: self.source.clone(), at: Lsn::from(at), source }
    }
}

/// What is known of the open transaction and the session.
struct State {
    begun: Option<(crate::model::Xid, Lsn)>,
    marks: Vec<String>,
    started: Position,
}

impl State {
    fn take(&mut self, item: Item, position: Position, scanned: &mut Scanned) -> Result<(), WireError> {
        match item {
            Item::Begin(xid, wire) => {
                self.marks.clear();
                self.begun = Some((xid, commit_lsn(&wire)?));
            }
            Item::Message(wire) => {
                if let Some(name) = mark(&wire) {
                    match self.begun {
                        Some(_) => self.marks.push(name),
                        None => scanned.completions.push(Completion { position, transaction: None, marks: vec![name] }),
                    }
                }
            }
            Item::Commit(commit) => {
                let transaction = self.begun.take().map(|(xid, commit_lsn)| Transaction {
                    xid,
                    commit_lsn,
                    position: commit.position,
                    time: commit.time,
                });
                let marks = std::mem::take(&mut self.marks);
                scanned.completions.push(Completion { position: commit.position, transaction, marks });
            }
            Item::Void => {
                self.begun = None;
                self.marks.clear();
            }
            Item::Heartbeat(commit) => {
                let marks = Vec::new();
                scanned.completions.push(Completion { position: commit.position, transaction: None, marks });
            }
            Item::Session(json) => {
                self.started = SessionRecord::decode(&json)?.began()?.position();
                scanned.began.get_or_insert(self.started);
            }
            // Where a lost slot's successor began, nothing before was captured.
            Item::Gap(wire) => {
                scanned.gaps.push(PlacedGap { gap: Gap::decode(&wire)?, place: position.max(self.started) });
            }
            Item::Context(_) => {}
        }
        Ok(())
    }
}

/// Where the commit record of a Begin message's transaction stands.
pub fn commit_lsn(wire: &[u8]) -> Result<Lsn, WireError> {
    match peek(wire)? {
        Peek::Begin(begin) => Ok(begin.final_lsn),
        Peek::Commit(_)
        | Peek::Origin
        | Peek::Relation { .. }
        | Peek::Type { .. }
        | Peek::Change { .. }
        | Peek::Truncate { .. }
        | Peek::Message { .. } => Err(WireError::Foreign { what: "the beginning of a transaction" }),
    }
}

fn mark(wire: &[u8]) -> Option<String> {
    if wire.first() != Some(&b'M') {
        return None;
    }
    match Message::decode(wire) {
        Ok(Message::Message { prefix, content, .. }) if prefix == names::MARK.as_bytes() => {
            Some(String::from_utf8_lossy(content.0).into_owned())
        }
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::pgoutput::Begin;
    use crate::log::History;
    use crate::log::fixture::{Fixture, main_source, transaction, write_segment};
    use crate::model::{Record, Role, Timestamp, Xid};

    #[tokio::test]
    async fn l2_what_two_reigns_wrote_of_a_transaction_is_not_read_as_one() {
        let fixture = Fixture::new(81);
        let mut begin = Vec::new();
        let (final_lsn, commit_time) = (Lsn::new(9), Timestamp::from_micros(1));
        Message::Begin(Begin { final_lsn, commit_time, xid: 1 }).encode(&mut begin);
        let begin = Record::wire(Role::Opens(Xid::new(1)), begin.into());
        let rest = transaction(1).split_off(1);
        write_segment(&mut fixture.writer().await, &[begin]).await;
        write_segment(&mut fixture.writer().await, &rest).await;
        let history = History::load(&fixture.env, &main_source()).await.unwrap();
        let window = Window { entries: history.live().cloned().collect(), from: Position::ZERO };
        let source = main_source();
        let place = Place { env: &fixture.env, source: &source, log: history.log.unwrap() };
        assert_eq!(place.scan(&window).await.unwrap().completions, []);
    }
}
