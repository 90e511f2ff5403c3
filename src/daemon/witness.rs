//! The source's slot as a witness: what it has confirmed was durable once, so a log that ends before that has lost its end.
//!
//! No chain shows the loss of the newest objects; only somebody who saw them can tell. A slot that cannot be asked is
//! no fault of the store: it is named as one that said nothing, and the rest of the verification stands.

use std::time::Duration;

use crate::clock::{Clock, sleep, timeout};
use crate::codec::session::SessionRecord;
use crate::connect::{ConnectError, ConnectTarget, Mode, Session};
use crate::log::scrub::{Finding, Outcome, ScrubReport, Verdict, Watch};
use crate::log::session::last_session;
use crate::log::{History, LogEnv, LogError};
use crate::model::{Lsn, SourceName};
use crate::source::postgres::slot;
use crate::store::layout;

/// A slot that does not answer within this says nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A daemon that has just made a new slot writes down the gap within this.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(5);

/// Where a slot can be asked.
#[derive(Clone, Debug)]
pub struct SlotWitness {
    /// The database.
    pub target: ConnectTarget,
    /// The slot's name.
    pub slot: String,
}

/// What a slot says of the log's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotSaid {
    /// It has confirmed up to here, and the log reaches as far.
    Agrees(Lsn),
    /// It has confirmed up to here, which the log does not hold.
    Ahead(Lsn),
    /// It is ahead of the log by a stretch that the log records as a gap.
    Gap(Lsn),
    /// It could not be asked, or the log's end is not known: why.
    Nothing(String),
}

impl SlotSaid {
    /// As `verify` prints it.
    pub fn sentence(&self) -> String {
        match self {
            Self::Agrees(lsn) => format!("the slot: it confirmed {lsn}, which the log holds"),
            Self::Ahead(lsn) => format!("the slot: it confirmed {lsn}, which the log does NOT hold"),
            Self::Gap(lsn) => format!("the slot: it begins at {lsn}, behind a gap that the log records"),
            Self::Nothing(why) => format!("the slot could not tell: {why}"),
        }
    }
}

impl SlotWitness {
    /// What the slot has confirmed, or why that cannot be told.
    pub async fn ask(&self, clock: &dyn Clock) -> Result<Lsn, String> {
        let state = match timeout(clock, ANSWER_WITHIN, self.look(clock)).await {
            Ok(Ok(state)) => state,
            Ok(Err(error)) => return Err(crate::daemon::chain(&error)),
            Err(elapsed) => return Err(elapsed.to_string()),
        };
        match state {
            None => Err(format!("there is no slot {}", self.slot)),
            Some(state) if state.elsewhere.is_some() => Err(format!("the slot {} is another database's", self.slot)),
            Some(state) => state.confirmed.ok_or_else(|| format!("the slot {} has confirmed nothing", self.slot)),
        }
    }

    async fn look(&self, clock: &dyn Clock) -> Result<Option<slot::SlotState>, ConnectError> {
        let mut session = Session::connect(&self.target, Mode::Sql, clock, &[]).await?;
        let state = slot::state(&mut session, &self.slot).await;
        session.close().await;
        state
    }
}

/// Compares what the slot had confirmed before the log was read with where the log ends; a loss is a finding.
pub async fn compare(
    env: &LogEnv,
    source: &SourceName,
    confirmed: Result<Lsn, String>,
    (report, watch): (&mut ScrubReport, &mut dyn Watch),
) -> SlotSaid {
    let confirmed = match confirmed {
        Ok(confirmed) => confirmed,
        Err(why) => return SlotSaid::Nothing(why),
    };
    let Some(head) = report.head else { return SlotSaid::Nothing("the log's end is not known".to_owned()) };
    let said = judge(confirmed, Lsn::from(head.position), Lsn::ZERO);
    if !matches!(said, SlotSaid::Ahead(_)) || report.outcome() != Outcome::Sound {
        return said;
    }
    // It may be that a new slot was made a moment ago, and what was lost is about to be written down as a gap.
    sleep(&*env.clock, SECOND_LOOK_AFTER).await;
    let Ok(history) = History::load(env, source).await else {
        return SlotSaid::Nothing("the log's end could not be read again".to_owned());
    };
    let Some(last) = history.last() else { return SlotSaid::Nothing("the log's end is gone".to_owned()) };
    let began = match began(env, source, &history).await {
        Ok(began) => began,
        Err(error) => return SlotSaid::Nothing(crate::daemon::chain(&error)),
    };
    let said = judge(confirmed, Lsn::from(last.to), began);
    if matches!(said, SlotSaid::Ahead(_)) {
        let what =
            format!("the slot confirmed {confirmed}, the log ends at {}: newer objects are lost", Lsn::from(last.to));
        let finding = Finding { object: layout::segment(source, last.slot.next()), verdict: Verdict::Missing, what };
        watch.found(&finding);
        report.add(finding);
    }
    said
}

