//! Seals what leaves this machine and opens what comes back.

pub mod sealed;

pub use sealed::Sealed;
