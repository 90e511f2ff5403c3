//! The book of truth beside the system: what the store gives back, to be compared with what happened.

use crate::chaos::retention::reads_from;
use crate::chaos::upstream::Happened;
use crate::codec::segment::ObjectKind;
use crate::log::{Assembler, History, Item, LogEnv, LogError, Reader};
use crate::model::{Position, Slot, SourceName};

/// Every whole transaction behind `point` that a new machine finds in a store, in order, and the position up to which it
/// knows. What is before the object from which `point` leads on is not read: it may have expired.
pub async fn restored(
    env: &LogEnv,
    source: &SourceName,
    point: Position,
) -> Result<(Vec<Happened>, Position), LogError> {
    let history = History::load(env, source).await?;
    if let Some(slot) = history.missing.first() {
        return Err(LogError::Missing { key: crate::store::layout::segment(source, *slot) });
    }
    let Some(log) = history.log else { return Ok((Vec::new(), Position::ZERO)) };
    let live: Vec<_> = history.live().collect();
    let from = if point == Position::ZERO { Slot::NONE } else { reads_from(&live, point) };
    let read = live.into_iter().filter(|entry| entry.slot >= from).cloned().collect();
    let mut reader = Reader::new(env, source, log, read);
    let mut assembler = Assembler::new(point);
    let mut told = Teller::default();
    let mut items = Vec::new();
    while let Some(mut segment) = reader.next().await? {
        if segment.header().kind == ObjectKind::Fence {
            items.extend(assembler.fence());
        }
        while let Some(records) = segment.next_frame()? {
            for record in records {
                assembler.push(record, &mut items)?;
            }
        }
        items.drain(..).for_each(|item| told.take(item));
    }
    Ok((told.whole, assembler.position()))
}

#[derive(Default)]
struct Teller {
    whole: Vec<Happened>,
    open: Option<Happened>,
}

impl Teller {
    fn take(&mut self, item: Item) {
        match item {
            Item::Begin(xid, begin) => {
                let commit = crate::model::Commit { position: Position::ZERO, time: crate::model::Timestamp::MIN };
                self.open = Some(Happened { xid, messages: vec![begin], commit });
            }
            Item::Message(message) => {
                if let Some(open) = &mut self.open {
                    open.messages.push(message);
                }
            }
            Item::Commit(commit) => self.whole.extend(self.open.take().map(|open| Happened { commit, ..open })),
            Item::Void => self.open = None,
            Item::Context(_) | Item::Session(_) | Item::Gap(_) | Item::Heartbeat(_) => {}
        }
    }
}
