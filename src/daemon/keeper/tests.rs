//! The keeper against indexes that fail, panic and vanish, and against a store that does: what it keeps is the store's.

use super::*;
use crate::catalog::opening::Why;
use crate::clock::{ManualClock, SystemClock};
use crate::codec::segment::Suite;
use crate::crypto::Keyring;
use crate::crypto::file::FileKey;
use crate::entropy::SeededEntropy;
use crate::log::context::NoContext;
use crate::log::expiry;
use crate::log::retention::Doomed;
use crate::log::{CutRule, Writer, fence};
use crate::model::{Commit, Position, Record, Role, Slot, Timestamp, Xid};
use crate::store::{MemoryStore, layout};
use bytes::Bytes;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use tokio::task::JoinHandle;

struct World {
    env: LogEnv,
    store: Arc<MemoryStore>,
    source: SourceName,
}

impl World {
    fn new() -> Self {
        let entropy = Arc::new(SeededEntropy::new(7));
        let store = Arc::new(MemoryStore::new());
        let env = LogEnv {
            store: Arc::<MemoryStore>::clone(&store),
            keys: Arc::new(Keyring::of_file(FileKey::fresh(&*entropy))),
            suite: Suite::ChaCha20Poly1305,
            clock: Arc::new(SystemClock::new()),
            entropy,
        };
        Self { env, store, source: "main".parse().unwrap() }
    }

    async fn writer(&self) -> Writer {
        let rule = CutRule { segment_bytes: 1 << 20, segment_age: Duration::from_secs(1) };
        let reign = fence::take(&self.env, &self.source, None).await.unwrap();
        Writer::new(&self.env, &self.source, reign, rule, Box::new(NoContext))
    }

    /// Writes one segment and tells the keeper, as the pipeline does.
    async fn write(&self, writer: &mut Writer, number: u64, keeper: &Keeper) {
        let commit = Commit { position: Position::new(number), time: Timestamp::from_micros(7) };
        writer.append(&Record::wire(Role::Opens(Xid::new(number)), Bytes::from_static(b"begin"))).unwrap();
        writer.append(&Record::wire(Role::Commits(commit), Bytes::from_static(b"commit"))).unwrap();
        for durable in writer.flush().await.unwrap() {
            keeper.note(&self.source, &durable.entry);
        }
    }

    fn keeper(&self, place: Arc<dyn Place>) -> (Keeper, JoinHandle<()>) {
        let (keeper, keeping) = Keeper::new(&self.env, vec![self.source.clone()], place);
        #[expect(clippy::disallowed_methods, reason = "a test owns its tasks")]
        let task = tokio::spawn(keeping.run());
        (keeper, task)
    }

    /// What the keeper knows by itself, once it is in no doubt any more.
    async fn known(&self, keeper: &Keeper) -> Vec<Slot> {
        loop {
            let known = keeper.page(&self.source, Slot::NONE).await;
            if !keeper.is_stale() {
                return known.iter().map(|entry| entry.slot).collect();
            }
            tokio::task::yield_now().await;
        }
    }

    async fn stored(&self) -> Vec<Slot> {
        History::load(&self.env, &self.source).await.unwrap().entries.iter().map(|entry| entry.slot).collect()
    }
}

/// Gives indexes made by a function, and counts them.
struct Made<F>(F, AtomicU32);

impl<F: Fn(u32) -> Box<dyn Index> + Send + Sync> Place for Made<F> {
    fn open(&self) -> Result<(Box<dyn Index>, Opened), IndexError> {
        Ok(((self.0)(self.1.fetch_add(1, Ordering::Relaxed)), Opened::Fresh { why: Why::New }))
    }

    fn is_there(&self) -> bool {
        true
    }
}

/// Works a few times, then breaks in its own way.
struct Breaking {
    inner: MemoryIndex,
    puts_left: Mutex<u32>,
    panics: bool,
}

impl Breaking {
    fn work(&self) -> Result<(), IndexError> {
        let mut left = self.puts_left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *left = left.saturating_sub(1);
        assert!(*left > 0 || !self.panics, "as sled does");
        let path = PathBuf::from("here");
        let damaged = IndexError::Damaged { op: crate::catalog::index::IndexOp::Put, path, source: None };
        if *left > 0 { Ok(()) } else { Err(damaged) }
    }
}

impl Index for Breaking {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), IndexError> {
        self.work()?;
        self.inner.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.inner.get(key)
    }

    fn range(
        &self,
        prefix: &[u8],
        from: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<crate::catalog::index::Entry>, IndexError> {
        self.inner.range(prefix, from, max)
    }

    fn last(&self, prefix: &[u8], until: Option<&[u8]>) -> Result<Option<crate::catalog::index::Entry>, IndexError> {
        self.inner.last(prefix, until)
    }

    fn delete(&self, key: &[u8]) -> Result<(), IndexError> {
        self.inner.delete(key)
    }

    fn clear(&self) -> Result<(), IndexError> {
        self.inner.clear()
    }

    fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }
}

