//! Compares a mirror with the first store and copies what it lacks, in the order that keeps it a store that could be.
//!
//! ```text
//!   same order of stores? ─▶ survey: how much is missing, are the last common objects the same?
//!                                └─▶ copy: first/ keys/ hold/ boundary/ log/ ─▶ checkpoint/ base/
//! ```
//! The tail alone is compared most of the time: a mirror that holds a checkpoint holds what it lists. Where the first
//! store keeps versions a mirror is compared with what was put there first ([`first_put`](crate::store::mirror::copy)).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::codec::segment::Header;
use crate::model::limits::IN_FLIGHT_PUTS_MAX;
use crate::model::{ObjectKey, Slot, SourceName, Timestamp};
use crate::store::error::StoreError;
use crate::store::keys::{Keys, sources};
use crate::store::layout::{self, Named};
use crate::store::mirror::Mirror;
use crate::store::mirror::copy::{Copied, first_put};
use crate::store::mirror::forget::{Asked, is_gone};
use crate::store::mirror::merge::{Difference, Merge};
use crate::store::order::{self, OrderError};
use crate::store::{Part, Store};

/// Slots that may be under way at once, as slots are counted.
#[expect(clippy::as_conversions, reason = "widening, in a constant, where `From` cannot be called yet")]
const IN_FLIGHT_PUTS: u64 = IN_FLIGHT_PUTS_MAX as u64;

/// Missing objects whose size is asked; the others are taken to be as large on average.
const SIZED_MAX: u64 = 32;

/// Why a mirror does not go on.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The first store does not give what must be copied.
    #[error("the first store cannot be read")]
    First(#[source] StoreError),
    /// The mirror does not answer, or does not take it.
    #[error("the mirror cannot be used")]
    Mirror(#[source] StoreError),
    /// The mirror's objects are not the first store's: it is left as it is.
    #[error(
        "{key} is another object there: the mirror holds another history; set it aside and let an empty one catch up"
    )]
    OtherHistory {
        /// The object that tells.
        key: ObjectKey,
        /// How the two are related.
        kin: Kin,
    },
    /// The mirror holds a log of which the first store has nothing.
    #[error(
        "the mirror holds a log of source {of}, which the first store does not have: another installation is pointed at \
         this place, or the first store lost that log; give each installation a folder or a prefix of its own"
    )]
    OtherSite {
        /// Whose log.
        of: SourceName,
    },
    /// Another store was made the first one.
    #[error("{0}")]
    Deposed(String),
    /// What the mirror says about the order of the stores cannot be read.
    #[error("the mirror's word on which store decides cannot be read")]
    Order(#[source] OrderError),
}

/// How another history is related to the first store's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kin {
    /// They have a beginning in common: an old first store that went on alone.
    Fork,
    /// They are strangers: somebody else's store.
    Stranger,
}

/// How far back a comparison goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Logs from the mirror's newest checkpoint on.
    Tail,
    /// From the beginning; lets go what has expired.
    Whole,
}

/// What a comparison walks through: a prefix, and where it begins.
type Start = (String, Option<ObjectKey>);

/// Whether mirrors hold objects of that name.
pub(crate) fn is_mirrored(key: &ObjectKey) -> bool {
    !key.as_str().starts_with(layout::PROBES_PREFIX)
}

impl Mirror {
    /// Compares and copies until nothing is missing.
    pub(crate) async fn pass(&self, first: &Arc<dyn Store>, depth: Depth) -> Result<(), PassError> {
        let (doubt, wish) = self.change(|state| (state.begin_pass(), state.wholes()));
        let mut asked = Asked::default();
        let as_put = &first_put(first).await?;
        let first = &**as_put;
        self.same_order(first).await?;
        self.see_damaged_again(first).await?;
        let (logs, rest) = self.starts(first, depth).await?;
        if let Err(error) = self.survey(first, logs.iter().chain(&rest)).await {
            self.warn_a_fork(first, &error).await?;
            return Err(error);
        }
        let mut lacks = 0;
        for start in &logs {
            lacks += self.catch_up(as_put, start, doubt, &mut asked).await?;
        }
        self.change(|state| state.log_compared(doubt));
        for start in &rest {
            lacks += self.catch_up(as_put, start, doubt, &mut asked).await?;
        }
        let now = (self.clock.now(), self.clock.tick());
        self.change(|state| {
            if depth == Depth::Whole {
                state.whole_compared(wish, now.1);
            }
            state.first_lacks = state.first_lacks.max(lacks);
            state.undeleted = state.undeleted.max(asked.undeleted);
            if state.doubts() == doubt {
                state.compared(doubt, now.0);
            }
        });
        Ok(())
    }

