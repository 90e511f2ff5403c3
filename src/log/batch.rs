//! Collects records into packed frames and says when a segment is to be cut. Pure: it holds no store and no clock.

use std::time::Duration;

use crate::codec::footer::{Footer, FrameEntry, Subject};
use crate::codec::frame::{PLAIN_BYTES_MAX, Packed, pack};
use crate::codec::gap::Gap;
use crate::codec::record;
use crate::codec::segment::Flags;
use crate::crypto::stream::FrameAt;
use crate::log::error::LogError;
use crate::model::{Kind, Position, Record, Role, Slot, Tick, Timestamp, Xid};

/// When a segment is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutRule {
    /// At this many sealed bytes.
    pub segment_bytes: usize,
    /// Or this long after its first record, whichever is first.
    pub segment_age: Duration,
}

/// Where a log stands: it moves on with every record and goes from segment to segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The last position that is complete.
    pub to: Position,
    /// The latest commit time.
    pub to_time: Timestamp,
    /// The open transaction and the slot that it began in.
    pub open: Option<(Xid, Slot)>,
}

impl Cursor {
    /// The beginning of a log.
    pub const START: Self = Self { to: Position::ZERO, to_time: Timestamp::MIN, open: None };
}

/// A frame of a batch, and where the log stood at its end.
#[derive(Debug)]
struct Filled {
    packed: Packed,
    to: Position,
    to_time: Timestamp,
    transactions: u32,
}

/// The records of one segment to be.
#[derive(Debug)]
pub struct Batch {
    slot: Slot,
    begins: Cursor,
    now: Cursor,
    plain: Vec<u8>,
    plain_transactions: u32,
    filled: Vec<Filled>,
    packed_bytes: usize,
    first_at: Option<Tick>,
    only_heartbeats: bool,
    summary: Footer,
}

/// A batch that was cut: everything that a segment is made of but its seal.
#[derive(Debug)]
pub struct Cut {
    /// Where the log stood before it.
    pub begins: Cursor,
    /// Where it stands behind it.
    pub ends: Cursor,
    /// Whether it holds nothing but heartbeats.
    pub only_heartbeats: bool,
    /// Its frames.
    pub frames: Vec<Packed>,
    entries: Vec<FrameEntry>,
    summary: Footer,
}

impl Batch {
    /// An empty batch that will become the segment at `slot`.
    pub fn new(slot: Slot, cursor: Cursor) -> Self {
        Self {
            slot,
            begins: cursor,
            now: cursor,
            plain: Vec::with_capacity(PLAIN_BYTES_MAX),
            plain_transactions: 0,
            filled: Vec::new(),
            packed_bytes: 0,
            first_at: None,
            only_heartbeats: true,
            summary: Footer::default(),
        }
    }

    /// Whether it holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.first_at.is_none()
    }

    /// Bytes that it holds in memory, roughly.
    pub const fn held_bytes(&self) -> usize {
        self.packed_bytes + self.plain.len()
    }

    /// Where the log stands at its end.
    pub const fn cursor(&self) -> Cursor {
        self.now
    }

    /// When it is to be cut even if no record comes.
    pub fn due_at(&self, rule: CutRule) -> Option<Tick> {
        self.first_at.map(|first| first.after(rule.segment_age))
    }

    /// Whether it is to be cut now.
    pub const fn is_full(&self, rule: CutRule) -> bool {
        self.held_bytes() >= rule.segment_bytes
    }

    /// Takes a record.
    pub fn push(&mut self, record: &Record, now: Tick) -> Result<(), LogError> {
        if self.plain.len() + record::encoded_bytes(record) > PLAIN_BYTES_MAX {
            self.close_frame();
        }
        self.account(record)?;
        record::encode(record, &mut self.plain);
        self.first_at.get_or_insert(now);
        self.only_heartbeats &= record.kind == Kind::Heartbeat;
        self.summary.records += 1;
        Ok(())
    }

    fn account(&mut self, record: &Record) -> Result<(), LogError> {
        let disordered = |what| Err(LogError::Disordered { what });
        match (record.kind, record.role) {
            (Kind::Context, _) => {}
            (Kind::Session, _) => self.now.open = None,
            (Kind::Gap, _) => match Gap::decode(&record.wire) {
                Ok(gap) => self.summary.gaps.push(gap),
                Err(_) => return disordered("a gap record that is none"),
            },
            (_, Role::Opens(xid)) => {
                if self.now.open.is_some() {
                    return disordered("a transaction begins inside another");
                }
                self.now.open = Some((xid, self.slot));
            }
            (_, Role::Inside | Role::Outside) => {}
            (_, Role::Commits(commit)) => {
                if commit.position <= self.now.to {
                    return disordered("a position that does not grow");
                }
                self.now.to = commit.position;
                // A heartbeat moves the position alone: what it says of time is not a commit's.
                if record.kind == Kind::Wire {
                    self.complete(commit.time);
                }
            }
        }
        Ok(())
    }

    fn complete(&mut self, time: Timestamp) {
        self.now.to_time = self.now.to_time.max(time);
        if let Some((xid, _)) = self.now.open.take() {
            let first = self.summary.transactions == 0;
            self.summary.xid_least = if first { xid } else { self.summary.xid_least.min(xid) };
            self.summary.xid_most = self.summary.xid_most.max(xid);
        }
        self.summary.transactions += 1;
        self.plain_transactions += 1;
    }

    fn close_frame(&mut self) {
        if self.plain.is_empty() {
            return;
        }
        let packed = pack(&self.plain);
        self.plain.clear();
        self.packed_bytes += packed.body.len();
        let transactions = std::mem::take(&mut self.plain_transactions);
        self.filled.push(Filled { packed, to: self.now.to, to_time: self.now.to_time, transactions });
    }

    /// Ends the batch; the next one will become the segment at `next`.
    pub fn cut(&mut self, next: Slot) -> Cut {
        self.close_frame();
        let done = std::mem::replace(self, Self::new(next, self.now));
        let entry = |filled: &Filled| FrameEntry {
            at: 0,
            sealed_bytes: 0,
            plain_bytes: filled.packed.plain_bytes,
            to: filled.to,
            to_time: filled.to_time,
            transactions: filled.transactions,
        };
        Cut {
            begins: done.begins,
            ends: done.now,
            only_heartbeats: done.only_heartbeats,
            entries: done.filled.iter().map(entry).collect(),
            frames: done.filled.into_iter().map(|filled| filled.packed).collect(),
            summary: done.summary,
        }
    }

    /// The slot that it will become. A batch that holds nothing can be moved.
    pub const fn slot(&self) -> Slot {
        self.slot
    }
}

