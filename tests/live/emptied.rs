//! A table that is emptied after the snapshot of a base and before its rows were read: no snapshot shows them any more.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use holdfast::model::Lsn;

use crate::site::{Load, Site};

const QUICK: &str = "segment_age = \"50ms\"";

/// Waits in the server until the base reads the largest table, and then empties others.
const EMPTY: [&str; 5] = [
    "do $$ begin while not exists \
     (select from pg_stat_activity where state = 'active' and query like 'COPY%orders%' and pid <> pg_backend_pid()) \
     loop perform pg_stat_clear_snapshot(), pg_sleep(0.002); end loop; end $$",
    "update queue set body = 'behind the snapshot' where id % 2 = 0",
    "truncate queue, staging; insert into queue select i, 'after' from generate_series(1, 77) i",
    "insert into staging select i from generate_series(1, 5) i",
    "update orders set body = 'during the base' where id <= 1000; delete from queue where id = 3",
];

const SUMS: &str = "select 'queue', count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) from queue t \
    union all select 'staging', count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) from staging t \
    union all select 'orders', count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) from orders t order by 1";

#[tokio::test(flavor = "multi_thread")]
async fn l9_a_table_that_is_emptied_while_a_base_is_taken_costs_no_base_and_no_row() {
    let site = Site::new("", QUICK);
    let psql = |sql: &str| site.server.psql("postgres", sql);
    // Two large tables keep the two workers busy; the others are read later, and are not among the small ones.
    psql("create table orders (id int primary key, body text); create table queue (id int primary key, body text)");
    psql("create table staging (id int); create table items (id int, body text)");
    psql("insert into orders select i, repeat(md5(i::text), 30) from generate_series(1, 60000) i");
    psql("insert into items select i, repeat(md5(i::text), 30) from generate_series(1, 60000) i");
    psql("insert into queue select i, repeat(md5(i::text), 10) from generate_series(1, 9000) i");
    psql("insert into staging select i from generate_series(1, 60000) i");
    let mut daemon = site.capturing();
    site.caught_up(&mut daemon);
    let load = Load::start(&site, &Arc::new(AtomicU64::new(1)), 1, 1);
    let before = psql("select pg_current_wal_insert_lsn()");
    let base = std::thread::scope(|scope| {
        let emptied = scope.spawn(|| EMPTY.map(psql));
        let base = site.json(&["backup"]);
        emptied.join().unwrap();
        base
    });
    load.stop().await;
    let recorded = (psql("select pg_current_wal_insert_lsn()"), psql(SUMS));
    psql("truncate queue; insert into queue values (1, 'later'); update orders set body = '' where id = 5");
    let later = (psql("select pg_current_wal_insert_lsn()"), psql(SUMS));
    site.caught_up(&mut daemon);
    let listed = site.json(&["list"]);
    assert!(listed.to_string().contains("it needs the log from"), "{listed}");
    assert!(daemon.logged().contains("was emptied or rewritten before it was read"), "{}", daemon.logged());
    for (number, (lsn, sums)) in [recorded, later].into_iter().enumerate() {
        let name = format!("restored_{number}");
        let into = format!("main={}", site.server.url(&name));
        site.must(&["restore", "--to", &format!("lsn:{lsn}"), "--into", &into, "--yes"]);
        assert_eq!(site.server.psql(&name, SUMS), sums, "at {lsn}: {listed}");
    }
    // At its own point it stands too, by the log that belongs to it; and before that nothing is promised.
    let point: Lsn = base["bases"][0]["point"].as_str().unwrap().parse().unwrap();
    let into = format!("main={}", site.server.url("at_its_point"));
    site.must(&["restore", "--to", &format!("lsn:{point}"), "--into", &into, "--yes"]);
    let counts = "select (select count(*) from queue), (select count(*) from orders)";
    assert_eq!(site.server.psql("at_its_point", counts).split('|').next_back(), Some("60000"));
    let early = site.holdfast.run(&["restore", "--to", &format!("lsn:{before}"), "--into", &into, "--yes"]);
    assert_eq!(early.code, Some(3), "{early:?}");
    assert_eq!(site.holdfast.run(&["verify"]).code, Some(0));
    drop(daemon);
}
