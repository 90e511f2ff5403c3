//! The command line's promises: every verb's help is golden, mistakes end in code 2, and no password is repeated.

use super::*;
use crate::cli::exit::Exit;
use std::fs;
use std::path::Path;

fn read(line: &str) -> Result<Args, clap::Error> {
    Args::read(std::iter::once("holdfast").chain(line.split_whitespace()))
}

/// The help of a command and of every command below it, each with its file's name.
fn helps(mut command: clap::Command, name: &str, found: &mut Vec<(String, String)>) {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    found.push((format!("{name}.txt"), lines.join("\n") + "\n"));
    for below in command.get_subcommands() {
        helps(below.clone(), &format!("{name}-{}", below.get_name()), found);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "BLESS=1 writes the files anew, for a person to look at the difference")]
fn the_help_of_every_verb_is_golden() {
    let folder = Path::new("tests/golden/help");
    let mut found = Vec::new();
    let mut command = Args::command().term_width(100);
    command.build();
    helps(command, "holdfast", &mut found);
    if std::env::var("BLESS").is_ok() {
        fs::create_dir_all(folder).unwrap();
        for (name, help) in &found {
            fs::write(folder.join(name), help).unwrap();
        }
    }
    for (name, help) in &found {
        let golden = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert_eq!(&golden, help, "{name}: if this is meant, BLESS=1 cargo test --lib cli:: writes it anew");
    }
    let files = fs::read_dir(folder).unwrap().count();
    assert_eq!(files, found.len(), "a help text stands for a verb that is gone");
}

#[test]
fn clap_finds_no_fault_with_the_command_line() {
    Args::command().debug_assert();
}

#[test]
fn a_command_line_is_done_as_it_says_or_refused_with_code_2() {
    #[rustfmt::skip]
    let cases = [
        // line                                                     code      why
        ("run --until-caught-up",                                   None,     "the daemon's short form"),
        ("-c holdfast.toml status",                                 None,     "global options before the verb"),
        ("status -c holdfast.toml --json -vv",                      None,     "and behind it"),
        ("backup main",                                             None,     "one source"),
        ("backup Main",                                             Some(2),  "no such name can be configured"),
        ("restore --to latest --dry-run",                           None,     "a plan needs no database"),
        ("restore --to latest",                                     Some(2),  "a restore does"),
        ("restore --dry-run",                                       Some(2),  "and a target"),
        ("restore --to latest --into main=postgres://h/d",          None,     "the usual one"),
        ("restore --to latest --into a=postgres://h/d --into b=postgres://h/e --yes", None, "two sources"),
        ("restore --to latest --into a=postgres://h/d --into a=postgres://h/e",  Some(2), "one source, two databases"),
        ("restore --to latest --into postgres://h/d",               Some(2),  "which source?"),
        ("restore --to 2026-11-23T10:15:00 --dry-run",              Some(2),  "whose quarter past ten?"),
        ("restore --to latest --dry-run --roles none --jobs 4 --only a.b --only c --allow-gap --report r.json", None, "everything at once"),
        ("restore --to latest --dry-run --jobs 0",                  Some(2),  "nobody would load"),
        ("find --table orders --op delete,truncate --limit 5",      None,     "several operations"),
        ("find --op drop",                                          Some(2),  "no such operation"),
        ("find --key 4711",                                         Some(2),  "a key of which table?"),
        ("find --since 2026-11-23T10:15:00Z --until 2026-11-23T11:15:00+01", None, "any zone"),
        ("find --since yesterday",                                  Some(2),  "no time"),
        ("verify --quick --jobs 8 --since 2026-11-23T10:15:00Z --source main", None, "everything at once"),
        ("expire",                                                  None,     "only shows"),
        ("expire --yes --source main",                              None,     "deletes"),
        ("hold add case-1 --from 2026-11-23T10:15:00Z --to 2026-11-23T11:15:00Z", None, "a stretch"),
        ("hold add case-1 --since 2026-11-23T10:15:00Z",            None,     "without an end"),
        ("hold add case-1 --since 2026-11-23T10:15:00Z --to 2026-11-23T11:15:00Z", Some(2), "with an end it has a beginning"),
        ("hold add case-1",                                         Some(2),  "since when?"),
        ("hold add Case --since 2026-11-23T10:15:00Z",              Some(2),  "no usable name"),
        ("hold list",                                               None,     "a verb below a verb"),
        ("hold remove case-1 --yes",                                None,     "agreed to"),
        ("mark before-release",                                     None,     "a name"),
        ("mark",                                                    Some(2),  "no name"),
        ("keys new",                                                None,     "a verb below a verb"),
        ("keys",                                                    Some(2),  "which?"),
        ("catalog rebuild",                                         None,     "a verb below a verb"),
        ("init --remove --dry-run",                                 None,     "both together show what would be undone"),
        ("check --fix",                                             None,     "with its cure"),
        ("run --die-at sealed:3",                                   None,     "a drill"),
        ("run --die-at nowhere",                                    Some(2),  "no such step"),
        ("status -q -v",                                            Some(2),  "which?"),
        ("promote",                                                 Some(2),  "a verb of another version"),
        ("",                                                        Some(2),  "nothing asked"),
        ("--help",                                                  Some(0),  "an answer, not a mistake"),
        ("--version",                                               Some(0),  "an answer, not a mistake"),
    ];
    for (line, code, why) in cases {
        let refused = read(line).err().map(|error| Exit::from(&error).code());
        assert_eq!(refused, code, "{why}: {line}");
    }
}

#[test]
fn a_destination_is_taken_apart_at_its_first_equals_sign() {
    let args = read("restore --to latest --into main=postgres://h/d?sslmode=require").unwrap();
    let Verb::Restore(restore) = args.verb else { panic!("restore was asked for") };
    let destinations = restore.destinations().unwrap();
    assert_eq!(destinations.len(), 1);
    assert_eq!(destinations[0].source.as_str(), "main");
    assert_eq!(destinations[0].url.expose(), "postgres://h/d?sslmode=require");
}

#[test]
fn a_password_on_the_command_line_is_never_repeated() {
    for wrong in ["main=mysql://u:sesame@h/d", "postgres://u:sesame@h/d", "MAIN=postgres://u:sesame@h/d"] {
        let error = read(&format!("restore --to latest --into {wrong}")).unwrap_err();
        assert!(!error.to_string().contains("sesame"), "{error}");
    }
    let args = read("restore --to latest --into main=postgres://u:sesame@h/d").unwrap();
    assert!(!format!("{args:?}").contains("sesame"));
}
