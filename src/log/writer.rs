//! Encodes, seals and puts segments; several puts may be in flight, and they become durable in order, without a hole.
//!
//! The order of effects: a record is appended, its batch is cut and sealed, the put is sent; once every earlier put has
//! answered too, [`Writer::next_durable`] tells of it. Nothing else may tell a source that it can forget (L1).
//!
//! At most [`IN_FLIGHT_PUTS_MAX`] puts are under way, so that few objects can ever stand beyond a hole. In the slots
//! right behind a fence, where an older writer's late put can still land, each put waits for the one before: else an
//! object of this reign could stand behind a slot that was lost to a late one, look live, and continue nothing.
//!
//! Creating without overwriting forgets what retention deleted: a writer that slept while others wrote, until what they
//! wrote had expired, would find its next slots free. The fence that ended its reign is never deleted and stops it; and
//! after [`SLEPT_AFTER`] without a slot made it asks once more, with the slot made, whether that is still of the log (L5).

mod rival;
mod unlisted;

use std::collections::VecDeque;
use std::time::Duration;

use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;

use crate::codec::segment::{Header, ObjectKind};
use crate::crypto::KeyError;
use crate::crypto::sealed::Sealed;
use crate::crypto::sealing::SealingKey;
use crate::crypto::stream::sha256;
use crate::log::batch::{Batch, Cursor, Cut, CutRule};
use crate::log::context::Context;
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError};
use crate::log::fence::Reign;
use crate::log::latch::Latch;
use crate::log::object::{Renewal, Seal, draft, may_be_own};
use crate::log::writer::rival::{rival, still_ours};
use crate::log::writer::unlisted::Unlisted;
use crate::model::limits::{DATA_KEY_RENEW_AGAIN, IN_FLIGHT_BYTES_MAX, IN_FLIGHT_PUTS_MAX, SEGMENT_BYTES_MAX};
use crate::model::{Epoch, Kind, LogId, ObjectKey, Position, Record, Slot, SourceName, Tick, Timestamp};
use crate::step::Step;
use crate::store::{Op, Put, StoreError, StoreErrorKind, layout, put_own};

/// A segment is durable, and so is everything before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Which.
    pub entry: Entry,
    /// How long its put took.
    pub put_took: Duration,
}

impl Durable {
    /// What may be acknowledged now.
    pub const fn position(&self) -> Position {
        self.entry.to
    }
}

/// Nothing expires that is younger than an hour; a writer that made no slot for so long may have slept longer.
pub const SLEPT_AFTER: Duration = Duration::from_mins(1);

/// A put that was answered.
struct Landed {
    entry: Entry,
    bytes: usize,
    put_took: Duration,
}

