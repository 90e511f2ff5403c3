//! How far a restore is, for whoever watches.

/// What a restore is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Creating what has to be there before rows are.
    Schema,
    /// Loading rows of the base; counted in bytes.
    Rows,
    /// Creating the keys that the log needs.
    Keys,
    /// Applying the log; counted in segments.
    Log,
    /// Creating indexes, constraints and the rest.
    Indexes,
    /// Setting sequences.
    Sequences,
    /// Comparing with the base.
    Compare,
}

impl Phase {
    /// The phase in a few words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Rows => "rows",
            Self::Keys => "keys",
            Self::Log => "log",
            Self::Indexes => "indexes",
            Self::Sequences => "sequences",
            Self::Compare => "compare",
        }
    }
}

/// Who watches. Every call returns at once.
pub trait RestoreProgress: Send + Sync {
    /// A phase begins; so much is to be done in it.
    fn phase(&self, phase: Phase, total: u64);
    /// So much more of the phase is done.
    fn advance(&self, done: u64);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl RestoreProgress for Unwatched {
    fn phase(&self, _phase: Phase, _total: u64) {}

    fn advance(&self, _done: u64) {}
}
