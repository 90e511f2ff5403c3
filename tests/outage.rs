//! Row S14 for as long as it lasts: half an hour without a store, in time that is moved by hand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking and says why")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use holdfast::chaos::faults::Mischief;
use holdfast::chaos::oracle;
use holdfast::chaos::process::{Process, Surroundings};
use holdfast::chaos::upstream::Upstream;
use holdfast::chaos::world::now;
use holdfast::clock::{Clock, ManualClock};
use holdfast::codec::segment::Suite;
use holdfast::config::StorePlace;
use holdfast::crypto::Keyring;
use holdfast::crypto::file::FileKey;
use holdfast::daemon::assemble::retry_rule;
use holdfast::entropy::{Entropy, SeededEntropy};
use holdfast::log::{CutRule, LogEnv};
use holdfast::model::{Position, Timestamp};
use holdfast::store::fated::{Fate, Fated};
use holdfast::store::s3::{S3Place, Style};
use holdfast::store::{MemoryStore, Retrying, Store, StoreErrorKind};

const TRANSACTIONS: u64 = 60;
const STEP: Duration = Duration::from_millis(50);

/// How a region is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    /// It answers nothing.
    Hangs,
    /// It says that it cannot.
    Refuses,
}

/// A request that is under way and gets no answer.
struct UnderWay(Arc<AtomicU64>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A server, a daemon, and the region between that daemon and its bucket.
struct World {
    clock: Arc<ManualClock>,
    upstream: Arc<Upstream>,
    daemon: Process,
    pristine: LogEnv,
    is_away: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    waiting: Arc<AtomicU64>,
}

impl World {
    fn new(away: Away) -> Self {
        let mischief = Arc::new(Mischief::new(14, BTreeMap::new()));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(14));
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let told: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (is_away, asked, waiting) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
        let far = {
            let (is_away, asked, waiting) =
                (Arc::clone(&is_away), Arc::clone(&asked), Arc::<AtomicU64>::clone(&waiting));
            Fated::over(&memory, move |_| {
                if !is_away.load(Ordering::SeqCst) {
                    return Fate::Done;
                }
                AtomicU64::fetch_add(&asked, 1, Ordering::SeqCst);
                match away {
                    Away::Refuses => Fate::Fails(StoreErrorKind::Unavailable),
                    Away::Hangs => {
                        waiting.fetch_add(1, Ordering::SeqCst);
                        let under_way = UnderWay(Arc::clone(&waiting));
                        Fate::first(async move {
                            let _until_nobody_waits = under_way;
                            std::future::pending::<()>().await;
                        })
                    }
                }
            })
        };
        let place = S3Place {
            bucket: "backups".to_owned(),
            prefix: String::new(),
            region: None,
            endpoint: None,
            style: Style::Path,
        };
        let rule = retry_rule(&StorePlace::S3(place));
        let store = Arc::new(Retrying::new(far, Arc::clone(&told), Arc::clone(&entropy), rule));
        let keys = Arc::new(Keyring::of_file(FileKey::fresh(&*entropy)));
        let env = LogEnv { store, keys, suite: Suite::default(), clock: told, entropy };
        let pristine = LogEnv { store: memory, ..env.clone() };
        let upstream = Arc::new(Upstream::new(Arc::clone(&mischief), TRANSACTIONS));
        let rule = CutRule { segment_bytes: 2_000, segment_age: Duration::from_millis(200) };
        let server = Arc::clone(&upstream);
        let around = Surroundings { env, source: "main".parse().unwrap(), rule, upstream: server, mischief };
        let daemon = Process::start(1, &around, None);
        Self { clock, upstream, daemon, pristine, is_away, asked, waiting }
    }

    /// Lets so much time pass, or less if that becomes true before.
    fn pass(&mut self, time: Duration, so: impl Fn(&Upstream) -> bool) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let due = self.clock.tick().after(time);
        while self.clock.tick() < due {
            for _ in 0..20 {
                self.daemon.run(&mut context);
            }
            if so(&self.upstream) {
                return true;
            }
            self.clock.advance(STEP);
        }
        false
    }
}

fn all_acknowledged(upstream: &Upstream) -> bool {
    upstream.acknowledged() >= upstream.end()
}

#[test]
fn s14_l8_live_half_an_hour_without_the_region_costs_time_and_nothing_else() {
    for away in [Away::Hangs, Away::Refuses] {
        let mut world = World::new(away);
        world.upstream.happen(10);
        assert!(world.pass(Duration::from_mins(1), all_acknowledged), "{away:?}: it captures");
        let before = world.upstream.acknowledged();
        world.is_away.store(true, Ordering::SeqCst);
        world.upstream.happen(usize::try_from(TRANSACTIONS).unwrap());
        let mut most = 0;
        for _ in 0..30 {
            world.pass(Duration::from_mins(1), |_| false);
            most = most.max(world.waiting.load(Ordering::SeqCst));
            assert!(!world.daemon.is_stopped(), "{away:?}: nobody takes over, and it goes on trying");
        }
        // Heartbeats of what was durable before may still be told.
        let during = world.upstream.acknowledged();
        assert!(during.get() < before.get() + 1_000_000, "{away:?}: nothing new was acknowledged: {during:?}");
        let asked = world.asked.load(Ordering::SeqCst);
        // Each minute some lives, each with a few requests that are tried again for ten seconds.
        assert!((60..60_000).contains(&asked), "{away:?}: {asked} requests in half an hour");
        assert!(most <= 8, "{away:?}: {most} requests at once (L8)");
        world.is_away.store(false, Ordering::SeqCst);
        assert!(
            world.pass(Duration::from_mins(1), all_acknowledged),
            "{away:?}: a minute after it is back all is durable"
        );
        assert_eq!(world.waiting.load(Ordering::SeqCst), 0, "{away:?}: and nothing of the outage is left");
        let source = "main".parse().unwrap();
        let (restored, _) = now(oracle::restored(&world.pristine, &source, Position::ZERO)).unwrap();
        assert!(restored == world.upstream.book(), "{away:?}: all of it, once and in order");
    }
}
