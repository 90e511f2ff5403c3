//! One store that decides, and mirrors that get the same bytes afterwards: the log does not know of them.
//!
//! ```text
//!   put_new ─▶ first store: decides ─▶ required mirrors: the same bytes ─▶ answer
//!                     │
//!                     └──▶ note (never waits) ──▶ follower ──▶ mirror      re-reads the bytes from the first store
//!                              full? doubt ─────▶ compare listings ──▶ copy what is missing, in order
//!                                                                       (what was put first, where it is still kept)
//! ```
//! * L1: what a required mirror lacks is not acknowledged, nor what stands behind it: at each fence the log is compared. While one is away nothing new goes to the first store
//!   either, so a long outage leaves no trail of half-done puts.
//! * L4: another object in a mirror's slot is damage; it is named and never overwritten.
//! * L5: only who created an object in the first store, or read it there, puts it into a mirror; whoever finds that
//!   another store was made the first one stops.
//! * L8: the notes are bounded; bytes are re-read from the first store, one object at a time.
//! * L9: a mirror that fails, hangs or is slow holds nothing up unless it is required.
//! * L10: what the first store lacks is deleted from a mirror only where a proved boundary says that it was expired.

mod copy;
mod distant;
mod follow;
mod forget;
mod merge;
mod pass;
mod required;
mod sight;
#[cfg(test)]
mod tests;

pub use distant::{Distant, Opener};
pub use forget::Retention;
pub use pass::PassError;
pub use sight::{Duty, MirrorSight, Phase};

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Notify;

use crate::clock;
use crate::clock::Clock;
use crate::codec::segment::{Header, ObjectKind};
use crate::crypto::Sealed;
use crate::crypto::stream::sha256;
use crate::model::ObjectKey;
use crate::model::SourceName;
use crate::store::error::{Op, Refusal, StoreError, StoreErrorKind};
use crate::store::memory::size_of;
use crate::store::mirror::sight::{Note, State};
use crate::store::{Kept, Part, Put, PutNew, Store, put_own};

/// How patient a mirror is.
#[derive(Clone, Copy, Debug)]
pub struct MirrorRule {
    /// A required mirror that does not answer within this time breaks the put.
    pub answer_within: Duration,
    /// The wait after a failed attempt to catch up; it doubles up to `wait_max`.
    pub first_wait: Duration,
    /// The longest wait.
    pub wait_max: Duration,
    /// How often everything is compared from the beginning, and not only the tail.
    pub whole_every: Duration,
}

/// What several mirrors share: the name of the store that took the first one's place, once one did.
#[derive(Clone, Debug, Default)]
pub struct Deposed(Arc<OnceLock<String>>);

impl Deposed {
    /// How it was noticed, if it was.
    pub fn why(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    fn set(&self, why: String) {
        // The first to notice has said all there is to say.
        let _already = self.0.set(why);
    }
}

/// One mirror: what is known of it, and what it has to catch up with.
pub struct Mirror {
    name: String,
    duty: Duty,
    rule: MirrorRule,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    retention: Option<Arc<dyn Retention>>,
    sources: Vec<SourceName>,
    deposed: Deposed,
    state: Mutex<State>,
    /// Held while an object is copied or deleted, so that what was read before a deletion is not put behind it.
    changing: tokio::sync::Mutex<()>,
    /// Wakes the follower.
    wake: Notify,
    /// Wakes who waits for the mirror.
    moved: Notify,
}

/// Where a mirror is, and what it may do.
pub struct MirrorPlace {
    /// What commands and metrics call it.
    pub name: String,
    /// Whether the acknowledgement waits for it.
    pub duty: Duty,
    /// The store; it must come back by itself after an outage ([`Distant`]).
    pub store: Arc<dyn Store>,
    /// What tells it what has expired; `None` if this process may not delete.
    pub retention: Option<Arc<dyn Retention>>,
    /// The sources that are captured here, also before the first store holds anything of them.
    pub sources: Vec<SourceName>,
}

impl Mirror {
    /// A mirror of which nothing is known yet.
    pub fn new(place: MirrorPlace, rule: MirrorRule, deposed: &Deposed, clock: &Arc<dyn Clock>) -> Self {
        let MirrorPlace { name, duty, store, retention, sources } = place;
        let state = Mutex::new(State::new(clock.now(), clock.tick()));
        let (deposed, clock) = (deposed.clone(), Arc::clone(clock));
        let (changing, wake, moved) = (tokio::sync::Mutex::new(()), Notify::new(), Notify::new());
        Self { name, duty, rule, store, clock, retention, sources, deposed, state, changing, wake, moved }
    }

    /// What commands and metrics call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is true of it now.
    pub fn sight(&self) -> MirrorSight {
        self.state().sight(&self.name, self.duty)
    }

    /// Waits until it holds all that the first store holds; `false` if that takes too long, or if it is away or refused.
    pub async fn in_step(&self, patience: Duration) -> bool {
        let settled = |state: &State| state.is_in_step() || matches!(state.phase, Phase::Away | Phase::Refused);
        self.wait_for(patience, settled).await && self.state().is_in_step()
    }

    async fn wait_for(&self, patience: Duration, is_so: impl Fn(&State) -> bool) -> bool {
        let wait = async {
            loop {
                let moved = self.moved.notified();
                tokio::pin!(moved);
                // Armed before the look, or a change between the two would be missed.
                moved.as_mut().enable();
                if is_so(&self.state()) {
                    return;
                }
                moved.await;
            }
        };
        clock::timeout(&*self.clock, patience, wait).await.is_ok()
    }

