//! The accident, found and undone; and what damages a restore, named.

use holdfast::codec::base::Content;
use holdfast::log::History;
use holdfast::restore::Verdict;
use holdfast::restore::find::{FindOrder, Op, Values, find};
use holdfast::store::layout;

use crate::restore::site::Site;

async fn site() -> Site {
    let site = Site::start("create table t (id int primary key, v text); create table other (id int, v text)").await;
    site.sql(
        "insert into t select i, 'planted word ' || i from generate_series(1, 100) i; insert into other values (1)",
    );
    site.capture().await;
    site.base().await;
    site
}

#[tokio::test]
async fn the_accident_is_found_by_table_operation_and_key() {
    let site = site().await;
    site.sql("update t set v = 'fine' where id = 5");
    site.sql("insert into other values (7, 'x')");
    let since = site.now();
    let xid = site.sql("begin; delete from t; insert into other values (8, 'x'); select pg_current_xact_id(); commit");
    site.sql("truncate other");
    site.capture().await;
    let order = |table: &str, ops: &[Op], key: &[(Option<&str>, &str)]| FindOrder {
        source: site.source.clone(),
        table: Some(table.to_owned()),
        since: None,
        until: None,
        ops: ops.iter().copied().collect(),
        key: key.iter().map(|(name, value)| (name.map(str::to_owned), (*value).to_owned())).collect(),
        values: Values::Hidden,
        limit: 10,
    };
    let history = History::load(&site.env, &site.source).await.unwrap();
    let search = async |order: FindOrder| {
        let sought = find(&site.env, &order, &history).await.unwrap();
        assert_eq!(sought.not_seen, [""; 0], "all of it was looked at");
        sought.found
    };
    let counts = |found: &holdfast::restore::find::Found, table: &str| {
        found.tables.iter().find(|touched| touched.table == table).unwrap().counts
    };
    let found = search(order("public.t", &[Op::Delete], &[])).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].xid.to_string(), xid);
    assert_eq!((counts(&found[0], "public.t").deletes, counts(&found[0], "public.other").inserts), (100, 1));
    assert!(found[0].rows.is_empty(), "values stay sealed");
    assert_eq!(search(order("t", &[], &[(None, "5")])).await.len(), 3, "its insert, its update, its delete");
    assert_eq!(search(order("t", &[Op::Update], &[(Some("id"), "5")])).await.len(), 1);
    assert_eq!(search(order("t", &[Op::Update], &[(Some("id"), "6")])).await.len(), 0);
    assert_eq!(search(order("other", &[Op::Truncate], &[])).await.len(), 1);
    let newest = search(FindOrder { limit: 1, ..order("other", &[], &[]) }).await;
    assert_eq!((newest.len(), counts(&newest[0], "public.other").truncates), (1, 1));
    let late = FindOrder { since: Some(holdfast::restore::target::time(&since).unwrap()), ..order("other", &[], &[]) };
    assert_eq!(search(late).await.len(), 2);
    let shown = search(FindOrder { values: Values::Shown, ..order("t", &[Op::Update], &[]) }).await;
    let new = shown[0].rows[0].new.as_ref().unwrap();
    assert_eq!((new["id"].as_deref(), new["v"].as_deref()), (Some("5"), Some("fine")));
    site.restore(&format!("before-xid:{xid}"), "undone").await.unwrap();
    assert_eq!(site.server.psql("undone", "select count(*), min(v) from t"), "100|fine");
}

#[tokio::test]
async fn l4_a_missing_object_ends_the_restore_and_leaves_the_target_marked() {
    let site = site().await;
    site.sql("insert into t values (1000, 'late')");
    site.capture().await;
    let survey = site.survey().await;
    let manifest = survey.bases.last().unwrap().clone();
    let rows = manifest.parts.iter().find(|part| matches!(part.content, Content::Rows { .. })).unwrap();
    let part = layout::base_part(&site.source, manifest.base, rows.number);
    site.env.store.delete(&part).await.unwrap();
    let error = site.restore("latest", "damaged").await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::Damaged);
    let text = holdfast::daemon::chain(&error);
    assert!(text.contains(part.as_str()) && !text.contains("planted"), "{text}");
    let again = site.restore("latest", "damaged").await.unwrap_err();
    assert!(again.to_string().contains("incomplete"), "{again}");
}

#[tokio::test]
async fn one_table_alone_can_be_restored() {
    let site = site().await;
    site.sql("insert into t values (1000, 'late'); delete from other");
    site.capture().await;
    let plan =
        site.survey().await.plan(&"latest".parse().unwrap(), holdfast::restore::GapRule::Refuse, &[]).await.unwrap();
    let order = |only: &str| holdfast::restore::RestoreOrder {
        plan: plan.clone(),
        target: site.server.url(&format!("only_{only}")).parse().unwrap(),
        roles: holdfast::restore::Roles::None,
        jobs: 1,
        only: vec![only.to_owned()],
        window: site.window,
    };
    let watch = holdfast::restore::Unwatched;
    let report = holdfast::restore::restore(&site.env, &order("t"), &watch).await.unwrap();
    assert_eq!(
        report.tables.iter().map(|table| (table.table.as_str(), table.rows)).collect::<Vec<_>>(),
        [("public.t", 101)]
    );
    let error = holdfast::restore::restore(&site.env, &order("nowhere"), &watch).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotRestorable);
}
