//! From an error to what happens next, with the sentence that a person needs. Only this file decides to try again.

use std::time::Duration;

use crate::crypto::KeyError;
use crate::crypto::service::Trouble;
use crate::daemon::pipeline::PipelineError;
use crate::daemon::schedule;
use crate::log::{LogError, ObjectError, ObjectErrorKind};
use crate::source::SourceErrorKind;

/// What happens after a life broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A new life begins, after at least so long.
    Again(Duration),
    /// This process must not write any more (L5).
    Fenced,
    /// Another session holds the slot.
    Busy,
    /// Trying again would not help.
    GiveUp,
}

/// What happens after `error`, and the sentence for people. Each sentence heads a section of the runbook.
pub const fn verdict(error: &PipelineError) -> (Verdict, &'static str) {
    match error {
        PipelineError::Log(error) => log_verdict(error),
        PipelineError::Source(error) => source_verdict(&error.kind),
    }
}

const fn log_verdict(error: &LogError) -> (Verdict, &'static str) {
    match error {
        // The session is dropped meanwhile: a server that shuts down must not wait for our store.
        LogError::Store(_) | LogError::FenceUndecided { .. } => {
            (Verdict::Again(Duration::from_secs(10)), "The store does not take segments")
        }
        LogError::Key(error) => key_verdict(error),
        LogError::Object(ObjectError { kind: ObjectErrorKind::Key(KeyError::Service(error)), .. }) => {
            service_verdict(error.trouble)
        }
        LogError::Object(_) | LogError::Missing { .. } => {
            (Verdict::Again(Duration::from_mins(1)), "The log in the store is damaged")
        }
        LogError::Fenced { .. } | LogError::Slept { .. } => (Verdict::Fenced, "Another daemon took over the log"),
        LogError::Twin { .. } => (Verdict::Fenced, "Two writers share one epoch"),
        LogError::Overtaken { .. } | LogError::Latched => {
            (Verdict::Again(Duration::ZERO), "The log must be opened anew")
        }
        LogError::Disordered { .. } => {
            (Verdict::Again(Duration::from_secs(30)), "The source sent records out of order")
        }
    }
}

const fn key_verdict(error: &KeyError) -> (Verdict, &'static str) {
    match error {
        KeyError::Service(error) => service_verdict(error.trouble),
        KeyError::Expired => (Verdict::Again(Duration::from_mins(1)), "The data key is too old to seal with"),
        KeyError::OtherKey { .. } | KeyError::Broken | KeyError::SealsNothing => {
            (Verdict::GiveUp, "The key cannot be used")
        }
    }
}

/// What a person must put right is tried again too: then nobody has to start anything once it is.
const fn service_verdict(trouble: Trouble) -> (Verdict, &'static str) {
    match trouble {
        Trouble::Unavailable | Trouble::Throttled | Trouble::Unexpected => {
            (Verdict::Again(Duration::from_secs(10)), "The key service does not answer")
        }
        Trouble::Disabled => (Verdict::Again(Duration::from_mins(1)), "The key is disabled"),
        Trouble::PendingDeletion => (Verdict::Again(Duration::from_mins(1)), "The key is going to be deleted"),
        Trouble::Denied => (Verdict::Again(Duration::from_mins(1)), "This role may not use the key"),
        Trouble::WrongContext | Trouble::OtherKey | Trouble::NotFound => (Verdict::GiveUp, "The key cannot be used"),
    }
}

const fn source_verdict(kind: &SourceErrorKind) -> (Verdict, &'static str) {
    match kind {
        SourceErrorKind::Session(_) => (Verdict::Again(Duration::from_secs(1)), "The source cannot be reached"),
        SourceErrorKind::Thread(_) => (Verdict::Again(Duration::from_secs(1)), "This machine has no thread to give"),
        SourceErrorKind::SlotBusy { .. } => (Verdict::Busy, "The slot is in use"),
        SourceErrorKind::NotInitialised { .. } => (Verdict::GiveUp, "The source is not initialised"),
        SourceErrorKind::OtherServer { .. } => (Verdict::GiveUp, "The server is another one than the log's"),
        SourceErrorKind::OtherHistory { .. } => (Verdict::GiveUp, "The server's history is not the log's"),
        SourceErrorKind::Protocol { .. } => (Verdict::Again(Duration::from_secs(30)), "The server broke the protocol"),
        SourceErrorKind::Unfit { .. } => (Verdict::GiveUp, "The source lacks what capture needs"),
        // Nothing is wrong with the source: who waits long enough gets there, and others may have to end something first.
        SourceErrorKind::Blocked { .. } => {
            (Verdict::Again(Duration::from_mins(1)), "A new slot waits for open transactions")
        }
        SourceErrorKind::Scripted => (Verdict::Again(Duration::ZERO), "A script said so"),
    }
}

/// The sentence for a job that did not succeed. Each heads a section of the runbook, too.
pub const fn job_trouble(trouble: schedule::Trouble) -> &'static str {
    match trouble {
        schedule::Trouble::Damaged => "A job found damage in the store",
        schedule::Trouble::CouldNotTell => "A job could not tell",
        schedule::Trouble::Failed => "A job failed",
    }
}

/// The longest wait between two lives.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// The wait before the next life: what the verdict asks for, doubled with each failure in a row, up to [`WAIT_MAX`]
/// (or to what the verdict asks for, if that is more).
pub fn wait(least: Duration, failures_in_a_row: u32) -> Duration {
    let doubled = least.saturating_mul(1 << failures_in_a_row.min(6));
    doubled.min(WAIT_MAX.max(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l9_what_others_hold_up_is_tried_again_and_what_is_wrong_with_the_source_is_not() {
        let (what, remedy) = ("a test".to_owned(), "nothing".to_owned());
        let blocked = SourceErrorKind::Blocked { what: what.clone(), remedy: remedy.clone() }.when("waiting");
        let unfit = SourceErrorKind::Unfit { what, remedy }.when("looking");
        assert_eq!(verdict(&blocked.into()).0, Verdict::Again(Duration::from_mins(1)));
        assert_eq!(verdict(&unfit.into()).0, Verdict::GiveUp);
    }
}
