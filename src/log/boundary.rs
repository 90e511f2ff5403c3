//! The boundary: from this slot on everything must be there, so what was expired and what was lost never look alike.
//!
//! A sealed object of its own kind without frames; its slot is the first that must be there and its previous hash that
//! of the last live object before it. Expiry writes it before it deletes anything (L10). Of several the newest counts.

use crate::codec::segment::{Header, ObjectKind};
use crate::crypto::sealed::Sealed;
use crate::crypto::stream::SealError;
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::error::{ObjectError, ObjectErrorKind};
use crate::log::object::{Object, Seal, draft};
use crate::model::{ObjectKey, Slot, SourceName};
use crate::store::layout::{self, Named};
use crate::store::{Keys, StoreError};

/// The name of the newest boundary, and the first slot that must be there; `None` if nothing ever expired.
pub async fn newest(env: &LogEnv, source: &SourceName) -> Result<Option<(ObjectKey, Slot)>, StoreError> {
    let mut keys = Keys::new(&*env.store, layout::boundaries_prefix(source), None);
    let mut newest = None;
    while let Some(key) = keys.next().await? {
        if let Some(Named::Boundary { slot, .. }) = layout::parse(&key) {
            newest = Some((key, slot));
        }
    }
    Ok(newest)
}

/// The first slot that must be there.
pub async fn first(env: &LogEnv, source: &SourceName) -> Result<Slot, StoreError> {
    Ok(newest(env, source).await?.map_or(Slot::FIRST, |(_, slot)| slot))
}

/// Seals a boundary in front of `first`, whose previous live object has the hash `previous`.
pub fn seal(first: &Entry, previous: [u8; 32], seal: &mut Seal) -> Result<Sealed, SealError> {
    let header = Header {
        slot: first.slot,
        from: first.from,
        to: first.from,
        from_time: first.from_time,
        to_time: first.from_time,
        previous,
        ..draft(ObjectKind::Boundary)
    };
    seal.seal(&header, &[], |_| Vec::new())
}

/// Proves a boundary and gives its header.
pub fn read(mut object: Object) -> Result<Header, ObjectError> {
    object.footer()?;
    let empty = object.next_frame()?.is_none();
    if object.header.kind == ObjectKind::Boundary && empty {
        Ok(object.header)
    } else {
        Err(object.wrong(ObjectErrorKind::Misplaced { what: "kind" }))
    }
}
