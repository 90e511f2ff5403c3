//! What is stable on disk and on the wire, as pure functions between bytes and values.
#![deny(clippy::arithmetic_side_effects)]

pub mod wire;
