//! The faults, each of which has happened to someone, and when they strike.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::codec::segment::{Header, ObjectKind};
use crate::crypto::Sealed;
use crate::crypto::stream::sha256;
use crate::entropy::SeededEntropy;
use crate::log::notice::Notice;
use crate::model::{Epoch, ObjectKey};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A put is answered: not now. It was not done.
    PutUnavailable,
    /// A put lands and its answer is lost; the next try finds the name taken.
    PutLandedReplyLost,
    /// A put is lost, and so is its answer.
    PutLost,
    /// A put lands long after its answer was given up, when a successor may have taken over.
    PutLate,
    /// A put that was answered arrives once more, later.
    PutTwice,
    /// A get is answered: not now.
    GetUnavailable,
    /// A list is answered: not now.
    ListUnavailable,
    /// A page of names leaves some out, against the contract.
    StaleList,
    /// A bit of what is read is wrong, on the wire or in a cache.
    BitFlip,
    /// What is read ends early, against the contract.
    TruncatedBody,
    /// An object that is there is said to be missing.
    ObjectMissing,
    /// The store is full for a while.
    StoreFull,
    /// The process dies at any await, and with it everything that it had not sent.
    Killed,
    /// A second daemon is started while the first lives.
    SecondWriter,
    /// The session with the source breaks.
    SessionBroke,
    /// A process does not run for long, as after SIGSTOP or in a machine that was suspended.
    Stalled,
    /// A day passes, so that data keys change.
    DayPasses,
    /// What has expired is looked for, and deleted.
    Expiry,
    /// Whoever deletes dies at any await.
    ExpirerDies,
    /// A lock keeps an object, or a right is missing.
    DeleteRefused,
    /// An object is deleted and the answer is lost.
    DeleteReplyLost,
    /// A process sleeps for so long that others write on, and what they wrote expires.
    Sleeps,
    /// The mirror does not answer for a while, longer than anybody waits for one put.
    MirrorAway,
    /// The mirror answers once: not now.
    MirrorFails,
    /// The mirror takes its time, or hangs.
    MirrorHangs,
    /// The mirror takes an object and its answer is lost.
    MirrorReplyLost,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 26] = [
        Self::PutUnavailable,
        Self::PutLandedReplyLost,
        Self::PutLost,
        Self::PutLate,
        Self::PutTwice,
        Self::GetUnavailable,
        Self::ListUnavailable,
        Self::StaleList,
        Self::BitFlip,
        Self::TruncatedBody,
        Self::ObjectMissing,
        Self::StoreFull,
        Self::Killed,
        Self::SecondWriter,
        Self::SessionBroke,
        Self::Stalled,
        Self::DayPasses,
        Self::Expiry,
        Self::ExpirerDies,
        Self::DeleteRefused,
        Self::DeleteReplyLost,
        Self::Sleeps,
        Self::MirrorAway,
        Self::MirrorFails,
        Self::MirrorHangs,
        Self::MirrorReplyLost,
    ];

    /// Whether it can strike only where there is a mirror.
    pub const fn is_of_mirrors(self) -> bool {
        matches!(self, Self::MirrorAway | Self::MirrorFails | Self::MirrorHangs | Self::MirrorReplyLost)
    }

    /// Whether it can strike only where something expires.
    pub const fn is_of_expiry(self) -> bool {
        matches!(self, Self::Expiry | Self::ExpirerDies | Self::DeleteRefused | Self::DeleteReplyLost | Self::Sleeps)
    }
}

/// When each fault strikes, what has struck, and what everybody did: the one seat of chance in a world.
#[derive(Debug)]
pub struct Mischief {
    dice: SeededEntropy,
    state: Mutex<State>,
}

/// A put under way beyond its sender's patience.
pub(crate) type LatePut = (u64, ObjectKey, Sealed);

#[derive(Debug, Default)]
struct State {
    per_mille: BTreeMap<Fault, u64>,
    on: bool,
    fired: BTreeMap<Fault, u64>,
    trace: Vec<String>,
    late: Vec<LatePut>,
    operations: u64,
    full_until: u64,
    mirror_asked: u64,
    mirror_away_until: u64,
    running: u32,
    expired: bool,
    fences: BTreeMap<Epoch, Vec<u32>>,
    commitments: BTreeMap<[u8; 32], [u8; 32]>,
    broken: Vec<String>,
}

