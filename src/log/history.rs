//! What a store holds of one log: found from the store alone, by checkpoints and the listing of the tail (L7).
//!
//! ```text
//!   boundary ─▶ checkpoints ─▶ headers of the tail ─▶ first hole │ objects beyond it
//! ```
//! At most [`IN_FLIGHT_PUTS_MAX`] − 1 objects can stand beyond the hole that a dying writer leaves, because no more
//! puts are in flight. Where more stand beyond it the hole is no tail: an object is missing (L4), and is named. So it is
//! where an epoch rises beyond a hole: a fence goes into the first hole, so there was none when it was written.

mod checkpoints;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt};

use crate::codec::segment::{Header, ObjectKind};
use crate::log::boundary;
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError, ObjectErrorKind};
use crate::log::history::checkpoints::checkpoints;
use crate::log::object::{self, Object};
use crate::model::limits::IN_FLIGHT_PUTS_MAX;
use crate::model::{Epoch, LogId, ObjectKey, Position, Slot, SourceName};
use crate::store::layout::{self, Named};
use crate::store::{Keys, Part, StoreError};

/// So many objects are never missing: what stands farther behind was put there by somebody else, and must not make the
/// list of what is missing grow without a bound (L8).
const MISSING_SLOTS_MAX: u64 = 1 << 20;
/// Headers that are read at once: where no checkpoint covers the tail, it may be long and the store far away.
const HEADERS_AT_ONCE: usize = 16;

/// A stretch of history that was captured and is lost: an object of it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Which object.
    pub slot: Slot,
    /// What completes up to here stands before it.
    pub until: Position,
    /// From here on what completes can be read again: every transaction that the object may hold a part of has ended.
    pub place: Position,
}

/// The objects of one log, as the store holds them.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Which log; none if the store holds nothing of it.
    pub log: Option<LogId>,
    /// The objects up to the first hole, void ones too, in order of their slots.
    pub entries: Vec<Entry>,
    /// Objects beyond the hole at the end.
    pub beyond: Vec<Entry>,
    /// Slots between the first and the last where an object is missing.
    pub missing: Vec<Slot>,
    /// The slot of the newest trusted checkpoint.
    pub checkpoint: Option<Slot>,
    /// The first slot that must be there.
    pub boundary: Option<Slot>,
    /// Set where this process may not open the checkpoints: `entries` then begin at the end of the newest one.
    pub blind: bool,
}

impl History {
    /// Finds the log of `source`. What expires while it is looked at is not missing.
    pub async fn load(env: &LogEnv, source: &SourceName) -> Result<Self, LogError> {
        let mut boundary = boundary::newest(env, source).await?;
        loop {
            let found = Self::look(env, source, boundary.as_ref()).await;
            if found.as_ref().is_ok_and(|history| history.missing.is_empty()) {
                return found;
            }
            match boundary::newest(env, source).await {
                Ok(now) if now != boundary => boundary = now,
                Ok(_) | Err(_) => return found,
            }
        }
    }

    async fn look(env: &LogEnv, source: &SourceName, boundary: Option<&(ObjectKey, Slot)>) -> Result<Self, LogError> {
        let mut history = Self::default();
        let first = history.read_boundary(env, boundary).await?;
        history.trust_checkpoints(env, source, first).await?;
        history.read_tail(env, source, first).await?;
        Ok(history)
    }

    /// Finds the log of `source` from entries that were known before, and finds the same as [`History::load`]: they are
    /// trusted by the rule for checkpoints, what is behind them is read, and where `load` would list names they are
    /// listed. If the log does not confirm them, or its checkpoints know more, that is what is called. Which checkpoint
    /// is the newest is not kept: a writer needs that, and uses `load`.
    pub async fn load_from(env: &LogEnv, source: &SourceName, mut known: Vec<Entry>) -> Result<Self, LogError> {
        let mut history = Self::default();
        let boundary = boundary::newest(env, source).await?;
        let Ok(first) = history.read_boundary(env, boundary.as_ref()).await else {
            return Self::load(env, source).await;
        };
        known.retain(|entry| entry.slot >= first);
        // The last one's hash is what the log confirms; what stands behind it is listed again.
        let proved = known.iter().rposition(|entry| !entry.void && entry.hash.is_some());
        known.truncate(proved.map_or(0, |at| at + 1));
        let listed_from = checkpoints(env, source).await?.pop().map_or(first.before(), |at| at.max(first.before()));
        let reaches = known.last().is_some_and(|last| last.slot >= listed_from);
        if !reaches || !contiguous(first.before(), &known) {
            return Self::load(env, source).await;
        }
        let confirmed = match history.confirmed(env, source, &known).await {
            Ok(true) => still_there(env, source, listed_from, &known).await,
            no => no,
        };
        match confirmed {
            Ok(true) => {}
            Err(error) if error.is_store_trouble() => return Err(error),
            Ok(false) | Err(_) => return Self::load(env, source).await,
        }
        history.entries = known;
        match history.read_tail(env, source, first).await {
            Ok(()) if history.missing.is_empty() => Ok(history),
            Err(error) if error.is_store_trouble() => Err(error),
            Ok(()) | Err(_) => Self::load(env, source).await,
        }
    }

