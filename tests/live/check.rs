//! What check finds in a database: each fault of a table of faults, with its cure, and nothing where nothing is wrong.

use holdfast::clock::SystemClock;
use holdfast::connect::{ConnectTarget, Mode};
use holdfast::model::Lsn;
use holdfast::source::SourceErrorKind;
use holdfast::source::postgres::check::{CheckPlan, Finding, Verdict, check_source};
use holdfast::source::postgres::init::{IdentityRule, Run, fix, init};

use crate::identity::{letter, make_all, server_with_joe};
use crate::init::{initialised, plan};
use crate::servers::Postgres;

fn wanted(identity: IdentityRule) -> CheckPlan {
    CheckPlan { source: "main".parse().unwrap(), identity, durable: None }
}

async fn check(server: &Postgres, identity: IdentityRule) -> Vec<Finding> {
    check_source(&server.target(), &SystemClock::new(), &wanted(identity)).await
}

fn worse_than_warnings(found: &[Finding]) -> Vec<String> {
    let bad = found.iter().filter(|finding| finding.verdict > Verdict::Warning);
    bad.map(|finding| format!("{}: {} ({})", finding.name, finding.what, finding.remedy)).collect()
}

#[tokio::test]
async fn after_init_nothing_fails_and_every_finding_that_is_not_fine_says_what_to_do() {
    for rule in [IdentityRule::Full, IdentityRule::Leave] {
        let server = server_with_joe();
        make_all(&server);
        initialised(&server, rule).await;
        let found = check(&server, rule).await;
        assert_eq!(worse_than_warnings(&found), Vec::<String>::new());
        assert!(found.len() >= 14, "{found:?}");
        for finding in &found {
            assert!(finding.verdict == Verdict::Ok || !finding.remedy.is_empty(), "{finding:?}");
        }
        let unset = found.iter().find(|finding| finding.name == "max_slot_wal_keep_size").unwrap();
        assert_eq!(unset.verdict, Verdict::Warning);
    }
}

#[tokio::test]
async fn every_fault_is_found_and_named_with_its_cure() {
    use IdentityRule::{Full, Leave};
    use Verdict::{Failure, Warning};
    #[rustfmt::skip]
    let cases = [
        // rule   what goes wrong after init                                     finding               verdict   what it says
        (Full,  "select pg_drop_replication_slot('holdfast_main')",             "slot",               Failure,  "missing"),
        (Full,  "drop publication holdfast",                                    "publications",       Failure,  "missing"),
        (Full,  "alter publication holdfast set (publish = 'insert')",          "publications",       Failure,  "should"),
        (Full,  "alter publication holdfast set (publish_via_partition_root)",  "publications",       Failure,  "should"),
        (Leave, "drop publication holdfast_keyed",                              "publications",       Failure,  "missing"),
        (Leave, "alter publication holdfast_keyed set table keyed where (a > 5)", "publications",     Failure,  "row filter"),
        (Leave, "alter publication holdfast_keyed drop table keyed",            "replica identity",   Failure,  "not published"),
        (Full,  "alter event trigger holdfast_ddl enable",                      "event triggers",     Failure,  "does not fire always"),
        (Full,  "alter event trigger holdfast_drop disable",                    "event triggers",     Failure,  "does not fire always"),
        (Full,  "drop event trigger holdfast_rewrite",                          "event triggers",     Failure,  "holdfast_ddl, holdfast_drop"),
        (Full,  "comment on schema holdfast is 'older'",                        "event triggers",     Warning,  "another version"),
        (Full,  "update pg_class set relreplident = 'd' where relname = 'nokey'", "replica identity",  Failure, "public.nokey"),
        (Full,  "create role boss superuser; alter function holdfast.on_ddl() owner to boss; alter role boss nosuperuser", "event triggers", Failure, "boss"),
        (Full,  "select lo_create(0)",                                          "contents",           Warning,  "large objects"),
        (Full,  "create unlogged table u (a int)",                              "contents",           Warning,  "unlogged"),
        (Full,  "create materialized view m as select 1",                       "contents",           Warning,  "materialized"),
    ];
    let both = (server_with_joe(), server_with_joe());
    for (server, rule) in [(&both.0, Full), (&both.1, Leave)] {
        make_all(server);
        for (_, fault, name, verdict, says) in cases.iter().filter(|case| case.0 == rule) {
            initialised(server, rule).await;
            server.psql("postgres", fault);
            let found = check(server, rule).await;
            let hit = found.iter().any(|finding| {
                (finding.name, finding.verdict) == (*name, *verdict)
                    && finding.what.contains(says)
                    && !finding.remedy.is_empty()
            });
            assert!(hit, "{fault}: {found:#?}");
            server.psql("postgres", "do $$ begin alter role boss superuser; exception when undefined_object then null; end $$; drop publication if exists holdfast; drop publication if exists holdfast_keyed");
        }
    }
}

