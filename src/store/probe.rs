//! Finds out whether a store keeps the one promise that nothing can replace: it never overwrites (L5).
//!
//! Some "compatible" stores accept a conditional put and ignore the condition; two writers would both believe to have
//! won. `check` runs all of it against every store, a daemon the short form against its bucket before it writes.

use bytes::Bytes;
use futures::future::join_all;

use crate::crypto::Sealed;
use crate::entropy;
use crate::entropy::Entropy;
use crate::model::ObjectKey;
use crate::store::error::StoreError;
use crate::store::layout;
use crate::store::{Part, PutNew, Store};

/// Puts of one name that are sent at once.
const RACERS: u8 = 8;
/// Large enough that racing puts overlap, small enough to be cheap.
const BODY_BYTES: usize = 16 * 1024;

/// What the store did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the contract says.
    Sound,
    /// A second put of one name claimed to have created it.
    OverwriteClaimed,
    /// The bytes of an object changed.
    Overwritten,
    /// So many of eight racing puts claimed to have created the object, instead of one.
    Winners(u8),
}

/// The verdict, and what went wrong while cleaning up (a writer without the right to delete leaves the objects).
#[derive(Debug)]
pub struct ProbeReport {
    /// What the store did.
    pub verdict: Verdict,
    /// Why the probe's objects are still there.
    pub left_behind: Option<StoreError>,
}

/// Puts objects of random names twice, one after the other and eight at once, reads them back and deletes them.
pub async fn probe_refuses_overwrite(store: &dyn Store, entropy: &dyn Entropy) -> Result<ProbeReport, StoreError> {
    let [one, many] = [layout::probe(entropy::draw(entropy)), layout::probe(entropy::draw(entropy))];
    let verdict = match in_turn(store, entropy, &one).await? {
        Verdict::Sound => at_once(store, entropy, &many).await?,
        bad @ (Verdict::OverwriteClaimed | Verdict::Overwritten | Verdict::Winners(_)) => bad,
    };
    let mut left_behind = store.delete(&one).await.err();
    left_behind = left_behind.or(store.delete(&many).await.err());
    Ok(ProbeReport { verdict, left_behind })
}

/// The short form, for every start: no race, and nothing to delete, which a writer may not do. One object of one name stays
/// in the store for ever, and every further put of it must be refused.
pub async fn refuses_second_put(store: &dyn Store, entropy: &dyn Entropy) -> Result<Verdict, StoreError> {
    let key = layout::probe([0; 16]);
    store.put_new(&key, random(entropy)).await?;
    let there = store.get(&key, Part::Whole).await?;
    Ok(match store.put_new(&key, random(entropy)).await? {
        PutNew::Created => Verdict::OverwriteClaimed,
        PutNew::AlreadyThere if store.get(&key, Part::Whole).await? != there => Verdict::Overwritten,
        PutNew::AlreadyThere => Verdict::Sound,
    })
}

async fn in_turn(store: &dyn Store, entropy: &dyn Entropy, key: &ObjectKey) -> Result<Verdict, StoreError> {
    let [first, second] = [random(entropy), random(entropy)];
    let created = store.put_new(key, first.clone()).await?;
    let again = store.put_new(key, second).await?;
    Ok(match (created, again) {
        (PutNew::AlreadyThere, _) => Verdict::Winners(0),
        (PutNew::Created, PutNew::Created) => Verdict::OverwriteClaimed,
        (PutNew::Created, PutNew::AlreadyThere) if store.get(key, Part::Whole).await? != first => Verdict::Overwritten,
        (PutNew::Created, PutNew::AlreadyThere) => Verdict::Sound,
    })
}

async fn at_once(store: &dyn Store, entropy: &dyn Entropy, key: &ObjectKey) -> Result<Verdict, StoreError> {
    let bodies: Vec<_> = (0..RACERS).map(|_| random(entropy)).collect();
    let answers = join_all(bodies.iter().map(|body| store.put_new(key, body.clone()))).await;
    let mut winners = Vec::new();
    for (body, answer) in bodies.iter().zip(answers) {
        if answer? == PutNew::Created {
            winners.push(body);
        }
    }
    let there = store.get(key, Part::Whole).await?;
    Ok(match winners.as_slice() {
        [winner] if **winner == there => Verdict::Sound,
        [_] => Verdict::Overwritten,
        other => Verdict::Winners(u8::try_from(other.len()).unwrap_or(RACERS)),
    })
}

fn random(entropy: &dyn Entropy) -> Sealed {
    let mut bytes = vec![0; BODY_BYTES];
    entropy.fill(&mut bytes);
    Sealed::stored(Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::store::memory::MemoryStore;

    /// Stores that lie, each in its own way.
    enum Liar {
        /// Ignores the condition and says so.
        Overwrites(MemoryStore),
        /// Says "already there" and overwrites all the same.
        OverwritesInSecret(MemoryStore),
        /// Refuses in turn, but looks first and writes afterwards.
        Races(MemoryStore),
    }

    #[async_trait::async_trait]
    impl Store for Liar {
        async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
            let there = self.inner().size(key).await.is_ok();
            if matches!(self, Self::Races(_)) {
                if there {
                    return Ok(PutNew::AlreadyThere);
                }
                tokio::task::yield_now().await;
            }
            self.inner().tamper(key, Some(body.bytes()));
            let secret = there && matches!(self, Self::OverwritesInSecret(_));
            Ok(if secret { PutNew::AlreadyThere } else { PutNew::Created })
        }

        async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
            self.inner().get(key, part).await
        }

        async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
            self.inner().list(prefix, after).await
        }

        async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
            self.inner().delete(key).await
        }

        async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
            self.inner().size(key).await
        }
    }

    impl Liar {
        fn inner(&self) -> &MemoryStore {
            match self {
                Self::Overwrites(inner) | Self::OverwritesInSecret(inner) | Self::Races(inner) => inner,
            }
        }
    }

    #[tokio::test]
    async fn a_store_that_lies_is_found_out() {
        let entropy = SeededEntropy::new(1);
        let new = MemoryStore::new;
        #[rustfmt::skip]
        let cases: [(Box<dyn Store>, Verdict); 4] = [
            (Box::new(new()),                               Verdict::Sound),
            (Box::new(Liar::Overwrites(new())),             Verdict::OverwriteClaimed),
            (Box::new(Liar::OverwritesInSecret(new())),     Verdict::Overwritten),
            (Box::new(Liar::Races(new())),                  Verdict::Winners(8)),
        ];
        for (store, verdict) in cases {
            let report = probe_refuses_overwrite(&*store, &entropy).await.unwrap();
            assert_eq!(report.verdict, verdict);
            assert!(report.left_behind.is_none());
            assert_eq!(store.list("", None).await.unwrap(), [], "the probe cleans up");
        }
    }

    #[tokio::test]
    async fn a_store_that_lies_is_found_out_at_every_start() {
        let entropy = SeededEntropy::new(1);
        let new = MemoryStore::new;
        #[rustfmt::skip]
        let cases: [(Box<dyn Store>, Verdict); 3] = [
            (Box::new(new()),                               Verdict::Sound),
            (Box::new(Liar::Overwrites(new())),             Verdict::OverwriteClaimed),
            (Box::new(Liar::OverwritesInSecret(new())),     Verdict::Overwritten),
        ];
        for (store, verdict) in cases {
            for start in 1..=2 {
                let found = refuses_second_put(&*store, &entropy).await.unwrap();
                assert_eq!(found, verdict, "start {start}");
            }
            assert_eq!(store.list("", None).await.unwrap().len(), 1, "one object, however many starts");
        }
    }
}
