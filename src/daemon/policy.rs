//! From an error to what happens next, with the sentence that a person needs. Only this file decides to try again.

use std::time::Duration;

use crate::crypto::KeyError;
use crate::crypto::service::Trouble;
use crate::daemon::pipeline::PipelineError;
use crate::daemon::schedule;
use crate::log::{LogError, ObjectError, ObjectErrorKind};
use crate::model::limits::CHECKPOINT_AGAIN;
use crate::source::SourceErrorKind;
use crate::store::mirror::{MirrorSight, Phase};
use crate::store::{Refusal, StoreError, StoreErrorKind};

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

/// What happens where segments are taken and checkpoints are not: capture goes on (L9), and every start reads more.
pub const fn checkpoints_fail() -> (Verdict, &'static str) {
    (Verdict::Again(CHECKPOINT_AGAIN), "The store does not take checkpoints")
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
        LogError::Store(StoreError { kind: StoreErrorKind::Refused(Refusal::Deposed), .. }) => {
            (Verdict::Fenced, "Another store was made the first one")
        }
        // The session is dropped meanwhile: a server that shuts down must not wait for our store.
        LogError::Store(_)
        | LogError::FenceUndecided { .. }
        | LogError::Object(ObjectError { kind: ObjectErrorKind::LaterWraps(_), .. }) => {
            (Verdict::Again(Duration::from_secs(10)), "The store does not take segments")
        }
        // Another key's log is not damaged: the right file, put in its place, is read by a new process alone.
        LogError::Key(error)
        | LogError::Object(ObjectError {
            kind: ObjectErrorKind::Key(error @ (KeyError::Service(_) | KeyError::OtherKey { .. })),
            ..
        }) => key_verdict(error),
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
        KeyError::OtherKey { .. } | KeyError::Broken | KeyError::SealsNothing | KeyError::RecoveryUnusable => {
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

/// What is wrong with a mirror, with the sentence for people; a mirror in good order has none.
pub fn mirror_verdicts(mirror: &MirrorSight) -> Vec<(Verdict, &'static str)> {
    let again = Duration::from_secs(30);
    let phase = match mirror.phase {
        Phase::Starting | Phase::CatchingUp | Phase::InStep => None,
        Phase::Away => Some((Verdict::Again(again), "A mirror cannot be reached")),
        Phase::Refused => Some((Verdict::GiveUp, "A mirror holds another history")),
    };
    let holds = (Verdict::Again(again), "A required mirror holds up the acknowledgement");
    let damaged = (Verdict::GiveUp, "A mirror holds another object in its slot");
    let lacks = (Verdict::GiveUp, "The first store lacks what a mirror has");
    let keeps = (Verdict::Again(again), "A mirror does not let go of what expired");
    let holds = mirror.holds_up.then_some(holds);
    let damaged = (!mirror.damaged.is_empty()).then_some(damaged);
    let lacks = (mirror.first_lacks > 0).then_some(lacks);
    let keeps = (mirror.undeleted > 0).then_some(keeps);
    [phase, holds, damaged, lacks, keeps].into_iter().flatten().collect()
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
    use crate::store::{Op, StoreError, StoreErrorKind};

    #[test]
    fn a_log_that_another_key_sealed_is_not_told_as_damaged_nor_tried_for_ever() {
        let told = |kind| {
            let key = "log/main/0000000000000001.seg".parse().unwrap();
            verdict(&PipelineError::Log(LogError::Object(ObjectError { key, kind })))
        };
        let other = KeyError::OtherKey { sealed_for: vec!["one".to_owned()], at_hand: vec!["two".to_owned()] };
        assert_eq!(told(other.into()), (Verdict::GiveUp, "The key cannot be used"));
        let (damaged, sentence) = told(KeyError::Broken.into());
        assert!(matches!(damaged, Verdict::Again(_)) && sentence.contains("damaged"), "{sentence}");
        let silent = StoreError::new(Op::List, "keys/", StoreErrorKind::Unavailable);
        assert_eq!(told(ObjectErrorKind::LaterWraps(silent)).1, "The store does not take segments");
    }

    #[test]
    fn l9_what_others_hold_up_is_tried_again_and_what_is_wrong_with_the_source_is_not() {
        let (what, remedy) = ("a test".to_owned(), "nothing".to_owned());
        let blocked = SourceErrorKind::Blocked { what: what.clone(), remedy: remedy.clone() }.when("waiting");
        let unfit = SourceErrorKind::Unfit { what, remedy }.when("looking");
        assert_eq!(verdict(&blocked.into()).0, Verdict::Again(Duration::from_mins(1)));
        assert_eq!(verdict(&unfit.into()).0, Verdict::GiveUp);
    }
}
