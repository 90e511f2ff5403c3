//! Sessions with servers and nothing more.
