//! Row D2: a disk that fails one call and is well again afterwards, at every call that a store makes.

use crate::shim::Watched;
use crate::torn::judge_all;

/// What can fail: before it is done, or (the last five) after.
const CALLS: [&str; 14] = [
    "create", "write", "sync", "syncdir", "mkdir", "link", "rename", "unlink", "read", "linked", "renamed", "unlinked",
    "made", "rmdir",
];

/// Fails the first three calls of a kind and some later ones; in a long run (`ops/test-long`) each of them.
fn next(number: u32) -> u32 {
    let short = std::env::var_os("HOLDFAST_ROUND").is_none();
    if short && number >= 3 { number + 6 } else { number + 1 }
}

#[tokio::test]
async fn d2_l1_one_failed_call_loses_nothing_whatever_the_power_takes_after_it() {
    let (mut fired, mut states, mut broken) = (Vec::new(), 0, Vec::new());
    for call in CALLS {
        let mut number = 1;
        loop {
            let fail = format!("{call}:{number}");
            let watched = Watched::run(Some(&fail));
            let Some(failed) = watched.failed_at() else { break };
            assert!(watched.succeeded, "{fail}: it does not recover: {}", watched.said);
            never_synced_again(&watched, &fail);
            // What is promised after the fault, and whatever is left at the end.
            let promise = |at: usize| watched.effects[at].path.starts_with("ack") || at + 1 == watched.effects.len();
            let (tried, lost) = judge_all(&watched, |at| at > failed && promise(at)).await;
            states += tried;
            broken.extend(lost.into_iter().map(|how| format!("{fail}: {how}")));
            fired.push(fail);
            number = next(number);
        }
    }
    assert!(broken.is_empty(), "{} of {states} states:\n{}", broken.len(), broken[..broken.len().min(5)].join("\n"));
    println!("{states} states after {} faults", fired.len());
    // A fault that never fired shows nothing. No folder is removed unless the making of one has failed.
    for call in CALLS.iter().filter(|call| **call != "rmdir") {
        let times = fired.iter().filter(|fail| fail.split(':').next() == Some(call)).count();
        assert!(times > 0, "{call} never failed");
    }
}

/// After a sync that failed the file is lost: nobody syncs it once more, and nobody gives it an object's name.
fn never_synced_again(watched: &Watched, fail: &str) {
    let failed = watched.effects.iter().position(|effect| effect.op == "sync" && !effect.done);
    let Some((lost, after)) = failed.and_then(|at| watched.effects[at..].split_first()) else { return };
    let again = after.iter().find(|effect| {
        let synced = effect.op == "sync" && effect.path == lost.path;
        synced || (matches!(effect.op.as_str(), "link" | "rename") && effect.from == lost.path)
    });
    // A draft's name is used once; the format's is the same each time and is made anew.
    let anew = after.iter().any(|effect| effect.op == "create" && effect.path == lost.path);
    assert!(again.is_none() || anew, "{fail}: {lost:?} and then {again:?}");
}
