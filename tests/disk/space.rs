//! Row D1: disks that are full under the catalog, and get space again.
//!
//! Stores stand in `tests/store_folder.rs`, the program itself in `tests/live/full.rs`. Bases have no temporary files: what
//! `pg_dump` gives is piped.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast::catalog::{Catalog, Index, IndexError, Opened};
use holdfast::clock::{Clock, ManualClock};
use holdfast::codec::segment::Suite;
use holdfast::crypto::Keyring;
use holdfast::crypto::file::FileKey;
use holdfast::daemon::keeper::{Keeper, Place, SledPlace};
use holdfast::entropy::SeededEntropy;
use holdfast::log::context::NoContext;
use holdfast::log::{CutRule, History, LogEnv, Writer, fence};
use holdfast::model::{Commit, Position, Record, Role, Slot, SourceName, Timestamp, Xid};
use holdfast::store::MemoryStore;
use tempfile::TempDir;

/// A disk of some megabytes. Fails where mounting is not possible: these tests are run as root, never skipped.
struct Disk(TempDir);

impl Disk {
    fn of(size: &str) -> Self {
        let disk = Self(TempDir::new().unwrap());
        let how = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &how, "tmpfs"]).arg(disk.0.path()).status();
        assert!(mounted.unwrap().success(), "this test needs the right to mount");
        disk
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let mut filler = File::create(self.0.path().join("filler")).unwrap();
        let some = [0x5A; 4096];
        while filler.write_all(&some).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).stderr(Stdio::null()).status());
    }
}

/// Where the catalog is, and how often it was opened there.
struct Counted(SledPlace, AtomicU32);

impl Counted {
    fn opened(&self) -> u32 {
        self.1.load(Ordering::Relaxed)
    }
}

impl Place for Counted {
    fn open(&self) -> Result<(Box<dyn Index>, Opened), IndexError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.open()
    }

    fn is_there(&self) -> bool {
        self.0.is_there()
    }
}

struct World {
    env: LogEnv,
    clock: Arc<ManualClock>,
    source: SourceName,
    written: u64,
}

impl World {
    fn new() -> Self {
        let entropy = Arc::new(SeededEntropy::new(9));
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let keys = Arc::new(Keyring::of_file(FileKey::fresh(&*entropy)));
        let told: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let env = LogEnv { store: Arc::new(MemoryStore::new()), keys, suite: Suite::default(), clock: told, entropy };
        Self { env, clock, source: "main".parse().unwrap(), written: 0 }
    }

    /// Captures so many segments and tells the keeper, as the pipeline does: never waiting for it.
    async fn write(&mut self, writer: &mut Writer, many: u64, keeper: &Keeper) {
        for _ in 0..many {
            self.written += 1;
            let commit = Commit { position: Position::new(self.written), time: Timestamp::from_micros(7) };
            writer.append(&Record::wire(Role::Opens(Xid::new(self.written)), Bytes::from_static(b"begin"))).unwrap();
            writer.append(&Record::wire(Role::Commits(commit), Bytes::from_static(b"commit"))).unwrap();
            for durable in writer.flush().await.unwrap() {
                let started = Instant::now();
                keeper.note(&self.source, &durable.entry);
                assert!(started.elapsed() < Duration::from_millis(200), "a note waits for a disk");
            }
        }
    }

    /// Time passes, and work gets the time to be done.
    async fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// Waits until the keeper knows what the store holds.
    async fn agrees(&self, keeper: &Keeper, when: &str) {
        let stored: Vec<_> = History::load(&self.env, &self.source).await.unwrap().entries;
        let started = Instant::now();
        loop {
            let (mut known, mut from) = (Vec::new(), Slot::NONE);
            loop {
                let page = keeper.page(&self.source, from).await;
                let Some(last) = page.last() else { break };
                from = last.slot.next();
                known.extend(page.iter().map(|entry| entry.slot));
            }
            if known.iter().eq(stored.iter().map(|entry| &entry.slot)) {
                return;
            }
            assert!(started.elapsed() < Duration::from_mins(1), "{when}: {} of {} known", known.len(), stored.len());
            self.pass(1).await;
        }
    }
}

fn space_left(folder: &Path) -> u64 {
    let about = rustix::fs::statvfs(folder).unwrap();
    about.f_bavail * about.f_bsize
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_l8_l9_a_catalog_whose_disk_is_full_holds_up_nobody_and_is_on_disk_again_once_there_is_space() {
    let (disk, mut world) = (Disk::of("8m"), World::new());
    let clock = Arc::clone(&world.env.clock);
    let place = SledPlace { folder: disk.0.path().join("state/catalog"), clock };
    let place = Arc::new(Counted(place, AtomicU32::new(0)));
    let theirs: Arc<dyn Place> = Arc::<Counted>::clone(&place);
    let (keeper, keeping) = Keeper::new(&world.env, vec![world.source.clone()], theirs);
    let task = tokio::spawn(keeping.run());
    let rule = CutRule { segment_bytes: 1 << 20, segment_age: Duration::from_secs(1) };
    let reign = fence::take(&world.env, &world.source, None).await.unwrap();
    let mut writer = Writer::new(&world.env, &world.source, reign, rule, Box::new(NoContext));
    world.write(&mut writer, 20, &keeper).await;
    world.agrees(&keeper, "with space").await;
    assert!(place.is_there());

    disk.fill();
    assert_eq!(space_left(disk.0.path()), 0, "the disk is full now");
    let before = place.opened();
    // Twelve minutes, and far more entries than sled holds back before it writes.
    for _ in 0..48 {
        world.write(&mut writer, 100, &keeper).await;
        for _ in 0..3 {
            world.pass(5).await;
        }
        assert!(!task.is_finished());
    }
    world.agrees(&keeper, "on a full disk").await;
    let tried = place.opened() - before;
    assert!(tried > 0, "the full disk was never noticed");
    assert!(tried < 40, "{tried} openings in twelve minutes: it goes round in circles");

    disk.free();
    let before = place.opened();
    for _ in 0..80 {
        world.pass(5).await;
    }
    assert!(place.opened() > before, "nobody looked whether there is space again");
    world.write(&mut writer, 5, &keeper).await;
    world.agrees(&keeper, "with space again").await;
    world.pass(5).await;
    drop(keeper);
    task.await.unwrap();
    let (index, opened) = place.open().unwrap();
    assert_eq!(opened, Opened::Kept, "it is on disk");
    let kept = Catalog::new(index).entries(&world.source).unwrap().len();
    assert_eq!(kept, History::load(&world.env, &world.source).await.unwrap().entries.len());
}
