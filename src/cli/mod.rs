//! The command line: one verb, one file.

pub mod args;
pub mod exit;
