//! How large the live tests are, and with which seed: small and fresh, unless a long run asks for more (`ops/test-long`).

use holdfast::entropy::{OsEntropy, draw};

/// So many times as large: `HOLDFAST_SCALE`, 1 without it. Clients, transactions, points and deaths are multiplied by it.
pub(crate) fn scale() -> u32 {
    asked("HOLDFAST_SCALE").map_or(1, |scale| u32::try_from(scale).unwrap().max(1))
}

/// The seed of what is drawn: `HOLDFAST_ROUND`, a fresh one without it.
pub(crate) fn seed() -> u64 {
    asked("HOLDFAST_ROUND").unwrap_or_else(|| u64::from_le_bytes(draw(&OsEntropy)))
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