    /// A mirror that knows of a later change of the first store ends this one's reign (L5), if it is a mirror of ours: what
    /// another installation says in its own place about the order of its stores says nothing about ours.
    pub(crate) async fn same_order(&self, first: &dyn Store) -> Result<(), PassError> {
        let asked = self.clock.tick();
        self.change(|state| state.order_at = asked);
        // In this order: what is in the mirror is in the first store before.
        let theirs = sources(&*self.store).await.map_err(PassError::Mirror)?;
        let ours = sources(first).await.map_err(PassError::First)?;
        let alone = theirs.iter().find(|source| !ours.contains(source)).cloned();
        let known = || ours.iter().chain(&self.sources);
        let is_ours = known().next().is_none() || theirs.iter().any(|source| known().any(|ours| ours == source));
        match alone {
            Some(of) if !is_ours => Err(PassError::OtherSite { of }),
            Some(of) => self.still_first(first).await.and(Err(PassError::OtherSite { of })),
            None => self.still_first(first).await,
        }
    }

    async fn still_first(&self, first: &dyn Store) -> Result<(), PassError> {
        let ours = order::newest(first).await.map_err(|error| told(error, PassError::First))?;
        let theirs = order::newest(&*self.store).await.map_err(|error| told(error, PassError::Mirror))?;
        let Some(theirs) = theirs else { return Ok(()) };
        let older = ours.as_ref().is_none_or(|ours| ours.number < theirs.number);
        let contested = ours.as_ref().is_some_and(|ours| ours.number == theirs.number && *ours != theirs);
        if older || contested {
            let why = format!("mirror {} says that {} was made the first store", self.name, theirs.name);
            self.deposed.set(why.clone());
            return Err(PassError::Deposed(why));
        }
        Ok(())
    }

    /// An old first store that went on alone is told that it decides no more, so that nobody goes on with it. Into a
    /// stranger's store nothing is written at all.
    async fn warn_a_fork(&self, first: &dyn Store, error: &PassError) -> Result<(), PassError> {
        let fork = matches!(error, PassError::OtherHistory { kin: Kin::Fork, .. });
        let claim = order::newest(first).await.map_err(|error| told(error, PassError::First))?;
        match claim.filter(|_| fork) {
            Some(claim) => order::write(&*self.store, &claim).await.map_err(|error| told(error, PassError::Mirror)),
            None => Ok(()),
        }
    }

    /// A person may have taken a foreign object away.
    async fn see_damaged_again(&self, first: &dyn Store) -> Result<(), PassError> {
        let damaged = self.state().damaged.clone();
        for key in damaged {
            if self.copy(first, &key).await? != Copied::Foreign {
                self.change(|state| state.damaged.remove(&key));
            }
        }
        Ok(())
    }

    /// Where to begin: logs and what must precede them, then the rest.
    async fn starts(&self, first: &dyn Store, depth: Depth) -> Result<(Vec<Start>, Vec<Start>), PassError> {
        let (mut logs, mut rest) = (Vec::new(), Vec::new());
        let mut before_logs = true;
        for prefix in layout::MIRRORED {
            if prefix == layout::LOGS_PREFIX {
                let all = sources(first).await.map_err(PassError::First)?;
                for source in all {
                    let after = if depth == Depth::Tail { self.known_up_to(&source).await? } else { None };
                    if depth == Depth::Tail && self.slept_through(first, &source).await? {
                        self.want_whole();
                    }
                    logs.push((layout::segments_prefix(&source), after));
                }
                before_logs = false;
            } else if before_logs {
                logs.push((prefix.to_owned(), None));
            } else {
                rest.push((prefix.to_owned(), None));
            }
        }
        Ok((logs, rest))
    }

    /// The name in front of the last few objects that the mirror's newest checkpoint lists.
    async fn known_up_to(&self, source: &SourceName) -> Result<Option<ObjectKey>, PassError> {
        let mut keys = Keys::new(&*self.store, layout::checkpoints_prefix(source), None);
        let mut newest = None;
        while let Some(key) = keys.next().await.map_err(PassError::Mirror)? {
            if let Some(Named::Checkpoint { slot, .. }) = layout::parse(&key) {
                newest = Some(slot);
            }
        }
        let common = u64::try_from(2 * IN_FLIGHT_PUTS_MAX).unwrap_or(u64::MAX);
        let back = |slot: Slot| Slot::new(slot.get().saturating_sub(common));
        Ok(newest.map(|slot| layout::segment(source, back(slot))))
    }

