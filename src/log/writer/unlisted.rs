//! Checkpoints as a writer makes them: what became durable waits until there is enough of it for one.
//!
//! A checkpoint lists no slot that is missing (L4). Where an object was lost the list ends, and the next one begins anew
//! behind it; what is too little for a checkpoint of its own is read by its headers from then on. So it is while the store
//! takes none: then only so much waits for one (L8), and what gives way is read by its headers.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::log::checkpoint::Checkpoint;
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::object::Seal;
use crate::model::limits::{CHECKPOINT_AGAIN, CHECKPOINT_EVERY_SLOTS, CHECKPOINT_SLOTS_MAX};
use crate::model::{Slot, SourceName, Tick};
use crate::step::Step;
use crate::store::{StoreError, layout, put_own};

/// How the put of a checkpoint ended, and where that checkpoint stands.
pub(super) type Ended = (Slot, Result<(), StoreError>);

/// What no checkpoint lists yet.
pub(super) struct Unlisted {
    /// Where the newest checkpoint stands.
    newest: Slot,
    entries: Vec<Entry>,
    /// What may wait: what stood there from the beginning, and a checkpoint's worth more.
    most: usize,
    putting: Option<BoxFuture<'static, Ended>>,
    /// Whether the store did not take the last one.
    failing: bool,
    /// Why it began to fail, until somebody has been told.
    untold: Option<StoreError>,
    /// Before that the store is not given another one.
    again_at: Tick,
}

impl Unlisted {
    /// What stands behind the checkpoint at `newest`.
    pub(super) fn new(newest: Slot, entries: Vec<Entry>) -> Self {
        let most = entries.len().saturating_add(CHECKPOINT_SLOTS_MAX);
        Self { newest, entries, most, putting: None, failing: false, untold: None, again_at: Tick::default() }
    }

    /// Takes an object that became durable.
    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
        if self.entries.len() > self.most {
            self.entries.drain(..CHECKPOINT_SLOTS_MAX / 2);
        }
    }

    /// Why the store began to take no checkpoints; told once for each time that it does.
    pub(super) const fn trouble(&mut self) -> Option<StoreError> {
        self.untold.take()
    }

    /// The put that is under way; `None` if there is none.
    pub(super) const fn putting(&mut self) -> &mut Option<BoxFuture<'static, Ended>> {
        &mut self.putting
    }

    /// Seals a checkpoint and begins to put it, if one is due and none is under way.
    pub(super) fn begin(&mut self, env: &LogEnv, source: &SourceName, seal: &mut Seal) {
        if self.putting.is_some() || env.clock.tick() < self.again_at {
            return;
        }
        let Some((anew, checkpoint)) = self.next() else { return };
        let (slot, key) = (checkpoint.slot(), layout::checkpoint(source, checkpoint.slot()));
        let sealed = if anew { checkpoint.seal_anew(seal) } else { checkpoint.seal(seal) };
        if let Ok(sealed) = sealed {
            let store = Arc::clone(&env.store);
            // Taken by a checkpoint of the same slots: as good as ours.
            let put = async move { (slot, put_own(&*store, &key, &sealed).await.map(|_whose| ())) };
            self.putting = Some(put.boxed());
        }
    }

    /// The put ended at `now`. A checkpoint is only a cache: one that failed is tried again a while later.
    pub(super) fn ended(&mut self, (slot, put): Ended, now: Tick) {
        self.putting = None;
        match put {
            Ok(()) => {
                Step::Checkpoint.reached();
                self.newest = slot;
                self.entries.retain(|entry| entry.slot > slot);
                self.most = self.entries.len().saturating_add(CHECKPOINT_SLOTS_MAX);
                (self.failing, self.untold) = (false, None);
            }
            Err(error) => {
                self.again_at = now.after(CHECKPOINT_AGAIN);
                if !self.failing {
                    (self.failing, self.untold) = (true, Some(error));
                }
            }
        }
    }

    /// The next checkpoint, if there is enough for one, and whether it begins behind a lost object.
    fn next(&mut self) -> Option<(bool, Checkpoint)> {
        let least = usize::try_from(CHECKPOINT_EVERY_SLOTS).unwrap_or(usize::MAX);
        loop {
            let run = self.run();
            // The next object continues the last one that is listed: its hash must be known, or nobody could confirm it.
            let room = self.entries.get(..run.min(CHECKPOINT_SLOTS_MAX)).unwrap_or_default();
            let listed = room.iter().rposition(|entry| !entry.void && entry.hash.is_some()).map_or(0, |last| last + 1);
            if listed >= least {
                let entries = self.entries.get(..listed).unwrap_or_default().to_vec();
                let previous = entries.first().map_or(self.newest, |first| first.slot.before());
                return Some((previous != self.newest, Checkpoint { previous, entries }));
            }
            if run == self.entries.len() {
                return None;
            }
            self.entries.drain(..run);
        }
    }

    /// How many entries stand at the beginning without a slot left out.
    fn run(&self) -> usize {
        let breaks = |pair: &[Entry]| matches!(pair, [one, next] if next.slot != one.slot.next());
        self.entries.windows(2).position(breaks).map_or(self.entries.len(), |last| last + 1)
    }
}

#[cfg(test)]
mod tests;
