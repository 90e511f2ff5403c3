//! What a session takes, drops and adds, message by message.

use super::*;
use crate::codec::pgoutput::{Commit as Committed, Content, RelationColumn, ReplicaIdentity, TupleBuf};

const EVERY: Duration = Duration::from_secs(30);

fn intake(resume: u64) -> Intake {
    Intake::new(Lsn::new(resume), Timestamp::MIN, EVERY)
}

fn data(message: &Message<'_>) -> Event {
    let mut payload = Vec::new();
    message.encode(&mut payload);
    Event::XLogData { start: Lsn::ZERO, end: Lsn::ZERO, piece: Piece::Whole, payload: payload.into() }
}

fn begin(commit_lsn: u64) -> Event {
    let (final_lsn, commit_time) = (Lsn::new(commit_lsn), Timestamp::from_micros(7));
    data(&Message::Begin(Begin { final_lsn, commit_time, xid: 9 }))
}

fn commit(commit_lsn: u64) -> Event {
    let (commit_lsn, end_lsn) = (Lsn::new(commit_lsn), Lsn::new(commit_lsn + 10));
    data(&Message::Commit(Committed { commit_lsn, end_lsn, commit_time: Timestamp::from_micros(7) }))
}

fn insert() -> Event {
    let row = TupleBuf::new([]).unwrap();
    data(&Message::Insert { relid: 1, new: row.as_tuple() })
}

fn relation(column: &str) -> Relation {
    let column = RelationColumn { in_key: true, name: column.to_owned(), type_oid: 23, typmod: -1 };
    Relation {
        relid: 1,
        namespace: "public".to_owned(),
        name: "t".to_owned(),
        identity: ReplicaIdentity::Default,
        columns: vec![column],
    }
}

fn ddl() -> Event {
    command("ALTER TABLE")
}

fn command(tag: &str) -> Event {
    let content = format!(r#"{{"tag":"{tag}","objects":[{{"identity":"public.t"}}]}}"#);
    let content = Content(content.as_bytes());
    data(&Message::Message { transactional: true, lsn: Lsn::ZERO, prefix: names::DDL.as_bytes(), content })
}

fn keepalive(wal_end: u64, reply_wanted: bool) -> Event {
    Event::Keepalive { wal_end: Lsn::new(wal_end), time: Timestamp::from_micros(8), reply_wanted }
}

fn take(intake: &mut Intake, events: impl IntoIterator<Item = Event>) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for event in events {
        intake.event(event, Tick::default(), &mut arrivals).unwrap();
    }
    arrivals
}

/// The positions that were completed, by transactions and by heartbeats.
fn completed(arrivals: &[Arrival]) -> Vec<u64> {
    let of = |arrival: &Arrival| match arrival {
        Arrival::Record(Record { role: Role::Commits(commit), .. }) => Some(commit.position.get()),
        Arrival::Record(_) | Arrival::Hurry | Arrival::BaseWanted(_) | Arrival::Drained | Arrival::Ended => None,
    };
    arrivals.iter().filter_map(of).collect()
}

fn gaps(arrivals: &[Arrival]) -> Vec<Gap> {
    let of = |arrival: &Arrival| match arrival {
        Arrival::BaseWanted(gap) => Some(gap.clone()),
        Arrival::Record(_) | Arrival::Hurry | Arrival::Drained | Arrival::Ended => None,
    };
    arrivals.iter().filter_map(of).collect()
}

#[test]
fn l2_a_transaction_that_is_durable_is_dropped_whole_and_the_next_is_taken_whole() {
    let mut intake = intake(100);
    let passed = take(&mut intake, [begin(90), insert(), commit(90)]);
    assert_eq!(passed, [], "its commit record stands below what is durable");
    let taken = take(&mut intake, [begin(100), insert(), commit(100)]);
    assert_eq!(completed(&taken), [110], "the commit at the very position is not in what ends there");
    let records = taken.iter().filter(|arrival| matches!(arrival, Arrival::Record(_))).count();
    assert_eq!(records, 3);
}

/// The log's last transaction, as `begin` and `commit` make one.
fn last(commit_lsn: u64) -> Whole {
    let (position, time) = (Position::new(commit_lsn + 10), Timestamp::from_micros(7));
    Whole { xid: Some(Xid::new(9)), commit: Commit { position, time } }
}

#[test]
fn l3_nothing_is_taken_behind_a_history_that_is_not_the_logs() {
    #[rustfmt::skip]
    let cases = [
        // the log's last  sent                                              taken  why
        (Some(last(80)),   vec![begin(80), commit(80), begin(100)],          true,  "what the log has, and then more"),
        (Some(last(80)),   vec![begin(70), commit(70), begin(100)],          false, "another one where the log ends"),
        (Some(last(80)),   vec![begin(100)],                                 false, "one that the log has is missing"),
        (Some(last(80)),   vec![keepalive(100, false)],                      false, "there is no more up to there"),
        (Some(last(80)),   vec![keepalive(95, true), begin(80), commit(80)], true,  "the server is not that far yet"),
        (Some(last(90)),   vec![begin(90), commit(90)],                      true,  "the log ends with it"),
        (Some(last(80)),   vec![begin(90), commit(90)],                      false, "the log ends there without it"),
        (None,             vec![keepalive(100, false)],                      true,  "heartbeats alone"),
        (None,             vec![begin(90), commit(90)],                      false, "the log holds nothing there"),
    ];
    for (ours, events, taken, why) in cases {
        let (mut intake, mut arrivals) = (intake(100).continuing(ours), Vec::new());
        assert_eq!(intake.common(), Lsn::ZERO, "nothing is known yet");
        let done = events.into_iter().try_for_each(|event| intake.event(event, Tick::default(), &mut arrivals));
        assert_eq!(done.is_ok(), taken, "{why}");
        assert!(taken || completed(&arrivals).is_empty(), "{why}");
    }
    let mut intake = intake(100).continuing(Some(last(80)));
    take(&mut intake, [begin(80), insert(), commit(80)]);
    assert_eq!(intake.common(), Lsn::ZERO, "there may be more below the log's end");
    take(&mut intake, [keepalive(100, false)]);
    assert_eq!(intake.common(), Lsn::new(100), "what is durable may be told");
}

