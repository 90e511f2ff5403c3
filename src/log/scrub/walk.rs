//! The walk along the slots: each segment is opened, proved by its records, and linked to the one before.

use std::collections::{BTreeMap, VecDeque};

use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;

use crate::codec::segment::{Flags, Header, ObjectKind};
use crate::log::entry::Entry;
use crate::log::error::{ObjectError, ObjectErrorKind};
use crate::log::scrub::prove::{Blind, Look, Whole};
use crate::log::scrub::tally::Carry;
use crate::log::scrub::{Depth, Scrub, Verdict, derive, finding};
use crate::model::limits::IN_FLIGHT_PUTS_MAX;
use crate::model::{Epoch, ObjectKey, Slot, Timestamp};
use crate::store::layout::{self, Named};
use crate::store::{Keys, StoreErrorKind};

/// What a request costs a paced verification that reads headers alone: the store works for it as for so many bytes.
const REQUEST_BYTES: u64 = 128 * 1024;
/// Objects that are fetched while others are looked at.
const AHEAD: usize = 2;

/// What is remembered of an object.
#[derive(Clone, Debug)]
pub(crate) struct Derived {
    pub(crate) digest: [u8; 16],
    pub(crate) bytes: u64,
    pub(crate) hash: Option<[u8; 32]>,
}

/// Where the walk stands.
#[derive(Debug)]
pub(crate) struct Walk {
    start: Slot,
    expected: Slot,
    reign: Epoch,
    /// The hash that the next live object continues, if known.
    previous: Option<[u8; 32]>,
    /// The last live object, if nothing is missing or damaged since.
    before: Option<Entry>,
    carry: Option<Carry>,
    holes: Vec<(Slot, Slot)>,
    last_rise: Slot,
    /// The last live objects, newest last: one of them is the head.
    heads: VecDeque<(Entry, Option<[u8; 32]>)>,
    derived: BTreeMap<Slot, Derived>,
    /// Slots whose object is there and is not as it should be: what lists them cannot be compared.
    unproved: Vec<Slot>,
    witnessed: Slot,
}

impl Walk {
    pub(crate) fn new(start: Slot, previous: Option<[u8; 32]>) -> Self {
        Self {
            start,
            expected: start,
            reign: Epoch::default(),
            previous,
            before: None,
            carry: None,
            holes: Vec::new(),
            last_rise: Slot::NONE,
            heads: VecDeque::new(),
            derived: BTreeMap::new(),
            unproved: Vec::new(),
            witnessed: Slot::NONE,
        }
    }