#[tokio::test]
async fn d4_l9_an_index_that_breaks_or_panics_stops_nothing_and_is_made_anew() {
    for panics in [false, true] {
        let world = World::new();
        // The first two break after some puts, the third one holds.
        let made = move |number: u32| -> Box<dyn Index> {
            let puts_left = Mutex::new(if number < 2 { 6 + 2 * number } else { u32::MAX });
            Box::new(Breaking { inner: MemoryIndex::new(), puts_left, panics })
        };
        let place = Arc::new(Made(made, AtomicU32::new(0)));
        let (keeper, task) = world.keeper(Arc::<Made<_>>::clone(&place) as Arc<dyn Place>);
        let mut writer = world.writer().await;
        for number in 1..=30 {
            world.write(&mut writer, number, &keeper).await;
            assert!(!task.is_finished());
        }
        // A note that breaks the index wakes the mending; so does the next one.
        world.write(&mut writer, 31, &keeper).await;
        assert_eq!(world.known(&keeper).await, world.stored().await, "panics: {panics}");
        assert_eq!(place.1.load(Ordering::Relaxed), 3);
        drop(keeper);
        task.await.unwrap();
    }
}

#[tokio::test]
async fn l7_what_has_expired_leaves_the_catalog() {
    let world = World::new();
    let place = Arc::new(Made(|_| -> Box<dyn Index> { Box::<MemoryIndex>::default() }, AtomicU32::new(0)));
    let (keeper, task) = world.keeper(place);
    let mut writer = world.writer().await;
    for number in 1..=9 {
        world.write(&mut writer, number, &keeper).await;
    }
    assert_eq!(world.known(&keeper).await.len(), 10);
    let history = History::load(&world.env, &world.source).await.unwrap();
    let doomed = Doomed { first: Slot::new(6), bases: Vec::new() };
    expiry::carry_out(&world.env, &world.source, &history, &doomed).await.unwrap();
    keeper.doubt(&world.source);
    world.write(&mut writer, 10, &keeper).await;
    let known = world.known(&keeper).await;
    assert_eq!((known.first(), known.len()), (Some(&Slot::new(6)), 6));
    assert_eq!(known, world.stored().await);
    drop(keeper);
    task.await.unwrap();
}

#[tokio::test]
async fn l7_a_new_reigns_fence_and_a_full_queue_are_read_back_from_the_store() {
    let world = World::new();
    let place = Arc::new(Made(|_| -> Box<dyn Index> { Box::<MemoryIndex>::default() }, AtomicU32::new(0)));
    let (keeper, keeping) = Keeper::new(&world.env, vec![world.source.clone()], place);
    let mut writer = world.writer().await;
    // Nobody keeps yet: the queue fills, and notes go nowhere at once.
    for number in 1..=u64::try_from(QUEUE_MAX).unwrap() + 10 {
        world.write(&mut writer, number, &keeper).await;
    }
    #[expect(clippy::disallowed_methods, reason = "a test owns its tasks")]
    let task = tokio::spawn(keeping.run());
    assert_eq!(world.known(&keeper).await, world.stored().await);
    let mut next = world.writer().await;
    world.write(&mut next, 5_000, &keeper).await;
    let known = loop {
        let known = world.known(&keeper).await;
        if known.len() > QUEUE_MAX + 11 {
            break known;
        }
    };
    assert_eq!(known, world.stored().await, "a fence is written without a note");
    drop(keeper);
    task.await.unwrap();
}

#[tokio::test]
async fn d4_l7_an_index_whose_files_are_deleted_is_made_anew_and_a_rebuild_says_what_it_found() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let clock = Arc::clone(&world.env.clock);
    let place = Arc::new(SledPlace { folder: folder.path().join("state/catalog"), clock });
    let (keeper, task) = world.keeper(Arc::<SledPlace>::clone(&place) as Arc<dyn Place>);
    let mut writer = world.writer().await;
    for number in 1..=5 {
        world.write(&mut writer, number, &keeper).await;
    }
    assert_eq!(world.known(&keeper).await, world.stored().await);
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    let counts = keeper.rebuild().await.unwrap().unwrap().counts;
    assert_eq!(counts.get(&world.source), Some(&6));
    assert!(place.is_there(), "it is on disk again");
    assert_eq!(world.known(&keeper).await, world.stored().await);
    drop(keeper);
    task.await.unwrap();
    let (index, opened) = place.open().unwrap();
    assert_eq!(opened, Opened::Kept, "what was kept is kept");
    let kept = Catalog::new(index).entries(&world.source).unwrap();
    assert_eq!(kept.iter().map(|entry| entry.slot).collect::<Vec<_>>(), world.stored().await);
}