/// Writes one log, for one reign.
pub struct Writer {
    env: LogEnv,
    source: SourceName,
    rule: CutRule,
    context: Box<dyn Context>,
    log: LogId,
    epoch: Epoch,
    seal: Seal,
    batch: Batch,
    previous: [u8; 32],
    in_flight: FuturesOrdered<BoxFuture<'static, Result<Landed, LogError>>>,
    in_flight_bytes: usize,
    /// Sealed, and kept back until fewer puts are under way.
    waiting: VecDeque<(ObjectKey, Sealed, Entry)>,
    landed: Slot,
    /// Up to this slot an older writer's late put can land.
    contested: Slot,
    /// When the log was last known to be ours: by both clocks, since either may stand still while a machine does.
    awake: (Tick, Timestamp),
    latch: Latch,
    durable: Position,
    repeat: Vec<Record>,
    unlisted: Unlisted,
    /// The next data key, on its way from a key service.
    renewing: Option<Renewal>,
    /// Until then a key service that did not answer is left alone.
    renew_at: Tick,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("source", &self.source).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Writer {
    /// Writes on where `reign` begins.
    pub fn new(env: &LogEnv, source: &SourceName, reign: Reign, rule: CutRule, context: Box<dyn Context>) -> Self {
        let late = u64::try_from(IN_FLIGHT_PUTS_MAX).unwrap_or(u64::MAX);
        let mut writer = Self {
            env: env.clone(),
            source: source.clone(),
            rule,
            context,
            log: reign.log,
            epoch: reign.epoch,
            seal: reign.seal,
            batch: Batch::new(reign.next, reign.cursor),
            previous: reign.previous,
            in_flight: FuturesOrdered::new(),
            in_flight_bytes: 0,
            waiting: VecDeque::new(),
            landed: reign.next.before(),
            contested: Slot::new(reign.next.get().saturating_add(late)),
            awake: (env.clock.tick(), env.clock.now()),
            latch: Latch::default(),
            durable: reign.cursor.to,
            repeat: Vec::new(),
            unlisted: Unlisted::new(reign.checkpoint, reign.unlisted),
            renewing: None,
            renew_at: Tick::default(),
        };
        writer.context.begin();
        writer
    }

    /// Which log it writes.
    pub const fn log(&self) -> LogId {
        self.log
    }

    /// The number of its reign.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Up to where everything is durable.
    pub const fn durable(&self) -> Position {
        self.durable
    }

    /// Where the log stands once everything appended is durable.
    pub const fn cursor(&self) -> Cursor {
        self.batch.cursor()
    }

    /// Whether more records may be appended without holding more memory than allowed (L8).
    pub fn has_room(&self) -> bool {
        self.in_flight.len() + self.waiting.len() < IN_FLIGHT_PUTS_MAX
            && self.in_flight_bytes + self.batch.held_bytes() + SEGMENT_BYTES_MAX / 2 < IN_FLIGHT_BYTES_MAX
    }

    /// Whether nothing is appended that is not durable.
    pub fn is_idle(&self) -> bool {
        self.batch.is_empty() && self.in_flight.is_empty()
    }

    /// When the records at hand must be cut, even if no more come.
    pub fn due_at(&self) -> Option<Tick> {
        self.batch.due_at(self.rule)
    }

    /// Takes a record; first cuts the segment if it is full.
    ///
    /// A gap goes into the segment of the record before it, however full that is: it tells that the transaction which has
    /// just been completed is not exact, and must be durable before that can be acknowledged (L3).
    pub fn append(&mut self, record: &Record) -> Result<(), LogError> {
        self.latch.check()?;
        if self.batch.is_full(self.rule) && record.kind != Kind::Gap {
            self.cut()?;
        }
        let now = self.env.clock.tick();
        self.context.before(record, &mut self.repeat);
        for repeated in self.repeat.drain(..) {
            self.latch.guard(self.batch.push(&repeated, now))?;
        }
        self.latch.guard(self.batch.push(record, now))
    }

    /// Ends the segment at hand and sends it to the store. Does nothing if it is empty.
    pub fn cut(&mut self) -> Result<(), LogError> {
        self.latch.check()?;
        if self.batch.is_empty() {
            return Ok(());
        }
        self.latch.guard(self.seal.check().map_err(LogError::from))?;
        self.begin_renewal();
        let slot = self.batch.slot();
        let cut = self.batch.cut(slot.next());
        Step::Cut.reached();
        let sealed = self.seal_segment(slot, &cut);
        let (key, sealed, entry) = self.latch.guard(sealed)?;
        Step::Sealed.reached();
        self.context.begin();
        self.in_flight_bytes += sealed.len();
        self.waiting.push_back((key, sealed, entry));
        self.send();
        Ok(())
    }

    /// Begins to fetch a new data key if one is due; sealing goes on under the one at hand.
    fn begin_renewal(&mut self) {
        if self.renewing.is_none() && self.env.clock.tick() >= self.renew_at {
            self.renewing = self.seal.renewal();
        }
    }

    /// An outage passes, and the data key at hand serves until then; whoever disabled a key or took a right away meant
    /// it, and what would be sealed on could stay closed for ever.
    fn renewed(&mut self, renewed: Result<SealingKey, KeyError>) -> Result<(), LogError> {
        match renewed {
            Ok(key) => self.seal.renew(key),
            Err(error) if error.is_outage() => self.renew_at = self.env.clock.tick().after(DATA_KEY_RENEW_AGAIN),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Begins as many puts as may be under way.
    fn send(&mut self) {
        let at_once = if self.landed < self.contested { 1 } else { IN_FLIGHT_PUTS_MAX };
        while self.in_flight.len() < at_once
            && let Some((key, sealed, entry)) = self.waiting.pop_front()
        {
            self.in_flight.push_back(self.put(key, sealed, entry).boxed());
        }
    }

    fn seal_segment(&mut self, slot: Slot, cut: &Cut) -> Result<(ObjectKey, Sealed, Entry), LogError> {
        let key = layout::segment(&self.source, slot);
        let (subjects, marked) = self.context.end();
        let header = Header {
            flags: cut.flags().with(marked),
            slot,
            from: cut.begins.to,
            to: cut.ends.to,
            from_time: cut.begins.to_time,
            to_time: cut.ends.to_time,
            needs_from: cut.needs_from(slot),
            previous: self.previous,
            ..draft(if cut.only_heartbeats { ObjectKind::Heartbeat } else { ObjectKind::Data })
        };
        let wrong = |kind: crate::log::error::ObjectErrorKind| ObjectError { key: key.clone(), kind };
        let sealed = self.seal.seal(&header, &cut.frames, |places| cut.footer(places, subjects).encode());
        let sealed = sealed.map_err(|error| wrong(error.into()))?;
        let (header, _) = Header::decode(sealed.as_bytes()).map_err(|error| wrong(error.into()))?;
        self.previous = sha256(sealed.as_bytes());
        let bytes = u64::try_from(sealed.len()).unwrap_or(u64::MAX);
        let entry = Entry { hash: Some(self.previous), bytes, ..Entry::of_header(&header) };
        Ok((key, sealed, entry))
    }

    fn put(
        &self,
        key: ObjectKey,
        sealed: Sealed,
        entry: Entry,
    ) -> impl Future<Output = Result<Landed, LogError>> + use<> {
        let (env, source, epoch, awake) = (self.env.clone(), self.source.clone(), self.epoch, self.awake);
        async move {
            let begun = env.clock.tick();
            match put_own(&*env.store, &key, &sealed).await? {
                Put::Ours => {
                    still_ours(&env, source, entry.slot, awake).await?;
                    let put_took = env.clock.tick().since(begun);
                    Ok(Landed { entry, bytes: sealed.len(), put_took })
                }
                Put::Taken(theirs) if may_be_own(&theirs, &sealed) => {
                    // Read back wrong: not a rival, and no reason to stop for good.
                    Err(StoreError::new(Op::Get, &key, StoreErrorKind::Unanswered).into())
                }
                Put::Taken(theirs) => Err(rival(&theirs, &key, source, epoch)),
            }
        }
    }

    /// Waits for the next segment to be durable with everything before it. For ever if nothing is in flight; cancel-safe.
    pub async fn next_durable(&mut self) -> Result<Durable, LogError> {
        self.latch.check()?;
        loop {
            let landed = tokio::select! {
                biased;
                // First, or a store that answers at once would never let it go on.
                Some(ended) = wait(self.unlisted.putting()) => {
                    self.unlisted.ended(ended, self.env.clock.tick());
                    continue;
                }
                Some(renewed) = wait(&mut self.renewing) => {
                    self.renewing = None;
                    let taken = self.renewed(renewed);
                    self.latch.guard(taken)?;
                    continue;
                }
                Some(landed) = self.in_flight.next() => landed,
                else => std::future::pending().await,
            };
            let landed = self.latch.guard(landed)?;
            self.in_flight_bytes -= landed.bytes;
            self.landed = landed.entry.slot;
            self.awake = (self.env.clock.tick(), self.env.clock.now());
            self.send();
            self.durable = landed.entry.to;
            self.unlisted.push(landed.entry.clone());
            self.unlisted.begin(&self.env, &self.source, &mut self.seal);
            return Ok(Durable { entry: landed.entry, put_took: landed.put_took });
        }
    }

    /// Why the store began to take no checkpoints: told once for each time that it does. Capture goes on (L9).
    pub const fn checkpoint_trouble(&mut self) -> Option<StoreError> {
        self.unlisted.trouble()
    }

    /// Cuts and waits until everything appended is durable; gives what became durable.
    pub async fn flush(&mut self) -> Result<Vec<Durable>, LogError> {
        self.cut()?;
        let mut done = Vec::new();
        while !self.in_flight.is_empty() {
            done.push(self.next_durable().await?);
        }
        Ok(done)
    }

    /// The latest commit time of the log.
    pub const fn latest_commit(&self) -> Timestamp {
        self.batch.cursor().to_time
    }
}

async fn wait<T>(future: &mut Option<BoxFuture<'static, T>>) -> Option<T> {
    match future {
        Some(future) => Some(future.await),
        None => None,
    }
}

#[cfg(test)]
mod tests;
