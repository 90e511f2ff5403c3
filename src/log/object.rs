//! Seals a whole object and opens one: where the format (`codec`) and the seal (`crypto`) meet.

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::codec::frame::{PLAIN_BYTES_MAX, Packed, Packing, pack, unpack};
use crate::codec::segment::{Header, ObjectKind};
use crate::codec::trailer::{TRAILER_BYTES, Trailer};
use crate::codec::wire::WireError;
use crate::crypto::key::{DataKey, Identity};
use crate::crypto::keyring::{KeyContext, KeyError};
use crate::crypto::sealed::Sealed;
use crate::crypto::sealing::SealingKey;
use crate::crypto::stream::{Body, FrameAt, Opened, Opener, Place, SealError, Sealer, commitment};
use crate::entropy::draw;
use crate::log::env::LogEnv;
use crate::log::error::{ObjectError, ObjectErrorKind};
use crate::log::rewrap;
use crate::model::limits::SEGMENT_BYTES_MAX;
use crate::model::{Epoch, ObjectKey, Wrap};
use crate::store::{Part, Store, StoreError};

/// What a footer or a manifest may inflate to.
const FOOTER_BYTES_MAX: usize = SEGMENT_BYTES_MAX;

/// What seals the objects of one stream in one epoch. The data key changes with the day.
#[derive(Debug)]
pub struct Seal {
    env: LogEnv,
    context: KeyContext,
    key: SealingKey,
}

/// A data key on its way from a key service.
pub type Renewal = BoxFuture<'static, Result<SealingKey, KeyError>>;

impl Seal {
    /// A seal with a new data key.
    pub async fn begin(env: &LogEnv, stream: [u8; 16], epoch: Epoch) -> Result<Self, KeyError> {
        let context = KeyContext { stream, epoch };
        let key = env.keys.begin(&context, &*env.clock, &*env.entropy).await?;
        Ok(Self { env: env.clone(), context, key })
    }

    /// A seal under a data key that is known already, with new wraps for it.
    pub fn over(env: &LogEnv, context: KeyContext, data: DataKey, wraps: Vec<Wrap>) -> Self {
        Self { env: env.clone(), context, key: env.keys.sealing(data, wraps, &*env.clock) }
    }

    /// A new data key, if one should be fetched; nothing waits for it. Where a key file makes them there is nothing to
    /// fetch: the next seal has a new one.
    pub fn renewal(&self) -> Option<Renewal> {
        if !self.env.keys.asks_a_service() || !self.env.keys.is_stale(&self.key, &*self.env.clock) {
            return None;
        }
        let (env, context) = (self.env.clone(), self.context);
        Some(async move { env.keys.renew(&context, &*env.clock, &*env.entropy).await }.boxed())
    }

    /// What is sealed from now on is sealed under `key`.
    pub fn renew(&mut self, key: SealingKey) {
        self.key = key;
    }

    /// Whether the data key may still seal.
    pub fn check(&self) -> Result<(), KeyError> {
        if self.key.is_expired(&*self.env.clock) { Err(KeyError::Expired) } else { Ok(()) }
    }

    /// Seals one object. `draft` is its header but for stream, epoch, time, salt, commitment and wraps, which the seal
    /// fills in; `footer` is made of the places of the frames.
    pub fn seal(
        &mut self,
        draft: &Header,
        frames: &[Packed],
        footer: impl FnOnce(&[FrameAt]) -> Vec<u8>,
    ) -> Result<Sealed, SealError> {
        let keys = &self.env.keys;
        if keys.is_stale(&self.key, &*self.env.clock)
            && let Some(key) = keys.renew_here(&self.context, &*self.env.clock, &*self.env.entropy)
        {
            self.key = key;
        }
        self.check().map_err(|_| SealError::Expired)?;
        let now = self.env.clock.now();
        let mut header = Header {
            suite: self.env.suite,
            stream: self.context.stream,
            epoch: self.context.epoch,
            sealed_at: now,
            salt: draw(&*self.env.entropy),
            wraps: self.key.wraps.clone(),
            ..draft.clone()
        };
        let identity = identity(&header);
        header.commitment = commitment(&self.key.data, &header.salt, &identity);
        let encoded = header.encode();
        let capacity = frames.iter().map(|frame| frame.body.len() + 32).sum::<usize>() + encoded.len() + 64 * 1024;
        let mut sealer = Sealer::new(&self.key.data, &header.salt, &identity, &encoded, capacity);
        let places = frames.iter().map(|frame| sealer.frame(body(frame))).collect::<Result<Vec<_>, _>>()?;
        let footer = pack(&footer(&places));
        sealer
            .finish(body(&footer), |at| Trailer { footer_at: at.at, frames: at.frame, footer_bytes: at.bytes }.encode())
    }
}

