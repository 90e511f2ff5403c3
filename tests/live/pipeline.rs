//! Many statements at once: counts in order, errors by their step, and no deadlock when both sides talk a lot.

use holdfast::connect::{ConnectError, Mode, StepDone, Transaction};

use crate::servers::Postgres;

#[tokio::test]
async fn twenty_thousand_inserts_are_counted_in_order() {
    let server = Postgres::start();
    let mut session = server.session(Mode::Sql).await;
    session.execute_batch("create table public.t (i int, s text)").await.unwrap();
    let mut pipeline = session.pipeline().unwrap();
    pipeline.parse("begin", "begin", &[]).unwrap();
    pipeline.parse("commit", "commit", &[]).unwrap();
    pipeline.parse("ins", "insert into public.t select $1, $2 from generate_series(1, $1 % 3)", &[23, 25]).unwrap();
    let mut done: Vec<StepDone> = Vec::new();
    let mut steps = Vec::new();
    for i in 0..20_000_i32 {
        if i % 1000 == 0 {
            pipeline.bind_execute("begin", [], &[]).unwrap();
        }
        let (number, text) = (i.to_be_bytes(), "x".repeat(100));
        let params = [Some(number.as_slice()), (i % 7 != 0).then_some(text.as_bytes())];
        steps.push((pipeline.bind_execute("ins", params, &[1, 0]).unwrap(), u64::try_from(i % 3).unwrap()));
        if i % 1000 == 999 {
            pipeline.bind_execute("commit", [], &[]).unwrap();
            pipeline.sync();
        }
        pipeline.relieve().await.unwrap();
        done.extend(pipeline.take_done());
    }
    done.extend(pipeline.finish().await.unwrap());
    drop(pipeline);
    let expected: Vec<_> = steps.iter().map(|&(step, rows)| StepDone { step, rows }).collect();
    done.retain(|one| expected.binary_search_by_key(&one.step, |other| other.step).is_ok());
    assert_eq!(done, expected);
    let row = session.one_row("select count(*), count(s), sum(i) from public.t").await.unwrap();
    assert_eq!(row.get(0), Some("19999"));
}

#[tokio::test]
async fn an_error_names_its_step_and_what_came_before_the_sync_is_undone() {
    let server = Postgres::start();
    let mut session = server.session(Mode::Sql).await;
    session.execute_batch("create table public.t (i int primary key)").await.unwrap();
    let mut pipeline = session.pipeline().unwrap();
    pipeline.parse("ins", "insert into public.t values ($1)", &[23]).unwrap();
    let mut bad = 0;
    for i in 0..100 {
        let text = if i == 60 { "59".to_owned() } else { i.to_string() };
        let step = pipeline.bind_execute("ins", [Some(text.as_bytes())], &[]).unwrap();
        if i == 60 {
            bad = step;
        }
        if i == 49 {
            pipeline.sync();
        }
    }
    let error = pipeline.finish().await.unwrap_err();
    assert!(matches!(&error, ConnectError::Step { step, .. } if *step == bad), "{error:?}");
    assert_eq!(error.sqlstate(), Some("23505"));
    // The pipeline and the session go on.
    let step = pipeline.bind_execute("ins", [Some(b"1000".as_slice())], &[]).unwrap();
    assert!(pipeline.finish().await.unwrap().contains(&StepDone { step, rows: 1 }));
    drop(pipeline);
    assert_eq!(session.one_row("select count(*) from public.t").await.unwrap().get(0), Some("51"));

    let mut pipeline = session.pipeline().unwrap();
    pipeline.parse("begin", "begin", &[]).unwrap();
    pipeline.bind_execute("begin", [], &[]).unwrap();
    let wrong = pipeline.parse("wrong", "insert into public.nope values ($1)", &[]).unwrap();
    pipeline.bind_execute("wrong", [None], &[]).unwrap();
    let error = pipeline.finish().await.unwrap_err();
    assert!(matches!(&error, ConnectError::Step { step, .. } if *step == wrong), "{error:?}");
    drop(pipeline);
    assert_eq!(session.transaction(), Transaction::Failed);
    session.execute_batch("rollback").await.unwrap();
    let mut pipeline = session.pipeline().unwrap();
    assert_eq!(pipeline.finish().await.unwrap(), [], "nothing asked, nothing answered");
    pipeline.bind_execute("ins", [None], &[]).unwrap();
    drop(pipeline);
    assert!(matches!(session.simple("select 1").await, Err(ConnectError::Unfinished { .. })));
}

#[tokio::test]
async fn full_buffers_on_both_sides_never_wait_for_one_another() {
    let server = Postgres::start();
    let mut session = server.session(Mode::Sql).await;
    let mut pipeline = session.pipeline().unwrap();
    pipeline.parse("echo", "select repeat($1, 100)", &[25]).unwrap();
    let text = "x".repeat(100_000);
    for _ in 0..50 {
        // Each asks for ten megabytes; five megabytes of questions wait behind.
        pipeline.bind_execute("echo", [Some(text.as_bytes())], &[]).unwrap();
    }
    pipeline.flush().await.unwrap();
    assert_eq!(pipeline.finish().await.unwrap().len(), 50);
    drop(pipeline);
    let mut pipeline = session.pipeline().unwrap();
    for _ in 0..200_000 {
        pipeline.bind_execute("echo", [None], &[]).unwrap();
        pipeline.relieve().await.unwrap();
        pipeline.take_done();
    }
    pipeline.close_statement("echo").unwrap();
    pipeline.finish().await.unwrap();
    assert!(pipeline.bind_execute("echo", [None], &[]).is_ok());
    assert_eq!(pipeline.finish().await.unwrap_err().sqlstate(), Some("26000"), "the name is free again");
}
