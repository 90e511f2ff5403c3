//! The architecture as a test: who may import whom, how long a file gets, what it must say first.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
use std::{fs, path::Path, path::PathBuf};

/// Ground floor first. A module may use only modules on floors below its own.
const FLOORS: &str = "model / clock entropy step / codec crypto / store connect / log apply / catalog / \
    source restore fanout / config / daemon / chaos / cli";

#[test]
fn every_file_keeps_its_floor_its_length_and_its_first_sentence() {
    let not_word = |c: char| !c.is_alphanumeric() && c != '_';
    let hollow = |part: &str| ["types", "utils", "common", "helpers", "manager"].contains(&part);
    let mut broken = Vec::new();
    for path in [sources(Path::new("src")), sources(Path::new("chaos"))].concat() {
        let (name, text) = (path.to_str().unwrap(), fs::read_to_string(&path).unwrap());
        let here = name.trim_start_matches("src/").split(['/', '.']).next().unwrap();
        let code: String = text.lines().flat_map(|line| [line.split("//").next().unwrap(), "\n"]).collect();
        for there in code.split("crate::").skip(1).filter_map(|rest| rest.split(not_word).next()) {
            if !there.is_empty() && there != here && floor(there) >= floor(here) {
                broken.push(format!("{name}: {here} may not use {there}"));
            }
        }
        let rules = [
            (text.starts_with("//! "), "begin with one sentence that a colleague could repeat"),
            (text.lines().count() <= 400, "too long: it holds two ideas"),
            (!name.split(['/', '.']).any(hollow), "name it after what it does"),
            (!code.contains("crate::{"), "one `use crate::module` line per module, so that they can be counted"),
            (!code.replace("use super::*;", "").contains("super::"), "say crate::, so that this test can read it"),
        ];
        broken.extend(rules.iter().filter(|(kept, _)| !kept).map(|(_, rule)| format!("{name}: {rule}")));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn floor(module: &str) -> usize {
    let found = FLOORS.split('/').position(|floor| floor.split_whitespace().any(|name| name == module));
    found.unwrap_or_else(|| panic!("{module} has no floor: add it to FLOORS"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "rs"));
    found.retain(|path| !path.ends_with("lib.rs") && !path.ends_with("main.rs")); // the map and the doors
    found
}