    /// How much is missing, for those who watch, and whether what is not missing is the same: a mirror whose last common
    /// objects differ holds another history, and nothing may be added to it.
    async fn survey(&self, first: &dyn Store, starts: impl Iterator<Item = &Start>) -> Result<(), PassError> {
        let (mut objects, mut sized, mut bytes, mut since) = (0_u64, 0_u64, 0_u64, None);
        for (prefix, after) in starts {
            let mut merge = Merge::new(first, &*self.store, prefix, after.clone());
            let mut common = VecDeque::new();
            while let Some(difference) = merge.next().await? {
                let key = match difference {
                    Difference::Missing(key) => key,
                    Difference::Common(key) => {
                        common.push_back(key);
                        common.drain(..common.len().saturating_sub(IN_FLIGHT_PUTS_MAX));
                        continue;
                    }
                    Difference::Surplus(_) => continue,
                };
                objects = objects.saturating_add(1);
                if sized < SIZED_MAX
                    && let Ok(size) = first.size(&key).await
                {
                    (sized, bytes) = (sized.saturating_add(1), bytes.saturating_add(size));
                }
                if since.is_none() {
                    since = written(first, &key).await;
                }
            }
            if prefix.starts_with(layout::LOGS_PREFIX) {
                for key in &common {
                    self.same(first, key).await?;
                }
            }
        }
        let bytes = bytes.checked_div(sized).unwrap_or(0).saturating_mul(objects);
        self.change(|state| state.found_missing(objects, bytes, since));
        Ok(())
    }

    /// Copies what is missing below one prefix; gives how many objects only the mirror holds.
    async fn catch_up(
        &self,
        first: &Arc<dyn Store>,
        (prefix, after): &Start,
        doubt: u64,
        asked: &mut Asked,
    ) -> Result<u64, PassError> {
        let mut merge = Merge::new(&**first, &*self.store, prefix, after.clone());
        let (mut lacks, mut holes) = (0_u64, Holes::default());
        while let Some(difference) = merge.next().await? {
            match difference {
                Difference::Common(key) => holes.pass(&key),
                Difference::Missing(key) => {
                    for hole in holes.in_front_of(&key) {
                        if self.copy(&**first, &hole).await? != Copied::Gone {
                            holes.open.retain(|open| *open != hole);
                        }
                    }
                    self.bring(first, &key, doubt).await?;
                }
                Difference::Surplus(key) => lacks = lacks.saturating_add(self.surplus(&**first, &key, asked).await?),
            }
        }
        Ok(lacks)
    }

    /// Copies one object that a comparison found missing, behind what must be there before it.
    async fn bring(&self, first: &Arc<dyn Store>, key: &ObjectKey, doubt: u64) -> Result<(), PassError> {
        match layout::parse(key) {
            None | Some(Named::Probe(_)) => return Ok(()),
            Some(
                Named::Segment { .. }
                | Named::Boundary { .. }
                | Named::Doomed { .. }
                | Named::Hold { .. }
                | Named::Rewrap { .. }
                | Named::First { .. },
            ) => {}
            Some(Named::Checkpoint { .. } | Named::BasePart { .. } | Named::Manifest { .. }) => {
                // The log went on meanwhile; a checkpoint may list what the comparison of the log did not see.
                self.drain(first, doubt).await?;
                if self.state().doubts() != doubt {
                    return Ok(());
                }
            }
        }
        if self.bring_parts(&**first, key).await? {
            self.copy(&**first, key).await?;
        }
        // Another process may have deleted it in both stores between our reading and our putting it.
        if is_gone(&**first, key).await.map_err(PassError::First)? {
            self.want_whole();
        }
        Ok(())
    }
}

/// Slots of a log that a listing left out because their puts were under way: those of one writer end in any order. A listing
/// shows what came behind them; what comes behind the next fence must not arrive before they do.
#[derive(Default)]
struct Holes {
    last: Option<Slot>,
    open: VecDeque<ObjectKey>,
}

impl Holes {
    /// The walk has come to that name.
    fn pass(&mut self, key: &ObjectKey) {
        let Some(Named::Segment { source, slot }) = layout::parse(key) else { return };
        let within =
            |hole: &Slot| usize::try_from(slot.get() - hole.get()).is_ok_and(|far| far <= 2 * IN_FLIGHT_PUTS_MAX);
        let mut next = self.last.map_or(slot, Slot::next);
        // Beyond what may be under way an object is lost, and no walk waits for it.
        next = next.max(Slot::new(slot.get().saturating_sub(2 * IN_FLIGHT_PUTS)));
        while next < slot {
            self.open.push_back(layout::segment(&source, next));
            next = next.next();
        }
        self.open.retain(|hole| matches!(layout::parse(hole), Some(Named::Segment { slot, .. }) if within(&slot)));
        self.last = Some(slot);
    }

    /// What may have been put meanwhile in front of that name.
    fn in_front_of(&mut self, key: &ObjectKey) -> Vec<ObjectKey> {
        self.pass(key);
        self.open.iter().cloned().collect()
    }
}

fn told(error: OrderError, of: fn(StoreError) -> PassError) -> PassError {
    match error {
        OrderError::Store(error) => of(error),
        damaged @ (OrderError::Damaged { .. } | OrderError::Deposed { .. } | OrderError::Contested { .. }) => {
            PassError::Order(damaged)
        }
    }
}

async fn written(first: &dyn Store, key: &ObjectKey) -> Option<Timestamp> {
    let start = first.get(key, Part::HEADER).await.ok()?;
    Header::decode(start.as_bytes()).ok().map(|(header, _)| header.sealed_at)
}
