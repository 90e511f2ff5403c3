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

mod report;
mod tally;
mod walk;

#[cfg(test)]
mod tests;

pub use report::{Depth, Finding, Head, Outcome, ScrubReport, Verdict};

use crate::crypto::KeyError;
use crate::crypto::stream::sha256;
use crate::log::boundary;
use crate::log::checkpoint::Checkpoint;
use crate::log::entry::Entry;
use crate::log::env::LogEnv;
use crate::log::error::{ObjectError, ObjectErrorKind};
use crate::log::object::Object;
use crate::log::scrub::walk::{Derived, Walk};
use crate::model::{LogId, ObjectKey, Slot, SourceName};
use crate::store::layout::{self, Named};
use crate::store::{Keys, Part, StoreError, StoreErrorKind};

/// What is told while a verification goes on.
pub type Progress<'a> = &'a mut (dyn FnMut(&ScrubReport) + Send);

/// Verifies the log of `source` from `since` on, or all of it. What expires while it is looked at is not missing.
pub async fn scrub(
    env: &LogEnv,
    source: &SourceName,
    depth: Depth,
    since: Option<Slot>,
    progress: Progress<'_>,
) -> ScrubReport {
    loop {
        let before = boundary::first(env, source).await.ok();
        let report = look(env, source, depth, since, progress).await;
        if report.outcome() != Outcome::Damaged || boundary::first(env, source).await.ok() == before {
            return report;
        }
    }
}

async fn look(
    env: &LogEnv,
    source: &SourceName,
    depth: Depth,
    since: Option<Slot>,
    progress: Progress<'_>,
) -> ScrubReport {
    let (report, other_key) = (ScrubReport::default(), Vec::new());
    let mut scrub = Scrub { env, source, depth, progress, report, log: None, opened: 0, other_key };
    let boundary = scrub.boundaries().await;
    let first = boundary.as_ref().map_or(Slot::FIRST, |(slot, _)| *slot);
    let start = since.unwrap_or(first).max(first);
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

/// An object that was opened to its last byte and is what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Its hash, to be compared with what lists it.
    pub hash: [u8; 32],
    /// Its size.
    pub bytes: u64,
}

/// Opens any sealed object, of a base for instance, to its last byte; a finding if that fails.
pub async fn scrub_object(env: &LogEnv, key: &ObjectKey) -> Result<Sound, Finding> {
    let bytes = env.store.get(key, Part::Whole).await.map_err(|error| unread(key, &error))?.bytes();
    let sound = Sound { hash: sha256(&bytes), bytes: size(bytes.len()) };
    let opened = Object::open(env, key, bytes).await.and_then(|mut object| {
        while object.next_frame()?.is_some() {}
        object.footer().map(drop)
    });
    opened.map(|()| sound).map_err(|error| broken(&error))
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn finding(object: &ObjectKey, verdict: Verdict, what: impl Into<String>) -> Finding {
    Finding { object: object.clone(), verdict, what: what.into() }
}

/// What a store's error says of the object that was asked for.
fn unread(key: &ObjectKey, error: &StoreError) -> Finding {
    match error.kind {
        StoreErrorKind::Missing => finding(key, Verdict::Missing, "it was listed and is not there"),
        StoreErrorKind::Short { .. } => finding(key, Verdict::Damaged, error.kind.to_string()),
        StoreErrorKind::Unavailable | StoreErrorKind::Unanswered | StoreErrorKind::Refused(_) => {
            finding(key, Verdict::Unreadable, error.kind.to_string())
        }
    }
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
        kind @ (ObjectErrorKind::Misplaced { .. } | ObjectErrorKind::Unchained) => (Verdict::Damaged, kind.to_string()),
    };
    finding(&error.key, verdict, what)
}

struct Scrub<'a> {
    env: &'a LogEnv,
    source: &'a SourceName,
    depth: Depth,
    progress: Progress<'a>,
    report: ScrubReport,
    log: Option<LogId>,
    /// Objects that a key at hand opened.
    opened: u64,
    /// Findings about objects of another key.
    other_key: Vec<usize>,
}

impl Scrub<'_> {
    fn note(&mut self, finding: Finding) {
        self.report.add(finding);
    }

    fn broken(&mut self, error: &ObjectError) {
        if matches!(error.kind, ObjectErrorKind::Key(KeyError::OtherKey { .. })) {
            self.other_key.push(self.report.findings.len());
        }
        self.note(broken(error));
    }

    fn checked(&mut self, bytes: usize) {
        self.report.objects_checked += 1;
        self.report.bytes_checked += size(bytes);
        (self.progress)(&self.report);
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
        let name = prefix.trim_end_matches('/').parse();
        let name = name.expect("a prefix without its slash is a name");
        self.note(finding(&name, Verdict::Unreadable, format!("it could not be listed: {}", error.kind)));
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
        self.checked(bytes.len());
        match Object::open(self.env, key, bytes).await.and_then(|object| self.own(object)) {
            Ok(object) => Some(object),
            Err(error) => {
                self.broken(&error);
                None
            }
        }
    }

    /// The same object, unless it is another log's. The first that opens says which log this is.
    fn own(&mut self, object: Object) -> Result<Object, ObjectError> {
        object.footer()?;
        self.opened += 1;
        let log = LogId::from_bytes(object.header.stream);
        if *self.log.get_or_insert(log) == log {
            Ok(object)
        } else {
            Err(object.wrong(ObjectErrorKind::Misplaced { what: "log" }))
        }
    }

    /// Checks every boundary; gives the newest one's slot, and the hash of what stood before it if it can be read.
    async fn boundaries(&mut self) -> Option<(Slot, Option<[u8; 32]>)> {
        let mut newest = None;
        for key in self.names(layout::boundaries_prefix(self.source)).await {
            let Some(Named::Boundary { slot, .. }) = layout::parse(&key) else {
                self.note(finding(&key, Verdict::Foreign, "no boundary has such a name"));
                continue;
            };
            let header = match self.open(&key).await.map(boundary::read) {
                None => None,
                Some(Ok(header)) if header.slot == slot => Some(header),
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
            match Checkpoint::read(object) {
                Err(error) => self.broken(&error),
                Ok(checkpoint) if checkpoint.slot() != slot => {
                    self.note(finding(&key, Verdict::Damaged, "it is another slot's checkpoint"));
                }
                Ok(checkpoint) => {
                    let previous = checkpoint.previous;
                    if previous >= first && slots.binary_search(&previous).is_err() {
                        let gone = layout::checkpoint(self.source, previous);
                        self.note(finding(&gone, Verdict::Missing, format!("checkpoint {slot} continues it")));
                    }
                    self.compare(&key, &checkpoint, walk);
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
        for (from, to) in walk.missing() {
            let what =
                if from == to { "nothing has its name".to_owned() } else { format!("so are all up to slot {to}") };
            self.note(finding(&layout::segment(self.source, from), Verdict::Missing, what));
        }
        if let Some((entry, hash)) = walk.head() {
            let hash = match hash {
                Some(hash) => Some(*hash),
                None => self.hash(&layout::segment(self.source, entry.slot)).await,
            };
            let Entry { slot, to: position, to_time: time, .. } = *entry;
            self.report.head = hash.map(|hash| Head { slot, hash, position, time });
        }
        if self.opened == 0 {
            // Then it is the key at hand that is wrong, and nothing is known of the objects.
            self.report.could_not_tell(&self.other_key);
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
