//! Row D3: the power goes at every moment, and takes with it whatever was not synced, name by name and file by file.

use std::collections::BTreeSet;
use std::path::Path;

use holdfast::crypto::file::FileKey;
use tempfile::TempDir;

use crate::life::{Promised, judge};
use crate::replay::{Disk, Left, lay_down};
use crate::shim::Watched;

/// Judges every state once, after each of these effects.
pub(crate) async fn judge_all(watched: &Watched, moments: impl Fn(usize) -> bool) -> (usize, Vec<String>) {
    let (mut disk, mut seen, mut broken) = (Disk::default(), BTreeSet::new(), Vec::new());
    for (at, effect) in watched.effects.iter().enumerate() {
        disk.happens(effect);
        if !moments(at) {
            continue;
        }
        for left in disk.states() {
            if seen.insert((disk.promised, left.clone()))
                && let Err(how) = judge_one(watched.folder.path(), &left, disk.promised).await
            {
                let names: Vec<_> = left.keys().filter(|path| path.starts_with("store")).collect();
                broken.push(format!("after effect {at}, {effect:?}: {how}\n  left: {names:?}"));
            }
        }
    }
    (seen.len(), broken)
}

async fn judge_one(watched: &Path, left: &Left, promised: Promised) -> Result<(), String> {
    // In memory, where there is such a place: a judge who waits for disks judges few.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
    lay_down(left, folder.path());
    judge(folder.path(), FileKey::read(&watched.join("key")).unwrap(), promised).await
}

#[tokio::test]
async fn d3_l1_l7_whatever_a_power_cut_takes_the_next_process_finds_all_that_was_promised_and_goes_on() {
    let watched = Watched::run(None);
    assert!(watched.succeeded, "{}", watched.said);
    let promised = watched.effects.iter().filter(|effect| effect.path.starts_with("ack")).count();
    assert!(promised > 12, "{promised} promises");
    let (states, broken) = judge_all(&watched, |_| true).await;
    assert!(broken.is_empty(), "{} of {states} states:\n{}", broken.len(), broken[..broken.len().min(5)].join("\n"));
    println!("{states} states after {} effects", watched.effects.len());
    assert!(states > 150, "{states} states after {} effects: the replay tries too little", watched.effects.len());
}

/// The judge itself is judged: without one of the syncs, what was promised can be lost, and that is seen.
#[tokio::test]
async fn d3_a_sync_that_is_left_out_is_noticed() {
    let whole = Watched::run(None);
    for op in ["sync", "syncdir"] {
        let mut effects = whole.effects.clone();
        effects.retain(|effect| effect.op != op || !effect.path.starts_with("store") || effect.path.ends_with("store"));
        let without = Watched { effects, folder: TempDir::new().unwrap(), said: String::new(), succeeded: true };
        std::fs::copy(whole.folder.path().join("key"), without.folder.path().join("key")).unwrap();
        let last = without.effects.len() - 1;
        let (states, broken) = judge_all(&without, |at| at == last).await;
        assert!(!broken.is_empty(), "without any {op} all {states} states are as good");
    }
}
