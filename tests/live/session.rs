//! SQL by our own session: rows, parameters, pins, interruption, and errors that hold no values.

use std::time::Duration;

use holdfast::clock::{SystemClock, timeout};
use holdfast::connect::{ConnectError, Mode, Session, Transaction, quote_ident, quote_literal};

use crate::servers::Postgres;

#[tokio::test]
async fn statements_give_their_rows_and_nulls_are_not_empty_texts() {
    let server = Postgres::start();
    let mut session = server.session(Mode::Sql).await;
    let results = session
        .simple("select 1, null, ''; create table public.t (i int); select 'é' where false; select 'é'")
        .await
        .unwrap();
    assert_eq!(results.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0, 1]);
    assert_eq!((results[0][0].get(0), results[0][0].get(1), results[0][0].get(2)), (Some("1"), None, Some("")));
    assert_eq!(results[3][0].get(0), Some("é"));
    assert_eq!((results[0][0].len(), results[0][0].get(3)), (3, None));
    assert!(session.version_num() >= 130_000, "{:?}", session.parameter("server_version"));
    let pid = session.one_row("select pg_backend_pid()").await.unwrap();
    assert_eq!(pid.get(0), Some(session.pid().to_string().as_str()));
    assert!(matches!(session.one_row("select 1 where false").await, Err(ConnectError::Answer { .. })));
    assert!(matches!(session.simple("select '\0'").await, Err(ConnectError::Unsendable { .. })));
    assert!(session.simple("").await.unwrap()[0].is_empty(), "an empty text is answered too");
    session.close().await;
}

#[tokio::test]
async fn parameters_and_quoting_carry_any_text_unchanged() {
    let server = Postgres::start();
    let mut session = server.session(Mode::Sql).await;
    for text in ["", "a'b\"c\\d", "$1", "é\n\t", "E'x'", "';drop table t;--"] {
        let params = [Some(text.as_bytes()), Some(b"41".as_slice()), None];
        let rows = session.query_params("select $1::text, $2::int + 1, $3::text", &params).await.unwrap();
        let row = &rows[0];
        assert_eq!((row.get(0), row.get(1), row.get(2)), (Some(text), Some("42"), None));
        for conforming in ["on", "off"] {
            let sql = format!("set standard_conforming_strings = {conforming}; select {}", quote_literal(text));
            assert_eq!(session.one_row(&sql).await.unwrap().get(0), Some(text), "{sql}");
        }
        if !text.is_empty() {
            let sql = format!("with q as (select 1 as {0}) select {0} from q", quote_ident(text));
            assert_eq!(session.one_row(&sql).await.unwrap().get(0), Some("1"), "{sql}");
        }
    }
}

#[tokio::test]
async fn every_session_has_the_same_settings_whatever_the_role_and_the_url_say() {
    let server = Postgres::start();
    server.psql(
        "postgres",
        "alter role postgres set datestyle = 'German'; alter role postgres set timezone = 'Asia/Tokyo'",
    );
    let target = format!(
        "{}?options=-c%20DateStyle%3DSQL%20-c%20work_mem%3D7MB&application_name=holdfast-a",
        server.url("postgres")
    );
    let target = target.parse().unwrap();
    let clock = SystemClock::new();
    let shown = "select current_setting('DateStyle'), current_setting('TimeZone'), current_setting('search_path'), \
        current_setting('synchronous_commit'), current_setting('work_mem'), current_setting('session_replication_role'), \
        current_setting('application_name')";
    let mut session =
        Session::connect(&target, Mode::Sql, &clock, &[("session_replication_role", "replica")]).await.unwrap();
    let row = session.one_row(shown).await.unwrap();
    let seen: Vec<_> = (0..row.len()).map(|at| row.get(at).unwrap()).collect();
    assert_eq!(seen, ["ISO, MDY", "UTC", "pg_catalog", "local", "7MB", "replica", "holdfast-a"]);
    let given = [("Search_Path", "public"), ("synchronous_commit", "on"), ("holdfast.note", "a b\\c 'd'\t")];
    let mut session = Session::connect(&target, Mode::Replication, &clock, &given).await.unwrap();
    for (name, value) in given {
        let row = session.one_row(&format!("show {name}")).await.unwrap();
        assert_eq!(row.get(0), Some(value), "{name}");
    }
    let mut other = Session::connect(&target.with_database("template1"), Mode::Sql, &clock, &[]).await.unwrap();
    assert_eq!(other.one_row("select current_database()").await.unwrap().get(0), Some("template1"));
}

