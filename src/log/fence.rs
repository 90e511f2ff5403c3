//! Taking the next epoch: a fence segment in the first hole of the log (L5).
//!
//! Whoever creates that object reigns: every put of an older writer meets a slot that is taken by a higher epoch, and
//! what it had in flight beyond the hole is void, because epochs never fall along the slots. So that this holds however
//! long the older writer sleeps, a fence is never deleted, not even where all around it has expired; and whoever slept
//! while taking a fence asks, once it is there, whether the slot is still of the log.

use crate::codec::footer::Footer;
use crate::codec::segment::{Header, ObjectKind};
use crate::crypto::stream::sha256;
use crate::entropy::draw;
use crate::log::batch::Cursor;
use crate::log::boundary;
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError};
use crate::log::history::History;
use crate::log::object::{self, Object, Seal, draft, may_be_own};
use crate::model::{Epoch, LogId, ObjectKey, Slot, SourceName};
use crate::step::Step;
use crate::store::{Op, Part, Put, StoreError, StoreErrorKind, layout, put_own};

/// A writer's reign over a log, just begun.
#[derive(Debug)]
pub struct Reign {
    /// Which log.
    pub log: LogId,
    /// The number of the reign.
    pub epoch: Epoch,
    /// The next free slot.
    pub next: Slot,
    /// The hash of the fence, the last live object.
    pub previous: [u8; 32],
    /// Where the log stands.
    pub cursor: Cursor,
    /// What the next checkpoint must list.
    pub unlisted: Vec<Entry>,
    /// The newest checkpoint.
    pub checkpoint: Slot,
    /// What seals this reign's objects.
    pub seal: Seal,
}

/// Takes the next epoch over the log of `source`. `ours` is the epoch that this process held before, if any: if somebody
/// took a higher one since then, this process is the one that was fenced, and must not take it back. After
/// [`LogError::FenceUndecided`] ours is the epoch that it names.
pub async fn take(env: &LogEnv, source: &SourceName, ours: Option<Epoch>) -> Result<Reign, LogError> {
    loop {
        let history = History::load(env, source).await?;
        let theirs = history.epoch();
        if let Some(ours) = ours.filter(|ours| *ours < theirs) {
            return Err(LogError::Fenced { source_name: source.clone(), ours, theirs });
        }
        if let Some(reign) = try_take(env, source, history).await? {
            Step::Fence.reached();
            return Ok(reign);
        }
        // Somebody else took the slot meanwhile: look again, with their epoch in view.
    }
}

