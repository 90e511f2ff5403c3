//! What is stable on disk and on the wire, as pure functions between bytes and values.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))] // lengths come from outside; tests may count freely

pub mod base;
pub mod pgoutput;
pub mod rowsum;
pub mod sqltext;
pub mod wire;
