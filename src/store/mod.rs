//! Where sealed objects live: a small flat space of immutable objects, and its written contract.