/// Whether the reign of `epoch` goes on: nobody has put a fence of a higher epoch since. `next` is the first slot that this
/// reign may not have filled: a rival's fence goes into the first hole, so it cannot stand before. One read, as a rule;
/// to be asked right before whatever cannot be taken back elsewhere, since only a put into the log itself can be sure.
pub async fn still_ours(env: &LogEnv, source: &SourceName, epoch: Epoch, next: Slot) -> Result<(), LogError> {
    let mut slot = next;
    loop {
        let header = match object::header(&*env.store, &layout::segment(source, slot)).await {
            Ok(found) => found?,
            Err(error) if error.kind == StoreErrorKind::Missing => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if header.epoch > epoch {
            let source_name = source.clone();
            return Err(LogError::Fenced { source_name, ours: epoch, theirs: header.epoch });
        }
        // Our own, put meanwhile, or what an older writer had in flight: the hole is farther on.
        slot = slot.next();
    }
}

async fn try_take(env: &LogEnv, source: &SourceName, history: History) -> Result<Option<Reign>, LogError> {
    let log = history.log.unwrap_or_else(|| LogId::from_bytes(draw(&*env.entropy)));
    let epoch = history.epoch().next();
    let slot = history.hole();
    let (cursor, previous) = stand(env, source, &history).await?;
    let mut seal = Seal::begin(env, *log.as_bytes(), epoch).await?;
    let header = Header {
        slot,
        from: cursor.to,
        to: cursor.to,
        from_time: cursor.to_time,
        to_time: cursor.to_time,
        needs_from: slot,
        previous,
        ..draft(ObjectKind::Fence)
    };
    let key = layout::segment(source, slot);
    let sealed = seal.seal(&header, &[], |_| Footer::default().encode());
    let sealed = sealed.map_err(|error| ObjectError { key: key.clone(), kind: error.into() })?;
    match put_own(&*env.store, &key, &sealed).await {
        Ok(Put::Ours) => {}
        Ok(Put::Taken(theirs)) if may_be_own(&theirs, &sealed) => {
            let source = StoreError::new(Op::Get, &key, StoreErrorKind::Unanswered);
            return Err(LogError::FenceUndecided { epoch, source });
        }
        Ok(Put::Taken(_theirs)) => return Ok(None),
        Err(source) if source.kind == StoreErrorKind::Unanswered => {
            return Err(LogError::FenceUndecided { epoch, source });
        }
        Err(error) => return Err(error.into()),
    }
    match boundary::first(env, source).await {
        // While we slept others filled this slot and the rest, and it expired: our fence stands before the log.
        Ok(first) if first > slot => return Ok(None),
        Ok(_) => {}
        // The fence is ours and stands: whoever comes next must not take it for a rival's.
        Err(source) => return Err(LogError::FenceUndecided { epoch, source }),
    }
    let (header, _) = Header::decode(sealed.as_bytes()).map_err(|error| ObjectError { key, kind: error.into() })?;
    let hash = sha256(sealed.as_bytes());
    let bytes = u64::try_from(sealed.len()).unwrap_or(u64::MAX);
    let fence = Entry { hash: Some(hash), bytes, ..Entry::of_header(&header) };
    let after = history.checkpoint.unwrap_or_else(|| history.boundary.map_or(Slot::NONE, Slot::before));
    let mut unlisted: Vec<_> = history.entries.into_iter().filter(|entry| entry.slot > after).collect();
    unlisted.push(fence);
    let mut next = slot.next();
    for late in history.beyond {
        // What an older writer had in flight: void, and in our way.
        if late.slot == next {
            unlisted.push(Entry { void: true, ..late });
            next = next.next();
        }
    }
    Ok(Some(Reign { log, epoch, next, previous: hash, cursor, unlisted, checkpoint: after, seal }))
}

/// Where the log stands, and the hash of its last live object.
async fn stand(env: &LogEnv, source: &SourceName, history: &History) -> Result<(Cursor, [u8; 32]), LogError> {
    let Some(last) = history.last() else { return Ok((Cursor::START, [0; 32])) };
    let key = layout::segment(source, last.slot);
    let bytes = env.store.get(&key, Part::Whole).await?.bytes();
    let hash = sha256(&bytes);
    // The position and the hash that everything continues from must be proved, not believed: a bit that was read wrong
    // anywhere in the object would stand in the chain for ever.
    let header = match Object::prove(env, &key, bytes).await {
        Ok(header) => header,
        Err(error) if error.is_out_of_reach() => read_again(env, &key, hash).await?,
        Err(error) => return Err(error.into()),
    };
    last.check(&key, &header)?;
    Ok((Cursor { to: last.to, to_time: last.to_time, open: None }, hash))
}

/// A writer that may not open the last object reads it a second time: its hash and its header are then what the store
/// holds, though no seal proves that its writer put them there. A reader will prove that.
async fn read_again(env: &LogEnv, key: &ObjectKey, hash: [u8; 32]) -> Result<Header, LogError> {
    let again = env.store.get(key, Part::Whole).await?.bytes();
    let wrong = |kind| ObjectError { key: key.clone(), kind };
    if sha256(&again) != hash {
        return Err(StoreError::new(Op::Get, key, StoreErrorKind::Unanswered).into());
    }
    let (header, _) = Header::decode(&again).map_err(|error| wrong(error.into()))?;
    Ok(header)
}

#[cfg(test)]
mod tests;