const fn body(packed: &Packed) -> Body<'_> {
    Body { packing: packed.packing.tag(), plain_bytes: packed.plain_bytes, bytes: packed.body.as_slice() }
}

const fn identity(header: &Header) -> Identity {
    Identity {
        suite: header.suite.tag(),
        kind: header.kind.tag(),
        stream: header.stream,
        epoch: header.epoch.get(),
        slot: header.slot.get(),
    }
}

/// Whether an object with this header says that it was sealed under this data key.
pub(crate) fn is_sealed_under(header: &Header, data: &DataKey) -> bool {
    commitment(data, &header.salt, &identity(header)) == header.commitment
}

/// Whether `theirs`, the first bytes of an object that a store gave back, is `ours` although its bytes differ: no two
/// sealing attempts have one salt, so the store read it wrong or holds it damaged. Bytes that are no header may be anyone's.
pub fn may_be_own(theirs: &Sealed, ours: &Sealed) -> bool {
    match (Header::decode(theirs.as_bytes()), Header::decode(ours.as_bytes())) {
        (Ok((theirs, _)), Ok((ours, _))) => theirs.salt == ours.salt,
        (Err(_), _) | (_, Err(_)) => true,
    }
}

/// The clear header of an object, fetched without the rest. The outer error is the store's; the inner one is the object's,
/// which is there and has no header that can be read.
pub async fn header(store: &dyn Store, key: &ObjectKey) -> Result<Result<Header, ObjectError>, StoreError> {
    let start = store.get(key, Part::HEADER).await?;
    let header = Header::decode(start.as_bytes());
    Ok(header.map(|(header, _)| header).map_err(|error| ObjectError { key: key.clone(), kind: error.into() }))
}

/// A header whose fields the seal fills in are blank.
pub const fn draft(kind: ObjectKind) -> Header {
    use crate::codec::segment::{Flags, Suite};
    use crate::model::{Position, Slot, Timestamp};
    Header {
        kind,
        suite: Suite::ChaCha20Poly1305,
        flags: Flags::from_nothing(),
        stream: [0; 16],
        epoch: Epoch::new(0),
        slot: Slot::NONE,
        from: Position::ZERO,
        to: Position::ZERO,
        from_time: Timestamp::MIN,
        to_time: Timestamp::MIN,
        needs_from: Slot::NONE,
        sealed_at: Timestamp::MIN,
        previous: [0; 32],
        salt: [0; 32],
        commitment: [0; 32],
        wraps: Vec::new(),
    }
}

