//! After a write whose fate is unknown the only safe step is to reopen and read back; the latch makes sure of it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::log::error::LogError;

/// Set once, never cleared.
#[derive(Debug, Default)]
pub struct Latch(AtomicBool);

impl Latch {
    /// Passes a result on; an `Err` sets the latch.
    pub fn guard<T, E>(&self, result: Result<T, E>) -> Result<T, E> {
        if result.is_err() {
            self.0.store(true, Ordering::Relaxed);
        }
        result
    }

    /// An error if the latch is set.
    pub fn check(&self) -> Result<(), LogError> {
        if self.0.load(Ordering::Relaxed) { Err(LogError::Latched) } else { Ok(()) }
    }
}
