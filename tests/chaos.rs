//! Worlds full of faults, each from a seed; the laws hold in every one of them.
//!
//! `cargo test --test chaos` runs the seeds of `chaos/seeds.txt` and fresh ones for a minute. `CHAOS_SEED=n` replays one
//! and prints what happened in it; `CHAOS_SECONDS=n` gives fresh seeds more or less time.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking and says why")]

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast::chaos::{Fault, Outcome, Scenario, World};
use holdfast::clock::{Clock, SystemClock};
use holdfast::entropy::{OsEntropy, draw};

/// Time for fresh seeds, unless `CHAOS_SECONDS` says otherwise.
const SECONDS: u64 = 60;

fn live(seed: u64) -> Outcome {
    World::new(seed, &Scenario::of(seed)).run()
}

fn must_hold(seed: u64) -> Outcome {
    let outcome = live(seed);
    if !outcome.broken.is_empty() {
        let tail: Vec<_> = outcome.trace.iter().rev().take(60).rev().cloned().collect();
        let broken = outcome.broken.join("\n");
        panic!("{}\n\n{broken}\n\nreplay: CHAOS_SEED={seed} cargo test --test chaos replay", tail.join("\n"));
    }
    outcome
}

fn kept() -> Vec<u64> {
    let lines = include_str!("../chaos/seeds.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect()
}

#[expect(clippy::disallowed_methods, reason = "how a person replays a seed")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn replay_prints_what_happened_in_one_seed() {
    let Some(seed) = asked("CHAOS_SEED") else { return };
    let outcome = live(seed);
    println!("{}", outcome.trace.join("\n"));
    assert!(outcome.broken.is_empty(), "{}", outcome.broken.join("\n"));
}

#[test]
fn one_seed_run_twice_leaves_the_same_trace() {
    for seed in kept() {
        let (first, second) = (live(seed), live(seed));
        let differs = first.trace.iter().zip(&second.trace).position(|(first, second)| first != second);
        assert!(first == second, "seed {seed} differs at line {differs:?}");
    }
}

#[test]
fn l1_l2_l4_l5_l10_hold_in_every_world_and_every_fault_strikes() {
    let clock = SystemClock::new();
    let seconds = Duration::from_secs(asked("CHAOS_SECONDS").unwrap_or(SECONDS));
    // On a busy machine a minute makes few worlds: a fault that has not struck yet gets some more.
    let (due, last) = (clock.tick().after(seconds), clock.tick().after(seconds * 3));
    let mut fired: BTreeMap<Fault, u64> = BTreeMap::new();
    let mut seeds = kept();
    let mut worlds = 0_u64;
    loop {
        let seed = seeds.pop().unwrap_or_else(|| u64::from(u32::from_le_bytes(draw(&OsEntropy))));
        for (fault, times) in must_hold(seed).fired {
            *fired.entry(fault).or_default() += times;
        }
        worlds += 1;
        let all_struck = Fault::ALL.iter().all(|fault| fired.contains_key(fault));
        if seeds.is_empty() && clock.tick() >= (if all_struck { due } else { last }) {
            break;
        }
    }
    println!("{worlds} worlds: {fired:?}");
    for fault in Fault::ALL {
        assert!(fired.contains_key(&fault), "{fault:?} never struck in {worlds} worlds");
    }
}