    /// Whether a checkpoint's entry says what was found.
    pub(crate) fn agrees(&self, entry: &Entry) -> Result<(), &'static str> {
        if entry.slot < self.start || self.unproved.binary_search(&entry.slot).is_ok() {
            return Ok(());
        }
        // What is missing is told once, as a hole.
        let Some(found) = self.derived.get(&entry.slot) else { return Ok(()) };
        let listed = derive(entry);
        if listed.digest != found.digest {
            return Err("it says something else of it than its header");
        }
        let same_hash = listed.hash.is_none() || found.hash.is_none() || listed.hash == found.hash;
        let same_size = listed.bytes == 0 || found.bytes == 0 || listed.bytes == found.bytes;
        if same_hash && same_size { Ok(()) } else { Err("it lists another object than the one that is there") }
    }

    /// A checkpoint lists everything up to `slot`: so it was there.
    pub(crate) fn witnessed(&mut self, slot: Slot) {
        self.witnessed = self.witnessed.max(slot);
    }

    /// The runs of slots where an object was and is not. A hole near the end is a dying writer's, unless something
    /// shows that it was filled.
    pub(crate) fn missing(&self) -> Vec<(Slot, Slot)> {
        let mut missing: Vec<_> = self.holes.iter().copied().filter(|(from, _)| !self.is_tail(*from)).collect();
        if self.witnessed >= self.expected {
            missing.push((self.expected, self.witnessed));
        }
        missing
    }

    fn is_tail(&self, hole: Slot) -> bool {
        let in_flight = u64::try_from(IN_FLIGHT_PUTS_MAX).unwrap_or(u64::MAX);
        let last = self.expected.before().get();
        hole > self.last_rise && hole > self.witnessed && last.saturating_sub(hole.get()) < in_flight
    }

    /// The newest object that counts.
    pub(crate) fn head(&self) -> Option<&(Entry, Option<[u8; 32]>)> {
        let end = self.holes.iter().map(|(from, _)| *from).find(|from| self.is_tail(*from)).unwrap_or(self.expected);
        self.heads.iter().rev().find(|(entry, _)| entry.slot < end)
    }

    /// Nothing is known of what the next object continues.
    fn forget(&mut self) {
        (self.previous, self.before, self.carry) = (None, None, None);
    }

    /// Notes that an object stands at `slot`, and the hole in front of it.
    fn reach(&mut self, slot: Slot) {
        if slot > self.expected {
            self.holes.push((self.expected, slot.before()));
            self.forget();
        }
        self.expected = slot.next();
    }

    /// Puts a proved object behind the one before it; the errors are of the object.
    fn link(&mut self, header: &Header, bytes: u64, hash: Option<[u8; 32]>, carry: Option<Carry>) -> Vec<&'static str> {
        let mut entry = Entry { bytes, hash, ..Entry::of_header(header) };
        let mut wrong = Vec::new();
        if header.epoch < self.reign {
            // Written by a writer that had been fenced: checked as an object, and of no further account.
            entry.void = true;
            self.derived.insert(entry.slot, derive(&entry));
            return wrong;
        }
        let fence = header.kind == ObjectKind::Fence;
        if header.epoch > self.reign {
            if !fence && (self.before.is_some() || header.slot == Slot::FIRST) {
                wrong.push("its epoch begins without a fence");
            }
            self.last_rise = if fence { header.slot } else { self.last_rise };
        } else if fence {
            wrong.push("it is a fence of an epoch that had begun before");
        }
        self.reign = header.epoch;
        if self.previous.is_some_and(|previous| previous != header.previous) {
            wrong.push("it does not continue the object before it");
        }
        if let Some(before) = &self.before {
            if (before.to, before.to_time) != (header.from, header.from_time) {
                wrong.push("it does not begin where the object before it ends");
            }
            let open = before.flags.has(Flags::ENDS_INSIDE) && !fence;
            if open != header.flags.has(Flags::STARTS_INSIDE) {
                wrong.push(
                    "it starts inside a transaction that the object before it does not leave open, or the reverse",
                );
            }
        } else if header.slot == Slot::FIRST && header.from_time != Timestamp::MIN {
            wrong.push("it is the first of its log and says that something came before");
        }
        if let (Some(before), None) = (&self.before, self.previous)
            && let Some(derived) = self.derived.get_mut(&before.slot)
        {
            // Not hashed, but the next one says what its hash must be.
            derived.hash = Some(header.previous);
        }
        self.derived.insert(entry.slot, derive(&entry));
        self.heads.push_back((entry.clone(), hash));
        if self.heads.len() > 2 * IN_FLIGHT_PUTS_MAX {
            self.heads.pop_front();
        }
        (self.previous, self.before, self.carry) = (hash, Some(entry), carry);
        wrong
    }
}

type Fetch = BoxFuture<'static, (ObjectKey, Slot, Result<Look, Blind>)>;

