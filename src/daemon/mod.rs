//! Assembles the parts and keeps them running: the one place where traits meet concrete types.
