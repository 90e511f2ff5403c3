//! What a verification is asked for: how closely to look, from where on, how hard to work, and who is told.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::log::scrub::report::{Depth, Finding};
use crate::model::{ObjectKey, Slot, Tick};

/// What to verify, and how hard to work at it.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// How closely to look.
    pub depth: Depth,
    /// From this slot on; `None` for everything.
    pub since: Option<Slot>,
    /// Objects that are looked at at once: threads that are busy.
    pub jobs: usize,
    /// Bytes that are read in a second, at most; `None` for as many as can be.
    pub bytes_per_second: Option<u64>,
}

impl Order {
    /// Everything, by one thread, as fast as it can.
    pub const fn all(depth: Depth) -> Self {
        Self { depth, since: None, jobs: 1, bytes_per_second: None }
    }
}

/// Who is told while a verification goes on, object by object; what is told is not held.
pub trait Watch: Send {
    /// So many bytes of one more object were read.
    fn read(&mut self, bytes: u64);
    /// An object is as it should be; its hash is known where every byte was looked at.
    fn sound(&mut self, object: &ObjectKey, bytes: u64, hash: Option<&[u8; 32]>);
    /// An object is not. More may be found about it later.
    fn found(&mut self, finding: &Finding);
    /// The log is looked at once more, since a part of it expired meanwhile: what was told of it counts no more.
    fn again(&mut self);
}

/// Nobody.
impl Watch for () {
    fn read(&mut self, _bytes: u64) {}
    fn sound(&mut self, _object: &ObjectKey, _bytes: u64, _hash: Option<&[u8; 32]>) {}
    fn found(&mut self, _finding: &Finding) {}
    fn again(&mut self) {}
}

/// Keeps to a number of bytes per second, so that a verification beside capture leaves the store to capture (L9).
pub struct Pace {
    clock: Arc<dyn Clock>,
    bytes_per_second: Option<u64>,
    free_at: Tick,
}

impl Pace {
    /// A pace that begins now.
    pub fn new(clock: &Arc<dyn Clock>, bytes_per_second: Option<u64>) -> Self {
        Self { clock: Arc::clone(clock), bytes_per_second, free_at: clock.tick() }
    }

    /// Waits until `bytes` more are paid for.
    pub async fn spend(&mut self, bytes: u64) {
        let Some(rate) = self.bytes_per_second else { return };
        let cost = bytes.saturating_mul(1_000_000).checked_div(rate).unwrap_or(0);
        // What was not used before is not saved up.
        self.free_at = self.free_at.max(self.clock.tick()).after(Duration::from_micros(cost));
        self.clock.sleep_until(self.free_at).await;
    }
}

#[cfg(test)]
mod tests;
