//! Assembles the parts and keeps them running: the one place where traits meet concrete types.
//!
//! ```text
//!  supervise ──▶ life: connect · fence · stream ──▶ pipeline: append ▸ durable ▸ catalog ▸ acknowledge
//!      │                                                │
//!      ├── bases: on schedule, on a gap, on demand      └──▶ board: what is true now ──▶ control.sock, http
//!      └── guard: the slot's size (L12)
//! ```

pub mod board;
pub mod pipeline;
