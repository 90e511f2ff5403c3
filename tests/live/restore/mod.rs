//! Restores of real databases: equal to the source as it was, at every kind of target, or refused by name.

mod accident;
mod meanwhile;
mod roundtrip;
mod site;
mod stops;
