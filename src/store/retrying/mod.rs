//! Tries again within a deadline, and tells our own earlier put from a rival's.
//!
//! A put whose reply was lost may have landed, and the next try then finds the name taken. What was sealed has a fresh
//! salt in its header, so the store can tell whether the object is ours ([`Store::holds`]). A bare `AlreadyThere` never
//! counts as success, and a doubt once raised stays: a put that may have landed ends as `Created` or as `Unanswered`,
//! never as an error that claims it was not done (L1, L5).

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::clock::Clock;
use crate::crypto::Sealed;
use crate::entropy;
use crate::entropy::Entropy;
use crate::model::limits::{HEADER_BYTES_MAX, SEGMENT_BYTES_MAX};
use crate::model::{ObjectKey, Tick};
use crate::store::error::{Op, StoreError, StoreErrorKind};
use crate::store::memory::size_of;
use crate::store::versions::Kept;
use crate::store::{OBJECT_BYTES_MAX, Part, PutNew, Store};

/// How long to try. Waits double from `first_wait` to `wait_max`, each shortened by up to half at random, so that
/// many who failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryRule {
    /// The wait after the first failure.
    pub first_wait: Duration,
    /// The longest wait.
    pub wait_max: Duration,
    /// The time from the first try to giving up; a try under way then is abandoned. What carries many bytes may have
    /// more: see [`Retrying::on_a_road`].
    pub deadline: Duration,
}

/// A store that tries again.
pub struct Retrying {
    inner: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    rule: RetryRule,
    bytes_per_second: Option<u64>,
}

impl Retrying {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, rule: RetryRule) -> Self {
        Self { inner, clock, entropy, rule, bytes_per_second: None }
    }

    /// The road to `inner` may be as slow as this: the deadline of a request then grows by twice the time that its bytes
    /// take, so that the largest has a second chance and the smallest ends soon.
    #[must_use]
    pub fn on_a_road(self, bytes_per_second: u64) -> Self {
        Self { bytes_per_second: Some(bytes_per_second), ..self }
    }

    /// `bytes` is what the request carries, from what it will be to what it may be.
    fn tries(&self, op: Op, what: &str, bytes: RangeInclusive<u64>) -> Tries<'_> {
        let due =
            self.clock.tick().after(self.rule.deadline.saturating_add(self.carry(*bytes.start()).saturating_mul(2)));
        let end = due.after(self.carry(bytes.end().saturating_sub(*bytes.start())));
        Tries {
            with: self,
            op,
            what: what.to_owned(),
            due,
            end,
            wait: self.rule.first_wait,
            failed: 0,
            in_doubt: false,
        }
    }

    fn carry(&self, bytes: u64) -> Duration {
        let millis = self.bytes_per_second.and_then(|rate| bytes.saturating_mul(1000).checked_div(rate));
        Duration::from_millis(millis.unwrap_or(0))
    }
}

/// What a request for this part carries. How large a whole object is shows when it comes: nearly all are segments.
fn carried(part: Part) -> RangeInclusive<u64> {
    match part {
        Part::Whole => u64::try_from(SEGMENT_BYTES_MAX).unwrap_or(OBJECT_BYTES_MAX)..=OBJECT_BYTES_MAX,
        Part::Range { bytes, .. } | Part::First { bytes } | Part::Last { bytes } => only(bytes.min(OBJECT_BYTES_MAX)),
    }
}

const fn only(bytes: u64) -> RangeInclusive<u64> {
    bytes..=bytes
}

/// One request and its repetitions.
struct Tries<'a> {
    with: &'a Retrying,
    op: Op,
    what: String,
    /// No try begins after this.
    due: Tick,
    /// And one that is under way then is abandoned.
    end: Tick,
    wait: Duration,
    failed: u32,
    /// Something may have been done in spite of an error.
    in_doubt: bool,
}

