//! The bases of a source, as the store holds them: which there are, what they hold, and their parts, proved.

use bytes::Bytes;

use crate::codec::base::{BaseError, Manifest, Part};
use crate::codec::segment::{Header, ObjectKind};
use crate::codec::wire::WireError;
use crate::crypto::stream::sha256;
use crate::log::object::{self, Object};
use crate::log::{LogEnv, LogError, ObjectError, ObjectErrorKind};
use crate::model::{BaseId, ObjectKey, Slot, SourceName};
use crate::restore::error::RestoreError;
use crate::store::layout::{self, Named};
use crate::store::{Keys, Part as Range, StoreErrorKind};

/// The manifests of all bases, oldest point first. Parts without a manifest are no base.
pub async fn list(env: &LogEnv, source: &SourceName) -> Result<Vec<Manifest>, RestoreError> {
    let prefix = layout::bases_prefix(source);
    let mut bases = Vec::new();
    let mut after: Option<ObjectKey> = None;
    // A base has thousands of parts and one manifest, which sorts behind them: each base costs two pages at most.
    while let Some(first) = env.store.list(&prefix, after.as_ref()).await.map_err(LogError::from)?.into_iter().next() {
        let Some(Named::BasePart { base, .. } | Named::Manifest { base, .. }) = layout::parse(&first) else {
            after = Some(first);
            continue;
        };
        bases.extend(read(env, source, base).await?);
        after = Some(layout::after_base(source, base));
    }
    bases.sort_by_key(|manifest| (manifest.point, manifest.taken_at));
    Ok(bases)
}

/// The manifest of one base; `None` if it has none.
pub async fn read(env: &LogEnv, source: &SourceName, base: BaseId) -> Result<Option<Manifest>, RestoreError> {
    let key = layout::manifest(source, base);
    let bytes = match env.store.get(&key, Range::Whole).await {
        Ok(sealed) => sealed.bytes(),
        Err(error) if error.kind == StoreErrorKind::Missing => return Ok(None),
        Err(error) => return Err(LogError::from(error).into()),
    };
    let mut object = open(env, &key, bytes, (ObjectKind::Manifest, Slot::NONE, base)).await?;
    let mut json = Vec::new();
    while let Some(frame) = object.next_frame().map_err(LogError::from)? {
        json.extend_from_slice(&frame);
    }
    object.footer().map_err(LogError::from)?;
    let wrong = |source: BaseError| RestoreError::Base { base, source };
    let manifest = Manifest::decode(&json).map_err(wrong)?;
    if manifest.base == base && manifest.source == *source {
        Ok(Some(manifest))
    } else {
        Err(misplaced(&object, "base").into())
    }
}

/// The clear header of the newest base's manifest, for whoever may not open it.
pub async fn newest_clear(env: &LogEnv, source: &SourceName) -> Result<Option<Header>, LogError> {
    let mut newest: Option<Header> = None;
    let mut keys = Keys::new(&*env.store, layout::bases_prefix(source), None);
    while let Some(key) = keys.next().await? {
        let Some(Named::Manifest { .. }) = layout::parse(&key) else { continue };
        let header = object::header(&*env.store, &key).await??;
        newest = newest.filter(|newest| newest.to_time >= header.to_time).or(Some(header));
    }
    Ok(newest)
}

async fn open(
    env: &LogEnv,
    key: &ObjectKey,
    bytes: Bytes,
    (kind, slot, base): (ObjectKind, Slot, BaseId),
) -> Result<Object, LogError> {
    let object = Object::open(env, key, bytes).await?;
    let header = &object.header;
    if header.kind == kind && header.slot == slot && header.stream == *base.as_bytes() {
        Ok(object)
    } else {
        Err(misplaced(&object, "kind, number or base"))
    }
}

fn misplaced(object: &Object, what: &'static str) -> LogError {
    object.wrong(ObjectErrorKind::Misplaced { what }).into()
}

/// A part of a base whose hash was compared with the manifest's. Its frames are opened one by one.
#[derive(Debug)]
pub struct PartReader {
    object: Object,
    left: u64,
}

impl PartReader {
    /// Fetches a part and proves that it is the one of the manifest.
    pub async fn open(env: &LogEnv, manifest: &Manifest, part: &Part) -> Result<Self, LogError> {
        let key = layout::base_part(&manifest.source, manifest.base, part.number);
        let bytes = match env.store.get(&key, Range::Whole).await {
            Ok(sealed) => sealed.bytes(),
            Err(error) if error.kind == StoreErrorKind::Missing => return Err(LogError::Missing { key }),
            Err(error) => return Err(error.into()),
        };
        if hex::encode(sha256(&bytes)) != part.sha256 {
            return Err(
                ObjectError { key, kind: ObjectErrorKind::Misplaced { what: "its hash in the manifest" } }.into()
            );
        }
        let slot = Slot::new(u64::from(part.number));
        let object = open(env, &key, bytes, (ObjectKind::BasePart, slot, manifest.base)).await?;
        Ok(Self { object, left: part.plain_bytes })
    }

    /// The next plain bytes; `None` once all have come, and they are as many as the manifest says.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, LogError> {
        let short = |object: &Object| {
            let kind = WireError::Foreign { what: "a part of the length in its manifest" };
            LogError::from(object.wrong(kind.into()))
        };
        if let Some(frame) = self.object.next_frame()? {
            let bytes = u64::try_from(frame.len()).unwrap_or(u64::MAX);
            self.left = self.left.checked_sub(bytes).ok_or_else(|| short(&self.object))?;
            return Ok(Some(frame));
        }
        // The seal of the end: without it the part could have been cut at a frame's end.
        self.object.footer()?;
        if self.left == 0 { Ok(None) } else { Err(short(&self.object)) }
    }

    /// All plain bytes that are left.
    pub fn rest(mut self) -> Result<Vec<u8>, LogError> {
        let mut plain = Vec::new();
        while let Some(frame) = self.next_frame()? {
            plain.extend_from_slice(&frame);
        }
        Ok(plain)
    }
}
