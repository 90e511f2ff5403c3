//! The replication stream against a real walsender: slots, events, feedback, shutdown, and waiting that loses nothing.

use std::time::Duration;

use holdfast::clock::{Clock, SystemClock, timeout};
use holdfast::connect::{ConnectError, Event, Feedback, Mode, ReplicationStream, SlotLife, SlotSnapshot, Status};
use holdfast::model::{Lsn, Piece};
use rustix::process::Signal;

use crate::servers::Postgres;

const OPTIONS: [(&str, &str); 3] =
    [("proto_version", "1"), ("publication_names", "\"it's, one\""), ("messages", "true")];

async fn started(server: &Postgres, slot: &str) -> (ReplicationStream, Feedback) {
    server.session(Mode::Replication).await.start_replication(slot, Lsn::ZERO, &OPTIONS).await.unwrap()
}

async fn server_with_slot(slot: &str) -> Postgres {
    let server = Postgres::start_with(&[("wal_level", "logical")]);
    server.psql("postgres", "create table t (i int primary key, s text)");
    server.psql("postgres", "create publication \"it's, one\" for all tables");
    let mut session = server.session(Mode::Replication).await;
    let made = session.create_slot(slot, SlotLife::Permanent, SlotSnapshot::Nothing).await.unwrap();
    assert!(made.consistent_point > Lsn::ZERO && made.snapshot.is_none(), "{made:?}");
    server
}

/// Reads until `commits` transactions have come, and gives back their messages put together.
async fn transactions(stream: &mut ReplicationStream, commits: usize) -> Vec<(Lsn, Vec<u8>)> {
    let mut events = Vec::new();
    let commit = |event: &Event| matches!(event, Event::XLogData { payload, piece: Piece::Whole, .. } if payload.first() == Some(&b'C'));
    while events.iter().filter(|event| commit(event)).count() < commits {
        stream.next(&mut events).await.unwrap();
    }
    joined(&events)
}

fn joined(events: &[Event]) -> Vec<(Lsn, Vec<u8>)> {
    let mut messages: Vec<(Lsn, Vec<u8>)> = Vec::new();
    for event in events {
        match event {
            Event::XLogData { start, piece: Piece::Whole | Piece::First, payload, .. } => {
                messages.push((*start, payload.to_vec()));
            }
            Event::XLogData { start, piece: Piece::Middle | Piece::Last, payload, .. } => {
                let (opened, message) = messages.last_mut().unwrap();
                assert_eq!(opened, start, "all pieces of a message have its position");
                message.extend_from_slice(payload);
            }
            Event::Keepalive { .. } | Event::CopyDone => {}
        }
    }
    messages
}

fn tags(messages: &[(Lsn, Vec<u8>)]) -> String {
    messages.iter().map(|(_, message)| char::from(message[0])).collect()
}

#[tokio::test]
async fn a_transaction_comes_through_the_stream_and_feedback_moves_the_slot() {
    let server = server_with_slot("main_slot").await;
    let mut session = server.session(Mode::Replication).await;
    let identity = session.identify_system().await.unwrap();
    let control =
        server.psql("postgres", "select system_identifier || ' ' || current_database() from pg_control_system()");
    assert_eq!(format!("{} {}", identity.system_id, identity.database), control);
    assert_eq!(identity.timeline, 1);
    assert!(identity.flushed > Lsn::ZERO);
    let error = session.timeline_history(1).await.unwrap_err();
    assert!(error.sqlstate().is_some(), "timeline 1 has no history: {error:?}");
    let (mut stream, mut feedback) = started(&server, "main_slot").await;
    server.psql("postgres", "insert into t values (1, 'one'), (2, 'two')");
    let messages = transactions(&mut stream, 1).await;
    assert_eq!(tags(&messages), "BRIIC");
    // The commit's own end stands in it: 'C' | flags u8 | commit u64 | end u64 | time.
    let end = Lsn::new(u64::from_be_bytes(messages[4].1[10..18].try_into().unwrap()));
    let clock = SystemClock::new();
    feedback.status(Status { durable: end, time: clock.now(), reply_wanted: true }).await.unwrap();
    let mut events = Vec::new();
    while !events.iter().any(|event| matches!(event, Event::Keepalive { wal_end, .. } if *wal_end >= end)) {
        stream.next(&mut events).await.unwrap();
    }
    server.wait_for("postgres", &format!("select confirmed_flush_lsn >= '{end}' from pg_replication_slots"), "t");
    let reported = "select write_lsn = flush_lsn and flush_lsn = replay_lsn and reply_time > now() - interval '1 min' from pg_stat_replication where state = 'streaming'";
    server.wait_for("postgres", reported, "t");
    feedback.copy_done().await.unwrap();
    let mut events = Vec::new();
    while !events.contains(&Event::CopyDone) {
        stream.next(&mut events).await.unwrap();
    }
    assert!(matches!(stream.next(&mut events).await, Err(ConnectError::Lost { .. })));
    drop((stream, feedback));
    server.wait_for("postgres", "select count(*) from pg_stat_replication where state <> 'startup'", "0");
    session.drop_slot("main_slot").await.unwrap();
    assert_eq!(session.drop_slot("main_slot").await.unwrap_err().sqlstate(), Some("42704"));
}