impl Tries<'_> {
    /// One try; no answer by the deadline is `Unanswered`.
    async fn within<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let left = self.end.since(self.with.clock.tick());
        let answer = clock::timeout(&*self.with.clock, left, call).await;
        answer.unwrap_or_else(|elapsed| {
            Err(StoreError::new(self.op, &self.what, StoreErrorKind::Unanswered).caused_by(elapsed))
        })
    }

    /// Waits for the next try, or gives up with the error to return.
    async fn again(&mut self, error: StoreError) -> Result<(), StoreError> {
        let worth_it = match error.kind {
            StoreErrorKind::Unavailable => true,
            StoreErrorKind::Unanswered => {
                self.in_doubt = matches!(self.op, Op::Put | Op::Delete);
                true
            }
            StoreErrorKind::Missing | StoreErrorKind::Short { .. } | StoreErrorKind::Refused(_) => false,
        };
        self.failed = self.failed.saturating_add(1);
        let shorter = f64::from(u16::from_le_bytes(entropy::draw(&*self.with.entropy))) / 131_072.0;
        let next = self.with.clock.tick().after(self.wait.mul_f64(1.0 - shorter));
        if !worth_it || next >= self.due {
            return Err(self.verdict(error));
        }
        self.wait = self.wait.saturating_mul(2).min(self.with.rule.wait_max);
        self.with.clock.sleep_until(next).await;
        Ok(())
    }

    fn verdict(&self, last: StoreError) -> StoreError {
        if self.in_doubt && last.kind != StoreErrorKind::Unanswered {
            return StoreError::new(self.op, &self.what, StoreErrorKind::Unanswered).caused_by(last);
        }
        last
    }
}

#[async_trait::async_trait]
impl Store for Retrying {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        let mut tries = self.tries(Op::Put, key.as_str(), only(size_of(body.as_bytes())));
        loop {
            let first = tries.failed == 0;
            let call = async {
                match self.inner.put_new(key, body.clone()).await? {
                    PutNew::AlreadyThere if !first && self.inner.holds(key, &body).await? => Ok(PutNew::Created),
                    plain @ (PutNew::Created | PutNew::AlreadyThere) => Ok(plain),
                }
            };
            match tries.within(call).await {
                Ok(done) => return Ok(done),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        let mut tries = self.tries(Op::Get, key.as_str(), carried(part));
        loop {
            match tries.within(self.inner.get(key, part)).await {
                Ok(body) => return Ok(body),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        let mut tries = self.tries(Op::List, prefix, only(0));
        loop {
            match tries.within(self.inner.list(prefix, after)).await {
                Ok(page) => return Ok(page),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let mut tries = self.tries(Op::Delete, key.as_str(), only(0));
        loop {
            match tries.within(self.inner.delete(key)).await {
                Ok(()) => return Ok(()),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        let mut tries = self.tries(Op::Size, key.as_str(), only(0));
        loop {
            match tries.within(self.inner.size(key)).await {
                Ok(size) => return Ok(size),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn kept(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Option<Vec<Kept>>, StoreError> {
        let mut tries = self.tries(Op::List, prefix, only(0));
        loop {
            match tries.within(self.inner.kept(prefix, after)).await {
                Ok(page) => return Ok(page),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn get_kept(&self, key: &ObjectKey, version: &str, part: Part) -> Result<Sealed, StoreError> {
        let mut tries = self.tries(Op::Get, key.as_str(), carried(part));
        loop {
            match tries.within(self.inner.get_kept(key, version, part)).await {
                Ok(body) => return Ok(body),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn holds(&self, key: &ObjectKey, body: &Sealed) -> Result<bool, StoreError> {
        let mut tries = self.tries(Op::Size, key.as_str(), only(0));
        loop {
            match tries.within(self.inner.holds(key, body)).await {
                Ok(holds) => return Ok(holds),
                Err(error) => tries.again(error).await?,
            }
        }
    }
}

/// Whose the object is after a put that settles it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object is ours and durable, now or since an earlier put whose reply was lost.
    Ours,
    /// A rival's object has the name; these are its first bytes, at most [`HEADER_BYTES_MAX`].
    Taken(Sealed),
}

/// Puts `body` once more or for the first time. Always the same sealed bytes, so an object of the same size whose
/// header equals ours, fresh salt and all, is our own earlier put whose reply was lost.
pub async fn put_own(store: &dyn Store, key: &ObjectKey, body: &Sealed) -> Result<Put, StoreError> {
    match store.put_new(key, body.clone()).await? {
        PutNew::Created => Ok(Put::Ours),
        PutNew::AlreadyThere => whose(store, key, body).await,
    }
}

async fn whose(store: &dyn Store, key: &ObjectKey, body: &Sealed) -> Result<Put, StoreError> {
    if store.holds(key, body).await? {
        return Ok(Put::Ours);
    }
    let bytes = store.size(key).await?.min(size_of(&[0; HEADER_BYTES_MAX]));
    Ok(Put::Taken(store.get(key, Part::Range { at: 0, bytes }).await?))
}
