//! Why a restore could not be done, what the caller can do, and by which code the program ends.

use crate::apply::postgres::ApplyError;
use crate::codec::base::BaseError;
use crate::codec::rowsum::CutRow;
use crate::codec::sqltext::SqlTextError;
use crate::codec::wire::WireError;
use crate::connect::ConnectError;
use crate::log::{LogError, ObjectErrorKind};
use crate::model::{BaseId, Lsn, ObjectKey, SourceName};

/// A point that cannot be restored, and what can be done instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not restorable: {why}; {remedy}")]
pub struct NotRestorable {
    /// Why not.
    pub why: String,
    /// What to do, with the nearest exact instants before and after, if there are any.
    pub remedy: String,
}

/// What a failed restore means to whoever called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Something failed: exit 1.
    Failed,
    /// The point cannot be restored, or the target is not empty: exit 3.
    NotRestorable,
    /// What is stored is damaged, or the result is not what it should be: exit 4.
    Damaged,
    /// Store or key cannot be reached: exit 6.
    Unavailable,
}

/// A restore could not be planned or done.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The point cannot be restored.
    #[error(transparent)]
    NotRestorable(#[from] NotRestorable),
    /// The log or an object of a base cannot be read.
    #[error("read what is stored")]
    Log(#[from] LogError),
    /// An object of the log is missing, and nothing leads across.
    #[error(
        "object {object} of the log is missing, and {asked} needs it; {remedy}; `holdfast verify` lists all that is"
    )]
    Missing {
        /// Which object.
        object: ObjectKey,
        /// What was asked for.
        asked: String,
        /// The nearest instants that can be restored.
        remedy: String,
    },
    /// A base's manifest cannot be used.
    #[error("read base {base}")]
    Base {
        /// Which base.
        base: BaseId,
        /// Why.
        #[source]
        source: BaseError,
    },
    /// A message of the log is none of pgoutput.
    #[error("read the log of {source_name} near {at}")]
    Message {
        /// Whose log.
        source_name: SourceName,
        /// Near which position.
        at: Lsn,
        /// What is wrong.
        #[source]
        source: WireError,
    },
    /// The schema text of a base cannot be split.
    #[error("read the schema of base {base}")]
    Schema {
        /// Which base.
        base: BaseId,
        /// Why.
        #[source]
        source: SqlTextError,
    },
    /// A table's rows in a base are cut off.
    #[error("read the rows of table {table} in base {base}")]
    Rows {
        /// Which base.
        base: BaseId,
        /// Which table.
        table: String,
        /// Where.
        #[source]
        source: CutRow,
    },
    /// The target already holds something.
    #[error("the target database {database} is not empty: it has {what}; name a new or an empty database")]
    NotEmpty {
        /// Which database.
        database: String,
        /// Something that it has.
        what: String,
    },
    /// An earlier restore into the target was not completed.
    #[error(
        "the target database {database} was left incomplete by an earlier restore; drop it, or name another, and restore \
         again"
    )]
    Incomplete {
        /// Which database.
        database: String,
    },
    /// The target's server refused, or the session broke.
    #[error("restore: {doing}")]
    Session {
        /// What was being done.
        doing: String,
        /// What happened.
        #[source]
        source: Box<ConnectError>,
    },
    /// The log could not be applied.
    #[error("restore: the log could not be applied")]
    Apply(#[from] ApplyError),
    /// The end of the log was not reached where the plan said it would be.
    #[error("the log ended at {reached} instead of {planned}; the target is incomplete")]
    Short {
        /// Where it ended.
        reached: Lsn,
        /// Where it should have.
        planned: Lsn,
    },
    /// What was restored is not what was stored.
    #[error("table {table} was not restored as the base has it: {what}")]
    Differs {
        /// Which table.
        table: String,
        /// What differs; counts and sums, never values.
        what: String,
    },
    /// A table that was asked for is not in the base.
    #[error("the base has no table {table}; `holdfast list` shows what it has")]
    NoSuchTable {
        /// As asked for.
        table: String,
    },
}

impl RestoreError {
    /// Wraps what a session said.
    pub fn session(doing: impl Into<String>) -> impl FnOnce(ConnectError) -> Self {
        let doing = doing.into();
        move |source| Self::Session { doing, source: Box::new(source) }
    }

    /// What it means to whoever called.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::NotRestorable(_) | Self::NotEmpty { .. } | Self::Incomplete { .. } | Self::NoSuchTable { .. } => {
                Verdict::NotRestorable
            }
            Self::Apply(error) => match error {
                ApplyError::UnknownTable { .. } | ApplyError::Disagrees { .. } => Verdict::NotRestorable,
                ApplyError::Session { .. } => Verdict::Failed,
                ApplyError::Message { .. } | ApplyError::TargetDiffers { .. } | ApplyError::Conflict { .. } => {
                    Verdict::Damaged
                }
            },
            Self::Log(error) => log_verdict(error),
            Self::Missing { .. }
            | Self::Base { .. }
            | Self::Message { .. }
            | Self::Schema { .. }
            | Self::Rows { .. }
            | Self::Short { .. }
            | Self::Differs { .. } => Verdict::Damaged,
            Self::Session { .. } => Verdict::Failed,
        }
    }
}

impl RestoreError {
    /// Whether rows do not keep to what the schema says of them (class 23 of the server's codes).
    pub fn is_about_rows(&self) -> bool {
        matches!(self, Self::Session { source, .. } if source.sqlstate().is_some_and(|state| state.starts_with("23")))
    }

    /// Whether a key is out of this process's reach, rather than something damaged.
    pub const fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::Log(error) if error.is_out_of_reach())
    }
}

const fn log_verdict(error: &LogError) -> Verdict {
    match error {
        LogError::Store(_) if error.is_store_trouble() => Verdict::Unavailable,
        LogError::Object(object) => match &object.kind {
            ObjectErrorKind::Key(error) if !error.is_damage() => Verdict::Unavailable,
            ObjectErrorKind::LaterWraps(_) => Verdict::Unavailable,
            ObjectErrorKind::Key(_)
            | ObjectErrorKind::Format(_)
            | ObjectErrorKind::Seal(_)
            | ObjectErrorKind::Misplaced { .. }
            | ObjectErrorKind::Unchained => Verdict::Damaged,
        },
        LogError::Key(_) => Verdict::Unavailable,
        LogError::Store(_) | LogError::Missing { .. } | LogError::Disordered { .. } => Verdict::Damaged,
        LogError::Fenced { .. }
        | LogError::FenceUndecided { .. }
        | LogError::Twin { .. }
        | LogError::Overtaken { .. }
        | LogError::Slept { .. }
        | LogError::Latched => Verdict::Failed,
    }
}
