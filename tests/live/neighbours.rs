//! Two installations of one operator, under one key, that are pointed at one mirror by mistake.

use crate::mirrors::{configure, objects, rows, with_mirror};
use crate::shop::exit;

/// The key does not tell two installations of one operator apart; what the mirror holds does.
#[test]
fn l5_two_sites_with_one_key_and_other_sources_do_not_share_a_mirror_and_neither_deposes_the_other() {
    let shop = with_mirror(false);
    rows(&shop, 0, 10);
    shop.drain();
    // The first site has promoted its stores to and fro: its mirror says so to everybody who asks.
    shop.ok(&["store", "promote", "two", "--yes"]);
    configure(&shop, "holdfast.toml", ["two", "one"], false);
    shop.drain();
    let before = objects(&shop.path("one"));
    assert!(before.iter().any(|name| name.starts_with("first/")), "{before:?}");

    shop.server.psql("postgres", "create database other");
    let alone = format!(
        "[service]\nstate_dir = \"state2\"\n[key]\nfile = \"key\"\n[[store]]\nfolder = \"theirs\"\n\
         [[source]]\nname = \"other\"\npostgres = \"{}\"\nheartbeat = \"1s\"\n[base]\nevery = \"never\"\n",
        shop.server.url("other")
    );
    let shared = alone.replace("[[source]]", "[[store]]\nfolder = \"one\"\n[[source]]");
    let other = shop.write("shared.toml", &shared);
    let refused = other.run(&["init"]);
    assert_eq!(refused.code, exit::UNAVAILABLE, "{refused:#?}");
    let says = |text: &str| text.contains("source main") || text.contains("log of main");
    assert!(says(&refused.stderr) && refused.stderr.contains("a prefix of its own"), "{refused:#?}");
    assert!(!refused.stderr.contains("store promote"), "the worst advice: {refused:#?}");

    // Pointed there later, it is told by check and by the daemon, which goes on alone and adds nothing to it.
    let initialised = shop.write("alone.toml", &alone).run(&["init"]);
    assert_eq!(initialised.code, exit::DONE, "{initialised:#?}");
    let checked = other.run(&["check"]);
    assert_eq!(checked.code, exit::FAILED, "{checked:#?}");
    assert!(checked.stdout.contains("a prefix of its own"), "{checked:#?}");
    assert!(!checked.stdout.contains("does not decide any more"), "{checked:#?}");
    let ran = other.run(&["run", "--until-caught-up"]);
    assert_eq!(ran.code, exit::DONE, "{ran:#?}");
    assert_eq!(objects(&shop.path("one")), before);
    assert!(objects(&shop.path("theirs")).iter().any(|name| name.starts_with("log/other/")));
    // And the first site has noticed nothing.
    rows(&shop, 10, 12);
    shop.drain();
    shop.ok(&["verify", "--store", "one"]);
}
