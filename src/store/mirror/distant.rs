//! A store that may be away for days: opened when it is needed, opened anew when it comes back, and never asked for more
//! than a few things at once.
//!
//! A call that nobody waits for any more keeps its place until it really ends. A disk that hangs takes a thread with each
//! call; without the bound a mirror that hangs for a day would take every thread that capture needs (L8, L9).

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::crypto::Sealed;
use crate::model::ObjectKey;
use crate::store::error::{Op, Refusal, StoreError, StoreErrorKind};
use crate::store::{Kept, Part, PutNew, Store};

/// Calls that may be under way at once.
const CALLS_MAX: usize = 8;

/// Opens a store. It is asked again after each failure.
#[async_trait::async_trait]
pub trait Opener: Send + Sync {
    /// Opens it.
    async fn open(&self) -> Result<Arc<dyn Store>, StoreError>;
}

/// A store that is opened on demand.
pub struct Distant {
    opener: Arc<dyn Opener>,
    opened: Arc<Mutex<Option<Arc<dyn Store>>>>,
    places: Arc<Semaphore>,
}

impl Distant {
    /// A store that is not opened yet.
    pub fn new(opener: Arc<dyn Opener>) -> Self {
        Self { opener, opened: Arc::default(), places: Arc::new(Semaphore::new(CALLS_MAX)) }
    }

    async fn call<T: Send + 'static>(
        &self,
        op: Op,
        what: String,
        work: impl FnOnce(Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("nobody closes the semaphore");
        let (opener, place_of_store) = (Arc::clone(&self.opener), Arc::clone(&self.opened));
        let keep = move |store: Option<Arc<dyn Store>>| {
            *place_of_store.lock().unwrap_or_else(PoisonError::into_inner) = store;
        };
        let known = self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "it outlives its caller, so that its place is taken while it hangs"
        )]
        let task = tokio::spawn(async move {
            let _place = place;
            let store = match known {
                Some(store) => store,
                None => opener.open().await?,
            };
            keep(Some(Arc::clone(&store)));
            let done = work(store).await;
            if let Err(error) = &done
                && error.kind == StoreErrorKind::Refused(Refusal::NoStore)
            {
                // What comes back at its place is another mount: it must be looked at anew.
                keep(None);
            }
            done
        });
        match task.await {
            Ok(done) => done,
            Err(died) => Err(StoreError::new(op, what, StoreErrorKind::Unanswered).caused_by(died)),
        }
    }
}

#[async_trait::async_trait]
impl Store for Distant {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        let (what, key) = (key.to_string(), key.clone());
        self.call(Op::Put, what, |store| Box::pin(async move { store.put_new(&key, body).await })).await
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        let (what, key) = (key.to_string(), key.clone());
        self.call(Op::Get, what, move |store| Box::pin(async move { store.get(&key, part).await })).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        let (what, prefix, after) = (prefix.to_owned(), prefix.to_owned(), after.cloned());
        let work = |store: Arc<dyn Store>| -> BoxFuture<'static, _> {
            Box::pin(async move { store.list(&prefix, after.as_ref()).await })
        };
        self.call(Op::List, what, work).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let (what, key) = (key.to_string(), key.clone());
        self.call(Op::Delete, what, |store| Box::pin(async move { store.delete(&key).await })).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        let (what, key) = (key.to_string(), key.clone());
        self.call(Op::Size, what, |store| Box::pin(async move { store.size(&key).await })).await
    }

    async fn holds(&self, key: &ObjectKey, body: &Sealed) -> Result<bool, StoreError> {
        let (what, key, body) = (key.to_string(), key.clone(), body.clone());
        self.call(Op::Size, what, |store| Box::pin(async move { store.holds(&key, &body).await })).await
    }

    async fn kept(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Option<Vec<Kept>>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        let what = prefix.clone();
        self.call(Op::List, what, |store| Box::pin(async move { store.kept(&prefix, after.as_ref()).await })).await
    }

    async fn get_kept(&self, key: &ObjectKey, version: &str, part: Part) -> Result<Sealed, StoreError> {
        let (what, key, version) = (key.to_string(), key.clone(), version.to_owned());
        let work = move |store: Arc<dyn Store>| -> BoxFuture<'static, _> {
            Box::pin(async move { store.get_kept(&key, &version, part).await })
        };
        self.call(Op::Get, what, work).await
    }
}
