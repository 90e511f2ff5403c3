//! Two listings side by side: what both hold, what only the first store holds, what only the mirror does.

use std::cmp::Ordering;

use crate::model::ObjectKey;
use crate::store::Store;
use crate::store::keys::Keys;
use crate::store::mirror::pass::PassError;

/// One name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Both hold an object of that name.
    Common(ObjectKey),
    /// The mirror does not.
    Missing(ObjectKey),
    /// The first store does not.
    Surplus(ObjectKey),
}

/// A walk through two listings; one page of each is held.
pub(crate) struct Merge<'a> {
    first: Keys<'a>,
    mirror: Keys<'a>,
    heads: Option<(Option<ObjectKey>, Option<ObjectKey>)>,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(first: &'a dyn Store, mirror: &'a dyn Store, prefix: &str, after: Option<ObjectKey>) -> Self {
        Self { first: Keys::new(first, prefix, after.clone()), mirror: Keys::new(mirror, prefix, after), heads: None }
    }

    /// The next name in order; `None` at the end of both.
    pub(crate) async fn next(&mut self) -> Result<Option<Difference>, PassError> {
        let (ours, theirs) = match self.heads.take() {
            Some(heads) => heads,
            None => (self.of_first().await?, self.of_mirror().await?),
        };
        let (found, heads) = match (ours, theirs) {
            (None, None) => return Ok(None),
            (Some(ours), None) => (Difference::Missing(ours), (self.of_first().await?, None)),
            (None, Some(theirs)) => (Difference::Surplus(theirs), (None, self.of_mirror().await?)),
            (Some(ours), Some(theirs)) => match ours.cmp(&theirs) {
                Ordering::Equal => (Difference::Common(ours), (self.of_first().await?, self.of_mirror().await?)),
                Ordering::Less => (Difference::Missing(ours), (self.of_first().await?, Some(theirs))),
                Ordering::Greater => (Difference::Surplus(theirs), (Some(ours), self.of_mirror().await?)),
            },
        };
        self.heads = Some(heads);
        Ok(Some(found))
    }

    async fn of_first(&mut self) -> Result<Option<ObjectKey>, PassError> {
        self.first.next().await.map_err(PassError::First)
    }

    async fn of_mirror(&mut self) -> Result<Option<ObjectKey>, PassError> {
        self.mirror.next().await.map_err(PassError::Mirror)
    }
}
