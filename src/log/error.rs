//! What can go wrong with a log, and with one object of it.

use crate::codec::wire::WireError;
use crate::crypto::{KeyError, SealError};
use crate::model::{Epoch, ObjectKey, Slot, SourceName};
use crate::store::{StoreError, StoreErrorKind};

/// An object that cannot be read as what it should be. It names the object (L4).
#[derive(Debug, thiserror::Error)]
#[error("object {key} is damaged or foreign")]
pub struct ObjectError {
    /// Which object.
    pub key: ObjectKey,
    /// What is wrong with it.
    #[source]
    pub kind: ObjectErrorKind,
}

/// What is wrong with an object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectErrorKind {
    /// Its bytes do not keep to the format.
    #[error("its bytes do not keep to the format")]
    Format(#[from] WireError),
    /// Its seal is broken.
    #[error("its seal does not open")]
    Seal(#[from] SealError),
    /// No key at hand opens it.
    #[error("no key at hand opens it")]
    Key(#[from] KeyError),
    /// No key at hand opens it by its own wraps, and whether there are later ones is not known.
    #[error("whether there are later wraps of its data key could not be asked")]
    LaterWraps(#[source] StoreError),
    /// It says of itself that it belongs elsewhere.
    #[error("it is not what its name says: {what}")]
    Misplaced {
        /// What differs.
        what: &'static str,
    },
    /// It does not continue the object before it.
    #[error("it does not continue the object before it")]
    Unchained,
}

/// What can go wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The store did not do it.
    #[error("the store could not serve the log")]
    Store(#[from] StoreError),
    /// An object is damaged or foreign.
    #[error("the log cannot be read")]
    Object(#[from] ObjectError),
    /// There is no data key to seal with.
    #[error("the log cannot be sealed")]
    Key(#[from] KeyError),
    /// An object that must be there is not.
    #[error("object {key} is missing: the log is damaged; `holdfast verify` lists all that is")]
    Missing {
        /// Which.
        key: ObjectKey,
    },
    /// Another writer has taken a higher epoch (L5).
    #[error("another writer took epoch {theirs} of log {source_name}, ours is {ours}: this one must stop")]
    Fenced {
        /// Whose log.
        source_name: SourceName,
        /// Our reign.
        ours: Epoch,
        /// Theirs.
        theirs: Epoch,
    },
    /// Whether our own fence was written is not known. It may hold the log: take it again with `epoch` as ours, or what
    /// may be our own reign would look like a rival's.
    #[error("whether the fence of epoch {epoch} was written is not known")]
    FenceUndecided {
        /// The epoch that may be ours.
        epoch: Epoch,
        /// What the store said.
        #[source]
        source: StoreError,
    },
    /// Another writer uses our own epoch, which can only be a copy of this process's memory or a broken store.
    #[error(
        "slot {slot} of log {source_name} holds another writer's object of our own epoch {epoch}: stop both writers"
    )]
    Twin {
        /// Whose log.
        source_name: SourceName,
        /// Which slot.
        slot: Slot,
        /// The epoch.
        epoch: Epoch,
    },
    /// An old writer's late object took the slot; the log must be opened anew to go past it.
    #[error("a late object of an older epoch took slot {slot} of log {source_name}")]
    Overtaken {
        /// Whose log.
        source_name: SourceName,
        /// Which slot.
        slot: Slot,
    },
    /// What this writer wrote stands where others had written and retention had deleted: it slept through a reign (L5).
    #[error(
        "slot {slot} of log {source_name} lies before its boundary {boundary}: this writer slept while others wrote, \
         and must stop"
    )]
    Slept {
        /// Whose log.
        source_name: SourceName,
        /// Which slot it believed to be the next.
        slot: Slot,
        /// The first slot that is still of the log.
        boundary: Slot,
    },
    /// An earlier write's fate is unknown; the writer does nothing until it is opened anew.
    #[error("an earlier write failed; the log must be opened anew")]
    Latched,
    /// Records came in an order that no source sends.
    #[error("records out of order: {what}")]
    Disordered {
        /// What was out of order.
        what: &'static str,
    },
}

impl ObjectError {
    /// Whether the object's key is out of this process's reach, rather than the object damaged.
    pub const fn is_out_of_reach(&self) -> bool {
        match &self.kind {
            ObjectErrorKind::Key(error) => error.is_out_of_reach(),
            ObjectErrorKind::Format(_)
            | ObjectErrorKind::Seal(_)
            | ObjectErrorKind::LaterWraps(_)
            | ObjectErrorKind::Misplaced { .. }
            | ObjectErrorKind::Unchained => false,
        }
    }
}

impl LogError {
    /// Whether an object's key is out of this process's reach.
    pub const fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::Object(error) if error.is_out_of_reach())
    }

    /// Whether the cause is a store that does not answer or refuses, rather than what it holds.
    pub const fn is_store_trouble(&self) -> bool {
        match self {
            Self::Store(error) => !matches!(error.kind, StoreErrorKind::Missing | StoreErrorKind::Short { .. }),
            Self::FenceUndecided { .. } | Self::Object(ObjectError { kind: ObjectErrorKind::LaterWraps(_), .. }) => {
                true
            }
            Self::Object(_)
            | Self::Key(_)
            | Self::Missing { .. }
            | Self::Fenced { .. }
            | Self::Twin { .. }
            | Self::Overtaken { .. }
            | Self::Slept { .. }
            | Self::Latched
            | Self::Disordered { .. } => false,
        }
    }
}
