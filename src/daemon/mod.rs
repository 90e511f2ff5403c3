//! Assembles the parts and keeps them running: the one place where traits meet concrete types.
//!
//! ```text
//!  supervise ──▶ life: connect · fence · stream ──▶ pipeline: append ▸ durable ▸ catalog ▸ acknowledge
//!      │                                                │
//!      ├── bases: on schedule, on a gap, on demand      └──▶ board: what is true now ──▶ control.sock, http
//!      ├── jobs: verify, expire, sweep, on schedule
//!      ├── guard: the slot's size (L12)
//!      └── mirrors: the same bytes in every other store
//! ```

pub mod assemble;
pub mod bases;
pub mod board;
pub mod control;
pub mod entries;
pub mod expire;
#[cfg(test)]
pub(crate) mod fixture;
pub mod guard;
pub mod http;
pub mod jobs;
pub mod keeper;
pub mod keywatch;
pub mod lastserver;
pub mod metrics;
pub mod mirrors;
pub mod notify;
pub mod pipeline;
pub mod policy;
pub mod promote;
pub mod schedule;
pub mod serve;
pub mod standing;
pub mod status;
pub mod strangers;
pub mod supervise;
pub mod verify;
pub mod witness;

/// An error with all its causes, in one line: each says something of its own.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(below) = cause {
        text.push_str(": ");
        text.push_str(&below.to_string());
        cause = below.source();
    }
    text
}
