//! Restores into servers that lack what the source's had.

use crate::servers::Postgres;
use crate::shop::Shop;

/// An event trigger may belong to a superuser alone, and the roles that a restore makes are none. It failed at its very last
/// statement.
#[test]
fn what_belonged_to_a_superuser_is_restored_where_that_role_is_none() {
    let schema = "create table t (id int primary key); create role admin superuser;
        create function noted() returns event_trigger language plpgsql as $$ begin end $$;
        create event trigger theirs on ddl_command_end execute function noted(); alter event trigger theirs owner to admin;
        create event trigger ours on ddl_command_end execute function noted();
        create publication everything for all tables; alter publication everything owner to admin";
    let shop = Shop::ready(schema, &[]);
    shop.sql("insert into t values (1)");
    shop.drain();
    let elsewhere = Postgres::start();
    let into = format!("main={}", elsewhere.url("shop"));
    let report = shop.json(&["restore", "--to", "latest", "--into", &into, "--yes"])["reports"][0].clone();
    let warnings: Vec<_> = report["warnings"].as_array().unwrap().iter().map(|warning| warning.to_string()).collect();
    let told: Vec<_> = warnings.iter().filter(|warning| warning.contains("belongs to the role")).collect();
    assert!(told.len() == 1 && told[0].contains("EVENT TRIGGER theirs"), "{warnings:?}");
    let there = "select (select count(*) from t), (select string_agg(evtname, ' ' order by 1) from pg_event_trigger), \
        (select pubname || pubowner::regrole from pg_publication), to_regnamespace('holdfast_restore') is null";
    assert_eq!(elsewhere.psql("shop", there), "1|ours theirs|everythingadmin|t");
}