impl Cut {
    /// What its header says of what it begins and ends in, and holds.
    pub fn flags(&self) -> Flags {
        let flag = |set: bool, flag| if set { flag } else { Flags::default() };
        flag(self.begins.open.is_some(), Flags::STARTS_INSIDE)
            .with(flag(self.ends.open.is_some(), Flags::ENDS_INSIDE))
            .with(flag(!self.summary.gaps.is_empty(), Flags::HOLDS_GAP))
    }

    /// Where to begin reading so that everything that completes here is whole.
    pub fn needs_from(&self, slot: Slot) -> Slot {
        self.begins.open.map_or(slot, |(_, began)| began)
    }

    /// The footer, once the places of the frames are known.
    pub fn footer(&self, places: &[FrameAt], subjects: Vec<Subject>) -> Footer {
        let frames = self.entries.iter().zip(places);
        let frames = frames.map(|(entry, place)| FrameEntry { at: place.at, sealed_bytes: place.bytes, ..*entry });
        Footer { frames: frames.collect(), subjects, ..self.summary.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Commit;
    use bytes::Bytes;

    const RULE: CutRule = CutRule { segment_bytes: 1000, segment_age: Duration::from_secs(1) };

    fn record(role: Role, bytes: usize) -> Record {
        Record::wire(role, Bytes::from(vec![0; bytes]))
    }

    fn commit(position: u64, time: i64) -> Role {
        Role::Commits(Commit { position: Position::new(position), time: Timestamp::from_micros(time) })
    }

    #[test]
    fn a_transaction_that_spans_segments_is_read_from_where_it_began() {
        let mut batch = Batch::new(Slot::new(5), Cursor::START);
        let tick = Tick::default();
        batch.push(&record(Role::Opens(Xid::new(9)), 10), tick).unwrap();
        let first = batch.cut(Slot::new(6));
        assert!(first.flags().has(Flags::ENDS_INSIDE) && first.ends.to == Position::ZERO, "nothing is complete yet");
        batch.push(&record(commit(100, 7), 10), tick).unwrap();
        let second = batch.cut(Slot::new(7));
        assert_eq!((second.needs_from(Slot::new(6)), second.ends.to), (Slot::new(5), Position::new(100)));
        assert_eq!((second.summary.xid_least, second.summary.xid_most), (Xid::new(9), Xid::new(9)));
    }

    #[test]
    fn commit_times_that_step_back_leave_the_maximum_where_it_was() {
        let mut batch = Batch::new(Slot::FIRST, Cursor::START);
        for (position, time) in [(10, 50), (20, 40), (30, 60)] {
            batch.push(&record(Role::Opens(Xid::new(position)), 1), Tick::default()).unwrap();
            batch.push(&record(commit(position, time), 1), Tick::default()).unwrap();
        }
        let cut = batch.cut(Slot::new(2));
        assert_eq!(cut.ends.to_time, Timestamp::from_micros(60));
        assert_eq!(cut.summary.transactions, 3);
    }

    #[test]
    fn records_that_no_source_sends_are_refused() {
        let mut batch = Batch::new(Slot::FIRST, Cursor { to: Position::new(50), ..Cursor::START });
        assert!(batch.push(&record(commit(50, 1), 1), Tick::default()).is_err(), "a commit that was there before");
        batch.push(&record(Role::Opens(Xid::new(1)), 1), Tick::default()).unwrap();
        assert!(batch.push(&record(Role::Opens(Xid::new(2)), 1), Tick::default()).is_err(), "two at once");
    }

    #[test]
    fn age_counts_from_the_first_record() {
        let mut batch = Batch::new(Slot::FIRST, Cursor::START);
        assert_eq!(batch.due_at(RULE), None, "an empty batch is never due");
        let at = Tick::from_start(Duration::from_secs(3));
        batch.push(&record(Role::Outside, 1), at).unwrap();
        batch.push(&record(Role::Outside, 1), at.after(Duration::from_millis(900))).unwrap();
        assert_eq!(batch.due_at(RULE), Some(at.after(Duration::from_secs(1))));
    }
}
