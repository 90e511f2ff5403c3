//! Puts captured transactions into a server: each of them whole, or not at all.

pub mod postgres;
