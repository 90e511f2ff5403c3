//! What init makes and takes back: twice is once, killed is completed, and nothing of ours stays behind.

use std::process::Command;

use holdfast::clock::SystemClock;
use holdfast::connect::{ConnectTarget, Event, Mode, Session};
use holdfast::model::{Lsn, Piece};
use holdfast::source::SourceErrorKind;
use holdfast::source::postgres::init::{IdentityRule, InitPlan, InitReport, Run, init, remove};
use holdfast::step::{Death, Step};

use crate::identity::{CASES, letter, make_all, server_with_joe};
use crate::servers::{Postgres, binaries};

/// Settings that capture needs.
pub(crate) const LOGICAL: [(&str, &str); 2] = [("wal_level", "logical"), ("max_prepared_transactions", "5")];

pub(crate) fn plan(identity: IdentityRule) -> InitPlan {
    InitPlan { source: "main".parse().unwrap(), identity, role: "postgres".to_owned() }
}

pub(crate) async fn initialised(server: &Postgres, identity: IdentityRule) -> InitReport {
    let mut session = server.session(Mode::Sql).await;
    init(&mut session, &SystemClock::new(), &plan(identity), Run::Do).await.unwrap()
}

async fn removed(server: &Postgres) -> InitReport {
    let mut session = server.session(Mode::Sql).await;
    remove(&mut session, &SystemClock::new(), &"main".parse().unwrap(), Run::Do).await.unwrap()
}

