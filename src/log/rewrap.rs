//! Later wraps of a data key, as objects beside the log: old segments open with a new key, and none is written again.
//!
//! ```text
//!   keys/<id of the wraps in the old headers>/<id of the new wraps>.rewrap
//! ```
//! Such an object is sealed like any other, of a kind of its own, without frames; its footer is the first id, and it is
//! sealed under the very data key that it carries: its header's wraps are the new ones. So whoever unwraps it proves by
//! its seal that this is a data key of that log or base, and whether it is the one of the old header is proved by that
//! header's own commitment: one that is sound and not of that key is passed over, whatever sorts first. A reader
//! looks here only where no wrap in a header opens. Losing these objects loses nothing as long as the old key is kept.

use bytes::Bytes;

use crate::codec::segment::{Header, ObjectKind};
use crate::crypto::key::DataKey;
use crate::crypto::keyring::{KeyContext, KeyError, wraps_id};
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError, ObjectErrorKind};
use crate::log::object::{Object, Seal, draft, is_sealed_under};
use crate::model::{ObjectKey, Wrap};
use crate::store::{Keys, Part, Put, StoreError, StoreErrorKind, layout, put_own};

/// Objects that are tried for one data key: somebody who can write to the store must not keep a reader busy for ever
/// (L8), and needs so many that sort before the genuine ones to hide these.
const TRIED_MAX: usize = 256;

/// No data key, because no key at hand opens it, or because the store did not say whether there are later wraps.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unopened {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Unopened> for ObjectErrorKind {
    fn from(why: Unopened) -> Self {
        match why {
            Unopened::Key(error) => Self::Key(error),
            Unopened::Store(error) => Self::LaterWraps(error),
        }
    }
}

impl From<Unopened> for LogError {
    fn from(why: Unopened) -> Self {
        match why {
            Unopened::Key(error) => Self::Key(error),
            Unopened::Store(error) => Self::Store(error),
        }
    }
}

/// The data key of an object with this header: by its own wraps, or else by later ones.
pub(crate) async fn data_key(env: &LogEnv, header: &Header) -> Result<DataKey, Unopened> {
    let context = KeyContext { stream: header.stream, epoch: header.epoch };
    let opened = env.keys.open(&header.wraps, &context).await;
    // A rewrap has no later wraps of its own, and a wrap that was changed opens no better here. The one who may not open
    // at all need not look. One that opens to another key than the header's may have been learned from a forged object.
    let settled = match &opened {
        Ok(data) => is_sealed_under(header, data),
        Err(error) => *error == KeyError::Broken || error.is_denied(),
    };
    if settled || header.kind == ObjectKind::Rewrap {
        return Ok(opened?);
    }
    match later(env, header, &context).await? {
        Some(data) => {
            env.keys.learn(&header.wraps, header.stream, data.clone());
            Ok(data)
        }
        None => Ok(opened?),
    }
}

/// The data key in later wraps, if there are any that open. "Could not look" is an error and not "none" (L11): then the
/// object is not told to be sealed for another key.
async fn later(env: &LogEnv, old: &Header, context: &KeyContext) -> Result<Option<DataKey>, Unopened> {
    let id = wraps_id(&old.wraps, old.stream);
    let mut keys = Keys::new(&*env.store, layout::rewraps_prefix(&id), None);
    let mut trouble = None;
    for _ in 0..TRIED_MAX {
        let Some(key) = keys.next().await? else { break };
        match read(env, &key, &id, context).await {
            // Whoever may use our key can seal a sound rewrap of a data key of his own. The old header tells which is its.
            Ok(Some(data)) if is_sealed_under(old, &data) => return Ok(Some(data)),
            Ok(_) => {}
            // The next one may be for a key that can be used.
            Err(Unopened::Key(error)) if !error.is_outage() => trouble = Some(error),
            Err(error) => return Err(error),
        }
    }
    trouble.map_or(Ok(None), |error| Err(error.into()))
}

