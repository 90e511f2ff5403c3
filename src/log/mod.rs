//! The life of a segment, and what "durable" means.
