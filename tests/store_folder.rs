//! What can happen to a folder store alone: full and read-only disks, unmounting, crashes, a million names.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use holdfast::clock::{Clock, ManualClock, SystemClock};
use holdfast::crypto::Sealed;
use holdfast::model::ObjectKey;
use holdfast::step::{Death, Step};
use holdfast::store::{FolderStore, Part, PutNew, Refusal, Store, StoreError, StoreErrorKind};
use tempfile::TempDir;

fn key(name: &str) -> ObjectKey {
    name.parse().unwrap()
}

fn body(bytes: usize) -> Sealed {
    Sealed::stored(Bytes::from(vec![7; bytes]))
}

async fn open(path: &Path) -> Result<FolderStore, StoreError> {
    FolderStore::open(path, Arc::new(SystemClock::new())).await
}

async fn new_store(path: &Path) -> FolderStore {
    FolderStore::create(path).await.unwrap();
    open(path).await.unwrap()
}

fn refused(refusal: Refusal) -> StoreErrorKind {
    StoreErrorKind::Refused(refusal)
}

/// A disk of one megabyte. Fails where mounting is not possible: these tests are run as root, never skipped.
struct Disk(TempDir);

impl Disk {
    fn mount() -> Self {
        let disk = Self(TempDir::new().unwrap());
        run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"], disk.path());
        disk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}")], self.path());
    }

    fn unmount(&self) {
        run("umount", &[], self.path());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Once more is harmless, and a test that failed half way leaves nothing mounted.
        drop(Command::new("umount").arg(self.path()).stderr(Stdio::null()).status());
    }
}

fn run(program: &str, args: &[&str], path: &Path) {
    let status = Command::new(program).args(args).arg(path).status().unwrap();
    assert!(status.success(), "{program} {args:?} failed: this test needs the right to mount");
}

#[tokio::test]
async fn d1_l8_a_full_disk_is_told_with_its_remedy_and_leaves_nothing() {
    let disk = Disk::mount();
    let store = new_store(&disk.path().join("store")).await;
    store.put_new(&key("log/main/1"), body(600_000)).await.unwrap();
    let error = store.put_new(&key("log/main/2"), body(600_000)).await.unwrap_err();
    assert_eq!(error.kind, refused(Refusal::NoSpace));
    assert_eq!(error.to_string(), "put log/main/2: no space left; free some or raise the quota");
    assert_eq!(store.list("", None).await.unwrap(), [key("log/main/1")]);
    let again = store.put_new(&key("log/main/1"), body(600_000)).await.unwrap();
    assert_eq!(again, PutNew::AlreadyThere, "what is there is found on a full disk too");
    store.put_new(&key("log/main/3"), body(300_000)).await.unwrap();
    store.delete(&key("log/main/1")).await.unwrap();
    let created = store.put_new(&key("log/main/2"), body(600_000)).await.unwrap();
    assert_eq!(created, PutNew::Created, "it goes on once there is space; the draft that failed took none");
}

#[tokio::test]
async fn a_read_only_disk_can_be_read_and_refuses_the_rest() {
    let disk = Disk::mount();
    let path = disk.path().join("store");
    new_store(&path).await.put_new(&key("a/1"), body(3)).await.unwrap();
    disk.remount("ro");
    let store = open(&path).await.unwrap();
    assert_eq!(store.get(&key("a/1"), Part::Whole).await.unwrap(), body(3));
    assert_eq!(store.list("", None).await.unwrap(), [key("a/1")]);
    assert_eq!(store.put_new(&key("a/2"), body(3)).await.unwrap_err().kind, refused(Refusal::ReadOnly));
    assert_eq!(store.delete(&key("a/1")).await.unwrap_err().kind, refused(Refusal::ReadOnly));
    disk.remount("rw");
    assert_eq!(store.put_new(&key("a/2"), body(3)).await.unwrap(), PutNew::Created);
}

