//! What is known of one mirror, and what it still has to get; small, and bounded however long it stays away (L8).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::{BaseId, ObjectKey, Slot, SourceName, Tick, Timestamp};

/// Notes that may wait for the follower. What does not fit is found again by comparing.
pub(crate) const NOTES_MAX: usize = 4096;
/// Foreign objects that are remembered by name; a mirror with more is not a mirror.
pub(crate) const DAMAGED_MAX: usize = 64;

/// Whether the acknowledgement waits for a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It does.
    Required,
    /// It does not; the mirror catches up.
    BestEffort,
}

/// What a mirror is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was compared yet.
    Starting,
    /// It gets what it lacks.
    CatchingUp,
    /// It holds all that the first store holds.
    InStep,
    /// It, or the first store on its behalf, does not answer.
    Away,
    /// It holds another history, and is left as it is.
    Refused,
}

impl Phase {
    /// The phase in a word, the same on every surface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::CatchingUp => "catching up",
            Self::InStep => "in step",
            Self::Away => "away",
            Self::Refused => "refused",
        }
    }
}

/// What is true of a mirror, for everyone who asks.
#[derive(Clone, Debug)]
pub struct MirrorSight {
    /// What commands and metrics call it.
    pub name: String,
    /// Whether the acknowledgement waits for it.
    pub duty: Duty,
    /// What it is doing.
    pub phase: Phase,
    /// Objects that it lacks, as far as is known.
    pub behind_objects: u64,
    /// Their bytes; an estimate where only their names are known.
    pub behind_bytes: u64,
    /// When the oldest of them was written; `None` if it lacks nothing.
    pub behind_since: Option<Timestamp>,
    /// When it last took something, or was found to lack nothing.
    pub last_success: Option<Timestamp>,
    /// Objects that it got from this process.
    pub copied: u64,
    /// Foreign objects in its slots.
    pub damaged: Vec<ObjectKey>,
    /// Objects that it holds and the first store lacks, although nothing says that they were expired.
    pub first_lacks: u64,
    /// Expired objects that it refuses to delete.
    pub undeleted: u64,
    /// Whether the acknowledgement waits for it right now.
    pub holds_up: bool,
    /// Why it does not go on, if it does not.
    pub trouble: Option<String>,
}

/// An object that the first store took and the mirror has not got yet.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) key: ObjectKey,
    pub(crate) bytes: u64,
    /// SHA-256 of what was put: whoever reads it later sees whether it still is.
    pub(crate) hash: [u8; 32],
    pub(crate) at: Timestamp,
}

/// Everything that is known of a mirror.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) trouble: Option<String>,
    pub(crate) holds_up: bool,
    pub(crate) damaged: BTreeSet<ObjectKey>,
    pub(crate) first_lacks: u64,
    /// Expired objects that it refused to delete when everything was compared.
    pub(crate) undeleted: u64,
    /// When everything was last compared from the beginning.
    pub(crate) whole_at: Tick,
    /// When the mirror was last asked which store decides.
    pub(crate) order_at: Tick,
    notes: VecDeque<Note>,
    /// How often there was reason to compare …
    doubts: u64,
    /// … up to which of them everything was compared …
    compared: Option<u64>,
    /// … and up to which of them the log was.
    log_compared: Option<u64>,
    /// Objects that a comparison found missing and that were not copied yet.
    backlog: u64,
    backlog_bytes: u64,
    behind_since: Option<Timestamp>,
    last_success: Option<Timestamp>,
    copied: u64,
    boundaries: BTreeMap<SourceName, Slot>,
    /// A base whose manifest the mirror does not hold any more.
    torn: Option<BaseId>,
    /// How often there was reason to compare everything from the beginning, and up to which of them that was done.
    wholes: (u64, u64),
}

impl State {
    pub(crate) fn new(now: Timestamp, tick: Tick) -> Self {
        Self {
            phase: Phase::Starting,
            trouble: None,
            holds_up: false,
            damaged: BTreeSet::new(),
            first_lacks: 0,
            undeleted: 0,
            whole_at: tick,
            order_at: tick,
            notes: VecDeque::new(),
            doubts: 0,
            compared: None,
            log_compared: None,
            backlog: 0,
            backlog_bytes: 0,
            // What cannot be seen is not zero (L11): until something was compared the mirror trails from now on.
            behind_since: Some(now),
            last_success: None,
            copied: 0,
            boundaries: BTreeMap::new(),
            torn: None,
            wholes: (0, 0),
        }
    }

    pub(crate) fn sight(&self, name: &str, duty: Duty) -> MirrorSight {
        let noted: u64 = self.notes.iter().map(|note| note.bytes).sum();
        MirrorSight {
            name: name.to_owned(),
            duty,
            phase: self.phase,
            behind_objects: self.backlog.saturating_add(u64::try_from(self.notes.len()).unwrap_or(u64::MAX)),
            behind_bytes: self.backlog_bytes.saturating_add(noted),
            behind_since: self.behind_since.or(self.notes.front().map(|note| note.at)),
            last_success: self.last_success,
            copied: self.copied,
            damaged: self.damaged.iter().cloned().collect(),
            first_lacks: self.first_lacks,
            undeleted: self.undeleted,
            holds_up: self.holds_up,
            trouble: self.trouble.clone(),
        }
    }