/// A whole object whose header, key and frame layout were checked. Its frames are opened one by one.
pub struct Object {
    /// What it says of itself; proved once a frame or the footer has been opened.
    pub header: Header,
    key: ObjectKey,
    bytes: Bytes,
    opener: Opener,
    trailer: Trailer,
    next_frame: u32,
    next_at: usize,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Object {
    /// Begins to open the object that a store gave for `key`. Where no wrap in its header opens, the store is asked for
    /// later wraps of the same data key.
    pub async fn open(env: &LogEnv, key: &ObjectKey, bytes: Bytes) -> Result<Self, ObjectError> {
        let wrong = |kind| ObjectError { key: key.clone(), kind };
        let (header, header_bytes) = Header::decode(&bytes).map_err(|error| wrong(error.into()))?;
        let trailer = trailer(&bytes, header_bytes).map_err(wrong)?;
        let data = rewrap::data_key(env, &header).await.map_err(|error| wrong(error.into()))?;
        Self::with_key(key, bytes, (header, header_bytes, trailer), &data).map_err(wrong)
    }

    /// Opens an object to its last byte; gives its header, which is proved then.
    pub async fn prove(env: &LogEnv, key: &ObjectKey, bytes: Bytes) -> Result<Header, ObjectError> {
        let mut object = Self::open(env, key, bytes).await?;
        while object.next_frame()?.is_some() {}
        object.footer()?;
        Ok(object.header)
    }

    /// As [`Object::open`], with a data key that was found elsewhere.
    pub(crate) fn open_under(key: &ObjectKey, bytes: Bytes, data: &DataKey) -> Result<Self, ObjectError> {
        let wrong = |kind| ObjectError { key: key.clone(), kind };
        let (header, header_bytes) = Header::decode(&bytes).map_err(|error| wrong(error.into()))?;
        let trailer = trailer(&bytes, header_bytes).map_err(wrong)?;
        Self::with_key(key, bytes, (header, header_bytes, trailer), data).map_err(wrong)
    }

    fn with_key(
        key: &ObjectKey,
        bytes: Bytes,
        (header, header_bytes, trailer): (Header, usize, Trailer),
        data: &DataKey,
    ) -> Result<Self, ObjectErrorKind> {
        let encoded = bytes.get(..header_bytes).unwrap_or_default();
        let opener = Opener::new(data, &header.salt, &identity(&header), encoded, &header.commitment)?;
        Ok(Self { header, key: key.clone(), bytes, opener, trailer, next_frame: 0, next_at: header_bytes })
    }

    /// The object's name.
    pub const fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// How many frames stand before the footer.
    pub const fn frames(&self) -> u32 {
        self.trailer.frames
    }

    /// Where the next frame begins.
    pub const fn next_at(&self) -> usize {
        self.next_at
    }

    /// Opens the footer.
    pub fn footer(&self) -> Result<Vec<u8>, ObjectError> {
        let at = usize::try_from(self.trailer.footer_at).unwrap_or(usize::MAX);
        let opened = self.open_frame(self.trailer.frames, Place::Last, at);
        let opened = opened.and_then(|opened| inflate(&opened, FOOTER_BYTES_MAX));
        opened.map_err(|kind| self.wrong(kind))
    }

    /// Opens the next frame of records; `None` after the last.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, ObjectError> {
        if self.next_frame == self.trailer.frames {
            let footer_at = usize::try_from(self.trailer.footer_at).unwrap_or(usize::MAX);
            let adrift = WireError::Foreign { what: "an object whose frames end at its footer" };
            return if self.next_at == footer_at { Ok(None) } else { Err(self.wrong(adrift.into())) };
        }
        let opened = self.open_frame(self.next_frame, Place::Inner, self.next_at);
        let opened = opened.map_err(|kind| self.wrong(kind))?;
        let plain = inflate(&opened, PLAIN_BYTES_MAX).map_err(|kind| self.wrong(kind))?;
        self.next_frame += 1;
        self.next_at += opened.frame_bytes;
        Ok(Some(plain.into()))
    }

    fn open_frame(&self, frame: u32, place: Place, at: usize) -> Result<Opened, ObjectErrorKind> {
        let from = at.min(self.bytes.len());
        Ok(self.opener.frame(frame, place, &self.bytes.slice(from..))?)
    }

    /// An error about this object.
    pub fn wrong(&self, kind: ObjectErrorKind) -> ObjectError {
        ObjectError { key: self.key.clone(), kind }
    }
}

/// The trailer of an object whose footer ends where the trailer begins.
fn trailer(bytes: &Bytes, header_bytes: usize) -> Result<Trailer, ObjectErrorKind> {
    let trailer_at = bytes.len().saturating_sub(TRAILER_BYTES).max(header_bytes);
    let trailer = Trailer::decode(bytes.get(trailer_at..).unwrap_or_default())?;
    let footer_ends = u64::from(trailer.footer_at) + u64::from(trailer.footer_bytes);
    if u64::try_from(trailer_at).ok() == Some(footer_ends) {
        Ok(trailer)
    } else {
        Err(WireError::Foreign { what: "a trailer of this object" }.into())
    }
}

fn inflate(opened: &Opened, plain_bytes_max: usize) -> Result<Vec<u8>, ObjectErrorKind> {
    let packing = Packing::from_tag(opened.packing)?;
    Ok(unpack(packing, opened.plain_bytes, &opened.body, plain_bytes_max)?)
}

#[cfg(test)]
mod tests;