/// The data key in one object; `None` where it carries none for us: gone, damaged, foreign, for other keys.
async fn read(env: &LogEnv, key: &ObjectKey, id: &[u8; 32], context: &KeyContext) -> Result<Option<DataKey>, Unopened> {
    let bytes = match env.store.get(key, Part::Whole).await {
        Ok(sealed) => sealed.bytes(),
        Err(error) if error.kind == StoreErrorKind::Missing => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Ok((header, _)) = Header::decode(&bytes) else { return Ok(None) };
    if header.kind != ObjectKind::Rewrap || header.stream != context.stream {
        return Ok(None);
    }
    let own = KeyContext { stream: header.stream, epoch: header.epoch };
    let data = match env.keys.open(&header.wraps, &own).await {
        Ok(data) => data,
        Err(KeyError::OtherKey { .. }) => return Ok(None),
        Err(error) if error.is_damage() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(proved(key, bytes, id, &data).is_ok().then_some(data))
}

/// The header of later wraps for `id` of this very data key, proved by their seal.
fn proved(key: &ObjectKey, bytes: Bytes, id: &[u8; 32], data: &DataKey) -> Result<Header, ObjectError> {
    let object = Object::open_under(key, bytes, data)?;
    let right = object.header.kind == ObjectKind::Rewrap && object.footer()?.as_slice() == id;
    if right { Ok(object.header) } else { Err(object.wrong(ObjectErrorKind::Misplaced { what: "kind or data key" })) }
}

/// What came of wrapping a data key again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrapped {
    /// It has new wraps now.
    Now,
    /// It had them already.
    Already,
}

/// Wraps the data key of an object with this header for the keys that wrap new data keys now. What is told as done was
/// read back, opened with a key that it is for, and proved by its seal: an operator lets the old key go on this word.
pub async fn wrap_again(env: &LogEnv, old: &Header) -> Result<Rewrapped, LogError> {
    let id = wraps_id(&old.wraps, old.stream);
    let data = data_key(env, old).await?;
    if !is_sealed_under(old, &data) {
        return Err(KeyError::Broken.into());
    }
    let context = KeyContext { stream: old.stream, epoch: old.epoch };
    let wraps = env.keys.wrap_again(&data, &context, &*env.entropy).await?;
    if covered(&old.wraps, &wraps) || stands(env, &id, &data, &wraps).await? {
        return Ok(Rewrapped::Already);
    }
    let mut seal = Seal::over(env, context, data.clone(), wraps.clone());
    let header = draft(ObjectKind::Rewrap);
    // No two wraps are alike, so no damaged or planted object has the name already.
    let key = layout::rewrap(&id, &wraps_id(&wraps, old.stream));
    let wrong = |kind| ObjectError { key: key.clone(), kind };
    let sealed = seal.seal(&header, &[], |_| id.to_vec()).map_err(|error| wrong(error.into()))?;
    if let Put::Taken(_) = put_own(&*env.store, &key, &sealed).await? {
        return Err(wrong(ObjectErrorKind::Misplaced { what: "a name of our own" }).into());
    }
    let header = proved(&key, env.store.get(&key, Part::Whole).await?.bytes(), &id, &data)?;
    // The first of them alone: a recovery key that happens to be at hand would open the others.
    let first = header.wraps.get(..1).unwrap_or_default();
    let opened = env.keys.open(first, &context).await.map_err(|error| wrong(error.into()))?;
    proved(&key, sealed.bytes(), &id, &opened)?;
    Ok(Rewrapped::Now)
}

/// Whether `have` is for everyone that `want` is for.
fn covered(have: &[Wrap], want: &[Wrap]) -> bool {
    want.iter().all(|wanted| have.iter().any(|had| had.recipient == wanted.recipient && had.key == wanted.key))
}

/// Whether later wraps for everyone that `wraps` are for stand there, whole. A name says nothing: what has it may have
/// rotted, or have been put there so that this data key is passed over.
async fn stands(env: &LogEnv, id: &[u8; 32], data: &DataKey, wraps: &[Wrap]) -> Result<bool, LogError> {
    let mut keys = Keys::new(&*env.store, layout::rewraps_prefix(id), None);
    for _ in 0..TRIED_MAX {
        let Some(key) = keys.next().await? else { return Ok(false) };
        let bytes = match env.store.get(&key, Part::Whole).await {
            Ok(sealed) => sealed.bytes(),
            Err(error) if error.kind == StoreErrorKind::Missing => continue,
            Err(error) => return Err(error.into()),
        };
        if proved(&key, bytes, id, data).is_ok_and(|header| covered(&header.wraps, wraps)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
