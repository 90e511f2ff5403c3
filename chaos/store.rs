//! A store that does everything a store must not, around one that keeps its contract.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::chaos::faults::{Fault, Mischief};
use crate::crypto::Sealed;
use crate::model::ObjectKey;
use crate::store::{MemoryStore, Op, Part, PutNew, Refusal, Store, StoreError, StoreErrorKind};

/// Faults on the way to a memory store, which itself stays pristine.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<MemoryStore>,
    mischief: Arc<Mischief>,
    deletes: Deletes,
}

/// Who may delete: whoever captures never does (L10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deletes {
    Never,
    Expired,
}

/// Pending for some polls: where a process can be killed or overtaken.
pub struct Pause(pub u64);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A put that was sent and not answered: when its sender dies it may still land.
struct Sent<'a> {
    mischief: &'a Mischief,
    key: &'a ObjectKey,
    body: &'a Sealed,
    done: bool,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.done && self.mischief.strikes(Fault::PutLate) {
            self.mischief.later(self.key, self.body);
        }
    }
}

impl FaultyStore {
    /// Puts faults in front of `inner`.
    pub fn new(inner: Arc<MemoryStore>, mischief: Arc<Mischief>) -> Self {
        Self { inner, mischief, deletes: Deletes::Never }
    }

    /// The same store for whoever deletes what has expired.
    #[must_use]
    pub fn deleting(&self) -> Self {
        Self { deletes: Deletes::Expired, ..self.clone() }
    }

    async fn operation(&self) {
        Pause(self.mischief.below(4)).await;
        for (_, key, body) in self.mischief.operation() {
            self.land_late(&key, body).await;
        }
    }

    async fn land_late(&self, key: &ObjectKey, body: Sealed) {
        let landed = self.inner.put_new(key, body).await;
        self.mischief.note(format!("late put of {key}: {landed:?}"));
    }

    /// Everything that is still on its way lands.
    pub async fn flush(&self) {
        for (_, key, body) in self.mischief.flush() {
            self.land_late(&key, body).await;
        }
    }

    fn fail<T>(&self, op: Op, what: &str, kind: StoreErrorKind) -> Result<T, StoreError> {
        self.mischief.note(format!("{op} {what}: {kind:?}"));
        Err(StoreError::new(op, what, kind))
    }
}

#[async_trait::async_trait]
impl Store for FaultyStore {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        self.mischief.watch(&body);
        let mut sent = Sent { mischief: &self.mischief, key, body: &body, done: false };
        self.operation().await;
        let refused = if self.mischief.is_full() {
            Some(StoreErrorKind::Refused(Refusal::NoSpace))
        } else if self.mischief.strikes(Fault::PutUnavailable) {
            Some(StoreErrorKind::Unavailable)
        } else if self.mischief.strikes(Fault::PutLost) {
            Some(StoreErrorKind::Unanswered)
        } else if self.mischief.strikes(Fault::PutLate) {
            self.mischief.later(key, &body);
            Some(StoreErrorKind::Unanswered)
        } else {
            None
        };
        sent.done = true;
        if let Some(kind) = refused {
            return self.fail(Op::Put, key.as_str(), kind);
        }
        let answer = self.inner.put_new(key, body.clone()).await?;
        self.mischief.note(format!("put {key}: {answer:?}"));
        Pause(self.mischief.below(4)).await;
        if self.mischief.strikes(Fault::PutTwice) {
            self.mischief.later(key, &body);
        }
        if self.mischief.strikes(Fault::PutLandedReplyLost) {
            return self.fail(Op::Put, key.as_str(), StoreErrorKind::Unanswered);
        }
        Ok(answer)
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        self.operation().await;
        if self.mischief.strikes(Fault::GetUnavailable) {
            return self.fail(Op::Get, key.as_str(), StoreErrorKind::Unavailable);
        }
        if self.mischief.strikes(Fault::ObjectMissing) {
            return self.fail(Op::Get, key.as_str(), StoreErrorKind::Missing);
        }
        let body = self.inner.get(key, part).await?.bytes();
        let place = |end: usize| usize::try_from(self.mischief.below(u64::try_from(end).unwrap_or(1))).unwrap_or(0);
        if !body.is_empty() && self.mischief.strikes(Fault::BitFlip) {
            let mut flipped = body.to_vec();
            let (at, bit) = (place(flipped.len()), self.mischief.below(8));
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 1 << bit;
            }
            return Ok(Sealed::stored(Bytes::from(flipped)));
        }
        if !body.is_empty() && self.mischief.strikes(Fault::TruncatedBody) {
            return Ok(Sealed::stored(body.slice(..place(body.len()))));
        }
        Ok(Sealed::stored(body))
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        self.operation().await;
        if self.mischief.strikes(Fault::ListUnavailable) {
            return self.fail(Op::List, prefix, StoreErrorKind::Unavailable);
        }
        let mut page = self.inner.list(prefix, after).await?;
        if !page.is_empty() && self.mischief.strikes(Fault::StaleList) {
            // The newest are not seen yet, or some in the middle are not.
            let (newest, every) = (self.mischief.below(2) == 0, 2 + self.mischief.below(4));
            let keep = page.len() - page.len().min(1 + usize::try_from(self.mischief.below(3)).unwrap_or(0));
            if newest {
                page.truncate(keep);
            } else {
                page.retain(|_| self.mischief.below(every) != 0);
            }
        }
        Ok(page)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        if self.deletes == Deletes::Never {
            self.mischief.broke("l10", "capture deleted an object");
        }
        self.operation().await;
        if self.mischief.strikes(Fault::DeleteRefused) {
            return self.fail(Op::Delete, key.as_str(), StoreErrorKind::Refused(Refusal::NoRights));
        }
        self.inner.delete(key).await?;
        self.mischief.note(format!("delete {key}"));
        if self.mischief.strikes(Fault::DeleteReplyLost) {
            return self.fail(Op::Delete, key.as_str(), StoreErrorKind::Unanswered);
        }
        Ok(())
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.operation().await;
        if self.mischief.strikes(Fault::ObjectMissing) {
            return self.fail(Op::Size, key.as_str(), StoreErrorKind::Missing);
        }
        self.inner.size(key).await
    }
}