#[tokio::test]
async fn an_unmounted_disk_is_never_an_empty_store() {
    let disk = Disk::mount();
    let store = new_store(disk.path()).await;
    store.put_new(&key("log/main/1"), body(3)).await.unwrap();
    disk.unmount();
    let no_store = refused(Refusal::NoStore);
    assert_eq!(store.list("log/", None).await.unwrap_err().kind, no_store);
    assert_eq!(store.get(&key("log/main/1"), Part::Whole).await.unwrap_err().kind, no_store);
    assert_eq!(store.size(&key("log/main/1")).await.unwrap_err().kind, no_store);
    assert_eq!(store.put_new(&key("log/main/2"), body(3)).await.unwrap_err().kind, no_store);
    assert_eq!(store.delete(&key("log/main/1")).await.unwrap_err().kind, no_store);
    assert_eq!(open(disk.path()).await.err().unwrap().kind, no_store);
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0, "nothing was written under the mount point");
}

#[tokio::test]
async fn a_store_is_made_once_and_only_where_nothing_else_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("new/deep/store");
    assert_eq!(open(&path).await.err().unwrap().kind, refused(Refusal::NoStore), "opening makes nothing");
    assert!(!folder.path().join("new").exists());
    let store = new_store(&path).await;
    store.put_new(&key("a/1"), body(3)).await.unwrap();
    FolderStore::create(&path).await.unwrap();
    assert_eq!(store.get(&key("a/1"), Part::Whole).await.unwrap(), body(3), "making it again changes nothing");

    let error = FolderStore::create(folder.path()).await.unwrap_err();
    assert_eq!(error.kind, refused(Refusal::NotEmpty), "somebody's folder");
    fs::write(path.join(".holdfast/format"), "holdfast folder store 2\n").unwrap();
    assert_eq!(open(&path).await.err().unwrap().kind, refused(Refusal::NewerFormat));
    fs::remove_file(path.join(".holdfast/format")).unwrap();
    assert_eq!(open(&path).await.err().unwrap().kind, refused(Refusal::NoStore));
}

#[tokio::test]
async fn l6_only_the_owner_may_read_what_is_stored() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    new_store(&path).await.put_new(&key("log/main/1"), body(3)).await.unwrap();
    for (place, mode) in [("", 0o700), ("log", 0o700), ("log/main", 0o700), ("log/main/1", 0o600), (".holdfast", 0o700)]
    {
        let found = fs::metadata(path.join(place)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{place:?}: {found:o}");
    }
}

#[tokio::test]
async fn a_half_written_draft_is_never_visible_and_swept_after_an_hour() {
    let folder = TempDir::new().unwrap();
    new_store(folder.path()).await;
    let draft = folder.path().join(".holdfast/draft/4711-0");
    fs::write(&draft, "half a segm").unwrap();
    fs::create_dir_all(folder.path().join("log/main")).unwrap();
    fs::write(folder.path().join("log/main/.0001.seg.swp"), "an editor's").unwrap();
    fs::write(folder.path().join("log/main/Notes to self"), "a person's").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("log/main/link")).unwrap();

    let clock = Arc::new(ManualClock::new(SystemClock::new().now()));
    let own: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let store = FolderStore::open(folder.path(), Arc::clone(&own)).await.unwrap();
    assert_eq!(store.list("", None).await.unwrap(), [], "drafts, dot files and foreign names are not objects");
    clock.advance(Duration::from_mins(59));
    drop(FolderStore::open(folder.path(), Arc::clone(&own)).await.unwrap());
    assert!(draft.exists(), "somebody may still write it");
    clock.advance(Duration::from_mins(2));
    drop(FolderStore::open(folder.path(), own).await.unwrap());
    assert!(!draft.exists());
}

const DIES_AT: &str = "HOLDFAST_TEST_DIES_AT";
const DIES_IN: &str = "HOLDFAST_TEST_DIES_IN";

