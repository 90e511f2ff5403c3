//! A verb that failed: the exit code, and the error with its causes.

use std::error::Error;

use crate::cli::exit::Exit;
use crate::config::{ConfigError, NeedError};
use crate::daemon::assemble::AssembleError;
use crate::daemon::jobs::once::NotInThisVersion;
use crate::log::{LogError, ObjectErrorKind};
use crate::store::mirror::PassError;
use crate::store::order::OrderError;
use crate::store::{Refusal, StoreError, StoreErrorKind};

/// Why a verb failed, and how it ends.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong.
    pub error: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// A failure that ends in `exit`.
    pub fn of(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, error: error.into() }
    }

    /// A failure that is told in a sentence.
    pub fn text(exit: Exit, sentence: impl Into<String>) -> Self {
        Self { exit, error: sentence.into().into() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::of(Exit::from(&error), error)
    }
}

impl From<NeedError> for Failure {
    fn from(error: NeedError) -> Self {
        Self::of(Exit::from(&error), error)
    }
}

impl From<AssembleError> for Failure {
    fn from(error: AssembleError) -> Self {
        let exit = match &error {
            AssembleError::Key(_)
            | AssembleError::DataKey(_)
            | AssembleError::Store(_)
            | AssembleError::Stranger(_)
            | AssembleError::Overwrites { .. } => Exit::Unavailable,
            AssembleError::Target { .. } => Exit::Usage,
        };
        Self::of(exit, error)
    }
}

impl From<NotInThisVersion> for Failure {
    fn from(error: NotInThisVersion) -> Self {
        Self::of(Exit::Usage, error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match error.kind {
            StoreErrorKind::Refused(Refusal::Deposed) => Exit::Fenced,
            StoreErrorKind::Missing | StoreErrorKind::Short { .. } => Exit::VerificationFailed,
            StoreErrorKind::Unavailable | StoreErrorKind::Unanswered | StoreErrorKind::Refused(_) => Exit::Unavailable,
        };
        Self::of(exit, error)
    }
}

impl From<OrderError> for Failure {
    fn from(error: OrderError) -> Self {
        let exit = match &error {
            OrderError::Store(_) => Exit::Unavailable,
            OrderError::Damaged { .. } => Exit::VerificationFailed,
            OrderError::Deposed { .. } | OrderError::Contested { .. } => Exit::Fenced,
        };
        Self::of(exit, error)
    }
}

impl From<PassError> for Failure {
    fn from(error: PassError) -> Self {
        let exit = match &error {
            PassError::First(_) | PassError::Mirror(_) => Exit::Unavailable,
            PassError::OtherHistory { .. } | PassError::OtherSite { .. } | PassError::Order(_) => {
                Exit::VerificationFailed
            }
            PassError::Deposed(_) => Exit::Fenced,
        };
        Self::of(exit, error)
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::of(log_exit(&error), error)
    }
}

/// How a verb ends that meets this trouble with the log.
pub const fn log_exit(error: &LogError) -> Exit {
    match error {
        LogError::Store(error) => match error.kind {
            StoreErrorKind::Refused(Refusal::Deposed) => Exit::Fenced,
            StoreErrorKind::Missing | StoreErrorKind::Short { .. } => Exit::VerificationFailed,
            StoreErrorKind::Unavailable | StoreErrorKind::Unanswered | StoreErrorKind::Refused(_) => Exit::Unavailable,
        },
        LogError::Object(error) => match &error.kind {
            // Another key is no damage: with the right one the object opens.
            ObjectErrorKind::Key(error) if !error.is_damage() => Exit::Unavailable,
            ObjectErrorKind::LaterWraps(_) => Exit::Unavailable,
            ObjectErrorKind::Key(_)
            | ObjectErrorKind::Format(_)
            | ObjectErrorKind::Seal(_)
            | ObjectErrorKind::Misplaced { .. }
            | ObjectErrorKind::Unchained => Exit::VerificationFailed,
        },
        LogError::Key(_) | LogError::FenceUndecided { .. } => Exit::Unavailable,
        LogError::Missing { .. } => Exit::VerificationFailed,
        LogError::Fenced { .. } | LogError::Twin { .. } | LogError::Slept { .. } => Exit::Fenced,
        LogError::Overtaken { .. } | LogError::Latched | LogError::Disordered { .. } => Exit::Failed,
    }
}