    /// A panic elsewhere cannot leave the state half changed: every change is one call.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.state());
        self.moved.notify_waiters();
        done
    }

    /// Something happened in the first store of which this mirror may not know: it must compare.
    fn doubt(&self) {
        self.change(State::doubt);
        self.wake.notify_one();
    }

    /// The object is durable in the first store. Returns at once, always (L9).
    fn note(&self, key: &ObjectKey, bytes: u64, hash: [u8; 32]) {
        let note = Note { key: key.clone(), bytes, hash, at: self.clock.now() };
        self.change(|state| state.note(note));
        self.wake.notify_one();
    }
}

/// A first store and its mirrors, as one store.
pub struct Mirrored {
    first: Arc<dyn Store>,
    mirrors: Vec<Arc<Mirror>>,
    deposed: Deposed,
}

impl Mirrored {
    /// Puts mirrors behind `first`; each must be followed ([`Mirror::follow`]) by somebody.
    pub fn new(first: Arc<dyn Store>, mirrors: Vec<Arc<Mirror>>, deposed: Deposed) -> Self {
        Self { first, mirrors, deposed }
    }

    /// The mirrors.
    pub fn mirrors(&self) -> &[Arc<Mirror>] {
        &self.mirrors
    }

    fn required(&self) -> impl Iterator<Item = &Arc<Mirror>> {
        self.mirrors.iter().filter(|mirror| mirror.duty == Duty::Required)
    }

    fn following(&self) -> impl Iterator<Item = &Arc<Mirror>> {
        self.mirrors.iter().filter(|mirror| mirror.duty == Duty::BestEffort)
    }

    /// Tells the mirrors that nobody waits for of an object that is durable in the first store.
    fn note(&self, key: &ObjectKey, body: &Sealed) {
        let mut hash = None;
        for mirror in self.following() {
            let hash = *hash.get_or_insert_with(|| sha256(body.as_bytes()));
            mirror.note(key, size_of(body.as_bytes()), hash);
        }
    }

    /// A slot that another's object has taken is built upon from here on. Nobody may be left to bring that object to the
    /// mirrors, and without it whatever follows would stand behind a hole there: so it is brought first (L1).
    async fn bring_the_others(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.following().for_each(|mirror| mirror.doubt());
        let brought = join_all(self.required().map(|mirror| mirror.fetch(&*self.first, key))).await;
        brought.into_iter().collect()
    }

    fn still_first(&self, key: &ObjectKey) -> Result<(), StoreError> {
        match self.deposed.why() {
            None => Ok(()),
            Some(why) => {
                let kind = StoreErrorKind::Refused(Refusal::Deposed);
                Err(StoreError::new(Op::Put, key, kind).caused_by(why.to_owned()))
            }
        }
    }

    /// The first store's answer, and whether the object is the caller's own.
    async fn decide(&self, key: &ObjectKey, body: &Sealed) -> Result<(PutNew, bool), StoreError> {
        match self.first.put_new(key, body.clone()).await? {
            PutNew::Created => Ok((PutNew::Created, true)),
            // Perhaps ours: an earlier put that a required mirror broke. It counts once the mirror has it too.
            PutNew::AlreadyThere => {
                let ours = put_own(&*self.first, key, body).await? == Put::Ours;
                Ok((PutNew::AlreadyThere, ours))
            }
        }
    }
}

/// Whether an object begins a reign.
fn is_fence(body: &Sealed) -> bool {
    Header::decode(body.as_bytes()).is_ok_and(|(header, _)| header.kind == ObjectKind::Fence)
}

/// A put whose end nobody waits for any more may have landed: then every mirror must compare.
struct UnderWay<'a>(&'a [Arc<Mirror>]);

impl UnderWay<'_> {
    fn settled(mut self) {
        self.0 = &[];
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|mirror| mirror.doubt());
    }
}

#[async_trait::async_trait]
impl Store for Mirrored {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        self.still_first(key)?;
        if !pass::is_mirrored(key) {
            return self.first.put_new(key, body).await;
        }
        for ready in join_all(self.required().map(|mirror| mirror.ready(key))).await {
            ready?;
        }
        let under_way = UnderWay(&self.mirrors);
        let (found, ours) = self.decide(key, &body).await?;
        if !ours {
            self.bring_the_others(key).await?;
            under_way.settled();
            return Ok(found);
        }
        let fence = is_fence(&body);
        if fence {
            self.following().for_each(|mirror| mirror.doubt());
        } else {
            self.note(key, &body);
        }
        let forward = async |mirror: &Arc<Mirror>| {
            if fence { mirror.compare(key).await } else { mirror.forward(key, &body).await }
        };
        let forwarded = join_all(self.required().map(forward)).await;
        under_way.settled();
        self.still_first(key)?;
        forwarded.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(found)
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        self.first.get(key, part).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        self.first.list(prefix, after).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.still_first(key)?;
        self.first.delete(key).await?;
        if pass::is_mirrored(key) {
            join_all(self.mirrors.iter().map(|mirror| mirror.delete(&*self.first, key))).await;
        }
        Ok(())
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.first.size(key).await
    }

    async fn holds(&self, key: &ObjectKey, body: &Sealed) -> Result<bool, StoreError> {
        self.first.holds(key, body).await
    }

    async fn kept(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Option<Vec<Kept>>, StoreError> {
        self.first.kept(prefix, after).await
    }

    async fn get_kept(&self, key: &ObjectKey, version: &str, part: Part) -> Result<Sealed, StoreError> {
        self.first.get_kept(key, version, part).await
    }
}
