//! Every way in which a table may lack an identity, before and after `init`: no UPDATE of an application fails (L12).

use holdfast::connect::Mode;
use holdfast::source::postgres::init::IdentityRule;

use crate::init::{LOGICAL, initialised};
use crate::servers::Postgres;

/// One way to lack an identity: how the table comes to be, and its letter afterwards under `identity = full`.
pub(crate) struct Case {
    pub(crate) table: &'static str,
    sql: &'static str,
    pub(crate) letter: &'static str,
    pub(crate) why: &'static str,
}

#[rustfmt::skip]
pub(crate) const CASES: [Case; 19] = [
    Case { table: "nokey",    letter: "f", why: "no key at all",
        sql: "create table nokey (a int, b int)" },
    Case { table: "keyed",    letter: "d", why: "a key is left alone",
        sql: "create table keyed (a int primary key, b int)" },
    Case { table: "deferred", letter: "f", why: "a deferrable key tells nothing apart in the middle of a transaction",
        sql: "create table deferred (a int primary key deferrable, b int)" },
    Case { table: "nothing",  letter: "f", why: "NOTHING",
        sql: "create table nothing (a int primary key, b int); alter table nothing replica identity nothing" },
    Case { table: "indexed",  letter: "i", why: "an index of its own choice is left alone",
        sql: "create table indexed (a int not null, b int); create unique index indexed_a on indexed (a); alter table indexed replica identity using index indexed_a" },
    Case { table: "unindexed", letter: "f", why: "the index is gone",
        sql: "create table unindexed (a int not null, b int); create unique index unindexed_a on unindexed (a); alter table unindexed replica identity using index unindexed_a; drop index unindexed_a" },
    Case { table: "unkeyed",  letter: "f", why: "the constraint is gone",
        sql: "create table unkeyed (a int primary key, b int); alter table unkeyed drop constraint unkeyed_pkey" },
    Case { table: "uncolumned", letter: "f", why: "the key's column is gone",
        sql: "create table uncolumned (c int primary key, a int, b int); alter table uncolumned drop column c" },
    Case { table: "untyped",  letter: "f", why: "the key's column went with its type",
        sql: "create domain code as int; create table untyped (c code primary key, a int, b int); drop domain code cascade" },
    Case { table: "copied",   letter: "f", why: "CREATE TABLE AS",
        sql: "create table copied as select 7 as a, 1 as b" },
    Case { table: "selected", letter: "f", why: "SELECT INTO",
        sql: "select 7 as a, 1 as b into selected" },
    Case { table: "late",     letter: "d", why: "the key comes later, as from pg_restore",
        sql: "create table late (a int not null, b int); alter table late add primary key (a)" },
    Case { table: "leaf",     letter: "f", why: "a leaf has an identity of its own",
        sql: "create table root (a int, b int) partition by range (a); create table leaf partition of root default" },
    Case { table: "keyed_leaf", letter: "d", why: "the root's key comes to an attached leaf",
        sql: "create table keyed_root (a int, b int, primary key (a)) partition by range (a); create table keyed_leaf (a int not null, b int); alter table keyed_root attach partition keyed_leaf default" },
    Case { table: "heir",     letter: "f", why: "the parent's key is not its children's",
        sql: "create table parent (a int primary key, b int); create table heir () inherits (parent)" },
    Case { table: "logged",   letter: "f", why: "an unlogged table is not published until it is logged",
        sql: "create unlogged table logged (a int, b int); alter table logged set logged" },
    Case { table: "odd.\"we\"\"ird na.me\"", letter: "f", why: "any name, any schema",
        sql: "create schema odd create table \"we\"\"ird na.me\" (a int, b int)" },
    Case { table: "repeatable", letter: "f", why: "REPEATABLE READ sees an old catalog",
        sql: "begin isolation level repeatable read; create table repeatable (a int primary key, b int); alter table repeatable drop constraint repeatable_pkey; commit" },
    Case { table: "serial",   letter: "f", why: "SERIALIZABLE too",
        sql: "begin isolation level serializable; create table serial (a int primary key, b int); alter table serial drop constraint serial_pkey; commit" },
];

/// What an application does with a table.
fn use_table(server: &Postgres, table: &str) {
    server.psql(
        "postgres",
        &format!(
            "set session authorization joe; insert into {table} (a, b) values (1, 1), (2, 2);
             update {table} set b = b + 1; delete from {table} where a = 1;
             merge into {table} t using (values (2, 9)) v (a, b) on t.a = v.a when matched then update set b = v.b;
             truncate {table}"
        ),
    );
}

pub(crate) fn server_with_joe() -> Postgres {
    let server = Postgres::start_with(&LOGICAL);
    server.psql(
        "postgres",
        "create role joe; grant all on schema public to joe; grant create on database postgres to joe",
    );
    server
}

