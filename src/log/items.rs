//! The log read and proved, item by item: segments become records, and records become messages and transactions.

use std::vec::IntoIter;

use crate::codec::segment::ObjectKind;
use crate::log::assemble::{Assembler, Item};
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::error::LogError;
use crate::log::reader::{Reader, Segment};
use crate::model::{LogId, Position, Record, SourceName};

/// The items of some segments of a log, in order.
pub struct Items {
    reader: Reader,
    assembler: Assembler,
    segment: Option<Segment>,
    records: IntoIter<Record>,
    begun: u64,
}

impl Items {
    /// The items of `entries`, which follow one another. Transactions that commit up to `from` are passed over.
    pub fn new(env: &LogEnv, source: &SourceName, log: LogId, entries: Vec<Entry>, from: Position) -> Self {
        let (reader, assembler) = (Reader::new(env, source, log, entries), Assembler::new(from));
        Self { reader, assembler, segment: None, records: Vec::new().into_iter(), begun: 0 }
    }

    /// Adds what comes of the next record to `items`, two items at most; `false` at the end.
    pub async fn next(&mut self, items: &mut Vec<Item>) -> Result<bool, LogError> {
        loop {
            if let Some(record) = self.records.next() {
                self.assembler.push(record, items)?;
                return Ok(true);
            }
            if let Some(segment) = &mut self.segment
                && let Some(records) = segment.next_frame()?
            {
                self.records = records.into_iter();
                continue;
            }
            self.segment = self.reader.next().await?;
            let Some(segment) = &self.segment else { return Ok(false) };
            self.begun += 1;
            if segment.entry.kind == ObjectKind::Fence
                && let Some(void) = self.assembler.fence()
            {
                items.push(void);
                return Ok(true);
            }
        }
    }

    /// The last position that was complete.
    pub const fn position(&self) -> Position {
        self.assembler.position()
    }

    /// Whether a transaction is open.
    pub const fn is_open(&self) -> bool {
        self.assembler.is_open()
    }

    /// How many segments were begun.
    pub const fn segments(&self) -> u64 {
        self.begun
    }
}
