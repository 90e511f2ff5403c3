//! Where a restore stops, and what it refuses: the cut rule, gaps, marks, and targets that are not there.

use holdfast::apply::postgres::WindowRule;
use holdfast::restore::{GapRule, RestoreError, Verdict};

use crate::restore::site::Site;
use crate::scale::scale;

const COUNT: &str = "select coalesce(string_agg(id::text, ' ' order by id), '') from t";

async fn site() -> Site {
    let site = Site::start("create table t (id int primary key, v text)").await;
    site.sql("insert into t values (1)");
    site
}

fn xid_of(site: &Site, id: u32) -> String {
    site.sql(&format!("insert into t values ({id}) returning pg_current_xact_id()::text"))
}

fn refusal(error: &RestoreError) -> String {
    assert_eq!(error.verdict(), Verdict::NotRestorable, "{error}");
    error.to_string()
}

#[tokio::test]
async fn l2_a_restore_stops_exactly_where_it_was_asked_to() {
    let site = site().await;
    site.capture().await;
    site.base().await;
    xid_of(&site, 2);
    let between = site.now();
    let three = xid_of(&site, 3);
    site.mark("before four").await;
    let four = xid_of(&site, 4);
    let end_of_four = site.sql("select pg_current_wal_insert_lsn()");
    xid_of(&site, 5);
    site.capture().await;
    #[rustfmt::skip]
    let cases = [
        // target                        rows         why
        (between.clone(),                "1 2",       "the first commit after it and all later ones are out"),
        (format!("xid:{three}"),         "1 2 3",     "with the transaction"),
        (format!("before-xid:{four}"),   "1 2 3",     "without it"),
        ("mark:before four".to_owned(),  "1 2 3",     "through the mark"),
        (format!("lsn:{end_of_four}"),   "1 2 3 4",   "what ends there or before"),
        ("latest".to_owned(),            "1 2 3 4 5", "everything"),
    ];
    for (number, (target, rows, why)) in cases.into_iter().enumerate() {
        let database = format!("stop_{number}");
        let report = site.restore(&target, &database).await.unwrap();
        assert_eq!(site.server.psql(&database, COUNT), rows, "{why}: {target} {report:?}");
    }
    let plan =
        site.survey().await.plan(&format!("before-xid:{four}").parse().unwrap(), GapRule::Refuse, &[]).await.unwrap();
    assert_eq!(plan.stop.excluded.unwrap().xid.get().to_string(), four, "the plan names the accident");
    assert_eq!(plan.stop.last.map(|last| last.position), Some(plan.stop.position), "and what is before it");
    assert!(plan.to_string().contains(&format!("first out xid {four}")), "{plan}");
}

#[tokio::test]
async fn l3_what_cannot_be_restored_is_refused_with_what_can() {
    let site = site().await;
    let none = site.restore("latest", "refused").await.unwrap_err();
    assert!(refusal(&none).contains("holdfast backup"), "no base yet");
    xid_of(&site, 2);
    let early = site.now();
    xid_of(&site, 3);
    site.capture().await;
    let first = site.base().await;
    xid_of(&site, 4);
    let before_ddl = site.now();
    site.sql("alter table t add w int");
    let ddl = site.sql("select pg_current_wal_insert_lsn()");
    xid_of(&site, 5);
    let inside = site.now();
    xid_of(&site, 6);
    site.capture().await;
    let text = refusal(&site.restore(&early, "refused").await.unwrap_err());
    assert!(text.contains("before the first base") && text.contains(&first.point.to_string()), "{text}");
    let text = refusal(&site.restore("2099-01-01T00:00:00Z", "refused").await.unwrap_err());
    assert!(text.contains("beyond the last durable commit"), "{text}");
    let text = refusal(&site.restore("xid:2000000000", "refused").await.unwrap_err());
    assert!(text.contains("not in the log"), "{text}");
    let text = refusal(&site.restore("mark:nothing", "refused").await.unwrap_err());
    assert!(text.contains("mark \"nothing\" is not in the log"), "{text}");
    for target in [inside.clone(), format!("lsn:{ddl}")] {
        let text = refusal(&site.restore(&target, "refused").await.unwrap_err());
        assert!(text.contains("schema changed") && text.contains("before it"), "{target}: {text}");
    }
    let tables = "select count(*) from pg_database where datname = 'refused'";
    assert_eq!(site.sql(tables), "0", "a refusal comes before anything is made");
    site.restore(&before_ddl, "before_ddl").await.unwrap();
    assert_eq!(site.server.psql("before_ddl", COUNT), "1 2 3 4", "just before the change of schema");
    site.restore("latest", "latest_exact").await.unwrap();
    assert_eq!(site.server.psql("latest_exact", COUNT), "1 2 3 4", "latest is the newest exact instant");
    site.base().await;
    xid_of(&site, 7);
    site.capture().await;
    site.restore("latest", "after_base").await.unwrap();
    assert_eq!(site.server.psql("after_base", COUNT), "1 2 3 4 5 6 7", "a new base ends the gap");
    let text = refusal(&site.restore(&inside, "refused").await.unwrap_err());
    assert!(text.contains("after it"), "{text}");
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_left_alone() {
    let site = site().await;
    site.capture().await;
    site.base().await;
    site.sql("create database used");
    site.server.psql("used", "create table precious (id int)");
    let text = refusal(&site.restore("latest", "used").await.unwrap_err());
    assert!(text.contains("relation public.precious"), "{text}");
    site.sql("create database broken");
    site.server.psql("broken", "create schema holdfast_restore");
    let text = refusal(&site.restore("latest", "broken").await.unwrap_err());
    assert!(text.contains("incomplete"), "{text}");
    site.sql("create database clean");
    site.restore("latest", "clean").await.unwrap();
    assert_eq!(site.server.psql("clean", "select count(*) from pg_namespace where nspname ~ 'holdfast'"), "0");
    assert_eq!(refusal(&site.restore("latest", "clean").await.unwrap_err()).matches("not empty").count(), 1);
}

#[tokio::test]
async fn l8_a_transaction_larger_than_a_window_streams_through() {
    let mut site = Site::start("create table t (id int primary key, v text); create table nokey (v text)").await;
    site.window = WindowRule { window_bytes: 100_000 };
    site.sql("insert into t select i, 'x' from generate_series(1, 1000) i");
    site.capture().await;
    site.base().await;
    site.sql("insert into t select i, repeat('y', 100) from generate_series(1001, 1100) i");
    let (keyed, keyless) = (2000 + 4000 * scale(), 3000 * scale());
    site.sql(&format!(
        "begin; insert into t select i, repeat('z', 100) from generate_series(2000, {keyed}) i; \
         update t set v = v || id where id % 3 = 0; delete from t where id between 3000 and 3500; \
         insert into nokey select i % 10 from generate_series(1, {keyless}) i; delete from nokey where v = '4'; \
         update t set id = -id where id between 5000 and 5100; commit",
    ));
    site.sql("delete from t where id < 10");
    site.capture().await;
    let expected = site.everything("postgres");
    site.restore("latest", "streamed").await.unwrap();
    crate::restore::site::assert_same(&site.everything("streamed"), &expected, "after a large transaction");
}