#[tokio::test]
async fn l7_what_the_catalog_says_is_believed_only_where_the_store_confirms_it() {
    let world = World::new();
    let place = Arc::new(Made(|_| -> Box<dyn Index> { Box::<MemoryIndex>::default() }, AtomicU32::new(0)));
    let (keeper, task) = world.keeper(place);
    let mut writer = world.writer().await;
    for number in 1..=5 {
        world.write(&mut writer, number, &keeper).await;
    }
    assert_eq!(world.known(&keeper).await.len(), 6);
    world.store.tamper(&layout::segment(&world.source, Slot::new(6)), None);
    let known = keeper.page(&world.source, Slot::NONE).await;
    let history = History::load_from(&world.env, &world.source, known).await.unwrap();
    assert_eq!(history.entries.len(), 5, "the newest object is lost, whatever the catalog says");
    drop(keeper);
    task.await.unwrap();
}

/// A verb that finds no daemon opens the catalog for a moment; a daemon that starts just then must not do without for long.
#[tokio::test]
async fn d4_a_catalog_that_a_verb_has_open_is_opened_soon_after() {
    struct Held(AtomicU32);
    impl Place for Held {
        fn open(&self) -> Result<(Box<dyn Index>, Opened), IndexError> {
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0 => Err(IndexError::Locked { path: PathBuf::from("here") }),
                _ => Ok((Box::<MemoryIndex>::default(), Opened::Kept)),
            }
        }

        fn is_there(&self) -> bool {
            true
        }
    }
    let clock = Arc::new(ManualClock::new(Timestamp::default()));
    let mut world = World::new();
    world.env.clock = Arc::<ManualClock>::clone(&clock);
    let place = Arc::new(Held(AtomicU32::new(0)));
    let (keeper, task) = world.keeper(Arc::<Held>::clone(&place) as Arc<dyn Place>);
    let begun = clock.tick();
    while place.0.load(Ordering::Relaxed) < 2 {
        clock.advance(Duration::from_millis(10));
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        assert!(clock.tick() < begun.after(DISK_EVERY), "another place on disk is looked for as seldom");
    }
    drop(keeper);
    task.await.unwrap();
}

/// A place that counts how often it is opened.
struct Counted(SledPlace, AtomicU32);

impl Place for Counted {
    fn open(&self) -> Result<(Box<dyn Index>, Opened), IndexError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.open()
    }

    fn is_there(&self) -> bool {
        self.0.is_there()
    }
}

/// sled opens such an index without a word, and each reading of it ends at the same entry: it was opened again and again
/// until somebody came and ran `catalog rebuild`.
#[tokio::test]
async fn d4_l7_an_entry_that_fails_its_sum_is_made_anew_without_anybody() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let clock = Arc::clone(&world.env.clock);
    let place = SledPlace { folder: folder.path().join("catalog"), clock };
    let place = Arc::new(Counted(place, AtomicU32::new(0)));
    let (keeper, task) = world.keeper(Arc::<Counted>::clone(&place) as Arc<dyn Place>);
    let mut writer = world.writer().await;
    for number in 1..=5 {
        world.write(&mut writer, number, &keeper).await;
    }
    assert_eq!(world.known(&keeper).await.len(), 6);
    drop(keeper);
    task.await.unwrap();
    let db = sled::Config::new().path(&place.0.folder).open().unwrap();
    let (key, value) = db.iter().nth(2).unwrap().unwrap();
    let mut value = value.to_vec();
    value[9] ^= 1;
    db.insert(key, value).unwrap();
    db.flush().unwrap();
    drop(db);
    let (keeper, task) = world.keeper(Arc::<Counted>::clone(&place) as Arc<dyn Place>);
    // As the daemon goes on it heals: with the next note at the latest.
    for number in 6..=8 {
        world.write(&mut writer, number, &keeper).await;
    }
    assert_eq!(world.known(&keeper).await, world.stored().await);
    assert_eq!(place.1.load(Ordering::Relaxed), 3, "once at first, once to meet the damage, once to begin anew");
    let aside = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(aside.filter(|name| name.to_str().unwrap().starts_with("catalog.bad-")).count(), 1);
    drop(keeper);
    task.await.unwrap();
    assert_eq!(place.open().unwrap().1, Opened::Kept, "what was made anew is kept");
}

/// A disk on which every index breaks is left alone for a while: no loop of openings, and the catalog serves from memory.
#[tokio::test]
async fn d4_l8_indexes_that_break_one_after_another_end_in_memory() {
    let world = World::new();
    let made = |_| -> Box<dyn Index> {
        Box::new(Breaking { inner: MemoryIndex::new(), puts_left: Mutex::new(1), panics: false })
    };
    let place = Arc::new(Made(made, AtomicU32::new(0)));
    let (keeper, task) = world.keeper(Arc::<Made<_>>::clone(&place) as Arc<dyn Place>);
    let mut writer = world.writer().await;
    for number in 1..=30 {
        world.write(&mut writer, number, &keeper).await;
    }
    assert_eq!(world.known(&keeper).await, world.stored().await);
    assert_eq!(place.1.load(Ordering::Relaxed), BREAKS_MAX);
    drop(keeper);
    task.await.unwrap();
}
