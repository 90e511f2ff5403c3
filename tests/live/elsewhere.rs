//! Restores into servers that lack what the source's had, and across what history lacks.

use crate::servers::Postgres;
use crate::shop::{Shop, exit};

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
    let warnings: Vec<_> = report["warnings"].as_array().unwrap().iter().map(ToString::to_string).collect();
    let told: Vec<_> = warnings.iter().filter(|warning| warning.contains("belongs to the role")).collect();
    assert!(told.len() == 1 && told[0].contains("EVENT TRIGGER theirs"), "{warnings:?}");
    let there = "select (select count(*) from t), (select string_agg(evtname, ' ' order by 1) from pg_event_trigger), \
        (select pubname || pubowner::regrole from pg_publication), to_regnamespace('holdfast_restore') is null";
    assert_eq!(elsewhere.psql("shop", there), "1|ours theirs|everythingadmin|t");
}

/// What a gap swallowed is not there when the log goes on: it ended `--allow-gap` as damage, which it is not.
#[test]
fn l3_a_restore_across_an_allowed_gap_names_the_tables_whose_rows_it_did_not_find() {
    let schema = "create table t (id int primary key, v text); create table other (id int primary key);
        create table child (t int references t)";
    let shop = Shop::ready(schema, &[]);
    shop.sql("insert into t select g, 'row' from generate_series(0, 9) g; insert into other values (1)");
    shop.drain();
    shop.sql("select pg_drop_replication_slot('holdfast_main')");
    shop.sql(
        "delete from t where id = 3; insert into t values (20, 'swallowed'), (21, 'swallowed'), (22, 'swallowed')",
    );
    shop.drain();
    assert_eq!(shop.gaps(), ["slot lost"]);
    shop.sql("update t set v = 'again' where id >= 20; delete from t where id = 21; insert into t values (3, 'anew')");
    shop.sql("update t set v = 'there' where id = 5; insert into child values (5), (20)");
    shop.sql("insert into other values (2)");
    shop.drain();
    let found = shop.json(&["find", "--table", "other"]);
    let xids = found["transactions"].as_array().unwrap().iter().filter_map(|one| one["xid"].as_u64());
    let to = format!("xid:{}", xids.max().unwrap());
    let into = shop.destination("across");
    shop.expect(&["restore", "--to", &to, "--into", &into, "--yes"], exit::NOT_RESTORABLE);
    let arguments = ["restore", "--to", &to, "--into", &into, "--yes", "--allow-gap"];
    let report = shop.json(&arguments)["reports"][0].clone();
    assert_eq!(report["inexact"], serde_json::json!(["public.t"]), "{report}");
    let warnings = report["warnings"].to_string();
    for said in ["changes of table public.t did not find their rows", "left out: FK CONSTRAINT child child_t_fkey"] {
        assert!(warnings.contains(said), "{said}: {warnings}");
    }
    let there = "select string_agg(id || v, ' ' order by id) from t where id in (3, 5, 20, 21, 22)";
    assert_eq!(shop.server.psql("across", there), "3anew 5there");
    assert_eq!(shop.server.psql("across", "select count(*) from other"), "2");
}