#[tokio::test]
async fn an_exported_snapshot_shows_exactly_what_the_slot_will_not_send() {
    let server = server_with_slot("main_slot").await;
    server.psql("postgres", "insert into t values (1, 'before')");
    let mut maker = server.session(Mode::Replication).await;
    let made = maker.create_slot("temp", SlotLife::Temporary, SlotSnapshot::Export).await.unwrap();
    server.psql("postgres", "insert into t values (2, 'after')");
    let mut reader = server.session(Mode::Sql).await;
    reader.execute_batch("begin isolation level repeatable read").await.unwrap();
    let snapshot = made.snapshot.expect("it was asked for");
    reader.execute_batch(&format!("set transaction snapshot '{snapshot}'")).await.unwrap();
    assert_eq!(reader.one_row("select string_agg(s, ' ') from public.t").await.unwrap().get(0), Some("before"));
    drop(maker);
    server.wait_for("postgres", "select count(*) from pg_replication_slots", "1");
    let error =
        server.session(Mode::Replication).await.start_replication("gone", Lsn::ZERO, &OPTIONS).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("42704"), "{error:?}");
}

#[tokio::test]
async fn l8_a_message_of_thirty_megabytes_comes_in_pieces() {
    let server = server_with_slot("main_slot").await;
    let (mut stream, _feedback) = started(&server, "main_slot").await;
    server.psql("postgres", "insert into t select 1, string_agg(md5(i::text), '') from generate_series(1, 1000000) i");
    let mut events = Vec::new();
    while joined_len(&events) < 4 {
        stream.next(&mut events).await.unwrap();
    }
    let largest = events.iter().filter_map(|event| match event {
        Event::XLogData { payload, .. } => Some(payload.len()),
        Event::Keepalive { .. } | Event::CopyDone => None,
    });
    assert_eq!(largest.max(), Some(holdfast::model::limits::PIECE_BYTES_MAX));
    let messages = joined(&events);
    assert_eq!(tags(&messages), "BRIC");
    let expected = server.psql("postgres", "select md5(s) from t");
    let (_, insert) = &messages[2];
    // 'I' | relation u32 | 'N' | columns u16 | 't' len "1" | 't' | len u32 | text
    let text = &insert[1 + 4 + 1 + 2 + 6 + 5..];
    assert_eq!(text.len(), 32_000_000);
    let sent = server.session(Mode::Sql).await.query_params("select md5($1)", &[Some(text)]).await.unwrap();
    assert_eq!(sent[0].get(0), Some(expected.as_str()));
}

#[tokio::test]
async fn waiting_that_is_given_up_again_and_again_loses_nothing() {
    let server = server_with_slot("main_slot").await;
    for _ in 0..5 {
        server.psql(
            "postgres",
            "insert into t select i, repeat(md5(i::text), 1 + i % 40) from generate_series(1, 3000) i; delete from t",
        );
    }
    server.psql("postgres", "insert into t values (1, repeat('x', 5000000))");
    let (mut stream, feedback) = started(&server, "main_slot").await;
    let whole = transactions(&mut stream, 6).await;
    assert!(whole.len() > 30_000);
    drop((stream, feedback));
    server.wait_for("postgres", "select count(*) from pg_stat_replication where state <> 'startup'", "0");
    let (mut stream, _feedback) = started(&server, "main_slot").await;
    let (clock, mut events, mut given_up) = (SystemClock::new(), Vec::new(), 0);
    let mut wait = 0_u64;
    while joined_len(&events) < whole.len() {
        wait = (wait + 7) % 90;
        match timeout(&clock, Duration::from_micros(wait), stream.next(&mut events)).await {
            Ok(result) => result.unwrap(),
            Err(_) => given_up += 1,
        }
    }
    assert!(given_up > 0, "nothing was interrupted: the test shows nothing");
    assert!(joined(&events) == whole, "the two streams differ");
}

fn joined_len(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::XLogData { piece: Piece::Whole | Piece::Last, .. })).count()
}

#[tokio::test]
async fn a_fast_shutdown_ends_the_stream_once_everything_is_acknowledged() {
    let mut server = server_with_slot("main_slot").await;
    let (mut stream, mut feedback) = started(&server, "main_slot").await;
    server.psql("postgres", "insert into t values (1, 'one')");
    transactions(&mut stream, 1).await;
    server.send(Signal::INT);
    let (clock, mut ended) = (SystemClock::new(), false);
    while !ended {
        let mut events = Vec::new();
        stream.next(&mut events).await.unwrap();
        for event in events {
            match event {
                Event::Keepalive { wal_end, .. } => {
                    // The server may be gone between its last word and our answer.
                    drop(feedback.status(Status { durable: wal_end, time: clock.now(), reply_wanted: false }).await);
                }
                Event::CopyDone => ended = true,
                Event::XLogData { .. } => {}
            }
        }
    }
    server.stop_fast();
}

#[tokio::test]
async fn a_crash_of_the_server_ends_the_stream_with_an_error() {
    let mut server = server_with_slot("main_slot").await;
    let (mut stream, _feedback) = started(&server, "main_slot").await;
    server.stop_immediate();
    let mut events = Vec::new();
    let error = loop {
        if let Err(error) = stream.next(&mut events).await {
            break error;
        }
    };
    assert!(matches!(error, ConnectError::Lost { .. } | ConnectError::Server { .. }), "{error:?}");
}