    /// The objects that count, in order.
    pub fn live(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.void)
    }

    /// The last object that counts.
    pub fn last(&self) -> Option<&Entry> {
        self.live().next_back()
    }

    /// What is lost with the objects that are missing, in their order.
    pub fn holes(&self) -> Vec<Hole> {
        let live: Vec<_> = self.live().collect();
        let hole = |slot: Slot| {
            let (before, behind) = live.split_at(live.partition_point(|entry| entry.slot < slot));
            let until = before.last().map(|entry| entry.to).unwrap_or_default();
            let anew = behind.iter().find(|entry| entry.needs_from > slot);
            Hole { slot, until, place: anew.map_or(Position::new(u64::MAX), |entry| entry.from) }
        };
        self.missing.iter().map(|slot| hole(*slot)).collect()
    }

    /// The highest epoch that any object shows, beyond the hole too.
    pub fn epoch(&self) -> Epoch {
        let all = self.entries.iter().chain(&self.beyond);
        all.map(|entry| entry.epoch).max().unwrap_or_default()
    }

    /// The first hole: where a new writer's fence goes.
    pub fn hole(&self) -> Slot {
        let first = self.boundary.unwrap_or(Slot::FIRST);
        self.entries.last().map_or(first, |entry| entry.slot.next())
    }

    async fn read_boundary(&mut self, env: &LogEnv, newest: Option<&(ObjectKey, Slot)>) -> Result<Slot, LogError> {
        let Some((key, slot)) = newest else { return Ok(Slot::FIRST) };
        let header = match self.open(env, key).await {
            Ok(object) => boundary::read(object)?,
            Err(error) if error.is_out_of_reach() => self.clear(env, key, ObjectKind::Boundary).await?,
            Err(error) => return Err(error),
        };
        if header.slot != *slot {
            return Err(ObjectError { key: key.clone(), kind: ObjectErrorKind::Misplaced { what: "slot" } }.into());
        }
        self.boundary = Some(header.slot);
        Ok(header.slot)
    }

    async fn open(&mut self, env: &LogEnv, key: &ObjectKey) -> Result<Object, LogError> {
        let bytes = env.store.get(key, Part::Whole).await?.bytes();
        let object = Object::open(env, key, bytes).await?;
        self.belongs(key, &object.header)?;
        Ok(object)
    }

    /// An object of another log in this log's folder is foreign.
    fn belongs(&mut self, key: &ObjectKey, header: &Header) -> Result<(), ObjectError> {
        let log = LogId::from_bytes(header.stream);
        if *self.log.get_or_insert(log) == log {
            Ok(())
        } else {
            let kind = ObjectErrorKind::Misplaced { what: "log" };
            Err(ObjectError { key: key.clone(), kind })
        }
    }

    /// Whether the next live object continues where the checkpoint ends, or the last one is what it says.
    async fn confirmed(&mut self, env: &LogEnv, source: &SourceName, entries: &[Entry]) -> Result<bool, LogError> {
        let Some(last) = entries.iter().rev().find(|entry| !entry.void) else { return Ok(false) };
        let end = entries.last().map_or(last.slot, |entry| entry.slot);
        let mut keys = Keys::new(&*env.store, layout::segments_prefix(source), Some(layout::segment(source, end)));
        let mut seen = last.epoch;
        while let Some(key) = keys.next().await? {
            let Some(Named::Segment { .. }) = layout::parse(&key) else { continue };
            let header = self.header(env, &key).await?;
            if header.epoch >= seen {
                return Ok(last.hash == Some(header.previous));
            }
            seen = seen.max(header.epoch);
        }
        let key = layout::segment(source, last.slot);
        let bytes = env.store.get(&key, Part::Whole).await?;
        if last.hash != Some(crate::crypto::stream::sha256(bytes.as_bytes())) {
            return Ok(false);
        }
        let (header, _) =
            Header::decode(bytes.as_bytes()).map_err(|error| ObjectError { key: key.clone(), kind: error.into() })?;
        self.belongs(&key, &header)?;
        Ok(true)
    }

    async fn header(&mut self, env: &LogEnv, key: &ObjectKey) -> Result<Header, LogError> {
        let header = object::header(&*env.store, key).await??;
        self.belongs(key, &header)?;
        Ok(header)
    }

    async fn read_tail(&mut self, env: &LogEnv, source: &SourceName, first: Slot) -> Result<(), LogError> {
        let after = self.entries.last().map_or(first.before(), |entry| entry.slot);
        let mut keys = Keys::new(&*env.store, layout::segments_prefix(source), Some(layout::segment(source, after)));
        let mut headers = Vec::new();
        while let Some(key) = keys.next().await? {
            let Some(Named::Segment { slot, .. }) = layout::parse(&key) else { continue };
            headers.push(header(env, slot, key));
        }
        let mut headers = stream::iter(headers).buffered(HEADERS_AT_ONCE);
        let mut tail = BTreeMap::new();
        let mut links = BTreeMap::new();
        while let Some((slot, key, header)) = headers.next().await {
            let header = header??;
            self.belongs(&key, &header)?;
            if header.slot != slot {
                return Err(ObjectError { key, kind: ObjectErrorKind::Misplaced { what: "slot" } }.into());
            }
            links.insert(slot, header.previous);
            tail.insert(slot, Entry::of_header(&header));
        }
        self.place(source, tail, after)?;
        if let (Some(boundary), true) = (self.boundary, self.entries.is_empty()) {
            // A log that begins anew here would forget where it stood.
            return Err(LogError::Missing { key: layout::segment(source, boundary) });
        }
        self.mark_void(&links);
        Ok(())
    }

    /// Sorts the tail into what stands before the hole at the end, what beyond, and what is missing between.
    fn place(&mut self, source: &SourceName, tail: BTreeMap<Slot, Entry>, after: Slot) -> Result<(), LogError> {
        let last = tail.keys().next_back().copied().unwrap_or(after);
        let in_flight = u64::try_from(IN_FLIGHT_PUTS_MAX).unwrap_or(u64::MAX);
        // What is certain to have been there: what a boundary names, and all in front of a fence.
        let certain = self.last_rise(&tail).max(self.boundary.map_or(Slot::NONE, Slot::next));
        let mut expected = after.next();
        for (slot, entry) in tail {
            if slot.get() - expected.get() > MISSING_SLOTS_MAX {
                let kind = ObjectErrorKind::Misplaced { what: "slot; it stands far behind the end of the log" };
                return Err(ObjectError { key: layout::segment(source, slot), kind }.into());
            }
            while expected < slot && (expected < certain || last.get() - expected.get() >= in_flight) {
                self.missing.push(expected);
                expected = expected.next();
            }
            if expected == slot {
                self.entries.push(entry);
                expected = expected.next();
            } else {
                self.beyond.push(entry);
            }
        }
        Ok(())
    }

    /// The last slot where the epoch rises; [`Slot::NONE`] if it rises nowhere.
    fn last_rise(&self, tail: &BTreeMap<Slot, Entry>) -> Slot {
        let mut reign = self.entries.iter().map(|entry| entry.epoch).max().unwrap_or_default();
        let mut found = Slot::NONE;
        for entry in tail.values().filter(|entry| entry.kind == ObjectKind::Fence) {
            if entry.epoch > reign {
                (reign, found) = (entry.epoch, entry.slot);
            }
        }
        found
    }

    /// Epochs never fall along the slots: what has a lower one than an earlier slot is void. What counts tells the hash
    /// of what it continues.
    fn mark_void(&mut self, links: &BTreeMap<Slot, [u8; 32]>) {
        let mut reign = Epoch::default();
        let mut before: Option<&mut Entry> = None;
        for entry in &mut self.entries {
            entry.void = entry.epoch < reign;
            reign = reign.max(entry.epoch);
            if entry.void {
                continue;
            }
            // Across a missing object the link is the missing one's hash.
            let follows = |before: &Entry| !self.missing.iter().any(|slot| (before.slot..entry.slot).contains(slot));
            if let (Some(before), Some(link)) = (before.filter(|before| follows(before)), links.get(&entry.slot)) {
                before.hash = Some(*link);
            }
            before = Some(entry);
        }
    }
}

/// The header of a segment, and which one's it is.
fn header(
    env: &LogEnv,
    slot: Slot,
    key: ObjectKey,
) -> impl Future<Output = (Slot, ObjectKey, Result<Result<Header, ObjectError>, StoreError>)> + use<> {
    let store = Arc::clone(&env.store);
    async move {
        let header = object::header(&*store, &key).await;
        (slot, key, header)
    }
}

/// Whether what is known behind `after` has its objects, by their names: one that is missing is to be named.
async fn still_there(env: &LogEnv, source: &SourceName, after: Slot, known: &[Entry]) -> Result<bool, LogError> {
    let mut keys = Keys::new(&*env.store, layout::segments_prefix(source), Some(layout::segment(source, after)));
    for entry in known.iter().filter(|entry| entry.slot > after) {
        if keys.next().await? != Some(layout::segment(source, entry.slot)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether `entries` are the slots right after `before`, none left out.
pub(crate) fn contiguous(before: Slot, entries: &[Entry]) -> bool {
    let mut before = before;
    entries.iter().all(|entry| {
        let follows = entry.slot == before.next();
        before = entry.slot;
        follows
    }) && !entries.is_empty()
}

#[cfg(test)]
mod tests;
