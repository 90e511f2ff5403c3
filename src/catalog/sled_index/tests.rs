//! The index on disk against its model, against damage, and against a second process.

use super::*;
use std::fs;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use crate::catalog::index::MemoryIndex;
use crate::catalog::opening::Why;
use crate::clock::ManualClock;
use crate::entropy::SeededEntropy;
use crate::model::Timestamp;

const IDENTITY: &[u8] = b"schema 1, store 7, log 9";

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_micros(1_795_000_000_000_000))
}

fn open(folder: &Path) -> (SledIndex, Opened) {
    SledIndex::open(folder, IDENTITY, &clock()).unwrap()
}

fn filled(folder: &Path, entries: u32) {
    let (index, opened) = open(folder);
    assert_eq!(opened, Opened::Fresh { why: Why::New });
    for number in 0..entries {
        index.put(&number.to_be_bytes(), &value(number)).unwrap();
    }
    index.flush().unwrap();
}

fn value(number: u32) -> Vec<u8> {
    number.to_be_bytes().repeat(30)
}

fn set_aside(folder: &Path) -> usize {
    let names = fs::read_dir(folder.parent().unwrap()).unwrap();
    names.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("catalog.bad-")).count()
}

#[derive(Clone, Debug)]
enum Action {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Range(Vec<u8>, Option<Vec<u8>>, usize),
    Last(Vec<u8>, Option<Vec<u8>>),
    Clear,
    Flush,
    Reopen,
}

fn action() -> impl Strategy<Value = Action> {
    let key = || prop::collection::vec(prop::sample::select(vec![0_u8, 1, b'a', b'b', 0xFE, 0xFF]), 0..4);
    let end = || prop::option::of(key());
    prop_oneof![
        12 => (key(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(key, value)| Action::Put(key, value)),
        4 => key().prop_map(Action::Delete),
        6 => (key(), end(), 0_usize..5).prop_map(|(prefix, from, max)| Action::Range(prefix, from, max)),
        6 => (key(), end()).prop_map(|(prefix, until)| Action::Last(prefix, until)),
        1 => Just(Action::Clear),
        1 => Just(Action::Flush),
        1 => Just(Action::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_index_does_what_its_model_does(actions in prop::collection::vec(action(), 1..120)) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("catalog");
        let (mut index, model) = (open(&path).0, MemoryIndex::new());
        for action in actions {
            match action {
                Action::Put(key, value) => {
                    index.put(&key, &value).unwrap();
                    model.put(&key, &value).unwrap();
                    prop_assert_eq!(index.get(&key).unwrap(), Some(value));
                }
                Action::Delete(key) => {
                    index.delete(&key).unwrap();
                    model.delete(&key).unwrap();
                    prop_assert_eq!(index.get(&key).unwrap(), None);
                }
                Action::Range(prefix, from, max) => prop_assert_eq!(
                    index.range(&prefix, from.as_deref(), max).unwrap(),
                    model.range(&prefix, from.as_deref(), max).unwrap()
                ),
                Action::Last(prefix, until) => prop_assert_eq!(
                    index.last(&prefix, until.as_deref()).unwrap(),
                    model.last(&prefix, until.as_deref()).unwrap()
                ),
                Action::Clear => {
                    index.clear().unwrap();
                    model.clear().unwrap();
                }
                Action::Flush => index.flush().unwrap(),
                Action::Reopen => {
                    drop(index);
                    let (again, opened) = open(&path);
                    prop_assert_eq!(opened, Opened::Kept);
                    index = again;
                }
            }
            prop_assert_eq!(index.range(b"", None, 999).unwrap(), model.range(b"", None, 999).unwrap());
        }
    }
}

/// Every file of the folder, sled's and its subfolders'.
fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    all.sort();
    all
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let there = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &there);
        } else {
            fs::copy(&path, &there).unwrap();
        }
    }
}

/// The ways in which a file gets damaged; each takes the file's bytes and gives what is left, if anything is.
fn damage(kind: u64, entropy: &SeededEntropy, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let place = |len: usize| usize::try_from(entropy.below(u64::try_from(len.max(1)).unwrap())).unwrap();
    let at = place(bytes.len());
    match kind {
        0 => return None,
        1 => bytes.truncate(at),
        2 => bytes.iter_mut().skip(at).take(4096).for_each(|byte| *byte = 0),
        3 => bytes.iter_mut().skip(at).take(4096).for_each(|byte| *byte = u8::try_from(entropy.below(256)).unwrap()),
        _ => {
            for _ in 0..kind {
                let at = place(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << entropy.below(8);
                }
            }
        }
    }
    Some(bytes)
}

#[test]
fn d4_l7_a_damaged_index_starts_anew_or_answers_truly_and_never_panics() {
    let folder = TempDir::new().unwrap();
    let good = folder.path().join("good");
    filled(&good, 2_000);
    let (index, _) = open(&good);
    for number in 2_000_u32..3_000 {
        index.put(&number.to_be_bytes(), &value(number)).unwrap();
    }
    index.flush().unwrap();
    drop(index);
    let entropy = SeededEntropy::new(20);
    let (mut fresh, mut kept) = (0, 0);
    for round in 0..60 {
        let path = folder.path().join(round.to_string()).join("catalog");
        copy(&good, &path);
        fs::copy(folder.path().join("good.lock"), path.with_extension("lock")).unwrap();
        let all = files(&path);
        let victim = &all[usize::try_from(round).unwrap() % all.len()];
        match damage(entropy.below(9), &entropy, fs::read(victim).unwrap()) {
            Some(bytes) => fs::write(victim, bytes).unwrap(),
            None => fs::remove_file(victim).unwrap(),
        }
        let (index, opened) = open(&path);
        match opened {
            Opened::Fresh { .. } => {
                fresh += 1;
                assert_eq!(index.range(b"", None, 9).unwrap(), [], "fresh is empty");
                index.put(b"works", b"again").unwrap();
                index.flush().unwrap();
            }
            Opened::Kept => {
                kept += 1;
                // An error says to rebuild; an answer is the whole truth.
                if let Ok(found) = index.range(b"", None, 9_999) {
                    let all = (0_u32..3_000).map(|number| (number.to_be_bytes().to_vec(), value(number)));
                    assert!(found == all.collect::<Vec<_>>(), "{victim:?}: {} entries", found.len());
                }
            }
        }
    }
    assert!(fresh > 10, "{fresh} fresh, {kept} kept: the damage did nothing");
}

