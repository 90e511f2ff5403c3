//! One object, opened to its last byte and counted apart from its neighbours, on a thread that may be busy.
//!
//! Hashing, opening, inflating and decoding are nearly all that a verification costs. They run beside the walk that
//! puts the objects in order, at most so many at once as were asked for, and never on a thread that capture needs (L9).

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::codec::footer::{Footer, FrameEntry};
use crate::codec::record;
use crate::codec::segment::Header;
use crate::crypto::stream::sha256;
use crate::log::env::LogEnv;
use crate::log::error::{ObjectError, ObjectErrorKind};
use crate::log::object::Object;
use crate::log::scrub::size;
use crate::log::scrub::tally::{Account, Tally};
use crate::model::{ObjectKey, Position, Timestamp};
use crate::store::{Part, StoreError};

/// What looks at objects.
#[derive(Clone)]
pub(crate) struct Looker {
    env: LogEnv,
    /// One for each thread that may be busy.
    places: Arc<Semaphore>,
}

/// A segment that could be looked at.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) header: Header,
    /// Bytes that were read.
    pub(crate) read: u64,
    /// What every byte of it says; `None` where only its header was asked for.
    pub(crate) whole: Option<Result<Whole, ObjectError>>,
}

/// A segment, proved but for its neighbours.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) account: Account,
}

/// An object that was opened to its last byte and is what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Its hash, to be compared with what lists it.
    pub hash: [u8; 32],
    /// Its size.
    pub bytes: u64,
}

/// Why an object could not be looked at.
#[derive(Debug)]
pub(crate) enum Blind {
    /// The store did not give it.
    Store(StoreError),
    /// It does not open; so many bytes of it were read.
    Object(u64, ObjectError),
    /// Whoever looked died over it: a defect of ours.
    Died,
}

impl Looker {
    pub(crate) fn new(env: &LogEnv, jobs: usize) -> Self {
        Self { env: env.clone(), places: Arc::new(Semaphore::new(jobs.max(1))) }
    }

    /// A segment's header alone.
    pub(crate) async fn header(&self, key: &ObjectKey) -> Result<Look, Blind> {
        let start = self.env.store.get(key, Part::HEADER).await.map_err(Blind::Store)?.bytes();
        let read = size(start.len());
        let wrong = |kind| Blind::Object(read, ObjectError { key: key.clone(), kind });
        let (header, _) = Header::decode(&start).map_err(|error| wrong(error.into()))?;
        Ok(Look { header, read, whole: None })
    }

    /// A segment, every byte of it.
    pub(crate) async fn segment(&self, key: &ObjectKey) -> Result<Look, Blind> {
        let (object, bytes) = self.open(key).await?;
        let read = size(bytes.len());
        self.busy(move || {
            // The footer is the last frame: that it opens says that the key is right and the header is its own.
            let footer = object.footer().map_err(|error| Blind::Object(read, error))?;
            let header = object.header.clone();
            let whole = account(object, &footer).map(|account| Whole { bytes: read, hash: sha256(&bytes), account });
            Ok(Look { header, read, whole: Some(whole) })
        })
        .await
    }

    /// Any sealed object, every byte of it.
    pub(crate) async fn object(&self, key: &ObjectKey) -> Result<Sound, Blind> {
        let (mut object, bytes) = self.open(key).await?;
        let read = size(bytes.len());
        self.busy(move || {
            let every_frame = |object: &mut Object| {
                while object.next_frame()?.is_some() {}
                object.footer().map(drop)
            };
            every_frame(&mut object).map_err(|error| Blind::Object(read, error))?;
            Ok(Sound { hash: sha256(&bytes), bytes: read })
        })
        .await
    }

    async fn open(&self, key: &ObjectKey) -> Result<(Object, Bytes), Blind> {
        let bytes = self.env.store.get(key, Part::Whole).await.map_err(Blind::Store)?.bytes();
        let opened = Object::open(&self.env, key, bytes.clone()).await;
        opened.map(|object| (object, bytes.clone())).map_err(|error| Blind::Object(size(bytes.len()), error))
    }

    async fn busy<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Blind> + Send + 'static,
    ) -> Result<T, Blind> {
        let _place = self.places.acquire().await.expect("nobody closes the semaphore");
        match Handle::try_current() {
            Ok(runtime) => runtime.spawn_blocking(work).await.unwrap_or(Err(Blind::Died)),
            // A simulated world has one thread, so that a seed replays.
            Err(_) => work(),
        }
    }
}

fn account(mut object: Object, footer: &[u8]) -> Result<Account, ObjectError> {
    let unfit = |object: &Object, what| object.wrong(ObjectErrorKind::Misplaced { what });
    let mut tally = Tally::new(&object.header);
    let (mut at, mut records) = (object.next_at(), Vec::new());
    while let Some(frame) = object.next_frame()? {
        let mut read = 0;
        records.clear();
        while let Some(record) = record::decode(&frame, &mut read).map_err(|error| object.wrong(error.into()))? {
            records.push(record);
        }
        let place = place(at, object.next_at(), frame.len());
        tally.frame(place, &records).map_err(|what| unfit(&object, what))?;
        at = object.next_at();
    }
    let footer = Footer::decode(footer).map_err(|error| object.wrong(error.into()))?;
    tally.compare(&object.header, &footer).map_err(|what| unfit(&object, what))
}

fn place(at: usize, end: usize, plain: usize) -> FrameEntry {
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    FrameEntry {
        at: small(at),
        sealed_bytes: small(end.saturating_sub(at)),
        plain_bytes: small(plain),
        to: Position::ZERO,
        to_time: Timestamp::MIN,
        transactions: 0,
    }
}
