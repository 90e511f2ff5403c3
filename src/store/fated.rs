//! A store whose every call meets a fate that a test chooses: something happens first, it fails, its reply is lost.
//!
//! ```text
//!   asked ──▶ fate ──▶ First: this happens ──▶ the store ──▶ Then: this happens ──▶ answer
//!               └────▶ Fails: not done             └───────▶ ReplyLost: done, and not told
//! ```
//! What has no fate of its own ([`Fate::Done`]) passes through. `holds` asks for size and beginning, which meet their
//! fates like every other call; versions are not passed on.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::crypto::Sealed;
use crate::model::ObjectKey;
use crate::store::error::{Op, StoreError, StoreErrorKind};
use crate::store::{Part, PutNew, Store};

/// What a store is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What to do.
    pub op: Op,
    /// To which object; of a listing, its prefix.
    pub name: &'a str,
    /// What is put there.
    pub body: Option<&'a Sealed>,
    /// What is read of it.
    pub part: Option<Part>,
}

impl<'a> Asked<'a> {
    const fn of(op: Op, name: &'a str) -> Self {
        Self { op, name, body: None, part: None }
    }

    /// Whether it is this, done to a name that starts with `prefix`.
    pub fn is(&self, op: Op, prefix: &str) -> bool {
        self.op == op && self.name.starts_with(prefix)
    }
}

/// What becomes of one call. A fate of another kind of call (to list otherwise what is put) is `Done`.
pub enum Fate {
    /// As asked.
    Done,
    /// This happens, then it is done.
    First(BoxFuture<'static, ()>),
    /// It is done and this happens, then it is answered.
    Then(BoxFuture<'static, ()>),
    /// Not done, and said so.
    Fails(StoreErrorKind),
    /// Done, and nobody is told.
    ReplyLost,
    /// A put is done, and this is said of it.
    Says(PutNew),
    /// These bytes are given instead of those that were read.
    Reads(Box<dyn FnOnce(Bytes) -> Bytes + Send>),
    /// This page is given instead of the one that was listed.
    Lists(Box<dyn FnOnce(Vec<ObjectKey>) -> Vec<ObjectKey> + Send>),
}

impl Fate {
    /// [`Fate::First`] of what is not boxed yet.
    pub fn first(happens: impl Future<Output = ()> + Send + 'static) -> Self {
        Self::First(Box::pin(happens))
    }

    /// [`Fate::Then`] of what is not boxed yet.
    pub fn then(happens: impl Future<Output = ()> + Send + 'static) -> Self {
        Self::Then(Box::pin(happens))
    }

    /// [`Fate::Reads`] of what is not boxed yet.
    pub fn reads(change: impl FnOnce(Bytes) -> Bytes + Send + 'static) -> Self {
        Self::Reads(Box::new(change))
    }

    /// [`Fate::Lists`] of what is not boxed yet.
    pub fn lists(change: impl FnOnce(Vec<ObjectKey>) -> Vec<ObjectKey> + Send + 'static) -> Self {
        Self::Lists(Box::new(change))
    }

    /// This fate where that is so; else the call is done as asked.
    #[must_use]
    pub fn when(self, so: bool) -> Self {
        if so { self } else { Self::Done }
    }

    /// Neither done nor answered.
    pub fn hangs() -> Self {
        Self::first(std::future::pending())
    }
}

type Fates = dyn FnMut(&Asked<'_>) -> Fate + Send;

/// A store in front of which fate stands.
pub struct Fated {
    inner: Arc<dyn Store>,
    fates: Mutex<Box<Fates>>,
}

impl Fated {
    /// Puts `fates` in front of `inner`. They are asked as each call begins, one at a time.
    pub fn over(inner: &Arc<dyn Store>, fates: impl FnMut(&Asked<'_>) -> Fate + Send + 'static) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), fates: Mutex::new(Box::new(fates)) })
    }

    fn fate(&self, asked: &Asked<'_>) -> Fate {
        let mut fates = self.fates.lock().unwrap_or_else(PoisonError::into_inner);
        (*fates)(asked)
    }

    /// Lets a call meet its fate; gives what is left for fate to do to the answer.
    async fn meet<T>(
        &self,
        asked: Asked<'_>,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<(T, Fate), StoreError> {
        let failed = |kind| Err(StoreError::new(asked.op, asked.name, kind));
        match self.fate(&asked) {
            Fate::First(happens) => {
                happens.await;
                Ok((call.await?, Fate::Done))
            }
            Fate::Then(happens) => {
                let answer = call.await?;
                happens.await;
                Ok((answer, Fate::Done))
            }
            Fate::Fails(kind) => failed(kind),
            Fate::ReplyLost => {
                call.await?;
                failed(StoreErrorKind::Unanswered)
            }
            left @ (Fate::Done | Fate::Says(_) | Fate::Reads(_) | Fate::Lists(_)) => Ok((call.await?, left)),
        }
    }
}