#[test]
fn l7_a_crash_keeps_what_was_flushed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("catalog");
    let (index, _) = open(&path);
    let (entropy, mut flushed) = (SeededEntropy::new(4), 0);
    for number in 0_u32..2_000 {
        index.put(&number.to_be_bytes(), &value(number)).unwrap();
        if entropy.below(100) == 0 {
            index.flush().unwrap();
            flushed = number + 1;
        }
        if number % 100 == 0 {
            // What a killed process leaves: the files as they are now.
            let crashed = folder.path().join(format!("crash-{number}")).join("catalog");
            copy(&path, &crashed);
            fs::copy(path.with_extension("lock"), crashed.with_extension("lock")).unwrap();
            let (index, opened) = open(&crashed);
            assert_eq!(opened, Opened::Kept, "after {number}, flushed to {flushed}");
            for number in 0..flushed {
                assert_eq!(index.get(&number.to_be_bytes()).unwrap(), Some(value(number)));
            }
        }
    }
}

#[test]
fn d4_l7_an_index_of_another_store_is_set_aside_and_two_such_are_kept() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("catalog");
    filled(&path, 10);
    let clock = clock();
    for round in 1..=4 {
        let identity = format!("store {round}");
        let (index, opened) = SledIndex::open(&path, identity.as_bytes(), &clock).unwrap();
        assert_eq!(opened, Opened::Fresh { why: Why::OtherIdentity });
        assert_eq!(index.range(b"", None, 9).unwrap(), []);
        index.put(b"a", b"b").unwrap();
        drop(index);
        let (index, opened) = SledIndex::open(&path, identity.as_bytes(), &clock).unwrap();
        assert_eq!(opened, Opened::Kept);
        assert_eq!(index.get(b"a").unwrap(), Some(b"b".to_vec()));
        drop(index);
        assert_eq!(set_aside(&path), round.min(2));
    }
}

#[test]
fn d4_an_index_that_is_open_elsewhere_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("catalog");
    let (index, _) = open(&path);
    index.put(b"a", b"b").unwrap();
    let second = SledIndex::open(&path, IDENTITY, &clock());
    assert!(matches!(second, Err(IndexError::Locked { .. })));
    assert_eq!(set_aside(&path), 0);
    assert_eq!(index.get(b"a").unwrap(), Some(b"b".to_vec()));
    drop(index);
    assert_eq!(open(&path).1, Opened::Kept, "free again at once");
}

#[test]
fn a_place_that_cannot_be_used_is_an_error_that_says_so() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for path in [folder.path().join("no/such/place"), folder.path().join("file/catalog")] {
        let error = SledIndex::open(&path, IDENTITY, &clock()).err().unwrap();
        assert!(matches!(error, IndexError::Unusable { .. }), "{error}");
    }
    let (_, opened) = open(&folder.path().join("file"));
    assert!(matches!(opened, Opened::Fresh { .. }), "a file in its place is set aside");
}

#[test]
fn d4_l7_an_entry_that_fails_its_sum_latches_and_the_next_opening_sets_the_index_aside() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("catalog");
    filled(&path, 10);
    let (index, _) = open(&path);
    let swapped = index.open.as_ref().unwrap().db.get(1_u32.to_be_bytes()).unwrap().unwrap();
    index.open.as_ref().unwrap().db.insert(2_u32.to_be_bytes(), swapped).unwrap();
    assert_eq!(index.get(&1_u32.to_be_bytes()).unwrap(), Some(value(1)));
    assert!(matches!(index.get(&2_u32.to_be_bytes()), Err(IndexError::Damaged { source: Some(_), .. })));
    assert!(matches!(index.get(&1_u32.to_be_bytes()), Err(IndexError::Damaged { source: None, .. })), "latched");
    // sled itself sees nothing wrong: it would open again as often as it is asked, and fail at this entry each time.
    drop(index);
    let (index, opened) = open(&path);
    assert!(matches!(opened, Opened::Fresh { why: Why::Damaged { .. } }), "{opened:?}");
    assert_eq!((index.range(b"", None, 9).unwrap(), set_aside(&path)), (vec![], 1));
    drop(index);
    assert_eq!((open(&path).1, set_aside(&path)), (Opened::Kept, 1));
}

#[test]
fn d4_a_panic_inside_is_an_error_outside() {
    let folder = TempDir::new().unwrap();
    let (index, _) = open(&folder.path().join("catalog"));
    let index: Arc<SledIndex> = Arc::new(index);
    let error = index.guard::<()>(IndexOp::Read, |_| panic!("as sled does")).unwrap_err();
    assert!(matches!(&error, IndexError::Damaged { source: Some(words), .. } if words.to_string() == "as sled does"));
    assert!(matches!(index.put(b"a", b"b"), Err(IndexError::Damaged { .. })));
}
