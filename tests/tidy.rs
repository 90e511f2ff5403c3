//! The architecture as a test: who may import whom, how long a file gets, what it must say first, and which laws are kept.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
use std::{fs, path::Path, path::PathBuf, process::Command};

/// Ground floor first. A module may use only modules on floors below its own.
const FLOORS: &str = "model / clock entropy step / codec crypto / store connect / log apply / catalog / \
    source restore fanout / config / daemon / chaos / cli";

/// The laws, shortest form. A law is stated where a module's doc names it (`L5`), and proved where a test's name begins
/// with it (`l5_of_two_writers_one_stops`).
const LAWS: [(&str, &str); 12] = [
    ("L1", "durable before acknowledged"),
    ("L2", "whole transactions in order"),
    ("L3", "honest history"),
    ("L4", "no silent corruption"),
    ("L5", "one writer"),
    ("L6", "nothing readable outside"),
    ("L7", "the catalog is a function of the store"),
    ("L8", "bounded"),
    ("L9", "capture never stops for others"),
    ("L10", "deleting is the most careful act"),
    ("L11", "fails aloud"),
    ("L12", "first, do no harm"),
];
/// Laws that no module states yet. The list may only get shorter, and the test sees to it that it does.
const NOT_STATED_YET: &[&str] = &[];
/// Laws that no test proves yet; likewise.
const NOT_PROVED_YET: &[&str] = &[];

#[test]
fn every_file_keeps_its_floor_its_length_and_its_first_sentence() {
    let not_word = |c: char| !c.is_alphanumeric() && c != '_';
    let hollow = |part: &str| ["types", "utils", "common", "helpers", "manager"].contains(&part);
    let mut broken = Vec::new();
    for path in [sources("src"), sources("chaos")].concat() {
        let (name, text) = (path.to_str().unwrap(), fs::read_to_string(&path).unwrap());
        let here = name.trim_start_matches("src/").split(['/', '.']).next().unwrap();
        let code: String = text.lines().flat_map(|line| [line.split("//").next().unwrap(), "\n"]).collect();
        for there in code.split("crate::").skip(1).filter_map(|rest| rest.split(not_word).next()) {
            if !there.is_empty() && there != here && floor(there) >= floor(here) {
                broken.push(format!("{name}: {here} may not use {there}"));
            }
        }
        let rules = [
            (!code.contains("crate::{"), "one `use crate::module` line per module, so that they can be counted"),
            (!code.replace("use super::*;", "").contains("super::"), "say crate::, so that this test can read it"),
        ];
        broken.extend(rules.iter().filter(|(kept, _)| !kept).map(|(_, rule)| format!("{name}: {rule}")));
    }
    for path in everything() {
        let (name, text) = (path.to_str().unwrap(), fs::read_to_string(&path).unwrap());
        let rules = [
            (begins_with_a_sentence(&text), "begin with one sentence that a colleague could repeat"),
            (text.lines().count() <= 400, "too long: it holds two ideas"),
            (!name.split(['/', '.']).any(hollow), "name it after what it does"),
        ];
        broken.extend(rules.iter().filter(|(kept, _)| !kept).map(|(_, rule)| format!("{name}: {rule}")));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// The first paragraph of a module's doc is prose: it begins with a capital and ends with a full stop or the colon of a
/// drawing, and it does not waste its beginning on saying that it is a module.
fn begins_with_a_sentence(text: &str) -> bool {
    let lines = text.lines().map_while(|line| line.strip_prefix("//! "));
    let paragraph = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    let hollow = ["This module", "This file", "Module ", "Contains ", "Tests for"];
    paragraph.starts_with(char::is_uppercase)
        && paragraph.ends_with(['.', ':'])
        && !hollow.iter().any(|start| paragraph.starts_with(start))
}

#[test]
fn a_hollow_beginning_is_told_from_a_sentence() {
    #[rustfmt::skip]
    let cases = [
        // text                                     good    why
        ("//! Seals what leaves.\n",                true,   "a sentence"),
        ("//! Seals what\n//! leaves.\n//!\n//! x", true,   "over two lines"),
        ("//! main\nfn main() {}\n",                false,  "a word"),
        ("//! This module seals.\n",                false,  "says that it is a module"),
        ("use std::fs;\n//! Late.\n",               false,  "something comes before it"),
        ("",                                        false,  "nothing"),
    ];
    for (text, good, why) in cases {
        assert_eq!(begins_with_a_sentence(text), good, "{why}");
    }
}

#[test]
fn every_law_is_stated_and_proved_or_owed_by_name() {
    let texts: Vec<String> = everything().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let is_module = |line: &&str| line.starts_with("//!");
    let stated = |law: &str| texts.iter().flat_map(|text| text.lines().filter(is_module)).any(|line| names(line, law));
    let proved = |law: &str| texts.iter().any(|text| text.contains(&format!("fn {}_", law.to_lowercase())));
    let mut broken = Vec::new();
    for (law, gist) in LAWS {
        match (stated(law), NOT_STATED_YET.contains(&law)) {
            (false, false) => broken.push(format!("{law} ({gist}) is stated in no module's doc")),
            (true, true) => broken.push(format!("{law} ({gist}) is stated now: take it out of NOT_STATED_YET")),
            (true, false) | (false, true) => {}
        }
        match (proved(law), NOT_PROVED_YET.contains(&law)) {
            (false, false) => broken.push(format!("{law} ({gist}) is in the name of no test")),
            (true, true) => broken.push(format!("{law} ({gist}) is proved now: take it out of NOT_PROVED_YET")),
            (true, false) | (false, true) => {}
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Whether a line names a law as a whole word: `L1` is not in `L12`.
fn names(line: &str, law: &str) -> bool {
    line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == law)
}

#[test]
fn no_tracked_file_names_a_place_of_somebodys_machine() {
    let listed = Command::new("git").args(["ls-files", "-z"]).output().expect("git lists what is tracked");
    assert!(listed.status.success(), "git could not list what is tracked");
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let mut broken = Vec::new();
    for name in String::from_utf8(listed.stdout).unwrap().split_terminator('\0') {
        // A file that is tracked and just deleted is the next commit's business.
        let bytes = fs::read(name).unwrap_or_default();
        let found = places.iter().filter(|place| memchr::memmem::find(&bytes, place.as_bytes()).is_some());
        broken.extend(found.map(|place| format!("{name} names {place}")));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn floor(module: &str) -> usize {
    let found = FLOORS.split('/').position(|floor| floor.split_whitespace().any(|name| name == module));
    found.unwrap_or_else(|| panic!("{module} has no floor: add it to FLOORS"))
}

/// Product, chaos, tests and benches, without the map and the doors.
fn everything() -> Vec<PathBuf> {
    ["src", "chaos", "tests", "benches"].into_iter().flat_map(sources).collect()
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = files(Path::new(folder));
    found.retain(|path| path.extension().is_some_and(|end| end == "rs"));
    found.retain(|path| !path.ends_with("lib.rs") && !path.ends_with("main.rs")); // the map and the doors
    found.sort();
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
