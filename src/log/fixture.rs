//! A small log for tests: a seeded store with its keys and clock, and what is written into it and read back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;

use crate::clock::ManualClock;
use crate::codec::gap::{Gap, Reason};
use crate::codec::segment::Suite;
use crate::crypto::Keyring;
use crate::crypto::file::FileKey;
use crate::entropy::SeededEntropy;
use crate::log::batch::CutRule;
use crate::log::context::NoContext;
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::error::LogError;
use crate::log::fence;
use crate::log::history::History;
use crate::log::reader::Segment;
use crate::log::writer::Writer;
use crate::model::{Commit, Kind, LogId, Piece, Position, Record, Role, Slot, SourceName, Timestamp, Xid};
use crate::store::{Asked, Fate, Fated, MemoryStore, Part, layout};

/// A log in a store that a test can tamper with.
pub(crate) struct Fixture {
    pub(crate) env: LogEnv,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) const RULE: CutRule = CutRule { segment_bytes: 1 << 20, segment_age: Duration::from_secs(1) };

pub(crate) fn main_source() -> SourceName {
    "main".parse().unwrap()
}

impl Fixture {
    /// An empty store whose keys, ids and salts follow from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let entropy = Arc::new(SeededEntropy::new(seed));
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_000_000)));
        let env = LogEnv {
            store: Arc::<MemoryStore>::clone(&store),
            keys: Arc::new(Keyring::of_file(FileKey::fresh(&*entropy))),
            suite: Suite::ChaCha20Poly1305,
            clock: Arc::<ManualClock>::clone(&clock),
            entropy,
        };
        Self { env, store, clock }
    }

    /// The same log in a store whose calls meet these fates.
    pub(crate) fn fated(&self, fates: impl FnMut(&Asked<'_>) -> Fate + Send + 'static) -> LogEnv {
        LogEnv { store: Fated::over(&self.env.store, fates), ..self.env.clone() }
    }

    pub(crate) async fn writer(&self) -> Writer {
        let reign = fence::take(&self.env, &main_source(), None).await.unwrap();
        Writer::new(&self.env, &main_source(), reign, RULE, Box::new(NoContext))
    }

    /// Slots 1 to 7: fence, two transactions, one that spans three segments, a heartbeat, a gap.
    pub(crate) async fn with_a_log(seed: u64) -> Self {
        let fixture = Self::new(seed);
        let mut writer = fixture.writer().await;
        let giant = spanning(3);
        let segments = [
            [transaction(1), transaction(2)].concat(),
            giant[..2].to_vec(),
            giant[2..4].to_vec(),
            giant[4..].to_vec(),
            vec![heartbeat(40)],
            vec![gap(40)],
        ];
        for records in segments {
            write_segment(&mut writer, &records).await;
        }
        fixture
    }

    pub(crate) async fn object(&self, slot: u64) -> Bytes {
        let key = layout::segment(&main_source(), Slot::new(slot));
        self.env.store.get(&key, Part::Whole).await.unwrap().bytes()
    }

    pub(crate) async fn entry(&self, slot: u64) -> Entry {
        let history = History::load(&self.env, &main_source()).await.unwrap();
        history.entries.into_iter().find(|entry| entry.slot == Slot::new(slot)).unwrap()
    }

    pub(crate) async fn log(&self) -> LogId {
        History::load(&self.env, &main_source()).await.unwrap().log.unwrap()
    }

    /// Every record of a segment, each byte of it opened.
    pub(crate) fn read(&self, log: LogId, entry: &Entry, bytes: Bytes) -> Result<Vec<Record>, LogError> {
        let opened = Segment::open(&self.env, log, &main_source(), entry, bytes).now_or_never();
        let mut segment = opened.expect("a key file opens at once")?;
        let mut records = Vec::new();
        while let Some(frame) = segment.next_frame()? {
            records.extend(frame);
        }
        Ok(records)
    }
}

pub(crate) async fn write_segment(writer: &mut Writer, records: &[Record]) {
    for record in records {
        writer.append(record).unwrap();
    }
    writer.flush().await.unwrap();
}

pub(crate) fn commit(position: u64) -> Commit {
    Commit { position: Position::new(position), time: Timestamp::from_micros(position as i64 * 1000) }
}

/// A whole transaction that commits at `number * 10`.
pub(crate) fn transaction(number: u64) -> Vec<Record> {
    let wire = |text: &str| Bytes::from(format!("{text} {number}"));
    vec![
        Record::wire(Role::Opens(Xid::new(number)), wire("begin")),
        Record::wire(Role::Inside, wire("change")),
        Record::wire(Role::Commits(commit(number * 10)), wire("commit")),
    ]
}

/// A transaction with a message in three pieces, larger than a frame; six records, commits at `number * 10`.
pub(crate) fn spanning(number: u64) -> Vec<Record> {
    let piece = |piece| Record { piece, ..Record::wire(Role::Inside, Bytes::from(vec![b'p'; 120_000])) };
    let mut records = transaction(number);
    let pieces = [piece(Piece::First), piece(Piece::Middle), piece(Piece::Last)];
    records.splice(1..1, pieces);
    records
}

pub(crate) fn heartbeat(position: u64) -> Record {
    Record { role: Role::Commits(commit(position)), ..Record::own(Kind::Heartbeat, Bytes::new()) }
}

pub(crate) fn gap(position: u64) -> Record {
    let (exact_until, time) = (Position::new(position), Timestamp::from_micros(7));
    let gap = Gap { exact_until, time, reason: Reason::SlotLost, tables: Vec::new(), detail: "a test".to_owned() };
    Record::own(Kind::Gap, gap.encode())
}