/// The process that dies: `a_put_that_is_killed_leaves_the_whole_object_or_none` runs this test in a process of its
/// own. Run by itself it has nothing to do.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "how the parent tells its child what to do")]
async fn the_child_that_is_killed() {
    let Some(folder) = std::env::var_os(DIES_IN) else { return };
    if let Ok(step) = std::env::var(DIES_AT) {
        step.parse::<Death>().unwrap().arm();
    }
    let store = open(&PathBuf::from(folder)).await.unwrap();
    for number in 0_u64.. {
        store.put_new(&key(&format!("log/main/{number:016x}")), body(300_000)).await.unwrap();
    }
}

fn child(folder: &Path) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "the_child_that_is_killed"]).env(DIES_IN, folder).stdout(Stdio::null());
    child
}

#[tokio::test]
async fn a_put_that_is_killed_leaves_the_whole_object_or_none() {
    #[rustfmt::skip]
    let cases = [
        // killed at                left    why
        (Step::PutSent,             2,      "nothing was linked"),
        (Step::ObjectLinked,        3,      "the object is whole, if not yet durable"),
        (Step::FolderSynced,        3,      "durable, if not yet answered"),
    ];
    for (step, left, why) in cases {
        let folder = TempDir::new().unwrap();
        let store = new_store(folder.path()).await;
        let status = child(folder.path()).env(DIES_AT, format!("{step}:3")).status().unwrap();
        assert_eq!(status.signal(), Some(9), "the child was to die at {step}");
        assert_eq!(whole_objects(&store).await, left, "{why}");
        let answer = store.put_new(&key("log/main/0000000000000002"), body(300_000)).await.unwrap();
        assert_eq!(answer == PutNew::AlreadyThere, left == 3, "the next process goes on from there");
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a real process dies in real time")]
async fn a_process_killed_at_any_moment_leaves_only_whole_objects() {
    let folder = TempDir::new().unwrap();
    let mut seen = 0;
    for round in 0..12 {
        let path = folder.path().join(round.to_string());
        let store = new_store(&path).await;
        let mut child = child(&path).spawn().unwrap();
        while whole_objects(&store).await < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_micros(700 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        seen += whole_objects(&store).await;
    }
    assert!(seen >= 24);
}

/// How many objects there are, each of them whole.
async fn whole_objects(store: &FolderStore) -> usize {
    let keys = store.list("", None).await.unwrap();
    for key in &keys {
        assert!(store.get(key, Part::Whole).await.unwrap() == body(300_000), "{key} is torn");
    }
    keys.len()
}

#[tokio::test]
async fn a_large_folder_is_read_ahead_and_every_name_found_once() {
    const NAMES: usize = 70_000;
    let folder = TempDir::new().unwrap();
    let store = new_store(folder.path()).await;
    let main = folder.path().join("log/main");
    fs::create_dir_all(&main).unwrap();
    fs::write(main.join(format!("{:016x}.seg", 0)), "").unwrap();
    for number in 1..NAMES {
        fs::write(main.join(format!("{number:016x}.seg")), "").unwrap();
    }
    // Long settled, so that what was read ahead is used.
    fs::File::open(&main).unwrap().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
    let (mut found, mut after) = (0, None);
    loop {
        let page = store.list("log/main/", after.as_ref()).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        for key in &page {
            assert_eq!(key.as_str(), format!("log/main/{found:016x}.seg"));
            found += 1;
        }
        if found == 40_000 {
            fs::write(main.join("0000000000009c40-another-process.seg"), "").unwrap();
            let page = store.list("log/main/", after.as_ref()).await.unwrap();
            assert!(page.contains(&key("log/main/0000000000009c40-another-process.seg")), "it was put before the page");
            fs::remove_file(main.join("0000000000009c40-another-process.seg")).unwrap();
        }
    }
    assert_eq!(found, NAMES);
}
