//! Segments by their clear headers, where no checkpoint lists them: several are read at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt};

use crate::codec::segment::Header;
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError, ObjectErrorKind};
use crate::log::history::{History, Links};
use crate::log::object;
use crate::model::{ObjectKey, Slot, SourceName};
use crate::store::layout::{self, Named};
use crate::store::{Keys, StoreError};

/// Headers that are read at once: where no checkpoint covers the tail, it may be long and the store far away.
const HEADERS_AT_ONCE: usize = 16;

impl History {
    /// What stands behind `after` up to `until`, by its headers.
    pub(super) async fn headers(
        &mut self,
        env: &LogEnv,
        source: &SourceName,
        (after, until): (Slot, Slot),
        links: &mut Links,
    ) -> Result<BTreeMap<Slot, Entry>, LogError> {
        let mut keys = Keys::new(&*env.store, layout::segments_prefix(source), Some(layout::segment(source, after)));
        let mut headers = Vec::new();
        while let Some(key) = keys.next().await? {
            let Some(Named::Segment { slot, .. }) = layout::parse(&key) else { continue };
            if slot > until {
                break;
            }
            headers.push(header(env, slot, key));
        }
        let mut headers = stream::iter(headers).buffered(HEADERS_AT_ONCE);
        let mut found = BTreeMap::new();
        while let Some((slot, key, header)) = headers.next().await {
            let header = header??;
            self.belongs(&key, &header)?;
            if header.slot != slot {
                return Err(ObjectError { key, kind: ObjectErrorKind::Misplaced { what: "slot" } }.into());
            }
            links.insert(slot, header.previous);
            found.insert(slot, Entry::of_header(&header));
        }
        Ok(found)
    }

    /// Reads what no checkpoint lists because an object of it was lost. All of it was there once: what is not, is missing.
    pub(super) async fn read_unlisted(
        &mut self,
        env: &LogEnv,
        source: &SourceName,
        (after, until): (Slot, Slot),
        links: &mut Links,
    ) -> Result<(), LogError> {
        let mut found = self.headers(env, source, (after, until), links).await?;
        let mut slot = after.next();
        while slot <= until {
            match found.remove(&slot) {
                Some(entry) => self.entries.push(entry),
                None => self.missing.push(slot),
            }
            slot = slot.next();
        }
        Ok(())
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
