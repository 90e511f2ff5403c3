//! From "that moment" to a running server.

pub mod target;
