//! A planted word in rows, keys and errors, and the bytes of the key: nowhere outside the database and the key file (L6).

use std::fs;
use std::process::{Command, Stdio};

use crate::program::output;
use crate::shop::{Shop, exit, files};

/// Nobody says this by chance.
const WORD: &str = "Quokka-7f3a91-marmalade";

/// Rows with the word in values and keys; a constraint that holds in `shop` and breaks, with the row, anywhere else.
const SCHEMA: &str = "
    create table t (id text primary key, v text);
    create table heap (v text);
    create function here(v text) returns boolean language plpgsql as $$ begin
        if current_database() = 'loud' then raise exception 'no %', v using detail = v, hint = v; end if;
        return current_database() <> 'quiet';
    end $$;
    create table picky (id int primary key, v text check (here(v)));";

/// A verb, with everything said aloud and its temporary files in a folder of their own.
fn command(shop: &Shop, args: &[&str]) -> Command {
    let mut command = shop.holdfast().command(args);
    command.arg("-vv").env("TMPDIR", shop.path("tmp"));
    command
}

fn said(shop: &Shop, args: &[&str], code: Option<i32>) -> String {
    let ran = output(command(shop, args).output().unwrap());
    assert_eq!(ran.code, code, "{args:?}: {ran:#?}");
    ran.stdout + &ran.stderr
}

/// The word, and the key as bytes, as text in either case.
fn secrets(shop: &Shop) -> Vec<(&'static str, Vec<u8>)> {
    let text = fs::read_to_string(shop.path("key")).unwrap();
    let is_key = |word: &&str| word.len() >= 64 && word.chars().all(|c| c.is_ascii_hexdigit());
    let hexadecimal = text.split(|c: char| !c.is_ascii_alphanumeric()).find(is_key).expect("the key file holds a key");
    let raw = hex::decode(hexadecimal).unwrap();
    vec![
        ("the word", WORD.as_bytes().to_vec()),
        ("the word in hexadecimal", hex::encode(WORD).into_bytes()),
        ("the key", raw.clone()),
        ("the key as text", hex::encode(&raw).into_bytes()),
        ("the key as text", hex::encode_upper(&raw).into_bytes()),
    ]
}

fn must_hold_none(secrets: &[(&'static str, Vec<u8>)], bytes: &[u8], place: &str) {
    for (what, secret) in secrets {
        assert!(memchr::memmem::find(bytes, secret).is_none(), "{what} is in {place}");
    }
}

#[test]
fn l6_a_planted_word_and_the_key_are_nowhere_outside() {
    let shop = Shop::with(&[]);
    fs::create_dir(shop.path("tmp")).unwrap();
    shop.sql(SCHEMA);
    shop.sql(&format!("insert into t values ('{WORD} 1', '{WORD}'); insert into heap values ('{WORD}')"));
    let mut everything = vec![said(&shop, &["init"], exit::DONE)];
    let mut daemon = command(&shop, &["run"]);
    let log = fs::File::create(shop.path("daemon.log")).unwrap();
    let daemon = daemon.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap();
    everything.push(said(&shop, &["backup"], exit::DONE));
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "core dumps are off");
    let mut daemon = Killed(daemon);
    shop.sql(&format!(
        "update t set id = '{WORD} 2', v = repeat('{WORD}', 500); insert into t values ('{WORD} 3', 'x')"
    ));
    shop.sql(&format!("update heap set v = '{WORD}{WORD}'; copy heap from program 'echo {WORD}'; delete from heap"));
    shop.sql(&format!("insert into picky values (2, '{WORD}')"));
    let before_ddl = format!("lsn:{}", shop.sql("select pg_current_wal_insert_lsn()"));
    // DDL messages carry names; a default and a comment are none.
    shop.sql(&format!("create table later (v text default '{WORD}'); comment on table later is '{WORD}'"));
    shop.settle();
    everything.push(said(&shop, &["status"], exit::DONE));
    everything.push(said(&shop, &["mark", "here"], exit::DONE));
    everything.push(said(&shop, &["backup"], exit::DONE));
    // The word comes from the command line here, as it would in a shell's history; the answers are ours.
    everything.push(said(&shop, &["find", "--table", "t", "--key", &format!("{WORD} 3")], exit::DONE));
    daemon.kill();
    must_hold_none(&secrets(&shop), &fs::read(shop.path("daemon.log")).unwrap(), "the daemon's log");
    let into = |name: &str| shop.destination(name);
    everything.push(said(&shop, &["run", "--until-caught-up"], exit::DONE));
    for verb in [&["check"][..], &["list"], &["verify"], &["keys", "list"], &["find"], &["--json", "find"]] {
        everything.push(said(&shop, verb, exit::DONE));
    }
    let report = shop.path("report.json").display().to_string();
    let restored = ["restore", "--to", "latest", "--yes", "--report", &report, "--into"];
    everything.push(said(&shop, &[&restored[..], &[&into("whole")]].concat(), exit::DONE));
    // The server's message, its DETAIL with the whole row, its CONTEXT with the line of the COPY: all hold the word.
    for (broken, to) in [("quiet", "latest"), ("loud", "latest"), ("quiet", &before_ddl), ("loud", &before_ddl)] {
        shop.sql(&format!("drop database if exists {broken}"));
        everything.push(said(&shop, &["restore", "--to", to, "--yes", "--into", &into(broken)], exit::FAILED));
    }
    assert!(shop.server.log().contains(WORD), "the server says it in its own log: there was something to hide");
    let shown = said(&shop, &["find", "--table", "t", "--show-values"], exit::DONE);
    assert!(shown.contains(WORD), "what is asked for is shown: {shown}");
    let secrets = secrets(&shop);
    for text in &everything {
        must_hold_none(&secrets, text.as_bytes(), text);
    }
    let mut searched = 0;
    for path in files(shop.folder.path()).into_iter().filter(|path| *path != shop.path("key")) {
        must_hold_none(&secrets, &fs::read(&path).unwrap(), &path.display().to_string());
        searched += 1;
    }
    assert!(searched > 20, "store, state folder, logs and report: {searched} files");
}

/// A process; killed when it is dropped.
struct Killed(std::process::Child);

impl Killed {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
