//! Faults on purpose: a seed, a world, and the laws that must hold in it.
//!
//! ```text
//!   seed ─▶ scenario ─▶ world: upstream ─▶ processes (the daemon's own pipeline and log) ─▶ faulty store ─▶ memory
//!                         │   bases, holds ─▶ the retention of the log ──────────────────────▲
//!                         │   a mirror behind the store, which takes its place when it is gone
//!                         └─ after each death and at the end: laws, over what the store holds
//! ```
//! Nothing here is random but by its seed, and no clock moves but by hand: one seed run twice leaves the same trace. A
//! fault changes answers and never what is stored, so that what the laws read is what a store would really hold.

pub mod faults;
pub mod laws;
pub mod mirror;
pub mod oracle;
pub mod process;
pub mod retention;
pub mod scenarios;
pub mod store;
pub mod upstream;
pub mod world;

pub use faults::Fault;
pub use scenarios::Scenario;
pub use world::{Outcome, World};
