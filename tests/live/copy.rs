//! COPY through our session: whole tables and giant rows, out and in, and what happens when it breaks.

use holdfast::connect::{Chunk, Mode, Session};
use holdfast::model::limits::PIECE_BYTES_MAX;

use crate::servers::Postgres;

async fn copied_out(session: &mut Session, sql: &str) -> (Vec<u8>, u64) {
    let mut copy = session.copy_out(sql).await.unwrap();
    let (mut all, mut batch) = (Vec::new(), Vec::<Chunk>::new());
    loop {
        batch.clear();
        copy.next_batch(&mut batch).await.unwrap();
        if batch.is_empty() {
            return (all, copy.rows().unwrap());
        }
        for chunk in &batch {
            all.extend_from_slice(&chunk.bytes);
        }
    }
}

#[tokio::test]
async fn a_table_copied_out_and_in_is_the_same_table() {
    let server = Postgres::start();
    let mut session = server.session(Mode::Sql).await;
    let fill = "create table public.a (i int, t text);
        insert into public.a select i, nullif(repeat(md5(i::text), i % 9), '') from generate_series(1, 60000) i;
        create table public.b (like public.a)";
    session.execute_batch(fill).await.unwrap();
    for form in ["text", "binary", "csv"] {
        let (bytes, rows) = copied_out(&mut session, &format!("copy public.a to stdout (format {form})")).await;
        assert_eq!(rows, 60_000);
        session.execute_batch("truncate public.b").await.unwrap();
        let mut copy = session.copy_in(&format!("copy public.b from stdin (format {form})")).await.unwrap();
        for part in bytes.chunks(7777) {
            copy.send(part).await.unwrap();
        }
        assert_eq!(copy.finish().await.unwrap(), 60_000);
        let differ = "select count(*) from (select i, t, count(*) from (select * from public.a union all select * from public.b) q \
            group by 1, 2 having count(*) <> 2) q";
        assert_eq!(session.one_row(differ).await.unwrap().get(0), Some("0"), "{form}");
    }
    let (bytes, rows) = copied_out(&mut session, "copy (select 1 where false) to stdout").await;
    assert_eq!((bytes.len(), rows), (0, 0), "no rows at all");
}

#[tokio::test]
async fn l8_a_row_of_fifty_megabytes_comes_in_pieces() {
    let server = Postgres::start();
    let mut session = server.session(Mode::Sql).await;
    let mut copy =
        session.copy_out("copy (select repeat('x', 50000000) union all select 'y') to stdout").await.unwrap();
    let (mut lengths, mut open) = (Vec::new(), 0_usize);
    while let Some(chunk) = copy.next().await.unwrap() {
        assert!(chunk.bytes.len() <= PIECE_BYTES_MAX);
        open += chunk.bytes.len();
        if chunk.ends_message {
            lengths.push(std::mem::take(&mut open));
        }
    }
    assert_eq!((lengths, open, copy.rows()), (vec![50_000_001, 2], 0, Some(2)));
    assert_eq!(copy.next().await.unwrap(), None, "after the end there is nothing");
    assert_eq!(session.one_row("select 1").await.unwrap().get(0), Some("1"));
}

#[tokio::test]
async fn a_copy_that_the_server_refuses_is_an_error_and_the_session_goes_on() {
    let server = Postgres::start();
    let mut session = server.session(Mode::Sql).await;
    session.execute_batch("create table public.a (i int)").await.unwrap();
    let error = session.copy_out("copy public.nope to stdout").await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("42P01"));
    let mut copy =
        session.copy_out("copy (select 10 / (9000 - i) from generate_series(1, 100000) i) to stdout").await.unwrap();
    let mut chunks = Vec::new();
    let error = loop {
        if let Err(error) = copy.next_batch(&mut chunks).await {
            break error;
        }
    };
    assert_eq!(error.sqlstate(), Some("22012"));
    let mut copy = session.copy_in("copy public.a from stdin").await.unwrap();
    let rows = "hunter2\n".repeat(10_000);
    let mut sent = 0;
    let error = loop {
        sent += 1;
        if let Err(error) = copy.send(rows.as_bytes()).await {
            break error;
        }
        assert!(sent < 10_000, "the error must reach a sender that goes on and on");
    };
    assert_eq!(error.sqlstate(), Some("22P02"));
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    let mut copy = session.copy_in("copy public.a from stdin").await.unwrap();
    copy.send(b"7\nx\n").await.unwrap();
    assert_eq!(copy.finish().await.unwrap_err().sqlstate(), Some("22P02"));
    let mut copy = session.copy_in("copy public.a from stdin").await.unwrap();
    copy.send(b"7\n").await.unwrap();
    copy.abort().await.unwrap();
    assert_eq!(session.one_row("select count(*) from public.a").await.unwrap().get(0), Some("0"));
}
