//! Segments of a store become verified records: opened, proved to be in their place, and chained to what came before.
//!
//! A few segments are fetched ahead, so that opening one and fetching the next overlap.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;

use crate::codec::footer::Footer;
use crate::codec::record;
use crate::codec::segment::{Header, ObjectKind};
use crate::crypto::stream::sha256;
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError, ObjectErrorKind};
use crate::log::object::Object;
use crate::model::{LogId, Record, SourceName};
use crate::store::{Part, StoreErrorKind, layout};

/// Segments that are fetched before they are asked for.
const AHEAD: usize = 3;

/// One segment, proved to be what the list says.
#[derive(Debug)]
pub struct Segment {
    /// What the list says of it.
    pub entry: Entry,
    /// Its index.
    pub footer: Footer,
    object: Object,
}

impl Segment {
    /// Opens a segment that was fetched.
    pub async fn open(
        env: &LogEnv,
        log: LogId,
        source: &SourceName,
        entry: &Entry,
        bytes: Bytes,
    ) -> Result<Self, LogError> {
        let key = layout::segment(source, entry.slot);
        let object = Object::open(env, &key, bytes).await?;
        let misplaced = |what| Err(LogError::from(object.wrong(ObjectErrorKind::Misplaced { what })));
        if object.header.stream != *log.as_bytes() {
            return misplaced("log");
        }
        if !entry.agrees_with(&object.header) {
            return misplaced("what the list says of it");
        }
        match object.header.kind {
            ObjectKind::Data | ObjectKind::Heartbeat | ObjectKind::Fence => {}
            ObjectKind::Checkpoint
            | ObjectKind::Boundary
            | ObjectKind::BasePart
            | ObjectKind::Manifest
            | ObjectKind::Rewrap
            | ObjectKind::Hold => {
                return misplaced("kind");
            }
        }
        let footer = Footer::decode(&object.footer()?).map_err(|error| object.wrong(error.into()))?;
        Ok(Self { entry: entry.clone(), footer, object })
    }

    /// Its clear header, proved by the footer's seal.
    pub const fn header(&self) -> &Header {
        &self.object.header
    }

    /// The records of its next frame; `None` after the last.
    pub fn next_frame(&mut self) -> Result<Option<Vec<Record>>, ObjectError> {
        let Some(frame) = self.object.next_frame()? else { return Ok(None) };
        let mut at = 0;
        let records = std::iter::from_fn(|| record::decode(&frame, &mut at).transpose());
        let records = records.collect::<Result<Vec<_>, _>>();
        records.map(Some).map_err(|error| self.object.wrong(error.into()))
    }
}

/// A fetch on its way: what was asked for, and its bytes.
type Fetch = BoxFuture<'static, (Entry, Result<Bytes, LogError>)>;

/// Reads segments in order.
pub struct Reader {
    env: LogEnv,
    source: SourceName,
    log: LogId,
    left: VecDeque<Entry>,
    ahead: FuturesOrdered<Fetch>,
    before: Option<[u8; 32]>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("source", &self.source).field("left", &self.left.len()).finish_non_exhaustive()
    }
}

impl Reader {
    /// Reads `entries`, which are live and consecutive, in order.
    pub fn new(env: &LogEnv, source: &SourceName, log: LogId, entries: Vec<Entry>) -> Self {
        let (env, source) = (env.clone(), source.clone());
        Self { env, source, log, left: entries.into(), ahead: FuturesOrdered::new(), before: None }
    }

    /// The next segment; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Segment>, LogError> {
        while self.ahead.len() < AHEAD
            && let Some(entry) = self.left.pop_front()
        {
            let fetch = fetch(self.env.clone(), self.source.clone(), entry);
            self.ahead.push_back(fetch.boxed());
        }
        let Some((entry, bytes)) = self.ahead.next().await else { return Ok(None) };
        let bytes = bytes?;
        let hash = sha256(&bytes);
        let segment = Segment::open(&self.env, self.log, &self.source, &entry, bytes).await?;
        let chained = self.before.is_none_or(|before| before == segment.header().previous);
        let known = entry.hash.is_none_or(|known| known == hash);
        if !chained || !known {
            return Err(segment.object.wrong(ObjectErrorKind::Unchained).into());
        }
        self.before = Some(hash);
        Ok(Some(segment))
    }
}

async fn fetch(env: LogEnv, source: SourceName, entry: Entry) -> (Entry, Result<Bytes, LogError>) {
    let key = layout::segment(&source, entry.slot);
    let bytes = match env.store.get(&key, Part::Whole).await {
        Ok(sealed) => Ok(sealed.bytes()),
        Err(error) if error.kind == StoreErrorKind::Missing => Err(LogError::Missing { key }),
        Err(error) => Err(error.into()),
    };
    (entry, bytes)
}
