//! What is certain is said, whatever could not be read beside it; and nothing that is stored is passed over.

use std::sync::Arc;

use super::*;
use crate::crypto::Sealed;
use crate::daemon::fixture::{put_base, write_commits};
use crate::log::fixture::{Fixture, main_source};
use crate::store::{Op, Part as Range, PutNew, Refusal, Store};

const FULL: Order = Order { depth: Depth::Full, since: None, jobs: 1, bytes_per_second: None };

/// Gives everything but one object.
struct Deaf {
    inner: Arc<dyn Store>,
    to: ObjectKey,
}

#[async_trait::async_trait]
impl Store for Deaf {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        self.inner.put_new(key, body).await
    }

    async fn get(&self, key: &ObjectKey, part: Range) -> Result<Sealed, StoreError> {
        if *key == self.to {
            return Err(StoreError::new(Op::Get, key, StoreErrorKind::Refused(Refusal::NoRights)));
        }
        self.inner.get(key, part).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        self.inner.list(prefix, after).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.inner.size(key).await
    }
}

fn told(verified: &Verified) -> Vec<(ObjectKey, Verdict)> {
    verified.reports().flat_map(|report| &report.findings).map(|found| (found.object.clone(), found.verdict)).collect()
}

/// A log of four transactions and a base behind the second.
async fn log_and_base(seed: u64) -> (Fixture, ObjectKey) {
    let fixture = Fixture::new(seed);
    write_commits(&fixture, 1..5).await;
    let base = put_base(&fixture, fixture.log().await, 2).await.base;
    (fixture, layout::manifest(&main_source(), base))
}

/// One object that could not be read made another key's base look as if nothing were known of it.
#[tokio::test]
async fn l4_damage_that_is_certain_is_damage_whatever_could_not_be_read_beside_it() {
    let (fixture, manifest) = log_and_base(460).await;
    let (stranger, theirs) = log_and_base(461).await;
    assert_eq!(manifest, theirs);
    let body = stranger.env.store.get(&theirs, Range::Whole).await.unwrap().bytes();
    fixture.store.tamper(&manifest, Some(body));
    let unread = layout::segment(&main_source(), Slot::new(3));
    let deaf = Deaf { inner: Arc::clone(&fixture.env.store), to: unread.clone() };
    let env = LogEnv { store: Arc::new(deaf), ..fixture.env.clone() };
    let verified = source(&env, &main_source(), FULL, None, &mut ()).await;
    assert_eq!(told(&verified), [(unread, Verdict::Unreadable), (manifest, Verdict::Foreign)]);
    assert_eq!(verified.outcome(), Outcome::Damaged, "4 comes before 7 where damage is certain");
}

#[tokio::test]
async fn a_wrong_key_can_tell_nothing_of_a_base_either() {
    let (mut fixture, manifest) = log_and_base(462).await;
    fixture.env.keys = Fixture::new(463).env.keys;
    for depth in [Depth::Full, Depth::Quick] {
        let verified = source(&fixture.env, &main_source(), Order { depth, ..FULL }, None, &mut ()).await;
        let told = told(&verified);
        assert!(told.iter().all(|(_, verdict)| *verdict == Verdict::Unreadable), "{depth:?}: {told:?}");
        assert!(told.iter().any(|(object, _)| *object == manifest), "{depth:?}: {told:?}");
        assert_eq!(verified.outcome(), Outcome::CouldNotTell, "{depth:?}");
    }
}
