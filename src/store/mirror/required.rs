//! What a put waits for where a mirror is required: that it is there, that it takes the same bytes, and that nothing in front
//! of them is missing (L1).

use crate::clock;
use crate::crypto::Sealed;
use crate::model::ObjectKey;
use crate::store::error::{Op, StoreError, StoreErrorKind};
use crate::store::mirror::Mirror;
use crate::store::mirror::copy::Copied;
use crate::store::mirror::sight::State;
use crate::store::{Put, Store, put_own};

impl Mirror {
    /// Waits until this required mirror holds the whole log up to now.
    pub(crate) async fn ready(&self, key: &ObjectKey) -> Result<(), StoreError> {
        if self.state().is_ready() {
            return Ok(());
        }
        if self.wait_for(self.rule.answer_within, State::is_ready).await {
            return Ok(());
        }
        self.change(|state| state.holds_up = true);
        let why = self.state().trouble.clone().unwrap_or_else(|| "it has not caught up yet".to_owned());
        Err(self.unable(key, StoreErrorKind::Unavailable, why))
    }

    /// Puts what the first store has just taken. Whether it is there afterwards is certain only if this succeeds.
    pub(crate) async fn forward(&self, key: &ObjectKey, body: &Sealed) -> Result<(), StoreError> {
        let put = put_own(&*self.store, key, body);
        let failed = match clock::timeout(&*self.clock, self.rule.answer_within, put).await {
            Ok(Ok(Put::Ours)) => {
                let now = self.clock.now();
                self.change(|state| state.copied(now));
                return Ok(());
            }
            Ok(Ok(Put::Taken(theirs))) => match self.stranger(key, &theirs, body) {
                Ok(()) => "it holds another object of that name".to_owned(),
                Err(error) => error.to_string(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        Err(self.broke(key, StoreErrorKind::Unanswered, failed))
    }

    /// Compares the log with the first store's up to a fence, which stands there now. Before it another writer may have put
    /// what only that writer's mirrors were told of; behind it nobody can.
    pub(crate) async fn compare(&self, fence: &ObjectKey) -> Result<(), StoreError> {
        self.doubt();
        if self.wait_for(self.rule.answer_within, State::is_ready).await {
            return Ok(());
        }
        let why = self.state().trouble.clone().unwrap_or_else(|| "it has not caught up yet".to_owned());
        Err(self.broke(fence, StoreErrorKind::Unanswered, why))
    }

    /// Copies an object that the first store holds. Where this fails, no put was broken by it.
    pub(crate) async fn fetch(&self, first: &dyn Store, key: &ObjectKey) -> Result<(), StoreError> {
        let copying = self.copy(first, key);
        let failed = match clock::timeout(&*self.clock, self.rule.answer_within, copying).await {
            Ok(Ok(Copied::There | Copied::Gone)) => return Ok(()),
            Ok(Ok(Copied::Foreign)) => "it holds another object of that name".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        Err(self.broke(key, StoreErrorKind::Unavailable, failed))
    }

    /// This required mirror holds up what was asked of the whole.
    fn broke(&self, key: &ObjectKey, kind: StoreErrorKind, why: String) -> StoreError {
        self.change(|state| {
            state.holds_up = true;
            state.trouble = Some(why.clone());
        });
        self.doubt();
        self.unable(key, kind, why)
    }

    fn unable(&self, key: &ObjectKey, kind: StoreErrorKind, why: String) -> StoreError {
        StoreError::new(Op::Put, format_args!("{key} in the required mirror {}", self.name), kind).caused_by(why)
    }
}
