//! Opening sessions: proofs of identity, TLS, and what is refused with a remedy.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use holdfast::clock::SystemClock;
use holdfast::connect::{ConnectError, ConnectTarget, Event, Mode, Session, SlotLife, SlotSnapshot, Status};
use holdfast::model::{Lsn, Timestamp};

use crate::servers::Postgres;

async fn connect(url: &str) -> Result<Session, ConnectError> {
    let target: ConnectTarget = url.parse().unwrap();
    Session::connect(&target, Mode::Sql, &SystemClock::new(), &[]).await
}

/// An error with all its causes, as a person sees it.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

fn told_by(result: Result<Session, ConnectError>) -> String {
    told(&result.map(|_| ()).expect_err("it should have been refused"))
}

#[tokio::test]
async fn a_password_is_proved_by_scram_and_md5_and_in_clear_only_where_nobody_reads_along() {
    let server = Postgres::start();
    server.psql("postgres", "create role scram login password 'pass word é'");
    server.psql("postgres", "set password_encryption = md5; create role md5 login password 'hunter2'");
    server.psql("postgres", "create role clear login password 'hunter2'");
    server.set_hba(
        "local all postgres trust\nlocal all clear password\nhost all scram all scram-sha-256\n\
         host all md5 all md5\nhost all clear all password\n",
    );
    let tcp = |who: &str| server.url("postgres").replace("postgres@", &format!("{who}@"));
    let socket = |who: &str| server.socket_url("postgres").replace("postgres@", &format!("{who}@"));
    #[rustfmt::skip]
    let cases = [
        // url                                  refusal                                 why
        (tcp("scram:pass%20word%20%C3%A9"),     None,                                   "the right password"),
        (tcp("md5:hunter2"),                    None,                                   "the right password"),
        (socket("clear:hunter2"),               None,                                   "a unix socket is private"),
        (tcp("scram:wrong"),                    Some("28P01"),                          "a wrong password"),
        (tcp("md5:wrong"),                      Some("28P01"),                          "a wrong password"),
        (tcp("scram"),                          Some("none is configured"),             "no password"),
        (tcp("clear:hunter2"),                  Some("in clear text without TLS"),      "everybody on the way could read it"),
        (tcp("nobody:x"),                       Some("no pg_hba.conf entry"),           "an unknown role"),
    ];
    for (url, refusal, why) in cases {
        let opened = connect(&url).await;
        match refusal {
            None => assert!(opened.is_ok(), "{why}: {}", told_by(opened)),
            Some(part) => {
                let text = told_by(opened);
                assert!(text.contains(part) && !text.contains("hunter2"), "{why}: {text}");
            }
        }
    }
}

struct Authority {
    root: String,
    certificate: String,
    key: String,
}

