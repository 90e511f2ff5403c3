//! Refuses a store in which another installation keeps its history: two sites that were pointed at one place by mistake.
//!
//! Of one source's log two writers would meet (L5), and what expires here would be the other's history (L10). The key
//! tells: what none of ours opens is somebody else's. A key service that is away, or that a writer may not ask to open,
//! tells nothing, and then nothing is refused.

use crate::crypto::KeyError;
use crate::log::LogEnv;
use crate::log::ObjectErrorKind;
use crate::log::object::Object;
use crate::model::SourceName;
use crate::store::{Part, Store, StoreError, StoreErrorKind, layout, sources};

/// Why a store is not ours to use.
#[derive(Debug, thiserror::Error)]
pub enum StrangerError {
    /// Another installation's history is there.
    #[error(
        "the store {place} holds a log of {source_name} that another key sealed: give each installation a folder or a \
         prefix of its own, or name that key too"
    )]
    Stranger {
        /// Which store.
        place: String,
        /// Whose log.
        source_name: SourceName,
        /// The keys.
        #[source]
        source: KeyError,
    },
    /// A mirror holds what nobody here has.
    #[error(
        "the mirror {place} holds a log of {source_name}, which is none of this configuration's sources and not in the \
         first store: give each installation a folder or a prefix of its own"
    )]
    OtherSite {
        /// Which store.
        place: String,
        /// Whose log.
        source_name: SourceName,
    },
    /// The store does not say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Looks whether every log in the store is sealed for a key at hand: one object of each.
pub async fn refuse(env: &LogEnv, place: &str) -> Result<(), StrangerError> {
    for source in sources(&*env.store).await? {
        let listed = env.store.list(&layout::segments_prefix(&source), None).await?;
        let Some(key) = listed.into_iter().next() else { continue };
        let bytes = match env.store.get(&key, Part::Whole).await {
            Ok(sealed) => sealed.bytes(),
            // It expired just now.
            Err(error) if error.kind == StoreErrorKind::Missing => continue,
            Err(error) => return Err(error.into()),
        };
        // Whatever else is wrong with it is said by whoever reads the log.
        if let Err(error) = Object::open(env, &key, bytes).await
            && let ObjectErrorKind::Key(error @ KeyError::OtherKey { .. }) = error.kind
        {
            let place = place.to_owned();
            return Err(StrangerError::Stranger { place, source_name: source, source: error });
        }
    }
    Ok(())
}

/// Refuses a mirror with a log of a source that is not among `ours`: two installations may have one key, and then it tells
/// nothing.
pub async fn refuse_as_mirror(mirror: &dyn Store, place: &str, ours: &[SourceName]) -> Result<(), StrangerError> {
    match sources(mirror).await?.into_iter().find(|source| !ours.contains(source)) {
        Some(source_name) => Err(StrangerError::OtherSite { place: place.to_owned(), source_name }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, transaction, write_segment};

    #[tokio::test]
    async fn l5_a_store_with_a_log_of_another_key_is_refused_whatever_its_source_is_called() {
        let (ours, theirs) = (Fixture::new(1), Fixture::new(2));
        let mut writer = theirs.writer().await;
        write_segment(&mut writer, &transaction(1)).await;
        refuse(&theirs.env, "here").await.unwrap();
        refuse(&ours.env, "here").await.expect("nothing is there yet");
        let there = LogEnv { store: std::sync::Arc::clone(&theirs.env.store), ..ours.env.clone() };
        let refused = refuse(&there, "here").await.unwrap_err();
        assert!(matches!(&refused, StrangerError::Stranger { .. }), "{refused}");
        assert!(refused.to_string().contains("a folder or a prefix of its own"), "{refused}");
    }
}
