//! Seals what leaves this machine and opens what comes back.
//!
//! Who we defend against: somebody who reads, changes, deletes, swaps, replays or adds objects in a store, and somebody
//! who reads our spools, logs and core dumps. Who we do not: somebody who is root on the machine that captures, and
//! somebody who holds the key file. Lengths and times are not hidden.
//!
//! ```text
//!  key file or key service ─▶ wraps ─▶ data key, one per epoch and day ─HKDF(salt per attempt, identity)─▶ object key ─▶ frames
//! ```
//! * L6: no plaintext and no key leaves the process; keys are zeroed when dropped and never printed.
//! * L4: the header's hash, the frame's number, packing and plain length are bound into every frame; the nonce counts
//!   frames and flags the last, so none can be swapped, repeated, dropped or cut off (STREAM, Hoang et al. 2015).
//! * No key and nonce meet twice: the salt is drawn for each sealing attempt and a retry sends the same bytes.
//! * Neither cipher commits to its key, so the header carries a commitment, compared before any frame is opened.

pub mod file;
#[cfg(test)]
pub(crate) mod fixture;
pub mod key;
pub mod keyring;
pub mod recovery;
pub mod sealed;
pub mod sealing;
pub mod service;
pub mod stream;

pub use key::{DataKey, Identity};
pub use keyring::{KeyError, Keyring};
pub use sealed::Sealed;
pub use stream::{Opener, SealError, Sealer};