pub(crate) fn make_all(server: &Postgres) {
    for case in &CASES {
        server.psql("postgres", &format!("set session authorization joe; {}", case.sql));
    }
}

pub(crate) fn letter(server: &Postgres, table: &str) -> String {
    server.psql(
        "postgres",
        &format!("select relreplident from pg_class where oid = '{}'::regclass", table.replace('\'', "''")),
    )
}

#[tokio::test]
async fn l12_no_table_of_before_or_after_init_refuses_an_update() {
    for (before, after) in [(true, false), (false, true)] {
        let server = server_with_joe();
        if before {
            make_all(&server);
        }
        initialised(&server, IdentityRule::Full).await;
        if after {
            make_all(&server);
        }
        for case in &CASES {
            use_table(&server, case.table);
            assert_eq!(letter(&server, case.table), case.letter, "{} (made before init: {before})", case.why);
        }
        use_table(&server, "root");
        server.psql("postgres", "create table conflict (a int unique, b int); insert into conflict values (1, 1); insert into conflict values (1, 1) on conflict (a) do update set b = 2");
        server.psql("postgres", "create table conflicts (a int unique, b int) partition by range (a); create table conflicts_1 partition of conflicts default; insert into conflicts values (1, 1); insert into conflicts values (1, 1) on conflict (a) do update set b = 2");
        server.psql("postgres", "set session_replication_role = replica; create table replicated (a int); insert into replicated values (1); update replicated set a = 2");
        server.psql("postgres", "create temp table t (a int); insert into t values (1); update t set a = 2; create unlogged table u (a int); insert into u values (1); update u set a = 2");
    }
}

#[tokio::test]
async fn l12_an_index_dropped_concurrently_leaves_the_table_with_an_identity() {
    let server = server_with_joe();
    initialised(&server, IdentityRule::Full).await;
    server.psql("postgres", "create table t (a int not null, b int); create unique index t_a on t (a); alter table t replica identity using index t_a");
    server.psql("postgres", "drop index concurrently t_a");
    assert_eq!(letter(&server, "t"), "f");
}

#[tokio::test]
async fn l12_with_leave_identities_stay_and_no_table_refuses_an_update() {
    for (before, after) in [(true, false), (false, true)] {
        let server = server_with_joe();
        if before {
            make_all(&server);
        }
        initialised(&server, IdentityRule::Leave).await;
        if after {
            make_all(&server);
        }
        for case in &CASES {
            use_table(&server, case.table);
            assert_ne!(letter(&server, case.table), "f", "{}", case.why);
            let table = case.table.replace('\'', "''");
            let keyed = server.psql(
                "postgres",
                &format!("select count(*) from pg_publication_rel where prrelid = '{table}'::regclass"),
            );
            let expected = if case.letter == "f" { "0" } else { "1" };
            assert_eq!(keyed, expected, "{} (made before init: {before})", case.why);
        }
        use_table(&server, "root");
        let everything = server.psql("postgres", "select string_agg(pubname || puballtables || pubinsert || pubupdate || pubdelete || pubtruncate, ' ' order by pubname) from pg_publication");
        assert_eq!(everything, "holdfasttruetruefalsefalsetrue holdfast_keyedfalsefalsetruetruefalse");
    }
}

#[tokio::test]
async fn another_identity_rule_is_reached_from_either_side() {
    let server = server_with_joe();
    make_all(&server);
    for (rule, expected) in [(IdentityRule::Full, "f"), (IdentityRule::Leave, "d"), (IdentityRule::Full, "f")] {
        initialised(&server, rule).await;
        assert_eq!(letter(&server, "nokey"), expected);
        for case in &CASES {
            use_table(&server, case.table);
        }
        let keyed = server.psql("postgres", "select count(*) from pg_publication where pubname = 'holdfast_keyed'");
        assert_eq!(keyed, if rule == IdentityRule::Leave { "1" } else { "0" });
    }
}

#[tokio::test]
async fn l12_a_table_that_others_use_is_waited_for_in_short_turns() {
    let server = server_with_joe();
    server.psql("postgres", "create table busy (a int)");
    let mut reader = server.session(Mode::Sql).await;
    reader.execute_batch("begin; select * from public.busy").await.unwrap();
    let work = initialised(&server, IdentityRule::Full);
    let others = async {
        let queued = "select count(*) > 0 from pg_locks where relation = 'public.busy'::regclass and not granted";
        let mut watcher = server.session(Mode::Sql).await;
        while watcher.one_row(queued).await.unwrap().get(0) != Some("t") {}
        let started = std::time::Instant::now();
        let mut writer = server.session(Mode::Sql).await;
        writer.execute_batch("insert into public.busy values (1)").await.unwrap();
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
        reader.execute_batch("commit").await.unwrap();
    };
    tokio::join!(work, others);
    assert_eq!(letter(&server, "busy"), "f");
}