impl Scrub<'_> {
    /// Checks every segment from the walk's start on. Several are looked at at once; they are judged in their order.
    pub(crate) async fn segments(&mut self, walk: &mut Walk) {
        let prefix = layout::segments_prefix(self.source);
        let after = walk.start.before();
        let after = (after != Slot::NONE).then(|| layout::segment(self.source, after));
        let store = std::sync::Arc::clone(&self.env.store);
        let mut keys = Keys::new(&*store, prefix.clone(), after);
        let mut ahead: FuturesOrdered<Fetch> = FuturesOrdered::new();
        let mut ended = false;
        loop {
            while !ended && ahead.len() < self.order.jobs.max(1) + AHEAD {
                match keys.next().await {
                    Ok(Some(key)) => match layout::parse(&key) {
                        Some(Named::Segment { slot, .. }) => ahead.push_back(self.fetch(key, slot)),
                        Some(_) | None => self.note(finding(&key, Verdict::Foreign, "no segment has such a name")),
                    },
                    Ok(None) => ended = true,
                    Err(error) => {
                        self.unlisted(&prefix, &error);
                        ended = true;
                    }
                }
            }
            let Some((key, slot, looked)) = ahead.next().await else { return };
            walk.reach(slot);
            let read = looked.as_ref().map_or(0, |look| look.read);
            if !self.segment(&key, slot, looked, walk) {
                walk.unproved.push(slot);
                walk.forget();
            }
            self.pace.spend(if self.order.depth == Depth::Quick { REQUEST_BYTES } else { read }).await;
        }
    }

    /// What of a run of missing objects is still missing. The log may grow while it is verified: an object that was in
    /// flight when its neighbours were listed is there now, and is proved by itself.
    pub(crate) async fn still_missing(&mut self, (from, to): (Slot, Slot)) -> Vec<(Slot, Slot)> {
        let in_flight = u64::try_from(IN_FLIGHT_PUTS_MAX).unwrap_or(u64::MAX);
        if to.get() - from.get() >= in_flight {
            return vec![(from, to)];
        }
        let mut missing: Vec<(Slot, Slot)> = Vec::new();
        let mut slot = from;
        while slot <= to {
            let (key, _, looked) = self.fetch(layout::segment(self.source, slot), slot).await;
            match looked {
                Err(Blind::Store(error)) if error.kind == StoreErrorKind::Missing => match missing.last_mut() {
                    Some((_, last)) if last.next() == slot => *last = slot,
                    Some(_) | None => missing.push((slot, slot)),
                },
                looked => {
                    let mut alone = Walk::new(slot, None);
                    alone.reach(slot);
                    self.segment(&key, slot, looked, &mut alone);
                }
            }
            slot = slot.next();
        }
        missing
    }

    fn fetch(&self, key: ObjectKey, slot: Slot) -> Fetch {
        let (looker, depth) = (self.looker.clone(), self.order.depth);
        async move {
            let seen = match depth {
                Depth::Quick => looker.header(&key).await,
                Depth::Full => looker.segment(&key).await,
            };
            (key, slot, seen)
        }
        .boxed()
    }

    /// Judges one segment; whether it is what its name and its neighbours say.
    fn segment(&mut self, key: &ObjectKey, slot: Slot, looked: Result<Look, Blind>, walk: &mut Walk) -> bool {
        let proved = match looked {
            Err(blind) => {
                self.blind(key, &blind);
                return false;
            }
            Ok(look) => {
                self.checked(look.read);
                self.prove(key, slot, look, walk)
            }
        };
        let (header, bytes, hash, carry) = match proved {
            Ok(proved) => proved,
            Err(error) => {
                self.broken(&error);
                return false;
            }
        };
        let all_wrong = walk.link(&header, bytes, hash, carry);
        if all_wrong.is_empty() {
            self.watch.sound(key, bytes, hash.as_ref());
        }
        for wrong in all_wrong {
            self.note(finding(key, Verdict::Damaged, wrong));
        }
        true
    }

    fn prove(&mut self, key: &ObjectKey, slot: Slot, look: Look, walk: &Walk) -> Result<Proved, ObjectError> {
        let wrong = |kind| ObjectError { key: key.clone(), kind };
        let Look { header, whole, .. } = look;
        if whole.is_some() {
            self.report.opened_one();
        }
        self.own(key, &header)?;
        in_place(&header, slot).map_err(wrong)?;
        let Some(whole) = whole else { return Ok((header, 0, None, None)) };
        let Whole { bytes, hash, account } = whole?;
        let fresh = header.epoch != walk.reign || header.kind == ObjectKind::Fence;
        let before = match walk.carry {
            // What is void continues what is void; nothing is known of that.
            Some(_) | None if header.epoch < walk.reign => None,
            // A fence makes void what was open.
            Some(_) if fresh => Some(Carry::NOTHING),
            carry => carry,
        };
        let carry = account.join(before).map_err(|what| wrong(ObjectErrorKind::Misplaced { what }))?;
        Ok((header, bytes, Some(hash), Some(carry)))
    }
}

/// What was proved of a segment: its header, size and hash, and what it hands on.
type Proved = (Header, u64, Option<[u8; 32]>, Option<Carry>);

fn in_place(header: &Header, slot: Slot) -> Result<(), ObjectErrorKind> {
    let segment = match header.kind {
        ObjectKind::Data | ObjectKind::Heartbeat | ObjectKind::Fence => true,
        ObjectKind::Checkpoint
        | ObjectKind::Boundary
        | ObjectKind::BasePart
        | ObjectKind::Manifest
        | ObjectKind::Rewrap
        | ObjectKind::Hold => false,
    };
    if header.slot != slot {
        return Err(ObjectErrorKind::Misplaced { what: "slot" });
    }
    if segment { Ok(()) } else { Err(ObjectErrorKind::Misplaced { what: "kind" }) }
}
