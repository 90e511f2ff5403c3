//! Records become whole messages and whole transactions in commit order (L2). Pure.
//!
//! What a session or a fence interrupts is void: the transaction comes again whole. A transaction that was complete
//! before is not given twice.

use bytes::{Bytes, BytesMut};

use crate::log::error::LogError;
use crate::model::{Commit, Kind, Piece, Position, Record, Role, Xid};

/// What a reader of a log meets, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A transaction begins. Its items may still turn out void.
    Begin(Xid, Bytes),
    /// A message of the open transaction, or one that stands outside all.
    Message(Bytes),
    /// A message repeated for this segment alone; it describes what follows.
    Context(Bytes),
    /// The open transaction is complete.
    Commit(Commit),
    /// The open transaction is void: forget its items.
    Void,
    /// A session began.
    Session(Bytes),
    /// A gap.
    Gap(Bytes),
    /// Nothing more up to a position.
    Heartbeat(Commit),
}

/// Joins pieces and watches over the order.
#[derive(Debug)]
pub struct Assembler {
    to: Position,
    open: Option<Xid>,
    joining: Option<BytesMut>,
}

impl Assembler {
    /// Begins behind `to`: transactions that commit up to there are passed over.
    pub const fn new(to: Position) -> Self {
        Self { to, open: None, joining: None }
    }

    /// The last position that was complete.
    pub const fn position(&self) -> Position {
        self.to
    }

    /// Whether a transaction is open.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// A fence: whatever was open is void.
    pub fn fence(&mut self) -> Option<Item> {
        self.joining = None;
        self.open.take().map(|_| Item::Void)
    }

    /// Takes the next record; at most two items come of it.
    pub fn push(&mut self, record: Record, items: &mut Vec<Item>) -> Result<(), LogError> {
        let (kind, role) = (record.kind, record.role);
        let Some(wire) = self.join(record)? else { return Ok(()) };
        match (kind, role) {
            (Kind::Session, _) => {
                items.extend(self.fence());
                items.push(Item::Session(wire));
            }
            (Kind::Gap, _) => items.push(Item::Gap(wire)),
            (Kind::Context, Role::Opens(_)) => {}
            (Kind::Context, _) => items.push(Item::Context(wire)),
            (Kind::Heartbeat, Role::Commits(commit)) => {
                self.to = self.to.max(commit.position);
                items.push(Item::Heartbeat(commit));
            }
            (Kind::Heartbeat, _) => return disordered("a heartbeat without a position"),
            (Kind::Wire, Role::Opens(xid)) => {
                items.extend(self.fence());
                self.open = Some(xid);
                items.push(Item::Begin(xid, wire));
            }
            (Kind::Wire, Role::Inside) if self.open.is_some() => items.push(Item::Message(wire)),
            // The end of a transaction that began before we read: its beginning was asked for if it is needed.
            (Kind::Wire, Role::Inside) => {}
            (Kind::Wire, Role::Outside) => items.push(Item::Message(wire)),
            (Kind::Wire, Role::Commits(commit)) => self.commit(commit, items),
        }
        Ok(())
    }

    fn commit(&mut self, commit: Commit, items: &mut Vec<Item>) {
        if self.open.take().is_none() {
            self.to = self.to.max(commit.position);
        } else if commit.position <= self.to {
            items.push(Item::Void);
        } else {
            self.to = commit.position;
            items.push(Item::Commit(commit));
        }
    }

    /// The whole message once its last piece is there.
    fn join(&mut self, record: Record) -> Result<Option<Bytes>, LogError> {
        match (record.piece, self.joining.as_mut()) {
            (Piece::Whole, None) => Ok(Some(record.wire)),
            // A session cuts off what was on its way.
            (Piece::Whole, Some(_)) if matches!(record.kind, Kind::Session | Kind::Gap | Kind::Context) => {
                if record.kind == Kind::Session {
                    self.joining = None;
                }
                Ok(Some(record.wire))
            }
            (Piece::Whole, Some(_)) => disordered("a message inside another"),
            (Piece::First, None) => {
                self.joining = Some(BytesMut::from(&record.wire[..]));
                Ok(None)
            }
            (Piece::First, Some(_)) => disordered("a message begins inside another"),
            (Piece::Middle, Some(joined)) => {
                joined.extend_from_slice(&record.wire);
                Ok(None)
            }
            (Piece::Last, Some(joined)) => {
                joined.extend_from_slice(&record.wire);
                Ok(self.joining.take().map(BytesMut::freeze))
            }
            // Pieces of a message that began before we read.
            (Piece::Middle | Piece::Last, None) if self.open.is_none() => Ok(None),
            (Piece::Middle | Piece::Last, None) => disordered("a piece without its beginning"),
        }
    }
}

const fn disordered<T>(what: &'static str) -> Result<T, LogError> {
    Err(LogError::Disordered { what })
}

#[cfg(test)]
mod tests;
