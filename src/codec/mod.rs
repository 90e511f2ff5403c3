//! What is stable on disk and on the wire, as pure functions between bytes and values.
//!
//! Formats are drawn where they are parsed. No arithmetic here may overflow unseen: input is hostile.
//!
//! ```text
//!  sealed object:  header │ frame … frame │ footer │ trailer
//!                  clear    sealed          sealed   clear
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod base;
pub mod footer;
pub mod frame;
pub mod gap;
pub mod names;
pub mod pgoutput;
pub mod record;
pub mod rowsum;
pub mod segment;
pub mod session;
pub mod sqltext;
pub(crate) mod text;
pub mod trailer;
pub mod wire;