#[tokio::test]
async fn before_init_everything_that_is_missing_is_listed_at_once() {
    let server = Postgres::start_with(&[("max_replication_slots", "1"), ("max_wal_senders", "1")]);
    server.psql("postgres", "create table nokey (a int)");
    let found = check(&server, IdentityRule::Full).await;
    let failures: Vec<_> =
        found.iter().filter(|finding| finding.verdict == Verdict::Failure).map(|finding| finding.name).collect();
    let expected =
        ["wal_level", "slots left", "senders left", "slot", "publications", "event triggers", "replica identity"];
    assert_eq!(failures, expected, "{found:#?}");
    let cure = found.iter().find(|finding| finding.name == "replica identity").unwrap();
    assert!(cure.remedy.contains("ALTER TABLE ONLY public.nokey REPLICA IDENTITY FULL"), "{cure:?}");
}

#[tokio::test]
async fn a_role_that_may_not_enough_is_told_what_to_ask_for() {
    let server = server_with_joe();
    server.psql(
        "postgres",
        "alter role joe login; create table secret (a int primary key); alter table secret enable row level security",
    );
    initialised(&server, IdentityRule::Full).await;
    let target: ConnectTarget = server.url("postgres").replace("postgres@", "joe@").parse().unwrap();
    let clock = SystemClock::new();
    let found = check_source(&target, &clock, &wanted(IdentityRule::Full)).await;
    let said = found.iter().map(|finding| finding.remedy.as_str()).collect::<Vec<_>>().join("\n");
    for cure in ["ALTER ROLE joe REPLICATION", "GRANT pg_read_all_data TO joe", "ALTER ROLE joe BYPASSRLS"] {
        assert!(said.contains(cure), "{cure}: {found:#?}");
    }
    server.psql("postgres", "alter role joe replication bypassrls; grant pg_read_all_data to joe");
    let found = check_source(&target, &clock, &wanted(IdentityRule::Full)).await;
    assert_eq!(worse_than_warnings(&found), Vec::<String>::new());
}

#[tokio::test]
async fn a_slot_ahead_of_the_log_is_a_failure_and_a_server_that_is_silent_could_not_be_asked() {
    let mut server = server_with_joe();
    initialised(&server, IdentityRule::Full).await;
    let clock = SystemClock::new();
    let ahead = CheckPlan { durable: Some(Lsn::new(8)), ..wanted(IdentityRule::Full) };
    let found = check_source(&server.target(), &clock, &ahead).await;
    assert!(worse_than_warnings(&found).join("").contains("the log holds only up to 0/8"), "{found:#?}");
    let absent = check_source(&server.target().with_database("absent"), &clock, &ahead).await;
    assert_eq!((absent.len(), absent[0].verdict), (1, Verdict::Failure), "{absent:?}");
    server.stop_fast();
    let silent = check_source(&server.target(), &clock, &ahead).await;
    assert_eq!((silent.len(), silent[0].verdict), (1, Verdict::Unknown), "{silent:?}");
}

#[tokio::test]
async fn fixing_does_what_check_offers_and_only_where_init_was() {
    let server = server_with_joe();
    make_all(&server);
    let (mut session, clock) = (server.session(Mode::Sql).await, SystemClock::new());
    let error = fix(&mut session, &clock, &plan(IdentityRule::Full), Run::Do).await.unwrap_err();
    assert!(matches!(error.kind, SourceErrorKind::NotInitialised { .. }), "{error:?}");
    init(&mut session, &clock, &plan(IdentityRule::Full), Run::Do).await.unwrap();
    server.psql(
        "postgres",
        "update pg_class set relreplident = 'd' where relname = 'nokey'; alter event trigger holdfast_ddl enable",
    );
    let dry = fix(&mut session, &clock, &plan(IdentityRule::Full), Run::Dry).await.unwrap();
    assert_eq!(dry.done, ["event triggers", "public.nokey: REPLICA IDENTITY FULL"]);
    assert_eq!(letter(&server, "nokey"), "d");
    fix(&mut session, &clock, &plan(IdentityRule::Full), Run::Do).await.unwrap();
    assert_eq!(letter(&server, "nokey"), "f");
    assert_eq!(worse_than_warnings(&check(&server, IdentityRule::Full).await), Vec::<String>::new());
}