    /// Whether the whole log up to now is there, and right.
    pub(crate) fn is_ready(&self) -> bool {
        self.log_compared == Some(self.doubts) && self.damaged.is_empty() && self.phase != Phase::Refused
    }

    pub(crate) fn is_in_step(&self) -> bool {
        self.compared == Some(self.doubts) && self.notes.is_empty() && self.damaged.is_empty() && !self.owes_whole()
    }

    pub(crate) fn needs_pass(&self) -> bool {
        self.compared != Some(self.doubts)
    }

    pub(crate) fn doubt(&mut self) {
        self.doubts = self.doubts.saturating_add(1);
    }

    /// Something may be left that the first store has deleted.
    pub(crate) fn want_whole(&mut self) {
        self.wholes.0 = self.wholes.0.saturating_add(1);
    }

    /// Whether everything must be compared from the beginning.
    pub(crate) const fn owes_whole(&self) -> bool {
        self.wholes.0 > self.wholes.1
    }

    /// Which wish a comparison of everything that begins now would settle.
    pub(crate) const fn wholes(&self) -> u64 {
        self.wholes.0
    }

    /// Everything was compared from the beginning.
    pub(crate) fn whole_compared(&mut self, wish: u64, tick: Tick) {
        (self.wholes.1, self.whole_at) = (wish, tick);
        (self.first_lacks, self.undeleted) = (0, 0);
    }

    /// Which doubt a comparison that ends now would settle.
    pub(crate) const fn doubts(&self) -> u64 {
        self.doubts
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.notes.push_back(note);
        if self.notes.len() > NOTES_MAX {
            self.forget_notes();
            self.doubt();
        }
    }

    /// Counts the notes as backlog: a comparison finds what they name.
    fn forget_notes(&mut self) {
        let Some(oldest) = self.notes.front().map(|note| note.at) else { return };
        self.behind_since = self.behind_since.or(Some(oldest));
        self.backlog = self.backlog.saturating_add(u64::try_from(self.notes.len()).unwrap_or(u64::MAX));
        self.backlog_bytes = self.notes.iter().map(|note| note.bytes).fold(self.backlog_bytes, u64::saturating_add);
        self.notes.clear();
    }

    /// The next note, as long as there is no doubt but that one.
    pub(crate) fn note_within(&self, doubt: u64) -> Option<Note> {
        self.notes.front().filter(|_| self.doubts == doubt).cloned()
    }

    /// The note was seen to; it may have been forgotten meanwhile.
    pub(crate) fn done(&mut self, note: &Note) {
        if self.notes.front().is_some_and(|front| front.key == note.key) {
            self.notes.pop_front();
        }
        if self.notes.is_empty() && self.compared == Some(self.doubts) {
            self.settle();
        }
    }

    /// A comparison begins; gives the doubt that it will settle.
    pub(crate) fn begin_pass(&mut self) -> u64 {
        self.forget_notes();
        self.doubts
    }

    /// A comparison found so much missing, the oldest of it written then.
    pub(crate) fn found_missing(&mut self, objects: u64, bytes: u64, since: Option<Timestamp>) {
        (self.backlog, self.backlog_bytes, self.behind_since) = (objects, bytes, since);
        if objects > 0 {
            self.phase = Phase::CatchingUp;
        }
    }

    /// One object of the backlog was copied; everything older is there too.
    pub(crate) fn caught_up_to(&mut self, bytes: u64, written: Option<Timestamp>) {
        self.backlog = self.backlog.saturating_sub(1);
        self.backlog_bytes = self.backlog_bytes.saturating_sub(bytes);
        if self.backlog == 0 {
            (self.backlog_bytes, self.behind_since) = (0, None);
        } else if written.is_some() && self.behind_since.is_some() {
            self.behind_since = written;
        }
    }

    pub(crate) fn copied(&mut self, now: Timestamp) {
        self.copied = self.copied.saturating_add(1);
        self.last_success = Some(now);
        self.trouble = None;
    }

    pub(crate) fn log_compared(&mut self, doubt: u64) {
        self.log_compared = Some(doubt);
        if self.is_ready() {
            self.holds_up = false;
        }
    }

    pub(crate) fn compared(&mut self, doubt: u64, now: Timestamp) {
        self.compared = Some(doubt);
        self.last_success = Some(now);
        self.settle();
    }

    fn settle(&mut self) {
        if self.notes.is_empty() {
            (self.backlog, self.backlog_bytes, self.behind_since) = (0, 0, None);
        }
        self.phase = Phase::InStep;
        self.trouble = None;
    }

    pub(crate) fn boundary_of(&self, source: &SourceName) -> Slot {
        self.boundaries.get(source).copied().unwrap_or(Slot::NONE)
    }

    pub(crate) fn is_torn(&self, base: BaseId) -> bool {
        self.torn == Some(base)
    }

    pub(crate) fn know_torn(&mut self, base: BaseId) {
        self.torn = Some(base);
    }

    pub(crate) fn know_boundary(&mut self, source: &SourceName, slot: Slot) {
        self.boundaries.insert(source.clone(), slot);
    }
}
