//! What captures: follows a source, acknowledges what is durable, takes bases.
