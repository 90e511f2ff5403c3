//! From "that moment" to a running server.
