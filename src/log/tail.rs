//! The last transaction that a log holds: by it a server shows that its history is the one that the log continues (L3).

use crate::codec::segment::ObjectKind;
use crate::log::env::LogEnv;
use crate::log::error::LogError;
use crate::log::history::History;
use crate::log::reader::Reader;
use crate::model::{Commit, Kind, Position, Role, SourceName, Xid};

/// A whole transaction, by what its beginning and its end say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Its number; `None` if the log does not say.
    pub xid: Option<Xid>,
    /// Where it ends, and when it committed.
    pub commit: Commit,
}

/// How a log ends behind a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With this transaction, and nothing but heartbeats behind it.
    Transaction(Whole),
    /// No transaction completes there.
    Quiet,
    /// The list of objects that is at hand does not say.
    Unknown,
}

/// How the log ends behind `after`. What completes nowhere behind it is not read.
pub async fn tail(env: &LogEnv, source: &SourceName, history: &History, after: Position) -> Result<Tail, LogError> {
    let Some(log) = history.log else { return Ok(Tail::Quiet) };
    if history.holes().iter().any(|hole| hole.place > after) {
        return Ok(Tail::Unknown);
    }
    let ends = history.live().rev().take_while(|entry| entry.to > after);
    for entry in ends.filter(|entry| entry.kind == ObjectKind::Data && entry.from < entry.to) {
        let mut reader = Reader::new(env, source, log, vec![entry.clone()]);
        let (mut open, mut last) = (None, None);
        while let Some(mut segment) = reader.next().await? {
            while let Some(records) = segment.next_frame()? {
                for record in records {
                    match (record.kind, record.role) {
                        (Kind::Wire | Kind::Context, Role::Opens(xid)) => open = Some(xid),
                        (Kind::Wire, Role::Commits(commit)) => last = Some(Whole { xid: open.take(), commit }),
                        (Kind::Session, _) => open = None,
                        (Kind::Wire | Kind::Context | Kind::Gap | Kind::Heartbeat, _) => {}
                    }
                }
            }
        }
        if let Some(whole) = last.filter(|whole| whole.commit.position > after) {
            return Ok(Tail::Transaction(whole));
        }
    }
    // Where the list begins only farther on, what stands before it is not known to be quiet.
    let whole = history.live().next().is_none_or(|first| first.from <= after);
    Ok(if whole { Tail::Quiet } else { Tail::Unknown })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, commit, gap, heartbeat, main_source, spanning, transaction, write_segment};
    use crate::model::Slot;

    async fn tail_behind(fixture: &Fixture, after: u64) -> Tail {
        let history = History::load(&fixture.env, &main_source()).await.unwrap();
        tail(&fixture.env, &main_source(), &history, Position::new(after)).await.unwrap()
    }

    fn whole(number: u64) -> Tail {
        Tail::Transaction(Whole { xid: Some(Xid::new(number)), commit: commit(number * 10) })
    }

    #[tokio::test]
    async fn l3_the_last_transaction_of_a_log_is_found_behind_heartbeats_gaps_and_what_was_left_open() {
        let fixture = Fixture::new(91);
        assert_eq!(tail_behind(&fixture, 0).await, Tail::Quiet, "no log");
        let mut writer = fixture.writer().await;
        write_segment(&mut writer, &[transaction(1), transaction(2)].concat()).await;
        assert_eq!(tail_behind(&fixture, 0).await, whole(2));
        write_segment(&mut writer, &[heartbeat(25)]).await;
        write_segment(&mut writer, &[vec![gap(25), heartbeat(28)], spanning(3)[..2].to_vec()].concat()).await;
        assert_eq!(tail_behind(&fixture, 15).await, whole(2), "what is open has not happened");
        assert_eq!(tail_behind(&fixture, 20).await, Tail::Quiet, "heartbeats alone");
        let mut writer = fixture.writer().await;
        write_segment(&mut writer, &transaction(4)).await;
        assert_eq!(tail_behind(&fixture, 20).await, whole(4), "behind another fence");
    }

    #[tokio::test]
    async fn l3_a_log_that_lacks_an_object_does_not_say_how_it_ends() {
        let fixture = Fixture::with_a_log(92).await;
        let lost = crate::store::layout::segment(&main_source(), Slot::new(3));
        fixture.store.tamper(&lost, None);
        let mut writer = fixture.writer().await;
        write_segment(&mut writer, &transaction(9)).await;
        assert_eq!(tail_behind(&fixture, 0).await, Tail::Unknown);
    }
}