#[async_trait::async_trait]
impl Store for Fated {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        let asked = Asked { body: Some(&body), ..Asked::of(Op::Put, key.as_str()) };
        let (put, left) = self.meet(asked, self.inner.put_new(key, body.clone())).await?;
        Ok(if let Fate::Says(other) = left { other } else { put })
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        let asked = Asked { part: Some(part), ..Asked::of(Op::Get, key.as_str()) };
        let (body, left) = self.meet(asked, self.inner.get(key, part)).await?;
        Ok(if let Fate::Reads(change) = left { Sealed::stored(change(body.bytes())) } else { body })
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        let (page, left) = self.meet(Asked::of(Op::List, prefix), self.inner.list(prefix, after)).await?;
        Ok(if let Fate::Lists(change) = left { change(page) } else { page })
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.meet(Asked::of(Op::Delete, key.as_str()), self.inner.delete(key)).await.map(|((), _)| ())
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.meet(Asked::of(Op::Size, key.as_str()), self.inner.size(key)).await.map(|(size, _)| size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use futures::FutureExt;

    fn key() -> ObjectKey {
        "log/main/1".parse().unwrap()
    }

    fn body(text: &'static str) -> Sealed {
        Sealed::stored(Bytes::from_static(text.as_bytes()))
    }

    /// What a put of "ours" is told, and whether it landed.
    fn put(fate: Fate) -> (Option<Result<PutNew, StoreErrorKind>>, bool) {
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut fate = Some(fate);
        let fated = Fated::over(&memory, move |asked| {
            assert_eq!((asked.op, asked.name, asked.body), (Op::Put, "log/main/1", Some(&body("ours"))));
            fate.take().unwrap_or(Fate::Done)
        });
        let told = fated.put_new(&key(), body("ours")).now_or_never();
        let landed = memory.size(&key()).now_or_never().unwrap().is_ok();
        (told.map(|told| told.map_err(|error| error.kind)), landed)
    }

    #[test]
    fn a_put_lands_and_is_answered_as_its_fate_says() {
        const AWAY: StoreErrorKind = StoreErrorKind::Unavailable;
        #[rustfmt::skip]
        let cases = [
            // fate                                  told                                       landed  why
            (Fate::Done,                             Some(Ok(PutNew::Created)),                 true,   "it passes through"),
            (Fate::first(async {}),                  Some(Ok(PutNew::Created)),                 true,   "after something else"),
            (Fate::then(async {}),                   Some(Ok(PutNew::Created)),                 true,   "before something else"),
            (Fate::hangs(),                          None,                                      false,  "it never begins"),
            (Fate::then(std::future::pending()),     None,                                      true,   "it never ends"),
            (Fate::Fails(AWAY),                      Some(Err(AWAY)),                           false,  "not done"),
            (Fate::ReplyLost,                        Some(Err(StoreErrorKind::Unanswered)),     true,   "done all the same"),
            (Fate::Says(PutNew::AlreadyThere),       Some(Ok(PutNew::AlreadyThere)),            true,   "a lie"),
            (Fate::lists(|_| Vec::new()),            Some(Ok(PutNew::Created)),                 true,   "no fate of a put"),
        ];
        for (fate, told, landed, why) in cases {
            assert_eq!(put(fate), (told, landed), "{why}");
        }
    }

    #[tokio::test]
    async fn what_is_read_and_listed_can_be_given_otherwise_than_it_is_stored() {
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let fated = Fated::over(&memory, |asked| {
            if asked.is(Op::List, "log/") {
                return Fate::lists(|page| [page.clone(), page].concat());
            }
            Fate::reads(|body| body.slice(1..)).when(asked.part == Some(Part::Whole))
        });
        fated.put_new(&key(), body("ours")).await.unwrap();
        assert_eq!(fated.get(&key(), Part::Whole).await.unwrap(), body("urs"));
        assert_eq!(fated.get(&key(), Part::First { bytes: 9 }).await.unwrap(), body("ours"));
        assert_eq!(fated.list("log/", None).await.unwrap(), [key(), key()]);
        assert_eq!(fated.size(&key()).await.unwrap(), 4);
        fated.delete(&key()).await.unwrap();
        assert_eq!(memory.list("", None).await.unwrap(), []);
    }
}
