//! How a verb ends, as scripts see it: eight exit codes, each with one meaning.
//!
//! L11: what failed says so to whoever called, and "could not tell" has a code of its own, since it is not "done".

use std::process::ExitCode;

use crate::config::{ConfigError, NeedError};
use crate::restore::target::TargetError;

/// The end of a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// 0: done, perhaps with warnings.
    Done,
    /// 1: failed, for a reason that has no code of its own.
    Failed,
    /// 2: the command line or the configuration asks for what cannot be. A service manager does not try again.
    Usage,
    /// 3: that point cannot be restored, or not into that database.
    NotRestorable,
    /// 4: something stored is damaged, missing or foreign.
    VerificationFailed,
    /// 5: another writer holds the log (L5). A service manager does not try again.
    Fenced,
    /// 6: the store or the key cannot be used now.
    Unavailable,
    /// 7: the question could not be answered.
    CouldNotTell,
}

impl Exit {
    /// Every end, in the order of the codes.
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::NotRestorable,
        Self::VerificationFailed,
        Self::Fenced,
        Self::Unavailable,
        Self::CouldNotTell,
    ];

    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotRestorable => 3,
            Self::VerificationFailed => 4,
            Self::Fenced => 5,
            Self::Unavailable => 6,
            Self::CouldNotTell => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A configuration that cannot be used is the caller's to correct.
impl From<&ConfigError> for Exit {
    fn from(_: &ConfigError) -> Self {
        Self::Usage
    }
}

/// So is one that lacks what this verb needs.
impl From<&NeedError> for Exit {
    fn from(_: &NeedError) -> Self {
        Self::Usage
    }
}

/// And a target that cannot be read. One that can be read and not reached is [`Exit::NotRestorable`].
impl From<&TargetError> for Exit {
    fn from(_: &TargetError) -> Self {
        Self::Usage
    }
}

/// Help and version, asked for, are an answer; everything else that the command line's reader says is a mistake.
impl From<&clap::Error> for Exit {
    fn from(error: &clap::Error) -> Self {
        if error.use_stderr() { Self::Usage } else { Self::Done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_has_the_number_of_its_place() {
        let codes: Vec<u8> = Exit::ALL.into_iter().map(Exit::code).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
