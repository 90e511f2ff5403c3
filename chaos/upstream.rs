//! The source's own server: what really happened, and a session that tells it as PostgreSQL would.
//!
//! After a session broke it sends again, whole, every transaction that commits behind what was acknowledged; its
//! client leaves out what its log already holds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::chaos::faults::{Fault, Mischief};
use crate::chaos::store::Pause;
use crate::codec::gap::Gap;
use crate::daemon::pipeline::Observer;
use crate::log::Durable;
use crate::model::{Commit, Kind, Piece, Position, Record, Role, Timestamp, Xid};
use crate::source::{Arrival, Source, SourceError, SourceErrorKind};

/// A transaction as it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Its number.
    pub xid: Xid,
    /// Its messages, whole, its beginning first.
    pub messages: Vec<Bytes>,
    /// Its end.
    pub commit: Commit,
}

/// A server.
#[derive(Debug)]
pub struct Upstream {
    book: Vec<Happened>,
    piece_bytes: usize,
    state: Mutex<Told>,
    mischief: Arc<Mischief>,
}

#[derive(Debug, Default)]
struct Told {
    /// How many transactions have happened.
    happened: usize,
    acknowledged: Position,
    sessions: u64,
    /// Sessions up to this one were ended by a newer one.
    ended: u64,
}

/// Between two transactions' positions there is room for a keepalive's.
const STRIDE: u64 = 1_000_000;

impl Upstream {
    /// A server on which `transactions` will happen, some of them larger than a segment.
    pub fn new(mischief: Arc<Mischief>, transactions: u64) -> Self {
        let book = (1..=transactions).map(|number| happen(&mischief, number)).collect();
        let piece_bytes = 500 + usize::try_from(mischief.below(4_000)).unwrap_or(0);
        Self { book, piece_bytes, state: Mutex::new(Told::default()), mischief }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many transactions have happened now.
    pub fn happen(&self, transactions: usize) {
        self.told().happened = transactions.min(self.book.len());
    }

    /// Everything that will ever happen.
    pub fn book(&self) -> &[Happened] {
        &self.book
    }

    /// What may be forgotten.
    pub fn acknowledged(&self) -> Position {
        self.told().acknowledged
    }

    /// The end of what has happened.
    pub fn end(&self) -> Position {
        let happened = self.told().happened;
        happened.checked_sub(1).and_then(|last| self.book.get(last)).map_or(Position::ZERO, |last| last.commit.position)
    }

    /// A session with a client whose log holds everything up to `durable`, or none if more than that was acknowledged:
    /// a client that was fenced since it looked must find that out before it believes that something was lost.
    pub fn connect(self: &Arc<Self>, durable: Position) -> Option<Session> {
        if self.acknowledged() > durable {
            return None;
        }
        let left = vec![Record::own(Kind::Session, Bytes::from_static(b"session"))];
        let mut told = self.told();
        if self.mischief.below(2) == 0 {
            // A newcomer ends the older sessions, or dies before it has come to that.
            told.ended = told.sessions;
        }
        told.sessions += 1;
        Some(Session { upstream: Arc::clone(self), number: told.sessions, sent: durable, left })
    }

    /// The next transaction behind `sent`, as records, last first; or a keepalive's position.
    fn next(&self, sent: Position) -> Option<(Position, Vec<Record>)> {
        let happened = self.told().happened;
        let next = self.book.iter().take(happened).find(|happened| happened.commit.position > sent);
        let Some(next) = next else {
            // Nothing happens, and now and then the server says so.
            let position = Position::new(sent.get() + 1);
            return (self.mischief.below(40) == 0).then(|| (position, vec![beat(position, Timestamp::MIN)]));
        };
        let idle = Position::new(next.commit.position.get() - STRIDE / 2);
        if idle > sent && self.mischief.below(6) == 0 {
            return Some((idle, vec![beat(idle, next.commit.time)]));
        }
        let mut records = self.records(next);
        records.reverse();
        Some((next.commit.position, records))
    }

    fn records(&self, happened: &Happened) -> Vec<Record> {
        let mut records = Vec::new();
        for (at, message) in happened.messages.iter().enumerate() {
            let role = if at == 0 { Role::Opens(happened.xid) } else { Role::Inside };
            let pieces: Vec<_> = message.chunks(self.piece_bytes).collect();
            let last = pieces.len().saturating_sub(1);
            for (number, bytes) in pieces.iter().enumerate() {
                let piece = match (number, last) {
                    (_, 0) => Piece::Whole,
                    (0, _) => Piece::First,
                    (number, last) if number == last => Piece::Last,
                    (_, _) => Piece::Middle,
                };
                records.push(Record { piece, ..Record::wire(role, message.slice_ref(bytes)) });
            }
        }
        records.push(Record::wire(Role::Commits(happened.commit), Bytes::from_static(b"commit")));
        records
    }
}

fn beat(position: Position, time: Timestamp) -> Record {
    Record { role: Role::Commits(Commit { position, time }), ..Record::own(Kind::Heartbeat, Bytes::new()) }
}

fn happen(mischief: &Mischief, number: u64) -> Happened {
    let count = match mischief.below(12) {
        0 => 0,
        1 => 20 + mischief.below(20),
        _ => 1 + mischief.below(4),
    };
    let message = |of: u64| {
        let bytes = if mischief.below(25) == 0 { 10_000 } else { mischief.below(120) };
        let noise = (0..bytes).map(|_| u8::try_from(mischief.below(256)).unwrap_or(0));
        format!("{number}.{of} ").into_bytes().into_iter().chain(noise).collect()
    };
    let begin = Bytes::from(format!("begin {number}"));
    let messages = std::iter::once(begin).chain((0..count).map(message)).collect();
    // Commit times step back now and then.
    let time = i64::try_from(number * 1_000 + mischief.below(3_000)).unwrap_or(i64::MAX);
    let commit = Commit { position: Position::new(number * STRIDE), time: Timestamp::from_micros(time) };
    Happened { xid: Xid::new(1_000 + number), messages, commit }
}

/// A replication session.
pub struct Session {
    upstream: Arc<Upstream>,
    number: u64,
    sent: Position,
    /// Records of what is being sent, last first.
    left: Vec<Record>,
}

#[async_trait::async_trait]
impl Source for Session {
    async fn next(&mut self, into: &mut Vec<Arrival>) -> Result<(), SourceError> {
        let mischief = Arc::clone(&self.upstream.mischief);
        Pause(mischief.below(3)).await;
        if self.number <= self.upstream.told().ended || mischief.strikes(Fault::SessionBroke) {
            return Err(SourceErrorKind::Scripted.when("following a server that breaks its sessions"));
        }
        loop {
            for _ in 0..=mischief.below(12) {
                match self.left.pop() {
                    Some(record) => into.push(Arrival::Record(record)),
                    None => break,
                }
            }
            if !into.is_empty() {
                if mischief.below(8) == 0 {
                    into.push(Arrival::Hurry);
                }
                return Ok(());
            }
            match self.upstream.next(self.sent) {
                Some((position, records)) => (self.sent, self.left) = (position, records),
                None => Pause(1).await,
            }
        }
    }

    async fn acknowledge(&mut self, position: Position) -> Result<(), SourceError> {
        let mut told = self.upstream.told();
        told.acknowledged = told.acknowledged.max(position);
        drop(told);
        self.upstream.mischief.note(format!("acknowledged {}", position.get()));
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
}

/// A catalog that nobody keeps.
pub struct Nobody;

impl Observer for Nobody {
    fn durable(&self, _durable: &Durable) {}

    fn base_wanted(&self, _gap: &Gap) {}
}
