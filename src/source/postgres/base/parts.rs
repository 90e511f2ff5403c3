//! The objects of a base: bytes become packed frames, frames become sealed parts, and the manifest is put last.
//!
//! A part ends where a message ends. A row that is longer than a part continues in the parts with the next numbers: while
//! it does, nobody else takes a number.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use tokio::task::JoinSet;

use crate::codec::base::{Content, Manifest, Part};
use crate::codec::frame::{PLAIN_BYTES_MAX, Packed, pack};
use crate::codec::segment::{Header, ObjectKind};
use crate::crypto::stream::sha256;
use crate::crypto::{SealError, Sealed};
use crate::log::LogEnv;
use crate::log::object::{Seal, draft};
use crate::model::limits::{BASE_PART_BYTES, FRAME_BYTES_MAX};
use crate::model::{BaseId, Epoch, Slot, SourceName};
use crate::source::postgres::base::error::BaseTakeError;
use crate::step::Step;
use crate::store::{Put, layout, put_own};

/// Bases know no epochs: whoever takes one writes objects of its own.
const NO_EPOCH: Epoch = Epoch::new(0);

/// The parts of one base that is being taken.
pub(crate) struct Parts {
    source: SourceName,
    base: BaseId,
    seal: Mutex<Seal>,
    next: Arc<Turn<u32>>,
    written: Mutex<Vec<Part>>,
}

impl Parts {
    /// None yet. One data key serves the whole base, its manifest too.
    pub(crate) async fn begin(env: &LogEnv, source: &SourceName, base: BaseId) -> Result<Self, BaseTakeError> {
        let seal = Seal::begin(env, *base.as_bytes(), NO_EPOCH).await?;
        Ok(Self {
            source: source.clone(),
            base,
            seal: Mutex::new(seal),
            next: Arc::new(Turn::new(1)),
            written: Mutex::default(),
        })
    }

