//! Verifies what is stored: every name, link and checkpoint of a log, and with [`Depth::Full`] every byte of it.
//!
//! ```text
//!   boundary ─▶ segments, in order: name · header · seal · records against footer and header · link to the one before
//!                  └─▶ what was derived ─▶ checkpoints: each listed entry compared
//! ```
//! * L4: what is changed, missing, swapped, repeated, cut off or foreign is a finding that names the object. It never
//!   stops at the first.
//! * L11: what could not be read is a verdict of its own, never "fine".
//!
//! It trusts no checkpoint and no catalog, and holds some 70 bytes per object of the log. A lost tail shows in no chain:
//! only a witness can tell, and the report names those that were asked (here: the checkpoints that list it).

mod holds;
mod notices;
mod order;
mod prove;
mod report;
mod rewraps;
mod tally;
mod versions;
mod walk;

#[cfg(test)]
mod tests;

pub use holds::holds;
pub use order::{Order, Pace, Watch};
pub use prove::Sound;
pub use report::{Depth, Finding, Head, Outcome, ScrubReport, Verdict};
pub use rewraps::rewraps;
pub use versions::{beneath, first_put, put_over, untold};

use bytes::Bytes;

use crate::codec::segment::Header;
use crate::crypto::KeyError;
use crate::crypto::stream::sha256;
use crate::log::boundary;
use crate::log::checkpoint::{BEGINS_ANEW, Checkpoint};
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::error::{ObjectError, ObjectErrorKind};
use crate::log::object::Object;
use crate::log::scrub::prove::{Blind, Looker};
use crate::log::scrub::walk::{Derived, Walk};
use crate::model::{LogId, ObjectKey, Slot, SourceName};
use crate::store::layout::{self, Named};
use crate::store::{Keys, Part, StoreError, StoreErrorKind};

/// Verifies the log of `source` from the order's slot on, or all of it. What expires while it is looked at is not missing.
pub async fn scrub(env: &LogEnv, source: &SourceName, order: Order, watch: &mut dyn Watch) -> ScrubReport {
    loop {
        let before = boundary::first(env, source).await;
        let report = look(env, source, order, watch).await;
        if report.outcome() != Outcome::Damaged {
            return report;
        }
        match (before, boundary::first(env, source).await) {
            (Ok(before), Ok(after)) if before != after => watch.again(),
            // Where that cannot be told the damage stands as it was seen.
            (Ok(_), Ok(_)) | (Err(_), _) | (_, Err(_)) => return report,
        }
    }
}

async fn look(env: &LogEnv, source: &SourceName, order: Order, watch: &mut dyn Watch) -> ScrubReport {
    let (looker, pace) = (Looker::new(env, order.jobs), Pace::new(&env.clock, order.bytes_per_second));
    let mut scrub = Scrub { env, source, order, watch, looker, pace, report: ScrubReport::default(), log: None };
    let boundary = scrub.boundaries().await;
    let first = boundary.as_ref().map_or(Slot::FIRST, |(slot, _)| *slot);
    let start = order.since.unwrap_or(first).max(first);
    // What the first object continues is known where a boundary or the beginning stands.
    let before = if start == first { boundary.map_or(Some([0; 32]), |(_, previous)| previous) } else { None };
    let mut walk = Walk::new(start, before);
    if let Some((slot, _)) = boundary {
        walk.witnessed(slot);
    }
    scrub.segments(&mut walk).await;
    scrub.checkpoints(&mut walk, first).await;
    scrub.finish(walk).await
}

/// Opens sealed objects of any kind, of a base for instance, to their last byte.
#[derive(Clone)]
pub struct Scrubber(Looker);

impl Scrubber {
    /// One that looks at so many at once.
    pub fn new(env: &LogEnv, jobs: usize) -> Self {
        Self(Looker::new(env, jobs))
    }

    /// The object's hash and size; a finding if it is not as it should be.
    pub async fn object(&self, key: &ObjectKey) -> Result<Sound, Finding> {
        self.0.object(key).await.map_err(|blind| unseen(key, &blind))
    }
}

pub(crate) fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn finding(object: &ObjectKey, verdict: Verdict, what: impl Into<String>) -> Finding {
    Finding { object: object.clone(), verdict, what: what.into() }
}

/// What a store's error says of the object that was asked for.
pub(crate) fn unread(key: &ObjectKey, error: &StoreError) -> Finding {
    match error.kind {
        StoreErrorKind::Missing => finding(key, Verdict::Missing, "it was listed and is not there"),
        StoreErrorKind::Short { .. } => finding(key, Verdict::Damaged, error.kind.to_string()),
        StoreErrorKind::Unavailable | StoreErrorKind::Unanswered | StoreErrorKind::Refused(_) => {
            finding(key, Verdict::Unreadable, error.kind.to_string())
        }
    }
}