/// Where the last session's stream began: beyond the log's end only where a gap was written down with it.
async fn began(env: &LogEnv, source: &SourceName, history: &History) -> Result<Lsn, LogError> {
    match last_session(env, source, history).await? {
        Some(session) => {
            let began = SessionRecord::decode(&session.wire).and_then(|record| record.began());
            began.map_err(|error| session.unreadable(error))
        }
        None => Ok(Lsn::ZERO),
    }
}

fn judge(confirmed: Lsn, end: Lsn, began: Lsn) -> SlotSaid {
    if end == Lsn::ZERO {
        SlotSaid::Nothing("the log holds no position yet".to_owned())
    } else if confirmed <= end {
        SlotSaid::Agrees(confirmed)
    } else if confirmed <= began {
        SlotSaid::Gap(confirmed)
    } else {
        SlotSaid::Ahead(confirmed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, gap, main_source, transaction, write_segment};
    use crate::log::scrub::{Depth, Order, scrub};
    use crate::model::{Kind, Record};

    #[tokio::test]
    async fn l4_a_lost_tail_shows_against_the_slot() {
        #[rustfmt::skip]
        let cases = [
            // confirmed              lost   expected                          why
            (Ok(Lsn::new(30)),        0,     SlotSaid::Agrees(Lsn::new(30)),   "the log reaches as far"),
            (Ok(Lsn::new(7)),         0,     SlotSaid::Agrees(Lsn::new(7)),    "the slot is behind: what it confirmed is there"),
            (Ok(Lsn::new(30)),        1,     SlotSaid::Ahead(Lsn::new(30)),    "the newest object is lost"),
            (Ok(Lsn::new(20)),        1,     SlotSaid::Agrees(Lsn::new(20)),   "and nobody can tell, for it was never confirmed"),
            (Err("down".to_owned()),  1,     SlotSaid::Nothing("down".to_owned()), "a source that is away"),
            (Ok(Lsn::new(30)),        3,     SlotSaid::Nothing("the log holds no position yet".to_owned()), "a fence alone"),
        ];
        for (confirmed, lost, expected, why) in cases {
            let fixture = Fixture::new(60);
            let mut writer = fixture.writer().await;
            for number in 1..=3 {
                write_segment(&mut writer, &transaction(number)).await;
            }
            for slot in 5 - lost..5 {
                fixture.store.tamper(&layout::segment(&main_source(), crate::model::Slot::new(slot)), None);
            }
            let mut report = scrub(&fixture.env, &main_source(), Order::all(Depth::Quick), &mut ()).await;
            let source = main_source();
            // Time passes as soon as the comparison waits for it.
            let passes = async { fixture.clock.advance(SECOND_LOOK_AFTER) };
            let mut nobody = ();
            let comparing = compare(&fixture.env, &source, confirmed, (&mut report, &mut nobody));
            let (said, ()) = tokio::join!(comparing, passes);
            assert_eq!(said, expected, "{why}");
            let lost_end = matches!(expected, SlotSaid::Ahead(_));
            assert_eq!(report.outcome() == Outcome::Damaged, lost_end, "{why}: {:?}", report.findings);
            let first_lost = report.findings.first().map(|finding| finding.object.clone());
            let named = lost_end.then(|| layout::segment(&source, crate::model::Slot::new(4)));
            assert_eq!(first_lost, named, "{why}");
        }
    }

    /// Only where the last session's stream began beyond the log's end: another gap excuses nothing.
    #[tokio::test]
    async fn a_slot_that_begins_behind_a_recorded_gap_is_no_loss_and_a_lost_end_is_one_in_spite_of_a_gap() {
        #[rustfmt::skip]
        let cases = [
            // the stream began   expected                            why
            (40,                  SlotSaid::Gap(Lsn::new(40)),        "a new slot, which the gap tells of"),
            (20,                  SlotSaid::Ahead(Lsn::new(40)),      "the schema changed, and then the end was lost"),
        ];
        for (start, expected, why) in cases {
            let fixture = Fixture::new(61);
            write_segment(&mut fixture.writer().await, &transaction(1)).await;
            let said = format!(r#"{{"system_id":"9","timeline":1,"start":"{}"}}"#, Lsn::new(start));
            let session = Record::own(Kind::Session, said.into_bytes().into());
            let records = [vec![session], transaction(2), vec![gap(29)]].concat();
            write_segment(&mut fixture.writer().await, &records).await;
            let source = main_source();
            let mut report = scrub(&fixture.env, &source, Order::all(Depth::Quick), &mut ()).await;
            let passes = async { fixture.clock.advance(SECOND_LOOK_AFTER) };
            let mut nobody = ();
            let comparing = compare(&fixture.env, &source, Ok(Lsn::new(40)), (&mut report, &mut nobody));
            let (said, ()) = tokio::join!(comparing, passes);
            let is_lost = matches!(expected, SlotSaid::Ahead(_));
            assert_eq!((said, report.outcome() == Outcome::Damaged), (expected, is_lost), "{why}");
        }
    }
}
