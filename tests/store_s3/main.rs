//! What object stores do to people, row by row of the fault matrix, against the real SDK over real HTTP.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "servers of tests run beside them")]

mod bed;
mod cuts;
mod lies;
mod mirrors;
mod puts;
mod reads;
#[path = "../s3/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "each test program uses what it needs")]
mod s3;
mod versions;