impl Mischief {
    /// Chances out of a thousand, per occasion.
    pub fn new(seed: u64, per_mille: BTreeMap<Fault, u64>) -> Self {
        let state = State { per_mille, on: true, ..State::default() };
        Self { dice: SeededEntropy::new(seed), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        self.dice.below(end)
    }

    /// Whether `fault` strikes now.
    pub fn strikes(&self, fault: Fault) -> bool {
        let roll = self.dice.below(1000);
        let mut state = self.state();
        let chance = state.per_mille.get(&fault).copied().unwrap_or(0);
        let strikes = state.on && roll < chance;
        if strikes {
            *state.fired.entry(fault).or_default() += 1;
            state.trace.push(format!("! {fault:?}"));
        }
        strikes
    }

    /// From now on nothing more goes wrong, but what is late still lands.
    pub fn stop(&self) {
        self.state().on = false;
        self.note("faults stop".to_owned());
    }

    /// Writes a line of the trace.
    pub fn note(&self, line: String) {
        self.state().trace.push(line);
    }

    /// Notes that a law was broken.
    pub fn broke(&self, law: &str, how: &str) {
        let mut state = self.state();
        state.trace.push(format!("BROKEN {law}: {how}"));
        state.broken.push(format!("{law}: {how}"));
    }

    /// What has struck, the trace, and the laws that were broken.
    pub fn told(&self) -> (BTreeMap<Fault, u64>, Vec<String>, Vec<String>) {
        let state = self.state();
        (state.fired.clone(), state.trace.clone(), state.broken.clone())
    }

    /// Counts an operation of the store; gives the late puts that land before it.
    pub(crate) fn operation(&self) -> Vec<LatePut> {
        let mut state = self.state();
        state.operations += 1;
        let now = state.operations;
        let (due, late) = std::mem::take(&mut state.late).into_iter().partition(|(due, ..)| *due <= now);
        state.late = late;
        due
    }

    /// All late puts, now.
    pub(crate) fn flush(&self) -> Vec<LatePut> {
        std::mem::take(&mut self.state().late)
    }

    /// A put will land after some operations more.
    pub(crate) fn later(&self, key: &ObjectKey, body: &Sealed) {
        let wait = 1 + self.below(60);
        let mut state = self.state();
        let due = state.operations + wait;
        state.late.push((due, key.clone(), body.clone()));
    }

    /// Whether the store is full. It fills by a fault and is freed after some operations.
    pub(crate) fn is_full(&self) -> bool {
        if self.strikes(Fault::StoreFull) {
            let wait = 5 + self.below(30);
            let mut state = self.state();
            state.full_until = state.operations + wait;
        }
        let state = self.state();
        state.on && state.operations < state.full_until
    }

    /// Whether the mirror is away. It goes by a fault and comes back after it was asked some times.
    pub(crate) fn mirror_is_away(&self) -> bool {
        let gone = self.strikes(Fault::MirrorAway).then(|| 20 + self.below(200));
        let mut state = self.state();
        state.mirror_asked += 1;
        if let Some(long) = gone {
            state.mirror_away_until = state.mirror_asked + long;
        }
        state.on && state.mirror_asked < state.mirror_away_until
    }

    /// From now on objects may be gone.
    pub(crate) fn expiry_began(&self) {
        self.state().expired = true;
    }

    /// Whether anything can have expired.
    pub(crate) fn has_expired(&self) -> bool {
        self.state().expired
    }

    /// Who runs next.
    pub(crate) fn runs(&self, process: u32) {
        self.state().running = process;
    }

    /// Looks at what somebody wants to put: who takes which epoch, and whether a key and nonce meet twice.
    pub(crate) fn watch(&self, body: &Sealed) {
        if Notice::decode(body.as_bytes()).is_ok() {
            // A clear object of one form, in which there is no room for anything else.
            return;
        }
        let Ok((header, _)) = Header::decode(body.as_bytes()) else {
            self.broke("format", "a put whose header does not decode");
            return;
        };
        let mut state = self.state();
        let running = state.running;
        if header.kind == ObjectKind::Fence {
            state.fences.entry(header.epoch).or_default().push(running);
        }
        let hash = sha256(body.as_bytes());
        let before = state.commitments.insert(header.commitment, hash);
        drop(state);
        if before.is_some_and(|before| before != hash) {
            self.broke("nonce", "two different objects were sealed under one key");
        }
    }

    /// Whether anybody but `process` ever tried to take a higher epoch.
    pub(crate) fn outranked(&self, epoch: Epoch, process: u32) -> bool {
        self.state().fences.range(epoch.next()..).any(|(_, who)| who.iter().any(|taker| *taker != process))
    }

    /// Whether anybody but `process` ever tried to take `epoch`.
    pub(crate) fn taken_by_another(&self, epoch: Epoch, process: u32) -> bool {
        self.state().fences.get(&epoch).is_some_and(|who| who.iter().any(|taker| *taker != process))
    }
}
