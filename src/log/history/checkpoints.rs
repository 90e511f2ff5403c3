//! What checkpoints tell of a log: the chain of them is followed from the newest that the log confirms.
//!
//! ```text
//!   checkpoints ◀─ chain ─▶ │ unlisted, an object lost │ ◀─ chain, begun anew ─▶ │ tail
//! ```
//! A chain that was begun anew behind a lost object ends there, and an older one serves before it. What stands between the
//! two is looked at by name, so that no missing object is passed over (L4).

use crate::codec::segment::{Header, ObjectKind};
use crate::log::checkpoint::{BEGINS_ANEW, Checkpoint};
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError, ObjectErrorKind};
use crate::log::history::{History, Links, contiguous};
use crate::model::limits::IN_FLIGHT_PUTS_MAX;
use crate::model::{ObjectKey, Slot, SourceName};
use crate::store::Keys;
use crate::store::layout::{self, Named};

/// What one chain of checkpoints lists.
struct Stretch {
    entries: Vec<Entry>,
    /// Where it begins anew: what stands up to here is listed elsewhere, or nowhere.
    anew_behind: Option<Slot>,
}

impl History {
    /// Follows the checkpoints from the newest that can be read back to the boundary. Gives what it read between them.
    pub(super) async fn trust_checkpoints(
        &mut self,
        env: &LogEnv,
        source: &SourceName,
        first: Slot,
    ) -> Result<Links, LogError> {
        let mut slots = checkpoints(env, source).await?;
        let mut stretches: Vec<Stretch> = Vec::new();
        while let Some(newest) = slots.pop() {
            if stretches.last().and_then(|behind| behind.anew_behind).is_some_and(|behind| newest > behind) {
                continue;
            }
            // A checkpoint that is damaged or that the log does not confirm is only a cache lost: an older one serves.
            let (stretch, blind) = match self.chain_of_checkpoints(env, source, newest, first).await {
                Ok(stretch) => (stretch, false),
                Err(error) if error.is_out_of_reach() && newest >= first && stretches.is_empty() => {
                    let entries = self.end_of_checkpoint(env, source, newest).await.unwrap_or_default();
                    (Stretch { entries, anew_behind: None }, true)
                }
                Err(_) => continue,
            };
            if !self.confirmed(env, source, &stretch.entries).await? {
                continue;
            }
            self.checkpoint.get_or_insert(newest);
            self.blind |= blind;
            let whole = stretch.anew_behind.is_none();
            stretches.push(stretch);
            if whole {
                break;
            }
        }
        let mut links = Links::new();
        while let Some(Stretch { entries, anew_behind }) = stretches.pop() {
            if let Some(until) = anew_behind {
                let after = self.entries.last().map_or(first.before(), |entry| entry.slot);
                self.read_unlisted(env, source, (after, until), &mut links).await?;
            }
            self.entries.extend(entries);
        }
        Ok(links)
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
    ) -> Result<Stretch, LogError> {
        let mut parts = Vec::new();
        let (mut at, mut anew_behind) = (newest, None);
        while at >= first && anew_behind.is_none() {
            let key = layout::checkpoint(source, at);
            let object = self.open(env, &key).await?;
            let anew = object.header.flags.has(BEGINS_ANEW);
            let checkpoint = Checkpoint::read(object)?;
            if checkpoint.slot() != at || !contiguous(checkpoint.previous, &checkpoint.entries) {
                let kind = ObjectErrorKind::Misplaced { what: "its range of slots" };
                return Err(ObjectError { key, kind }.into());
            }
            at = checkpoint.previous;
            anew_behind = (anew && at >= first).then_some(at);
            parts.push(checkpoint.entries);
        }
        let entries = parts.into_iter().rev().flatten().filter(|entry| entry.slot >= first).collect();
        Ok(Stretch { entries, anew_behind })
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