    /// A base that takes longer than a day goes on under another data key, or under the same while none comes.
    async fn renew_if_due(&self) -> Result<(), BaseTakeError> {
        let due = self.seal.lock().unwrap_or_else(PoisonError::into_inner).renewal();
        let Some(renewal) = due else { return Ok(()) };
        match renewal.await {
            Ok(key) => self.seal.lock().unwrap_or_else(PoisonError::into_inner).renew(key),
            Err(error) if error.is_outage() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn seal(&self, header: &Header, frames: &[Packed]) -> Result<Sealed, SealError> {
        self.seal.lock().unwrap_or_else(PoisonError::into_inner).seal(header, frames, |_| Vec::new())
    }

    /// What is durable already of some contents is nobody's.
    pub(crate) fn discard(&self, stale: impl Fn(&Content) -> bool) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.iter_mut().filter(|part| stale(&part.content)).for_each(|part| part.content = Content::Stale);
    }

    /// Those that are durable.
    pub(crate) fn written(&self) -> Vec<Part> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Writes the parts of one kind of content.
pub(crate) struct PartWriter {
    env: LogEnv,
    parts: Arc<Parts>,
    content: Content,
    plain: Vec<u8>,
    frames: Vec<Packed>,
    packed_bytes: usize,
    plain_bytes: u64,
    touched: bool,
    turn: Option<OwnedMutexGuard<u32>>,
    putting: JoinSet<Result<(), BaseTakeError>>,
}

impl PartWriter {
    /// Nothing written yet.
    pub(crate) fn new(env: &LogEnv, parts: &Arc<Parts>, content: Content) -> Self {
        Self {
            env: env.clone(),
            parts: Arc::clone(parts),
            content,
            plain: Vec::with_capacity(PLAIN_BYTES_MAX),
            frames: Vec::new(),
            packed_bytes: 0,
            plain_bytes: 0,
            touched: false,
            turn: None,
            putting: JoinSet::new(),
        }
    }

    /// Takes bytes; `ends_message` where the part may end.
    pub(crate) async fn push(&mut self, mut bytes: &[u8], ends_message: bool) -> Result<(), BaseTakeError> {
        self.touched |= !bytes.is_empty();
        while let Some((fits, rest)) = bytes.split_at_checked(FRAME_BYTES_MAX - self.plain.len()) {
            self.plain.extend_from_slice(fits);
            self.close_frame();
            bytes = rest;
        }
        self.plain.extend_from_slice(bytes);
        if self.packed_bytes >= BASE_PART_BYTES {
            let turn = self.take_turn().await;
            self.put(turn, ends_message).await?;
        } else if ends_message && self.turn.is_some() {
            // The long row is over: what is left of it must stand in the very next part.
            let turn = self.take_turn().await;
            self.put(turn, true).await?;
        }
        Ok(())
    }

    /// Whether it was given nothing yet.
    pub(crate) const fn is_untouched(&self) -> bool {
        !self.touched
    }

    /// Puts what is left, and waits until all is durable.
    pub(crate) async fn finish(mut self) -> Result<(), BaseTakeError> {
        self.close_frame();
        if !self.frames.is_empty() {
            let turn = self.take_turn().await;
            self.put(turn, true).await?;
        }
        while let Some(done) = self.putting.join_next().await {
            done.map_err(|_| BaseTakeError::Worker)??;
        }
        Ok(())
    }

    fn close_frame(&mut self) {
        if !self.plain.is_empty() {
            let packed = pack(&self.plain);
            self.packed_bytes += packed.body.len();
            self.plain_bytes += u64::from(packed.plain_bytes);
            self.frames.push(packed);
            self.plain.clear();
        }
    }

    async fn take_turn(&mut self) -> OwnedMutexGuard<u32> {
        match self.turn.take() {
            Some(turn) => turn,
            None => Arc::clone(&self.parts.next).lock_owned().await,
        }
    }

    async fn put(&mut self, mut turn: OwnedMutexGuard<u32>, ends_message: bool) -> Result<(), BaseTakeError> {
        self.close_frame();
        let number = *turn;
        *turn += 1;
        self.turn = (!ends_message).then_some(turn);
        let header = Header { slot: Slot::new(u64::from(number)), ..draft(ObjectKind::BasePart) };
        let frames = std::mem::take(&mut self.frames);
        self.packed_bytes = 0;
        let plain_bytes = std::mem::take(&mut self.plain_bytes);
        self.parts.renew_if_due().await?;
        let sealed = self.parts.seal(&header, &frames)?;
        let part = Part {
            number,
            bytes: u64::try_from(sealed.len()).unwrap_or(u64::MAX),
            plain_bytes,
            sha256: hex::encode(sha256(sealed.as_bytes())),
            content: self.content,
        };
        // One put under way per writer: reading goes on meanwhile, and memory stays bounded (L8).
        while self.putting.len() > 1 {
            let done = self.putting.join_next().await;
            done.transpose().map_err(|_| BaseTakeError::Worker)?.transpose()?;
        }
        let (env, parts) = (self.env.clone(), Arc::clone(&self.parts));
        self.putting.spawn(async move {
            let key = layout::base_part(&parts.source, parts.base, number);
            match put_own(&*env.store, &key, &sealed).await? {
                Put::Ours => {
                    parts.written.lock().unwrap_or_else(PoisonError::into_inner).push(part);
                    Step::BaseObject.reached();
                    Ok(())
                }
                Put::Taken(_) => Err(BaseTakeError::Twin),
            }
        });
        Ok(())
    }
}

/// Puts the manifest: from now on the base is one.
pub(crate) async fn put_manifest(env: &LogEnv, parts: &Parts, manifest: &Manifest) -> Result<(), BaseTakeError> {
    let plain = Bytes::from(manifest.encode()?);
    let frames: Vec<_> = plain.chunks(FRAME_BYTES_MAX).map(pack).collect();
    let header = Header { to: manifest.point.position(), to_time: manifest.taken_at, ..draft(ObjectKind::Manifest) };
    let sealed = parts.seal(&header, &frames)?;
    let key = layout::manifest(&parts.source, manifest.base);
    match put_own(&*env.store, &key, &sealed).await? {
        Put::Ours => {
            Step::Manifest.reached();
            Ok(())
        }
        Put::Taken(_) => Err(BaseTakeError::Twin),
    }
}