/// What it says of a prefix that it could not be listed.
pub(crate) fn unlisted(prefix: &str, error: &StoreError) -> Finding {
    let name = prefix.trim_end_matches('/').parse();
    let name = name.expect("a prefix without its slash is a name");
    finding(&name, Verdict::Unreadable, format!("it could not be listed: {}", error.kind))
}

/// What an error from opening an object says of it.
fn broken(error: &ObjectError) -> Finding {
    let (verdict, what) = match &error.kind {
        ObjectErrorKind::Key(other @ KeyError::OtherKey { .. }) => (Verdict::Foreign, other.to_string()),
        ObjectErrorKind::Misplaced { what: "log" } => (Verdict::Foreign, "it belongs to another log".to_owned()),
        ObjectErrorKind::Format(cause) => (Verdict::Damaged, cause.to_string()),
        ObjectErrorKind::Seal(cause) => (Verdict::Damaged, cause.to_string()),
        ObjectErrorKind::Key(cause) if !cause.is_damage() => (Verdict::Unreadable, cause.to_string()),
        ObjectErrorKind::Key(cause) => (Verdict::Damaged, cause.to_string()),
        kind @ ObjectErrorKind::LaterWraps(_) => (Verdict::Unreadable, kind.to_string()),
        kind @ (ObjectErrorKind::Misplaced { .. } | ObjectErrorKind::Unchained) => (Verdict::Damaged, kind.to_string()),
    };
    finding(&error.key, verdict, what)
}

/// What it says of an object that it could not be looked at.
fn unseen(key: &ObjectKey, blind: &Blind) -> Finding {
    match blind {
        Blind::Store(error) => unread(key, error),
        Blind::Object(_, error) => broken(error),
        Blind::Died => finding(key, Verdict::Unreadable, "the check of it broke off; tell us, with this object"),
    }
}

struct Scrub<'a> {
    env: &'a LogEnv,
    source: &'a SourceName,
    order: Order,
    watch: &'a mut dyn Watch,
    looker: Looker,
    pace: Pace,
    report: ScrubReport,
    log: Option<LogId>,
}