#[tokio::test]
async fn l6_no_error_of_a_session_holds_a_value_of_a_row() {
    let server = Postgres::start();
    let mut session = server.session(Mode::Sql).await;
    session
        .execute_batch(
            "create table public.t (k text primary key, n int check (n < 5), b text not null default '');
             insert into public.t values ('hunter2', 1); create type public.mood as enum ('ok');
             create function public.f() returns void language plpgsql as $$ begin raise exception 'it is hunter2'; end $$",
        )
        .await
        .unwrap();
    #[rustfmt::skip]
    let cases = [
        // sql                                                  sqlstate    why
        ("insert into public.t values ('hunter2', 2)",          "23505",    "DETAIL holds the key"),
        ("insert into public.t values ('hunter2x', 9)",         "23514",    "DETAIL holds the row"),
        ("insert into public.t values ('hunter2y', 1, null)",   "23502",    "DETAIL holds the row"),
        ("select 'hunter2'::int",                               "22P02",    "the message holds the input"),
        ("select 'hunter2'::public.mood",                       "22P02",    "the message holds the input"),
        ("select 'hunter2'::timestamptz",                       "22007",    "the message holds the input"),
        ("select public.f()",                                   "P0001",    "the function's own words"),
        ("select 'a' 'hunter2' x from",                         "42601",    "the message may hold a token"),
        ("select hunter2() from public.t where k = 'hunter2'",  "42883",    "names may be told, and only they"),
    ];
    for (sql, sqlstate, why) in cases {
        let error = session.simple(sql).await.unwrap_err();
        assert_eq!(error.sqlstate(), Some(sqlstate), "{why}");
        let text = format!("{error} {error:?} {}", error.server().unwrap());
        assert_eq!(text.contains("hunter2"), sqlstate == "42883", "{why}: {text}");
        let error = session.query_params(sql, &[]).await.unwrap_err();
        assert_eq!(error.sqlstate(), Some(sqlstate), "{why}: by the extended protocol");
    }
    let error = session.simple("insert into public.t values ('hunter2', 2)").await.unwrap_err();
    assert_eq!(error.server().unwrap().object("constraint"), Some("t_pkey"));
    assert_eq!(session.one_row("select count(*) from public.t").await.unwrap().get(0), Some("1"));
}

#[tokio::test]
async fn a_command_is_interrupted_from_outside_and_the_session_goes_on() {
    let server = Postgres::start();
    let mut session = server.session(Mode::Sql).await;
    let (token, clock) = (session.cancel_token(), SystemClock::new());
    let interrupt = async {
        server.wait_for("postgres", "select count(*) from pg_stat_activity where query like 'select pg_sleep%'", "1");
        token.cancel(&clock).await.unwrap();
    };
    let (error, ()) = tokio::join!(session.simple("select pg_sleep(100)"), interrupt);
    assert_eq!(error.unwrap_err().sqlstate(), Some("57014"));
    session.execute_batch("begin").await.unwrap();
    assert_eq!(session.transaction(), Transaction::Open);
    session.simple("select 1/0").await.unwrap_err();
    assert_eq!(session.transaction(), Transaction::Failed);
    session.execute_batch("rollback").await.unwrap();
    assert_eq!(session.transaction(), Transaction::None);
}

#[tokio::test]
async fn a_session_whose_command_was_given_up_answers_no_other_command_with_its_rows() {
    let server = Postgres::start();
    let mut session = server.session(Mode::Sql).await;
    let given_up =
        timeout(&SystemClock::new(), Duration::from_millis(50), session.simple("select pg_sleep(1), 'old'")).await;
    assert!(given_up.is_err());
    assert!(matches!(session.simple("select 'new'").await, Err(ConnectError::Unfinished { .. })));
}

#[tokio::test]
async fn a_server_that_ends_the_session_is_heard() {
    let server = Postgres::start();
    let mut session = server.session(Mode::Sql).await;
    server.psql("postgres", &format!("select pg_terminate_backend({})", session.pid()));
    let error = session.simple("select 1").await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("57P01"), "{error:?}");
    assert!(session.simple("select 1").await.is_err());
}
