//! A second store behind the first, away, slow and forgetful by turns; and the day on which the first one is gone.
//!
//! ```text
//!   a daemon: Mirrored(faulty first store ─▶ mirror) and what keeps the mirror in step, which dies with it
//!   required:     what is acknowledged can be restored from the mirror alone, at every moment
//!   best effort:  what the mirror holds is true, and once the faults have stopped it is all there
//! ```
//! The daemon's own wrapper and follower run here. A rival daemon has its own, with the same mirror behind it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::chaos::faults::{Fault, Mischief};
use crate::chaos::process::Surroundings;
use crate::chaos::store::Pause;
use crate::clock::Clock;
use crate::crypto::Sealed;
use crate::log::LogEnv;
use crate::model::ObjectKey;
use crate::store::mirror::{Deposed, Duty, MirrorPlace, MirrorRule};
use crate::store::{MemoryStore, Mirror, Mirrored, Op, Part, PutNew, Store, StoreError, StoreErrorKind};

const RULE: MirrorRule = MirrorRule {
    answer_within: Duration::from_secs(2),
    first_wait: Duration::from_millis(20),
    wait_max: Duration::from_millis(500),
    whole_every: Duration::from_hours(1),
};

/// Faults on the way to a mirror, which itself stays pristine.
struct Far {
    inner: Arc<MemoryStore>,
    mischief: Arc<Mischief>,
}

impl Far {
    async fn meet(&self, op: Op, what: &str) -> Result<(), StoreError> {
        Pause(self.mischief.below(4)).await;
        if self.mischief.strikes(Fault::MirrorHangs) {
            Pause(50 + self.mischief.below(500)).await;
        }
        if self.mischief.mirror_is_away() || self.mischief.strikes(Fault::MirrorFails) {
            return Err(StoreError::new(op, what, StoreErrorKind::Unavailable));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Store for Far {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        self.meet(Op::Put, key.as_str()).await?;
        let answer = self.inner.put_new(key, body).await?;
        self.mischief.note(format!("mirrored {key}: {answer:?}"));
        if self.mischief.strikes(Fault::MirrorReplyLost) {
            return Err(StoreError::new(Op::Put, key, StoreErrorKind::Unanswered));
        }
        Ok(answer)
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        self.meet(Op::Get, key.as_str()).await?;
        self.inner.get(key, part).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        self.meet(Op::List, prefix).await?;
        self.inner.list(prefix, after).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.mischief.broke("l10", "a mirror was told to delete, where nothing expires");
        self.inner.delete(key).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.meet(Op::Size, key.as_str()).await?;
        self.inner.size(key).await
    }
}

/// What a world has in which a second store mirrors the first.
pub struct Mirroring {
    /// What the mirror really holds.
    pub memory: Arc<MemoryStore>,
    /// Whether the acknowledgement waits for it.
    pub duty: Duty,
    mischief: Arc<Mischief>,
}

impl Mirroring {
    /// An empty mirror.
    pub fn new(mischief: &Arc<Mischief>, duty: Duty) -> Self {
        Self { memory: Arc::new(MemoryStore::new()), duty, mischief: Arc::clone(mischief) }
    }

    /// What a daemon that starts now has around it: the first store with the mirror behind it; and what keeps the mirror in
    /// step as long as that daemon lives.
    pub fn behind(&self, around: &Surroundings) -> (Surroundings, BoxFuture<'static, ()>) {
        let (first, deposed) = (Arc::clone(&around.env.store), Deposed::default());
        let store = Arc::new(Far { inner: Arc::clone(&self.memory), mischief: Arc::clone(&self.mischief) });
        let sources = vec![around.source.clone()];
        let place = MirrorPlace { name: "second".to_owned(), duty: self.duty, store, retention: None, sources };
        let clock: &Arc<dyn Clock> = &around.env.clock;
        let mirror = Arc::new(Mirror::new(place, RULE, &deposed, clock));
        let whole = Mirrored::new(Arc::clone(&first), vec![Arc::clone(&mirror)], deposed);
        let env = LogEnv { store: Arc::new(whole), ..around.env.clone() };
        let follow = async move { mirror.follow(&first).await };
        (Surroundings { env, ..around.clone() }, follow.boxed())
    }

    /// Whether it holds every object of the log that `first` holds.
    pub async fn has_all_of(&self, first: &MemoryStore) -> bool {
        let (ours, theirs) = (self.memory.list("log/", None).await, first.list("log/", None).await);
        matches!((ours, theirs), (Ok(ours), Ok(theirs)) if theirs.iter().all(|key| ours.contains(key)))
    }
}