impl Scrub<'_> {
    fn note(&mut self, finding: Finding) {
        self.watch.found(&finding);
        self.report.add(finding);
    }

    fn blind(&mut self, key: &ObjectKey, blind: &Blind) {
        match blind {
            Blind::Object(read, error) => {
                self.checked(*read);
                self.broken(error);
            }
            Blind::Store(_) | Blind::Died => self.note(unseen(key, blind)),
        }
    }

    fn broken(&mut self, error: &ObjectError) {
        if matches!(error.kind, ObjectErrorKind::Key(KeyError::OtherKey { .. })) {
            let stranger = broken(error);
            self.watch.found(&stranger);
            return self.report.add_stranger(stranger);
        }
        self.note(broken(error));
    }

    fn checked(&mut self, bytes: u64) {
        self.report.objects_checked += 1;
        self.report.bytes_checked += bytes;
        self.watch.read(bytes);
    }

    /// The names under a prefix. A listing that fails is told, and gives what it gave until then.
    async fn names(&mut self, prefix: String) -> Vec<ObjectKey> {
        let mut keys = Keys::new(&*self.env.store, prefix.clone(), None);
        let mut names = Vec::new();
        loop {
            match keys.next().await {
                Ok(Some(key)) => names.push(key),
                Ok(None) => return names,
                Err(error) => {
                    self.unlisted(&prefix, &error);
                    return names;
                }
            }
        }
    }

    fn unlisted(&mut self, prefix: &str, error: &StoreError) {
        self.note(unlisted(prefix, error));
    }

    /// Fetches and begins to open an object that belongs to this log.
    async fn open(&mut self, key: &ObjectKey) -> Option<Object> {
        let bytes = match self.env.store.get(key, Part::Whole).await {
            Ok(sealed) => sealed.bytes(),
            Err(error) => {
                self.note(unread(key, &error));
                return None;
            }
        };
        self.checked(size(bytes.len()));
        match self.begin(key, bytes).await {
            Ok(object) => Some(object),
            Err(error) => {
                self.broken(&error);
                None
            }
        }
    }

    async fn begin(&mut self, key: &ObjectKey, bytes: Bytes) -> Result<Object, ObjectError> {
        let object = Object::open(self.env, key, bytes).await?;
        object.footer()?;
        self.report.opened_one();
        self.own(key, &object.header)?;
        Ok(object)
    }

    /// An error if the object is another log's. The first says which log this is.
    fn own(&mut self, key: &ObjectKey, header: &Header) -> Result<(), ObjectError> {
        let log = LogId::from_bytes(header.stream);
        if *self.log.get_or_insert(log) == log {
            return Ok(());
        }
        Err(ObjectError { key: key.clone(), kind: ObjectErrorKind::Misplaced { what: "log" } })
    }

    /// Checks every boundary; gives the newest one's slot, and the hash of what stood before it if it can be read.
    async fn boundaries(&mut self) -> Option<(Slot, Option<[u8; 32]>)> {
        let mut newest = None;
        for key in self.names(layout::boundaries_prefix(self.source)).await {
            let slot = match layout::parse(&key) {
                Some(Named::Boundary { slot, .. }) => slot,
                Some(Named::Doomed { base, .. }) => {
                    self.notice(&key, base).await;
                    continue;
                }
                Some(_) | None => {
                    self.note(finding(&key, Verdict::Foreign, "no boundary has such a name"));
                    continue;
                }
            };
            let header = match self.open(&key).await.map(boundary::read) {
                None => None,
                Some(Ok(header)) if header.slot == slot => {
                    self.watch.sound(&key, 0, None);
                    Some(header)
                }
                Some(Ok(_)) => {
                    self.note(finding(&key, Verdict::Damaged, "it is another slot's boundary"));
                    None
                }
                Some(Err(error)) => {
                    self.broken(&error);
                    None
                }
            };
            newest = Some((slot, header.map(|header| header.previous)));
        }
        newest
    }

    /// Derives every checkpoint anew from what the walk found, and compares.
    async fn checkpoints(&mut self, walk: &mut Walk, first: Slot) {
        let names = self.names(layout::checkpoints_prefix(self.source)).await;
        self.report.witnesses.push(format!("{} checkpoints", names.len()));
        let slot_of = |key: &ObjectKey| match layout::parse(key) {
            Some(Named::Checkpoint { slot, .. }) => Some(slot),
            Some(_) | None => None,
        };
        let slots: Vec<_> = names.iter().filter_map(slot_of).collect();
        for key in names {
            let Some(slot) = slot_of(&key) else {
                self.note(finding(&key, Verdict::Foreign, "no checkpoint has such a name"));
                continue;
            };
            if slot < first {
                continue;
            }
            let Some(object) = self.open(&key).await else { continue };
            let anew = object.header.flags.has(BEGINS_ANEW);
            match Checkpoint::read(object) {
                Err(error) => self.broken(&error),
                Ok(checkpoint) if checkpoint.slot() != slot => {
                    self.note(finding(&key, Verdict::Damaged, "it is another slot's checkpoint"));
                }
                Ok(checkpoint) => {
                    let (before, previous) = (self.report.told(), checkpoint.previous);
                    // One that begins behind a lost object continues none; what is lost there is told by the walk.
                    if !anew && previous >= first && slots.binary_search(&previous).is_err() {
                        let gone = layout::checkpoint(self.source, previous);
                        self.note(finding(&gone, Verdict::Missing, format!("checkpoint {slot} continues it")));
                    }
                    self.compare(&key, &checkpoint, walk);
                    if self.report.told() == before {
                        self.watch.sound(&key, 0, None);
                    }
                }
            }
        }
    }

    fn compare(&mut self, key: &ObjectKey, checkpoint: &Checkpoint, walk: &mut Walk) {
        let mut expected = checkpoint.previous.next();
        for entry in &checkpoint.entries {
            if entry.slot != expected {
                self.note(finding(key, Verdict::Damaged, format!("it does not list slot {expected}")));
                return;
            }
            expected = expected.next();
            if let Err(what) = walk.agrees(entry) {
                self.note(finding(key, Verdict::Damaged, format!("slot {}: {what}", entry.slot)));
            }
        }
        walk.witnessed(checkpoint.slot());
    }

    /// What can be told only at the end: which holes are losses, and which is the newest object that counts.
    async fn finish(mut self, walk: Walk) -> ScrubReport {
        for run in walk.missing() {
            for (from, to) in self.still_missing(run).await {
                let what =
                    if from == to { "nothing has its name".to_owned() } else { format!("so are all up to slot {to}") };
                self.note(finding(&layout::segment(self.source, from), Verdict::Missing, what));
            }
        }
        if let Some((entry, hash)) = walk.head() {
            let hash = match hash {
                Some(hash) => Some(*hash),
                None => self.hash(&layout::segment(self.source, entry.slot)).await,
            };
            let Entry { slot, to: position, to_time: time, .. } = *entry;
            self.report.head = hash.map(|hash| Head { slot, hash, position, time });
        }
        if !self.report.proves_key() {
            self.report.doubt_key();
        }
        self.report
    }

    async fn hash(&mut self, key: &ObjectKey) -> Option<[u8; 32]> {
        match self.env.store.get(key, Part::Whole).await {
            Ok(sealed) => Some(sha256(sealed.as_bytes())),
            Err(error) => {
                self.note(unread(key, &error));
                None
            }
        }
    }
}

/// What is remembered of an object to compare checkpoints with: a digest of what lists say of it, its size and hash.
fn derive(entry: &Entry) -> Derived {
    let mut bytes = Vec::new();
    Entry { bytes: 0, hash: None, ..entry.clone() }.encode(&mut bytes);
    let digest = sha256(&bytes);
    Derived { digest: *digest.first_chunk().expect("32 bytes have sixteen"), bytes: entry.bytes, hash: entry.hash }
}
