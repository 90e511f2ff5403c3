//! Seals what leaves this machine and opens what comes back.