/// A root, and a certificate for `localhost` that it vouches for.
fn authority() -> Authority {
    let root_key = rcgen::KeyPair::generate().unwrap();
    let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(root, root_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = leaf.signed_by(&key, &issuer).unwrap().pem();
    Authority { root: root_pem, certificate, key: key.serialize_pem() }
}

fn tls_server() -> (Postgres, PathBuf, PathBuf) {
    let (ours, strange) = (authority(), authority());
    let mut server = Postgres::start_with(&[("wal_level", "logical")]);
    server.place("server.crt", &ours.certificate);
    server.place("server.key", &ours.key);
    let (root, stranger) = (server.place("root.crt", &ours.root), server.place("stranger.crt", &strange.root));
    let conf = fs::read_to_string(server.data_dir().join("postgresql.conf")).unwrap();
    server.place("postgresql.conf", &format!("{conf}\nssl = on\n"));
    server.restart();
    (server, root, stranger)
}

#[tokio::test]
async fn sslmode_means_what_it_means_to_libpq() {
    let (server, root, stranger) = tls_server();
    let (plain, junk) = (Postgres::start(), server.place("junk.crt", "no certificate"));
    let (root, stranger, junk) = (root.display(), stranger.display(), junk.display());
    let secure = server.url("postgres");
    let named = secure.replace("127.0.0.1", "localhost");
    let bare = plain.url("postgres");
    let used = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    #[rustfmt::skip]
    let cases = [
        // url                                                           TLS or refusal                  why
        (format!("{secure}?sslmode=disable"),                            Ok("f"),                        "asked for none"),
        (secure.clone(),                                                 Ok("t"),                        "prefer is the default"),
        (bare.clone(),                                                   Ok("f"),                        "prefer does without"),
        (format!("{secure}?sslmode=require"),                            Ok("t"),                        "no check of who answers"),
        (format!("{bare}?sslmode=require"),                              Err("offers no TLS"),           "never in clear"),
        (format!("{secure}?sslmode=require&sslrootcert={stranger}"),     Err("shake hands"),             "require with a root is verify-ca"),
        (format!("{secure}?sslmode=verify-ca&sslrootcert={root}"),       Ok("t"),                        "the name does not matter"),
        (format!("{secure}?sslmode=verify-ca&sslrootcert={stranger}"),   Err("shake hands"),             "another root"),
        (format!("{named}?sslmode=verify-full&sslrootcert={root}"),      Ok("t"),                        "root and name are right"),
        (format!("{secure}?sslmode=verify-full&sslrootcert={root}"),     Err("shake hands"),             "made for localhost, not 127.0.0.1"),
        (format!("{named}?sslmode=verify-full&sslrootcert={stranger}"),  Err("shake hands"),             "another root"),
        (format!("{named}?sslmode=verify-full"),                         Err("T"),                       "the system does not know the root"),
        (format!("{named}?sslmode=verify-full&sslrootcert=/nowhere"),    Err("read the trusted roots"),  "no such file"),
        (format!("{named}?sslmode=verify-full&sslrootcert={junk}"),      Err("no usable certificate"),   "not a certificate"),
    ];
    for (url, expected, why) in cases {
        match (connect(&url).await, expected) {
            (Ok(mut session), Ok(tls)) => {
                assert_eq!(session.one_row(used).await.unwrap().get(0), Some(tls), "{why}: {url}");
            }
            (Err(error), Err(part)) => assert!(told(&error).contains(part), "{why}: {}", told(&error)),
            (Ok(_), Err(_)) => panic!("{why}: {url} was accepted"),
            (Err(error), Ok(_)) => panic!("{why}: {url}: {}", told(&error)),
        }
    }
}

#[tokio::test]
async fn under_tls_everything_goes_as_without_it() {
    let (server, root, _) = tls_server();
    server.psql("postgres", "create table t (s text); create publication p for all tables");
    let url = format!("{}?sslmode=verify-ca&sslrootcert={}", server.url("postgres"), root.display());
    let mut session = connect(&url).await.unwrap();
    let mut copy = session.copy_in("copy public.t from stdin").await.unwrap();
    let row = format!("{}\n", "x".repeat(9_999));
    for _ in 0..2000 {
        copy.send(row.as_bytes()).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), 2000);
    let mut copy = session.copy_out("copy public.t to stdout").await.unwrap();
    let mut bytes = 0;
    while let Some(chunk) = copy.next().await.unwrap() {
        bytes += chunk.bytes.len();
    }
    assert_eq!(bytes, 20_000_000);
    let mut pipeline = session.pipeline().unwrap();
    pipeline.parse("echo", "select repeat($1, 20)", &[25]).unwrap();
    for _ in 0..100 {
        pipeline.bind_execute("echo", [Some(row.as_bytes().repeat(10).as_slice())], &[]).unwrap();
    }
    assert_eq!(pipeline.finish().await.unwrap().len(), 100, "ten megabytes out while two hundred come in");
    let target = url.parse().unwrap();
    let mut session = Session::connect(&target, Mode::Replication, &SystemClock::new(), &[]).await.unwrap();
    session.create_slot("s", SlotLife::Temporary, SlotSnapshot::Nothing).await.unwrap();
    let options = [("proto_version", "1"), ("publication_names", "p")];
    let (mut stream, mut feedback) = session.start_replication("s", Lsn::ZERO, &options).await.unwrap();
    // On tasks of their own, as the daemon has them.
    let reader = async move {
        let (mut events, mut answered) = (Vec::new(), false);
        while !answered {
            stream.next(&mut events).await.unwrap();
            answered = events.drain(..).any(|event| matches!(event, Event::Keepalive { .. }));
        }
    };
    let writer = async move {
        let status = Status { durable: Lsn::ZERO, time: Timestamp::from_micros(0), reply_wanted: true };
        feedback.status(status).await.unwrap();
        feedback
    };
    let (read, written) = (tokio::spawn(reader), tokio::spawn(writer));
    drop((read.await.unwrap(), written.await.unwrap()));
}

#[tokio::test]
async fn prefer_falls_back_to_clear_text_where_the_server_refuses_tls_for_us() {
    let (server, ..) = tls_server();
    server.set_hba("local all postgres trust\nhostnossl all all all trust\n");
    assert!(connect(&server.url("postgres")).await.is_ok());
    let text = told_by(connect(&format!("{}?sslmode=require", server.url("postgres"))).await);
    assert!(text.contains("28000"), "{text}");
}

#[tokio::test]
async fn who_is_not_there_or_says_nothing_is_an_error_with_a_remedy() {
    let text = told_by(connect("postgres://u@127.0.0.1:1/d").await);
    assert!(text.contains("check that the server runs there"), "{text}");
    let text = told_by(connect("postgres://u@/d?host=/nowhere").await);
    assert!(text.contains("/nowhere/.s.PGSQL.5432"), "{text}");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let text = told_by(connect(&format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=1")).await);
    assert!(text.contains("no answer within 1s"), "{text}");
    let server = Postgres::start();
    let text = told_by(connect(&server.url("nope")).await);
    assert!(text.contains("database \"nope\" does not exist"), "{text}");
}
