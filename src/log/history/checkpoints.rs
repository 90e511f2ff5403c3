//! What checkpoints tell of a log: the chain of them is followed from the newest that the log confirms.

use crate::codec::segment::{Header, ObjectKind};
use crate::log::checkpoint::Checkpoint;
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError, ObjectErrorKind};
use crate::log::history::{History, contiguous};
use crate::model::limits::IN_FLIGHT_PUTS_MAX;
use crate::model::{ObjectKey, Slot, SourceName};
use crate::store::Keys;
use crate::store::layout::{self, Named};

impl History {
    /// Follows the checkpoints from the newest that can be read back to the boundary.
    pub(super) async fn trust_checkpoints(
        &mut self,
        env: &LogEnv,
        source: &SourceName,
        first: Slot,
    ) -> Result<(), LogError> {
        let mut slots = checkpoints(env, source).await?;
        while let Some(newest) = slots.pop() {
            // A checkpoint that is damaged or that the log does not confirm is only a cache lost: an older one serves.
            let entries = match self.chain_of_checkpoints(env, source, newest, first).await {
                Ok(entries) => {
                    self.blind = false;
                    entries
                }
                Err(error) if error.is_out_of_reach() && newest >= first => {
                    self.blind = true;
                    self.end_of_checkpoint(env, source, newest).await.unwrap_or_default()
                }
                Err(_) => continue,
            };
            if self.confirmed(env, source, &entries).await? {
                self.checkpoint = Some(newest);
                self.entries = entries;
                return Ok(());
            }
        }
        self.blind = false;
        Ok(())
    }

    /// The last live object that a checkpoint covers, and void ones behind it, told by clear headers alone. What came
    /// before stays unknown, which a writer can bear: it continues from the end.
    async fn end_of_checkpoint(
        &mut self,
        env: &LogEnv,
        source: &SourceName,
        newest: Slot,
    ) -> Result<Vec<Entry>, LogError> {
        let listed = self.clear(env, &layout::checkpoint(source, newest), ObjectKind::Checkpoint).await?;
        let mut entries = Vec::new();
        let mut at = newest;
        while at != Slot::NONE && entries.len() < IN_FLIGHT_PUTS_MAX {
            let entry = Entry::of_header(&self.header(env, &layout::segment(source, at)).await?);
            // Its writer wrote the checkpoint once an object of its own was durable: what has a lower epoch is void.
            if entry.epoch == listed.epoch {
                entries.push(Entry { hash: Some(listed.previous), ..entry });
                entries.reverse();
                return Ok(entries);
            }
            entries.push(Entry { void: true, ..entry });
            at = at.before();
        }
        Ok(Vec::new())
    }

    /// The clear header of an object whose key is out of reach: its sum tells a flipped bit, and no seal proves it.
    pub(super) async fn clear(&mut self, env: &LogEnv, key: &ObjectKey, kind: ObjectKind) -> Result<Header, LogError> {
        let header = self.header(env, key).await?;
        if header.kind == kind {
            return Ok(header);
        }
        Err(ObjectError { key: key.clone(), kind: ObjectErrorKind::Misplaced { what: "kind" } }.into())
    }

    async fn chain_of_checkpoints(
        &mut self,
        env: &LogEnv,
        source: &SourceName,
        newest: Slot,
        first: Slot,
    ) -> Result<Vec<Entry>, LogError> {
        let mut parts = Vec::new();
        let mut at = newest;
        while at >= first {
            let key = layout::checkpoint(source, at);
            let checkpoint = Checkpoint::read(self.open(env, &key).await?)?;
            if checkpoint.slot() != at || !contiguous(checkpoint.previous, &checkpoint.entries) {
                let kind = ObjectErrorKind::Misplaced { what: "its range of slots" };
                return Err(ObjectError { key, kind }.into());
            }
            at = checkpoint.previous;
            parts.push(checkpoint.entries);
        }
        let entries = parts.into_iter().rev().flatten();
        Ok(entries.filter(|entry| entry.slot >= first).collect())
    }
}

/// Where there are checkpoints, in order.
pub(super) async fn checkpoints(env: &LogEnv, source: &SourceName) -> Result<Vec<Slot>, LogError> {
    let mut keys = Keys::new(&*env.store, layout::checkpoints_prefix(source), None);
    let mut slots = Vec::new();
    while let Some(key) = keys.next().await? {
        if let Some(Named::Checkpoint { slot, .. }) = layout::parse(&key) {
            slots.push(slot);
        }
    }
    Ok(slots)
}
