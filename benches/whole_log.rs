//! What a whole log costs: the catalog made anew from 100,000 segments, and every byte of a folder verified.
//!
//! ```text
//!   cargo bench --bench whole_log            both        … -- rebuild | verify          one of them
//! ```
//! Prints wall time, this process's own processor time, and requests. Rates per core are of processor time, so that a busy
//! machine does not change them.
#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "a bench measures by the machine's clock")]

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast::catalog::{Catalog, SledIndex};
use holdfast::clock::SystemClock;
use holdfast::codec::segment::Suite;
use holdfast::crypto::Keyring;
use holdfast::crypto::file::FileKey;
use holdfast::entropy::{Entropy, OsEntropy, SeededEntropy};
use holdfast::log::context::NoContext;
use holdfast::log::scrub::Order;
use holdfast::log::{CutRule, Depth, History, LogEnv, Outcome, Writer, fence, scrub};
use holdfast::model::limits::SEGMENT_BYTES_DEFAULT;
use holdfast::model::{Commit, Position, Record, Role, SourceName, Timestamp, Xid};
use holdfast::store::{Asked, Fate, Fated, FolderStore, MemoryStore, Store};

/// Segments of the log whose catalog is made anew.
const SEGMENTS: u64 = 100_000;
/// Sealed bytes that are verified.
const VERIFIED_BYTES: u64 = 512 << 20;

/// What a store was asked.
#[derive(Default)]
struct Counts {
    asked: Mutex<BTreeMap<String, u64>>,
    put_bytes: AtomicU64,
}

impl Counts {
    /// A store that counts what it is asked, and what it counted.
    fn over(inner: &Arc<dyn Store>) -> (Arc<dyn Store>, Arc<Self>) {
        let counts = Arc::<Self>::default();
        let counting = Arc::clone(&counts);
        let store = Fated::over(inner, move |asked| {
            counting.count(asked);
            Fate::Done
        });
        (store, counts)
    }

    fn count(&self, asked: &Asked<'_>) {
        *self.asked.lock().expect("nobody panics here").entry(asked.op.to_string()).or_default() += 1;
        let put = asked.body.map_or(0, |body| body.as_bytes().len());
        self.put_bytes.fetch_add(u64::try_from(put).unwrap_or(0), Ordering::Relaxed);
    }

    fn taken(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.asked.lock().expect("nobody panics here"))
    }
}

fn env(store: Arc<dyn Store>) -> LogEnv {
    LogEnv {
        store,
        keys: Arc::new(Keyring::of_file(FileKey::fresh(&OsEntropy))),
        suite: Suite::ChaCha20Poly1305,
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(OsEntropy),
    }
}

fn main_source() -> SourceName {
    "main".parse().expect("a plain name")
}

async fn writer(env: &LogEnv) -> Writer {
    let source = main_source();
    let reign = fence::take(env, &source, None).await.expect("an empty store is nobody's");
    let rule = CutRule { segment_bytes: SEGMENT_BYTES_DEFAULT, segment_age: Duration::from_secs(1) };
    Writer::new(env, &source, reign, rule, Box::new(NoContext))
}

/// One transaction of three rows that look like pgbench's updates, with a part that nothing compresses.
fn transaction(number: u64, dice: &dyn Entropy) -> Vec<Record> {
    let row = |_| {
        let mut random = [0; 24];
        dice.fill(&mut random);
        let filler = random.map(|byte| char::from(b'a' + byte % 26)).iter().collect::<String>();
        let wire = format!("U\0\0@\u{1}N\0\u{4}t\0\0\0\u{6}{number:06}t\0\0\0\u{1}1t\0\0\0\u{18}{filler}t{:60}", "");
        Record::wire(Role::Inside, Bytes::from(wire))
    };
    let commit = Commit {
        position: Position::new(number * 10),
        time: Timestamp::from_micros(i64::try_from(number).unwrap_or(0)),
    };
    let mut records = vec![Record::wire(Role::Opens(Xid::new(number)), Bytes::from_static(b"B01234567012345670123"))];
    records.extend((0..3).map(row));
    records.push(Record::wire(Role::Commits(commit), Bytes::from_static(b"C0123456701234567012345678")));
    records
}

