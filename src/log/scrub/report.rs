//! What a verification found: every object that is not as it should be, and what could not be told.

use crate::model::{ObjectKey, Position, Slot, Timestamp};

/// Findings that are kept; what is found beyond them is counted (L8).
const FINDINGS_MAX: usize = 10_000;

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Names, headers, links and checkpoints; frames stay sealed.
    Quick,
    /// Every byte.
    Full,
}

/// What is the matter with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Its bytes are not those that were sealed, or it does not fit to what stands around it.
    Damaged,
    /// It must be there and is not.
    Missing,
    /// It is not this log's.
    Foreign,
    /// It could not be read, so nothing is known of it.
    Unreadable,
}

impl Verdict {
    /// The verdict in a word, as `verify` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Missing => "missing",
            Self::Foreign => "foreign",
            Self::Unreadable => "could not tell",
        }
    }
}

/// One object that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which object; for a run of missing ones the first, for a listing that failed its prefix.
    pub object: ObjectKey,
    /// What is the matter.
    pub verdict: Verdict,
    /// How that shows. Names and numbers only.
    pub what: String,
}

/// The newest object that counts: what a person notes elsewhere as a witness against the loss of the newest objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its slot.
    pub slot: Slot,
    /// Its hash.
    pub hash: [u8; 32],
    /// Everything up to here is in the log.
    pub position: Position,
    /// The latest commit time.
    pub time: Timestamp,
}

/// What a verification comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was read and is as it should be.
    Sound,
    /// Something is damaged, missing or foreign.
    Damaged,
    /// Nothing was found damaged, but something could not be read. "Could not tell" is not "fine" (L11).
    CouldNotTell,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Objects that were looked at.
    pub objects_checked: u64,
    /// Bytes that were read and checked.
    pub bytes_checked: u64,
    /// What is not as it should be, in the order in which it was found.
    pub findings: Vec<Finding>,
    /// Findings beyond those that are listed.
    pub findings_left_out: u64,
    /// The newest object that counts, if there is one and it could be read.
    pub head: Option<Head>,
    /// What was asked whether newer objects were lost, which no chain can show.
    pub witnesses: Vec<String>,
    damaged: bool,
    unreadable: bool,
    /// Findings about objects of another key: damage, unless it is the key at hand that is wrong.
    strangers: Vec<usize>,
    strange: bool,
    /// Objects that the key at hand opened.
    opened: u64,
}

impl ScrubReport {
    /// Notes a finding.
    pub fn add(&mut self, finding: Finding) {
        match finding.verdict {
            Verdict::Damaged | Verdict::Missing | Verdict::Foreign => self.damaged = true,
            Verdict::Unreadable => self.unreadable = true,
        }
        self.list(finding);
    }

    /// Notes a finding about an object that no key at hand opens.
    pub(crate) fn add_stranger(&mut self, finding: Finding) {
        self.strange = true;
        if self.findings.len() < FINDINGS_MAX {
            self.strangers.push(self.findings.len());
        }
        self.list(finding);
    }

    /// Notes that the key at hand opened an object: so it is the right one.
    pub(crate) const fn opened_one(&mut self) {
        self.opened = self.opened.saturating_add(1);
    }

    /// Whether the key at hand opened anything.
    pub(crate) const fn proves_key(&self) -> bool {
        self.opened > 0
    }

    fn list(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_left_out += 1;
        }
    }

    /// How many findings there are, listed or not.
    pub(crate) fn told(&self) -> u64 {
        u64::try_from(self.findings.len()).unwrap_or(u64::MAX).saturating_add(self.findings_left_out)
    }

    /// Nothing shows that the key at hand is the right one: then nothing is known of the objects of another.
    pub(crate) fn doubt_key(&mut self) {
        for at in self.strangers.drain(..) {
            // What is beyond the list is only counted.
            if let Some(finding) = self.findings.get_mut(at) {
                finding.verdict = Verdict::Unreadable;
            }
        }
        self.unreadable |= self.strange;
        self.strange = false;
    }

    /// What it comes to: exit 4 if damaged, else 7 if something could not be told, else 0.
    pub const fn outcome(&self) -> Outcome {
        if self.damaged || self.strange {
            Outcome::Damaged
        } else if self.unreadable {
            Outcome::CouldNotTell
        } else {
            Outcome::Sound
        }
    }
}
