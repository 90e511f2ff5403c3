//! Applies captured transactions to a target, whole or not at all.
