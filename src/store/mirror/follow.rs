//! The life of a mirror beside capture: compare, copy what is noted, rest, and come back from any outage by itself.

use std::error::Error;
use std::sync::Arc;

use crate::clock::sleep;
use crate::store::Store;
use crate::store::mirror::Mirror;
use crate::store::mirror::pass::{Depth, PassError};
use crate::store::mirror::sight::{Phase, State};

impl Mirror {
    /// Keeps the mirror in step with `first`, until another store is found to have been made the first one.
    pub async fn follow(&self, first: &Arc<dyn Store>) {
        let mut failures = 0_u32;
        loop {
            match Box::pin(self.round(first)).await {
                Ok(()) => {
                    failures = 0;
                    self.rest().await;
                }
                Err(error) => {
                    self.failed(&error);
                    if matches!(error, PassError::Deposed(_)) {
                        return;
                    }
                    let doubled = self.rule.first_wait.saturating_mul(1 << failures.min(10));
                    failures = failures.saturating_add(1);
                    sleep(&*self.clock, doubled.min(self.rule.wait_max)).await;
                }
            }
        }
    }

    /// Brings the mirror to where the first store is now, once, from the beginning.
    pub async fn catch_up_once(&self, first: &Arc<dyn Store>) -> Result<(), PassError> {
        let done = Box::pin(self.pass(first, Depth::Whole)).await;
        if let Err(error) = &done {
            self.failed(error);
        }
        done
    }

    async fn round(&self, first: &Arc<dyn Store>) -> Result<(), PassError> {
        if self.whole_is_due() {
            self.pass(first, Depth::Whole).await?;
        } else if self.state().needs_pass() {
            self.pass(first, Depth::Tail).await?;
        } else if self.clock.tick().since(self.state().order_at) >= self.rule.wait_max {
            self.same_order(&**first).await?;
        }
        match self.settled_doubt() {
            Some(doubt) => self.drain(first, doubt).await,
            // Something happened meanwhile: what is noted behind it waits for the next comparison.
            None => Ok(()),
        }
    }

    /// The doubt up to which everything was compared, if there is none behind it.
    fn settled_doubt(&self) -> Option<u64> {
        let state = self.state();
        (!state.needs_pass()).then(|| state.doubts())
    }

    fn whole_is_due(&self) -> bool {
        let state = self.state();
        state.owes_whole() || self.clock.tick().since(state.whole_at) >= self.rule.whole_every
    }

    /// Until something is noted, or it is time to look again.
    async fn rest(&self) {
        tokio::select! {
            biased;
            () = self.wake.notified() => {}
            () = sleep(&*self.clock, self.rule.wait_max) => {
                // A foreign object is looked at again and again: somebody takes it away some time.
                let hurt = !self.state().damaged.is_empty();
                if hurt {
                    self.doubt();
                }
            }
        }
    }

    fn failed(&self, error: &PassError) {
        let phase = match error {
            PassError::First(_) | PassError::Mirror(_) => Phase::Away,
            PassError::OtherHistory { .. }
            | PassError::OtherSite { .. }
            | PassError::Deposed(_)
            | PassError::Order(_) => Phase::Refused,
        };
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(below) = cause {
            why.push_str(": ");
            why.push_str(&below.to_string());
            cause = below.source();
        }
        let doubt = |state: &mut State| {
            (state.phase, state.trouble) = (phase, Some(why));
            // What was under way was not finished: the next attempt compares.
            state.doubt();
        };
        self.change(doubt);
    }
}