#[test]
fn l1_a_keepalive_counts_only_where_no_transaction_is_open() {
    let mut intake = intake(0);
    let inside = take(&mut intake, [begin(90), keepalive(500, true)]);
    assert_eq!(completed(&inside), [] as [u64; 0], "what was sent is not complete");
    assert!(inside.contains(&Arrival::Hurry), "the server is answered all the same");
    let after = take(&mut intake, [commit(90), keepalive(100, true), keepalive(600, false)]);
    assert_eq!(completed(&after), [100], "no position that was passed, and none that nobody waits for");
}

#[test]
fn a_server_that_asks_without_pause_is_hurried_for_now_and_then() {
    let mut intake = intake(0);
    let mut arrivals = take(&mut intake, (1..50).map(|wal_end| keepalive(wal_end, true)));
    let hurries = |arrivals: &[Arrival]| arrivals.iter().filter(|arrival| **arrival == Arrival::Hurry).count();
    assert_eq!((completed(&arrivals), hurries(&arrivals)), (vec![1], 2), "once for the proof of the road, once asked");
    arrivals.clear();
    intake.event(keepalive(60, true), Tick::default().after(HURRY_EVERY), &mut arrivals).unwrap();
    assert_eq!((completed(&arrivals), hurries(&arrivals)), (vec![60], 1));
}

#[test]
fn l3_a_change_of_schema_is_a_gap_behind_its_own_transaction() {
    let mut intake = intake(0);
    let arrivals = take(&mut intake, [begin(50), insert(), commit(50), begin(90), ddl(), commit(90)]);
    let gaps = gaps(&arrivals);
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].exact_until, gaps[0].reason), (Position::new(60), Reason::SchemaChanged));
    assert_eq!(gaps[0].detail, "ALTER TABLE public.t");
    let last =
        arrivals.iter().rposition(|arrival| matches!(arrival, Arrival::Record(record) if record.kind == Kind::Gap));
    assert!(
        matches!(&arrivals[last.unwrap() - 1], Arrival::Record(Record { role: Role::Commits(_), .. })),
        "right behind the commit, so that both become durable together"
    );
    let quiet = take(&mut intake, [begin(200), insert(), commit(200)]);
    assert_eq!(quiet.len(), 3, "and told once");
}

#[test]
fn l3_a_command_is_no_gap_only_if_it_can_change_nothing_that_a_restore_brings_back() {
    #[rustfmt::skip]
    let cases = [
        ("REFRESH MATERIALIZED VIEW", 0, "its rows are in no base"),
        ("REINDEX",                   0, "the index is what it was"),
        ("COMMENT",                   1, "a restore would not have it"),
        ("GRANT",                     1, "neither this"),
        ("ALTER MATERIALIZED VIEW",   1, "nor this"),
    ];
    for (tag, many, why) in cases {
        let arrivals = take(&mut intake(0), [begin(90), command(tag), commit(90)]);
        assert_eq!(gaps(&arrivals).len(), many, "{tag}: {why}");
    }
    let arrivals = take(&mut intake(0), [begin(90), command("REINDEX"), ddl(), commit(90)]);
    assert_eq!(gaps(&arrivals)[0].detail, "ALTER TABLE public.t");
}

#[test]
fn l3_a_table_that_is_not_as_the_base_knows_it_is_a_gap_where_no_trigger_told_of_it() {
    #[rustfmt::skip]
    let cases = [
        // known                   comes           gaps   why
        (Some(relation("id")),     relation("id"), 0,     "as the base knows it"),
        (Some(relation("id")),     relation("no"), 1,     "a column has another name"),
        (Some(Relation { name: "old".to_owned(), ..relation("id") }), relation("id"), 1, "the table had another name"),
        (None,                     relation("id"), 1,     "a table that the base does not know"),
    ];
    for (known, comes, many, why) in cases {
        let shapes = known.into_iter().map(|relation| (relation.relid, relation)).collect();
        let mut intake = intake(0).knowing(Some(shapes));
        let events = [begin(90), data(&Message::Relation(comes)), insert(), commit(90)];
        assert_eq!(gaps(&take(&mut intake, events)).len(), many, "{why}");
    }
    let nothing_promised = take(&mut intake(0), [begin(90), data(&Message::Relation(relation("id"))), commit(90)]);
    assert_eq!(gaps(&nothing_promised), [], "without a base there is nothing to differ from");
}

#[test]
fn a_drain_ends_once_all_below_its_end_was_handed_over() {
    let mut intake = intake(0).draining(Some(Lsn::new(95)));
    assert!(!take(&mut intake, [begin(80), commit(80)]).contains(&Arrival::Drained));
    assert!(take(&mut intake, [begin(90), insert(), commit(90)]).contains(&Arrival::Drained));
}

#[test]
fn messages_that_no_server_sends_in_this_order_are_refused() {
    for events in [vec![insert()], vec![commit(5)], vec![begin(5), begin(6)]] {
        let (mut intake, mut arrivals) = (intake(0), Vec::new());
        let taken: Result<Vec<()>, _> =
            events.into_iter().map(|event| intake.event(event, Tick::default(), &mut arrivals)).collect();
        assert!(taken.is_err());
    }
}
