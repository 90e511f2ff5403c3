//! What a world is like: which faults strike how often, and how segments are cut.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::chaos::faults::{Fault, Mischief};
use crate::entropy::SeededEntropy;
use crate::log::CutRule;

/// A kind of world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Any faults together, some of them often: each seed draws its own.
    Swarm,
    /// The store loses and delays puts while daemons take the log from one another.
    Fencing,
    /// Reads lie.
    LyingReads,
    /// Daemons die all the time.
    Killing,
    /// Bases are taken and holds are made, what is not promised expires, and daemons sleep through it.
    Expiring,
    /// A second store mirrors the first, the acknowledgement waits for it, and in the end it takes the first one's place.
    MirrorRequired,
    /// The same with a mirror that catches up by itself.
    MirrorFollowing,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 7] = [
        Self::Swarm,
        Self::Fencing,
        Self::LyingReads,
        Self::Killing,
        Self::Expiring,
        Self::MirrorRequired,
        Self::MirrorFollowing,
    ];

    /// The scenario of a seed.
    pub fn of(seed: u64) -> Self {
        match seed % 6 {
            _ if seed % 12 == 9 => Self::MirrorRequired,
            _ if seed % 12 == 11 => Self::MirrorFollowing,
            0 => Self::Fencing,
            1 => Self::LyingReads,
            2 => Self::Killing,
            4 => Self::Expiring,
            _ => Self::Swarm,
        }
    }

    /// Chances out of a thousand.
    pub(crate) fn per_mille(self, seed: u64) -> BTreeMap<Fault, u64> {
        use Fault as F;
        let named: &[(Fault, u64)] = match self {
            Self::Swarm => return swarm(seed),
            Self::Fencing => &[
                (F::SecondWriter, 10),
                (F::PutLate, 60),
                (F::PutLost, 40),
                (F::PutLandedReplyLost, 40),
                (F::PutTwice, 30),
                (F::Stalled, 20),
                (F::Killed, 4),
            ],
            Self::LyingReads => &[
                (F::BitFlip, 30),
                (F::TruncatedBody, 20),
                (F::ObjectMissing, 20),
                (F::StaleList, 100),
                (F::GetUnavailable, 20),
                (F::ListUnavailable, 20),
                (F::PutLandedReplyLost, 80),
                (F::SecondWriter, 3),
                (F::Killed, 3),
            ],
            Self::Killing => &[(F::Killed, 15), (F::PutLate, 50), (F::SessionBroke, 10), (F::DayPasses, 5)],
            // Lists are true here: against a store that hides a hold's name nothing can be promised.
            Self::Expiring => &[
                (F::Expiry, 12),
                (F::ExpirerDies, 4),
                (F::DeleteRefused, 40),
                (F::DeleteReplyLost, 40),
                (F::Sleeps, 3),
                (F::SecondWriter, 6),
                (F::Stalled, 10),
                (F::Killed, 4),
                (F::PutLate, 40),
                (F::PutLost, 20),
                (F::PutLandedReplyLost, 20),
                (F::GetUnavailable, 1),
                (F::ListUnavailable, 2),
                (F::BitFlip, 1),
                (F::TruncatedBody, 1),
                (F::ObjectMissing, 3),
                (F::DayPasses, 3),
            ],
            Self::MirrorRequired | Self::MirrorFollowing => &MIRRORING,
        };
        named.iter().copied().collect()
    }
}

/// Reads are true here: a store that lies tells a mirror lies, and it is for readers to find that out.
const MIRRORING: [(Fault, u64); 16] = [
    (Fault::MirrorAway, 4),
    (Fault::MirrorFails, 20),
    (Fault::MirrorHangs, 4),
    (Fault::MirrorReplyLost, 40),
    (Fault::SecondWriter, 4),
    (Fault::Stalled, 10),
    (Fault::Killed, 4),
    (Fault::PutLate, 40),
    (Fault::PutLost, 20),
    (Fault::PutLandedReplyLost, 20),
    (Fault::PutTwice, 20),
    (Fault::PutUnavailable, 10),
    (Fault::GetUnavailable, 3),
    (Fault::ListUnavailable, 3),
    (Fault::SessionBroke, 2),
    (Fault::DayPasses, 2),
];

/// From a segment per record to few large ones.
pub(crate) fn cut_rule(mischief: &Mischief) -> CutRule {
    let segment_bytes = match mischief.below(4) {
        0 => 1,
        1 => 300,
        2 => 2_000,
        _ => 40_000,
    };
    CutRule { segment_bytes, segment_age: Duration::from_millis(50 + mischief.below(500)) }
}

/// About half of the faults, each rare or frequent.
fn swarm(seed: u64) -> BTreeMap<Fault, u64> {
    let dice = SeededEntropy::new(seed.wrapping_mul(31));
    let mut drawn = BTreeMap::new();
    for fault in Fault::ALL.into_iter().filter(|fault| !fault.is_of_expiry() && !fault.is_of_mirrors()) {
        let most = match fault {
            Fault::Killed | Fault::SecondWriter | Fault::DayPasses | Fault::StoreFull => 8,
            Fault::Stalled | Fault::SessionBroke => 20,
            Fault::PutUnavailable
            | Fault::PutLandedReplyLost
            | Fault::PutLost
            | Fault::PutLate
            | Fault::PutTwice
            | Fault::GetUnavailable
            | Fault::ListUnavailable
            | Fault::StaleList
            | Fault::BitFlip
            | Fault::TruncatedBody
            | Fault::ObjectMissing
            | Fault::Expiry
            | Fault::ExpirerDies
            | Fault::DeleteRefused
            | Fault::DeleteReplyLost
            | Fault::Sleeps
            | Fault::MirrorAway
            | Fault::MirrorFails
            | Fault::MirrorHangs
            | Fault::MirrorReplyLost => 60,
        };
        if dice.below(2) == 0 {
            drawn.insert(fault, 1 + dice.below(most));
        }
    }
    drawn
}
