//! The walk along the slots: each segment is opened, proved by its records, and linked to the one before.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;

use crate::codec::footer::{Footer, FrameEntry};
use crate::codec::record;
use crate::codec::segment::{Flags, Header, ObjectKind};
use crate::crypto::stream::sha256;
use crate::log::entry::Entry;
use crate::log::error::{ObjectError, ObjectErrorKind};
use crate::log::object::Object;
use crate::log::scrub::tally::{Carry, Tally, Trust};
use crate::log::scrub::{Depth, Scrub, Verdict, derive, finding, unread};
use crate::model::limits::{HEADER_BYTES_MAX, IN_FLIGHT_PUTS_MAX};
use crate::model::{Epoch, LogId, ObjectKey, Slot, Timestamp};
use crate::store::layout::{self, Named};
use crate::store::{Keys, Part, StoreError};

/// Objects that are fetched before they are asked for.
const AHEAD: usize = 3;

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

type Fetch = BoxFuture<'static, (ObjectKey, Slot, Result<Bytes, StoreError>)>;

impl Scrub<'_> {
    /// Checks every segment from the walk's start on.
    pub(crate) async fn segments(&mut self, walk: &mut Walk) {
        let prefix = layout::segments_prefix(self.source);
        let after = walk.start.before();
        let after = (after != Slot::NONE).then(|| layout::segment(self.source, after));
        let store = std::sync::Arc::clone(&self.env.store);
        let mut keys = Keys::new(&*store, prefix.clone(), after);
        let mut ahead: FuturesOrdered<Fetch> = FuturesOrdered::new();
        let mut ended = false;
        loop {
            while !ended && ahead.len() < AHEAD {
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
            let Some((key, slot, fetched)) = ahead.next().await else { return };
            walk.reach(slot);
            if !self.segment(&key, slot, fetched, walk).await {
                walk.unproved.push(slot);
                walk.forget();
            }
        }
    }

    fn fetch(&self, key: ObjectKey, slot: Slot) -> Fetch {
        let (store, depth) = (std::sync::Arc::clone(&self.env.store), self.depth);
        let part = match depth {
            Depth::Quick => Part::First { bytes: u64::try_from(HEADER_BYTES_MAX).unwrap_or(u64::MAX) },
            Depth::Full => Part::Whole,
        };
        async move {
            let bytes = store.get(&key, part).await.map(|sealed| sealed.bytes());
            (key, slot, bytes)
        }
        .boxed()
    }

    /// Checks one segment; whether it is what its name and its neighbours say.
    async fn segment(
        &mut self,
        key: &ObjectKey,
        slot: Slot,
        fetched: Result<Bytes, StoreError>,
        walk: &mut Walk,
    ) -> bool {
        let bytes = match fetched {
            Ok(bytes) => bytes,
            Err(error) => {
                self.note(unread(key, &error));
                return false;
            }
        };
        self.checked(bytes.len());
        let proved = match self.depth {
            Depth::Quick => self.header(key, slot, &bytes).map(|header| (header, 0, None, None)),
            Depth::Full => self.whole(key, slot, bytes, walk).await,
        };
        match proved {
            Ok((header, bytes, hash, carry)) => {
                for wrong in walk.link(&header, bytes, hash, carry) {
                    self.note(finding(key, Verdict::Damaged, wrong));
                }
                true
            }
            Err(error) => {
                self.broken(&error);
                false
            }
        }
    }

    fn header(&mut self, key: &ObjectKey, slot: Slot, bytes: &Bytes) -> Result<Header, ObjectError> {
        let wrong = |kind| ObjectError { key: key.clone(), kind };
        let (header, _) = Header::decode(bytes).map_err(|error| wrong(error.into()))?;
        let log = LogId::from_bytes(header.stream);
        if *self.log.get_or_insert(log) != log {
            return Err(wrong(ObjectErrorKind::Misplaced { what: "log" }));
        }
        in_place(&header, slot).map_err(wrong)?;
        Ok(header)
    }

    async fn whole(&mut self, key: &ObjectKey, slot: Slot, bytes: Bytes, walk: &Walk) -> Result<Proved, ObjectError> {
        let (hash, length) = (sha256(&bytes), u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let object = Object::open(self.env, key, bytes).await?;
        let mut object = self.own(object)?;
        in_place(&object.header, slot).map_err(|kind| object.wrong(kind))?;
        let fresh = object.header.epoch != walk.reign || object.header.kind == ObjectKind::Fence;
        let (carry, trust) = match walk.carry {
            // What is void continues what is void.
            Some(_) if object.header.epoch < walk.reign => Carry::believed(&object.header),
            // A fence makes void what was open.
            Some(_) if fresh => (Carry::default(), Trust::Proved),
            Some(carry) => (carry, Trust::Proved),
            None => Carry::believed(&object.header),
        };
        let mut tally = Tally::new(&object.header, carry, trust);
        let unfit = |object: &Object, what| object.wrong(ObjectErrorKind::Misplaced { what });
        let mut at = object.next_at();
        while let Some(frame) = object.next_frame()? {
            let mut read = 0;
            let records = std::iter::from_fn(|| record::decode(&frame, &mut read).transpose());
            let records = records.collect::<Result<Vec<_>, _>>().map_err(|error| object.wrong(error.into()))?;
            let place = place(at, object.next_at(), frame.len());
            tally.frame(place, &records).map_err(|what| unfit(&object, what))?;
            at = object.next_at();
        }
        let footer = Footer::decode(&object.footer()?).map_err(|error| object.wrong(error.into()))?;
        let carry = tally.compare(&object.header, &footer).map_err(|what| unfit(&object, what))?;
        Ok((object.header, length, Some(hash), Some(carry)))
    }
}

/// What was proved of a segment: its header, size and hash, and what it hands on.
type Proved = (Header, u64, Option<[u8; 32]>, Option<Carry>);

fn place(at: usize, end: usize, plain: usize) -> FrameEntry {
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    FrameEntry {
        at: small(at),
        sealed_bytes: small(end.saturating_sub(at)),
        plain_bytes: small(plain),
        to: crate::model::Position::ZERO,
        to_time: Timestamp::MIN,
        transactions: 0,
    }
}

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
