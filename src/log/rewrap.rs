//! Later wraps of a data key, as objects beside the log: old segments open with a new key, and none is written again.
//!
//! ```text
//!   keys/<id of the wraps in the old headers>/<id of the new wraps>.rewrap
//! ```
//! Such an object is sealed like any other, of a kind of its own, without frames; its footer is the first id, and it is
//! sealed under the very data key that it carries: its header's wraps are the new ones. So whoever unwraps it proves by
//! its seal that this is a data key of that log or base, and whether it is the one of the old header is proved by the
//! old object's own commitment. A reader looks here only where no wrap in a header opens. Losing these objects loses
//! nothing as long as the old key is kept.

use crate::codec::segment::{Header, ObjectKind};
use crate::crypto::key::DataKey;
use crate::crypto::keyring::{KeyContext, KeyError, wraps_id};
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError};
use crate::log::object::{Object, Seal, draft};
use crate::model::{ObjectKey, Wrap};
use crate::store::{Keys, Part, Put, layout, put_own};

/// Objects that are tried for one data key: somebody who can write to the store must not keep a reader busy (L8).
const TRIED_MAX: usize = 16;

/// The data key of an object with this header: by its own wraps, or else by later ones.
pub(crate) async fn data_key(env: &LogEnv, header: &Header) -> Result<DataKey, KeyError> {
    let context = KeyContext { stream: header.stream, epoch: header.epoch };
    let error = match env.keys.open(&header.wraps, &context).await {
        Ok(data) => return Ok(data),
        Err(error) => error,
    };
    // A rewrap has no later wraps of its own, and a wrap that was changed opens no better here. The one who may not open
    // at all need not look.
    if header.kind == ObjectKind::Rewrap || error == KeyError::Broken || error.is_denied() {
        return Err(error);
    }
    match later(env, header, &context).await {
        Some(data) => {
            env.keys.learn(&header.wraps, header.stream, data.clone());
            Ok(data)
        }
        None => Err(error),
    }
}

/// What cannot be read here is as if it were not there: the first error tells what is wrong.
async fn later(env: &LogEnv, old: &Header, context: &KeyContext) -> Option<DataKey> {
    let id = wraps_id(&old.wraps, old.stream);
    let mut keys = Keys::new(&*env.store, layout::rewraps_prefix(&id), None);
    for _ in 0..TRIED_MAX {
        let key = keys.next().await.ok().flatten()?;
        if let Some(data) = read(env, &key, &id, context).await {
            return Some(data);
        }
    }
    None
}

async fn read(env: &LogEnv, key: &ObjectKey, id: &[u8; 32], context: &KeyContext) -> Option<DataKey> {
    let bytes = env.store.get(key, Part::Whole).await.ok()?.bytes();
    let (header, _) = Header::decode(&bytes).ok()?;
    if header.kind != ObjectKind::Rewrap || header.stream != context.stream {
        return None;
    }
    let own = KeyContext { stream: header.stream, epoch: header.epoch };
    let data = env.keys.open(&header.wraps, &own).await.ok()?;
    let object = Object::open_under(key, bytes, &data).ok()?;
    (object.footer().ok()?.as_slice() == id).then_some(data)
}

/// What came of wrapping a data key again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrapped {
    /// It has new wraps now.
    Now,
    /// It had them already.
    Already,
}

/// Wraps the data key of an object with this header for the keys that wrap new data keys now.
pub async fn wrap_again(env: &LogEnv, old: &Header) -> Result<Rewrapped, LogError> {
    let id = wraps_id(&old.wraps, old.stream);
    let data = data_key(env, old).await?;
    let context = KeyContext { stream: old.stream, epoch: old.epoch };
    let wraps = env.keys.wrap_again(&data, &context, &*env.entropy).await?;
    if covered(&old.wraps, &wraps) || listed(env, &id, &wraps).await? {
        return Ok(Rewrapped::Already);
    }
    let mut seal = Seal::over(env, context, data, wraps.clone());
    let header = draft(ObjectKind::Rewrap);
    let key = layout::rewrap(&id, &recipients_id(&wraps));
    let sealed = seal.seal(&header, &[], |_| id.to_vec());
    let sealed = sealed.map_err(|error| ObjectError { key: key.clone(), kind: error.into() })?;
    match put_own(&*env.store, &key, &sealed).await? {
        Put::Ours => Ok(Rewrapped::Now),
        // Somebody did the same meanwhile.
        Put::Taken(_) => Ok(Rewrapped::Already),
    }
}

/// Whether `have` is for everyone that `want` is for.
fn covered(have: &[Wrap], want: &[Wrap]) -> bool {
    want.iter().all(|wanted| have.iter().any(|had| had.recipient == wanted.recipient && had.key == wanted.key))
}

async fn listed(env: &LogEnv, id: &[u8; 32], wraps: &[Wrap]) -> Result<bool, LogError> {
    let mut keys = Keys::new(&*env.store, layout::rewraps_prefix(id), None);
    let wanted = layout::rewrap(id, &recipients_id(wraps));
    while let Some(key) = keys.next().await? {
        if key == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

/// For whom wraps are, as an id: the same keys give the same name, so wrapping twice makes one object.
pub(crate) fn recipients_id(wraps: &[Wrap]) -> [u8; 32] {
    let mut bytes = b"holdfast recipients v1".to_vec();
    for wrap in wraps {
        bytes.push(wrap.recipient.tag());
        bytes.extend_from_slice(wrap.key.as_bytes());
    }
    crate::crypto::stream::sha256(&bytes)
}

#[cfg(test)]
mod tests;
