//! Holdfast keeps one continuous, encrypted history of a platform and brings it back as it was at any moment.
//!
//! ```text
//!  PostgreSQL ──▶ source ──▶ log: batch · encode · seal · put ──▶ catalog ──▶ restore ──▶ PostgreSQL
//!                    ▲                    │                             └──▶ find, list, verify
//!                    └──── acknowledge ◀──┘  durable
//! ```
//!
//! The modules stand on floors; a file uses only lower floors and its own folder (`tests/tidy.rs` keeps that):
//!
//! ```text
//! model ▸ clock entropy step ▸ codec crypto ▸ store connect ▸ log apply ▸ catalog ▸ source restore ▸ config ▸ daemon ▸ chaos ▸ cli
//! ```

#![cfg_attr(
    test,
    expect(
        clippy::as_conversions,
        clippy::cast_possible_wrap,
        clippy::cast_possible_truncation,
        reason = "a test casts what it has made itself"
    )
)]

pub mod model;

pub mod clock;
pub mod entropy;
pub mod step;

pub mod codec;
pub mod crypto;

pub mod connect;
pub mod store;

pub mod apply;
pub mod log;

pub mod catalog;

pub mod restore;
pub mod source;

pub mod config;

pub mod daemon;

#[path = "../chaos/mod.rs"]
pub mod chaos;

pub mod cli;