/// The processor time of this process, in ticks of a hundredth of a second.
fn processor() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux shows every process");
    let fields = stat.rsplit(") ").next().expect("a name in brackets").split(' ').skip(11).take(2);
    Duration::from_millis(fields.map(|ticks| ticks.parse::<u64>().expect("a number") * 10).sum())
}

/// Runs something; gives its wall and processor time.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration, Duration) {
    let (wall, cpu) = (Instant::now(), processor());
    let done = work.await;
    (done, wall.elapsed(), processor().saturating_sub(cpu))
}

async fn rebuild() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (store, counts) = Counts::over(&memory);
    let env = env(store);
    let (mut log, dice) = (writer(&env).await, SeededEntropy::new(1));
    for number in 1..SEGMENTS {
        for record in transaction(number, &dice) {
            log.append(&record).expect("a fresh writer");
        }
        log.flush().await.expect("memory takes everything");
    }
    println!("rebuild: {SEGMENTS} segments, {:?}", counts.taken());
    let (history, wall, cpu) = timed(History::load(&env, &main_source())).await;
    let history = history.expect("our own log");
    println!("  history from the store: {wall:.2?}, processor {cpu:.2?}, {:?}", counts.taken());
    let folder = tempfile::tempdir().expect("a folder");
    let (index, _) = SledIndex::open(folder.path(), b"bench", &SystemClock::new()).expect("an empty folder");
    let catalog = Catalog::new(Box::new(index));
    let work = async { catalog.replace(&main_source(), &history.entries).and_then(|()| catalog.flush()) };
    let (written, wall, cpu) = timed(work).await;
    written.expect("a fresh catalog");
    println!("  catalog on disk:        {wall:.2?}, processor {cpu:.2?}, {} entries", history.entries.len());
    let (again, wall, cpu) = timed(History::load_from(&env, &main_source(), history.entries.clone())).await;
    println!("  history from a catalog: {wall:.2?}, processor {cpu:.2?}, {:?}", counts.taken());
    assert_eq!(again.expect("our own log").entries.len(), history.entries.len());
}

async fn verify() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock: Arc<SystemClock> = Arc::new(SystemClock::new());
    let place = folder.path().join("store");
    FolderStore::create(&place).await.expect("an empty folder");
    let inner: Arc<dyn Store> = Arc::new(FolderStore::open(&place, clock).await.expect("our own store"));
    let (store, counts) = Counts::over(&inner);
    let env = env(store);
    let (mut log, dice, mut number) = (writer(&env).await, SeededEntropy::new(2), 0);
    while counts.put_bytes.load(Ordering::Relaxed) < VERIFIED_BYTES {
        for _ in 0..20_000 {
            number += 1;
            for record in transaction(number, &dice) {
                log.append(&record).expect("a fresh writer");
            }
        }
        log.flush().await.expect("the folder takes everything");
    }
    println!(
        "verify: {} MB sealed in {:?}, {number} transactions",
        counts.put_bytes.load(Ordering::Relaxed) / 1_000_000,
        counts.taken()
    );
    for jobs in [1, 1, 2, 4] {
        let order = Order { jobs, ..Order::all(Depth::Full) };
        let (source, mut nobody) = (main_source(), ());
        let (report, wall, cpu) = timed(scrub(&env, &source, order, &mut nobody)).await;
        assert_eq!(report.outcome(), Outcome::Sound, "{:?}", report.findings);
        let rate = |time: Duration| {
            f64::from(u32::try_from(report.bytes_checked / 1_000_000).unwrap_or(0)) / time.as_secs_f64()
        };
        println!(
            "  {jobs} jobs: {wall:.2?}, {:.0} MB/s; processor {cpu:.2?}, {:.0} MB/s per core",
            rate(wall),
            rate(cpu)
        );
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let asked: Vec<String> = std::env::args().collect();
    let one = |name: &str| asked.iter().any(|arg| arg == name);
    let both = !one("rebuild") && !one("verify");
    runtime.block_on(async {
        if both || one("rebuild") {
            rebuild().await;
        }
        if both || one("verify") {
            verify().await;
        }
    });
}
