//! Tests against real servers, which they start themselves; without PostgreSQL they fail and say so.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![expect(clippy::disallowed_methods, reason = "a test waits for real servers by the machine's clock")]

mod apply;
mod auth;
mod base;
mod base_beside;
mod bucket;
mod catalog;
mod check;
mod copy;
mod daemons;
mod elsewhere;
mod emptied;
mod expire;
mod fenced;
mod full;
mod growing;
mod guard;
mod identity;
mod histories;
mod init;
mod jobs;
mod keys;
mod kill;
#[expect(dead_code, reason = "the tests of keys alone use all of it")]
#[path = "../kms/double.rs"]
mod kms_double;
mod lost_store;
mod mirrors;
#[path = "../kms/moto.rs"]
mod kms_moto;
mod mistakes;
mod neighbours;
mod physical;
mod pipeline;
mod points;
mod program;
mod refusals;
mod replication;
mod restore;
mod running;
#[path = "../s3/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "each test program uses what it needs")]
mod s3;
mod scale;
mod secrets;
mod servers;
mod session;
mod shop;
mod site;
mod skew;
mod surface;
mod tampered;
mod tour;
mod workload;
