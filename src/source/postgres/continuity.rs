//! Whether the server's history is the one that the log continues: what it sends again must end as the log ends (L3).
//!
//! A server that was put back to a snapshot has the same identity, the same timeline and the same slot, and once it has
//! written enough it is past the log's end. What differs is what it sends again: from the slot's position up to the end of
//! the log its transactions must be the log's, of which the last one is known. Pure.

use crate::log::tail::Whole;
use crate::model::{Commit, Lsn, Xid};
use crate::source::SourceErrorKind;

/// Follows what is sent again, until it is clear whose history it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Continuity {
    /// Nothing has to be shown, or it was.
    Shown,
    /// The log's last transaction behind the slot's position, if there is one, and the last that the server sent again.
    Asked { ours: Option<Whole>, theirs: Option<Whole>, open: Option<Xid> },
}

impl Continuity {
    /// Of what is sent again the last must be `ours`; without one nothing may be.
    pub(super) const fn ask(ours: Option<Whole>) -> Self {
        Self::Asked { ours, theirs: None, open: None }
    }

    /// A transaction begins that the log holds.
    pub(super) const fn begin(&mut self, xid: Xid) {
        if let Self::Asked { open, .. } = self {
            *open = Some(xid);
        }
    }

    /// It ends.
    pub(super) const fn commit(&mut self, commit: Commit) {
        if let Self::Asked { theirs, open, .. } = self {
            *theirs = Some(Whole { xid: open.take(), commit });
        }
    }

    /// The server is about to go on behind the log's end: now its history must have been shown to be the log's.
    pub(super) fn settle(&mut self) -> Result<(), SourceErrorKind> {
        let Self::Asked { ours, theirs, .. } = *self else { return Ok(()) };
        let same = match (ours, theirs) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => {
                ours.commit == theirs.commit && ours.xid.is_none_or(|ours| Some(ours) == theirs.xid)
            }
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !same {
            return Err(SourceErrorKind::OtherHistory { what: what(ours, theirs) });
        }
        *self = Self::Shown;
        Ok(())
    }

    /// Whether everything up to the log's end is known to be the server's history too.
    pub(super) const fn is_shown(&self) -> bool {
        matches!(self, Self::Shown)
    }
}

fn what(ours: Option<Whole>, theirs: Option<Whole>) -> String {
    let say = |whole: Option<Whole>| {
        let Some(Whole { xid, commit }) = whole else { return "none".to_owned() };
        let xid = xid.map(|xid| format!("xid {}, ", xid.get())).unwrap_or_default();
        format!("one that ends at {} ({xid}committed {})", Lsn::from(commit.position), commit.time)
    };
    format!(
        "of the transactions behind the slot's position the last in the log is {}, the last that the server has up to there is {}",
        say(ours),
        say(theirs)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Position, Timestamp};

    const fn whole(xid: u64, position: u64, micros: i64) -> Whole {
        let commit = Commit { position: Position::new(position), time: Timestamp::from_micros(micros) };
        Whole { xid: Some(Xid::new(xid)), commit }
    }

    #[test]
    fn l3_what_is_sent_again_must_end_as_the_log_ends() {
        let last = whole(7, 100, 5);
        #[rustfmt::skip]
        let cases = [
            // the log's last   sent again                       same   why
            (Some(last),        vec![whole(6, 90, 4), last],     true,  "as the log has it"),
            (Some(last),        vec![],                          false, "the server never had it"),
            (Some(last),        vec![whole(6, 90, 4)],           false, "it stops before"),
            (Some(last),        vec![last, whole(8, 110, 6)],    false, "it has another one behind it"),
            (Some(last),        vec![whole(8, 100, 5)],          false, "another transaction ends at that very place"),
            (Some(last),        vec![whole(7, 100, 6)],          false, "it committed at another time"),
            (Some(last),        vec![whole(7, 101, 5)],          false, "it ends elsewhere"),
            (None,              vec![],                          true,  "heartbeats alone"),
            (None,              vec![whole(8, 95, 5)],           false, "the log holds nothing there"),
            (Some(Whole { xid: None, ..last }), vec![last],      true,  "the log does not say its number"),
        ];
        for (ours, sent, same, why) in cases {
            let mut continuity = Continuity::ask(ours);
            for Whole { xid, commit } in sent {
                continuity.begin(xid.unwrap());
                continuity.commit(commit);
            }
            assert_eq!((continuity.settle().is_ok(), continuity.is_shown()), (same, same), "{why}");
        }
        assert!(Continuity::Shown.settle().is_ok(), "nothing was asked");
    }
}