fn schema_text(server: &Postgres) -> String {
    let output = Command::new(binaries().join("pg_dump"))
        .args(["--schema-only", "-d", &server.url("postgres")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // The key of \restrict is drawn anew for each dump.
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn init_twice_is_init_once_and_a_dry_run_changes_nothing() {
    let server = server_with_joe();
    make_all(&server);
    let before = schema_text(&server);
    let (mut session, clock) = (server.session(Mode::Sql).await, SystemClock::new());
    for rule in [IdentityRule::Full, IdentityRule::Leave] {
        let dry = init(&mut session, &clock, &plan(rule), Run::Dry).await.unwrap();
        assert_eq!(schema_text(&server), before, "a dry run");
        let first = init(&mut session, &clock, &plan(rule), Run::Do).await.unwrap();
        assert_eq!(dry, first, "a dry run says what happens");
        let again = init(&mut session, &clock, &plan(rule), Run::Do).await.unwrap();
        assert_eq!(again.done, Vec::<String>::new());
        assert!(!again.already.is_empty());
        remove(&mut session, &clock, &"main".parse().unwrap(), Run::Do).await.unwrap();
    }
}

#[tokio::test]
async fn l12_removing_restores_the_schema_byte_for_byte() {
    for rule in [IdentityRule::Full, IdentityRule::Leave] {
        let server = server_with_joe();
        make_all(&server);
        let before = schema_text(&server);
        let roles = "select string_agg(rolname || rolsuper || rolreplication, ' ' order by rolname) from pg_roles";
        let roles_before = server.psql("postgres", roles);
        initialised(&server, rule).await;
        if rule == IdentityRule::Full {
            assert_ne!(schema_text(&server), before, "identities are forced");
        }
        let report = removed(&server).await;
        assert!(!report.done.is_empty());
        assert_eq!(schema_text(&server), before);
        assert_eq!(server.psql("postgres", roles), roles_before);
        assert_eq!(server.psql("postgres", "select count(*) from pg_replication_slots"), "0");
        assert_eq!(removed(&server).await.done, Vec::<String>::new(), "twice is once");
    }
}

#[tokio::test]
async fn what_is_made_after_init_is_removed_to_what_it_would_have_been() {
    let (with, without) = (server_with_joe(), server_with_joe());
    initialised(&with, IdentityRule::Full).await;
    make_all(&with);
    make_all(&without);
    removed(&with).await;
    assert_eq!(schema_text(&with), schema_text(&without));
}

#[tokio::test]
async fn a_slot_in_use_is_not_pulled_away() {
    let server = server_with_joe();
    initialised(&server, IdentityRule::Full).await;
    let options = [("proto_version", "1"), ("publication_names", "holdfast")];
    let (_stream, _feedback) =
        server.session(Mode::Replication).await.start_replication("holdfast_main", Lsn::ZERO, &options).await.unwrap();
    let mut session = server.session(Mode::Sql).await;
    let error = remove(&mut session, &SystemClock::new(), &"main".parse().unwrap(), Run::Do).await.unwrap_err();
    assert!(matches!(error.kind, SourceErrorKind::SlotBusy { .. }), "{error:?}");
    assert_eq!(server.psql("postgres", "select count(*) from pg_publication"), "1", "nothing is undone");
}

/// The DDL messages of everything that `work` does, as (tag, identities, rewrite).
async fn messages(server: &Postgres, work: &str) -> Vec<String> {
    let options = [("proto_version", "1"), ("publication_names", "holdfast"), ("messages", "true")];
    server.psql("postgres", work);
    server.psql("postgres", "select pg_logical_emit_message(true, 'end', '')");
    let session = server.session(Mode::Replication).await;
    let (mut stream, _feedback) = session.start_replication("holdfast_main", Lsn::ZERO, &options).await.unwrap();
    let mut said = Vec::new();
    loop {
        let mut events = Vec::new();
        stream.next(&mut events).await.unwrap();
        for event in events {
            let Event::XLogData { payload, piece: Piece::Whole, .. } = event else { continue };
            // 'M' | flags u8 | lsn u64 | prefix, NUL | bytes u32 | content
            let Some(rest) = payload.strip_prefix(b"M") else { continue };
            let name = rest[9..].split(|byte| *byte == 0).next().unwrap();
            if name == b"end" {
                return said;
            }
            assert_eq!((rest[0], name), (1, &b"holdfast.ddl"[..]), "transactional, and ours");
            let json: serde_json::Value = serde_json::from_slice(&rest[9 + name.len() + 1 + 4..]).unwrap();
            let objects = json["objects"].as_array().unwrap().iter();
            let objects = objects.map(|object| {
                let relid = if object["relid"].is_u64() { " has an OID" } else { "" };
                format!("{} {}{relid}", object["type"].as_str().unwrap(), object["identity"].as_str().unwrap_or("-"))
            });
            let mut objects: Vec<_> = objects.collect();
            objects.sort();
            let rewrite = if json["rewrite"].as_bool().unwrap() { " rewrites" } else { "" };
            said.push(format!("{}{rewrite}: {}", json["tag"].as_str().unwrap(), objects.join(", ")));
        }
    }
}

#[tokio::test]
async fn every_ddl_command_is_a_message_in_the_stream_and_those_of_temporary_tables_are_not() {
    let server = server_with_joe();
    initialised(&server, IdentityRule::Full).await;
    let work = "create temp table gone (a int primary key, b int);
        create index on gone (b); alter table gone add c float default random(); comment on table gone is 'x';
        create rule r as on delete to gone do instead nothing; drop table gone;
        create table t (a int primary key);
        create function f() returns int language sql as 'select 1';
        alter table t add b int;
        alter table t add c float default random();
        create extension pgcrypto;
        set session_replication_role = replica;
        drop table t;
        reset session_replication_role;
        create table nokey (a int)";
    let said = messages(&server, work).await;
    #[rustfmt::skip]
    let expected = [
        "CREATE TABLE: index public.t_pkey has an OID, table public.t has an OID",
        "CREATE FUNCTION: function public.f()",
        "ALTER TABLE: table public.t has an OID",
        "ALTER TABLE rewrites: table public.t has an OID",
        "ALTER TABLE: table public.t has an OID",
        "CREATE EXTENSION: extension pgcrypto",
        "DROP TABLE: default value for public.t.c, index public.t_pkey has an OID, table constraint t_pkey on public.t, table public.t has an OID, type public.t, type public.t[]",
        "CREATE TABLE: table public.nokey has an OID",
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn init_refuses_a_server_or_a_role_that_cannot_and_changes_nothing() {
    let server = Postgres::start();
    let clock = SystemClock::new();
    let error =
        init(&mut server.session(Mode::Sql).await, &clock, &plan(IdentityRule::Full), Run::Do).await.unwrap_err();
    assert!(error.kind.to_string().contains("wal_level"), "{error:?}");
    let server = server_with_joe();
    server.psql("postgres", "alter role joe login");
    let target: ConnectTarget = server.url("postgres").replace("postgres@", "joe@").parse().unwrap();
    let mut joe = Session::connect(&target, Mode::Sql, &clock, &[]).await.unwrap();
    let error = init(&mut joe, &clock, &plan(IdentityRule::Full), Run::Do).await.unwrap_err();
    assert!(error.kind.to_string().contains("superuser"), "{error:?}");
    let joes = InitPlan { role: "joe".to_owned(), ..plan(IdentityRule::Full) };
    let report = init(&mut server.session(Mode::Sql).await, &clock, &joes, Run::Do).await.unwrap();
    let said = report.warnings.join("\n");
    assert!(said.contains("ALTER ROLE \"joe\" REPLICATION") && said.contains("GRANT pg_read_all_data"), "{said}");
    assert_eq!(server.psql("postgres", "set role joe; select count(*) from holdfast.forced_identity"), "0");
}

const URL: &str = "HOLDFAST_TEST_INIT_URL";
const DIE: &str = "HOLDFAST_TEST_INIT_DIES_AT";

/// Run by the next test in a process of its own, which a drill then kills; alone, it shows that `init` needs no drill.
#[tokio::test]
async fn init_runs_in_a_process_of_its_own() {
    let server;
    let target: ConnectTarget = if let Ok(url) = std::env::var(URL) {
        std::env::var(DIE).unwrap().parse::<Death>().unwrap().arm();
        url.parse().unwrap()
    } else {
        server = server_with_joe();
        server.target()
    };
    let clock = SystemClock::new();
    let mut session = Session::connect(&target, Mode::Sql, &clock, &[]).await.unwrap();
    init(&mut session, &clock, &plan(IdentityRule::Full), Run::Do).await.unwrap();
}

#[tokio::test]
async fn init_killed_after_any_statement_is_completed_by_repeating_it() {
    let server = server_with_joe();
    make_all(&server);
    let before = schema_text(&server);
    for statement in 1.. {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "init::init_runs_in_a_process_of_its_own"])
            .env(URL, server.url("postgres"))
            .env(DIE, format!("{}:{statement}", Step::InitStatement))
            .output()
            .unwrap();
        initialised(&server, IdentityRule::Full).await;
        for case in &CASES {
            assert_eq!(letter(&server, case.table), case.letter, "{}, killed after statement {statement}", case.why);
        }
        removed(&server).await;
        assert_eq!(schema_text(&server), before, "killed after statement {statement}");
        if status.status.success() {
            assert!(statement > 10, "a drill that never killed shows nothing");
            return;
        }
    }
}
