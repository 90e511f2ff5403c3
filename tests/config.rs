//! The complete example of a configuration states every setting and its true default, and says why each is there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use holdfast::config::{Config, Machine, SETTINGS, Shape};
use std::fs;
use std::path::Path;

const EXAMPLE: &str = "config/holdfast.toml";

fn example() -> String {
    fs::read_to_string(EXAMPLE).unwrap()
}

fn parse(text: &str) -> Config {
    Config::parse(Path::new("/etc/holdfast/holdfast.toml"), text, &Machine).unwrap()
}

/// The remark behind a setting, without its `#`.
fn remark(line: &str) -> Option<&str> {
    line.split_once(" = ").and_then(|(_, rest)| rest.split_once(" # ")).map(|(_, remark)| remark)
}

/// A setting that stands where another one stands in the example, and is commented out there.
fn is_alternative(line: &str) -> bool {
    line.starts_with("# ") && remark(line).is_some_and(|remark| remark.starts_with("instead of"))
}

#[test]
fn every_alternative_can_stand_in_the_place_of_the_other() {
    let text = example();
    let alternatives: Vec<&str> = text.lines().filter(|line| is_alternative(line)).collect();
    assert!(!alternatives.is_empty());
    for line in alternatives {
        let other = remark(line).unwrap().trim_start_matches("instead of ").split(':').next().unwrap();
        let replaced: Vec<&str> = text
            .lines()
            .filter(|old| !(old.starts_with(&format!("{other} = "))) || old.contains("/etc/"))
            .map(|old| if old == line { line.trim_start_matches("# ") } else { old })
            .collect();
        assert_ne!(parse(&replaced.join("\n")), parse(&text), "{line}");
    }
}

#[test]
fn every_setting_is_stated_in_its_section_and_in_order() {
    let stated: Vec<String> = example()
        .lines()
        .filter(|line| (!line.starts_with('#') || is_alternative(line)) && !line.is_empty())
        .map(|line| line.trim_start_matches("# "))
        .map(|line| line.split(" = ").next().unwrap().to_owned())
        .collect();
    let mut known = Vec::new();
    for (section, shape, settings) in SETTINGS {
        known.push(if shape == Shape::Many { format!("[[{section}]]") } else { format!("[{section}]") });
        known.extend(settings.iter().map(ToString::to_string));
    }
    assert_eq!(stated, known);
}

#[test]
fn every_stated_default_is_the_true_one() {
    let text = example();
    let is_default = |line: &&str| remark(line).is_some_and(|remark| remark.starts_with("default"));
    assert!(text.lines().filter(is_default).count() >= 16, "the defaults are marked");
    for left_out in text.lines().filter(is_default) {
        let rest = text.lines().filter(|line| *line != left_out).collect::<Vec<_>>().join("\n");
        assert_eq!(parse(&text), parse(&rest), "without: {left_out}");
    }
}

#[test]
fn what_is_needed_is_needed_and_what_is_yours_may_go() {
    let text = example();
    for line in text.lines().filter(|line| remark(line).is_some() && !is_alternative(line)) {
        let rest = text.lines().filter(|other| *other != line).collect::<Vec<_>>().join("\n");
        let parsed = Config::parse(Path::new("holdfast.toml"), &rest, &Machine);
        assert_eq!(parsed.is_err(), remark(line).unwrap().starts_with("needed"), "without: {line}");
        if remark(line).unwrap().starts_with("yours") {
            assert_ne!(parse(&text), parse(&rest), "this has a default: {line}");
        }
    }
}

#[test]
fn every_setting_says_why_it_is_there() {
    for line in example().lines().filter(|line| line.contains(" = ") && !line.starts_with('#')) {
        let remark = remark(line).unwrap_or_else(|| panic!("no remark: {line}"));
        let kind = remark.split([':', ',']).next().unwrap();
        assert!(["default", "needed", "yours"].contains(&kind), "needed, yours or default? {line}");
        assert!(remark.split_once(": ").is_some_and(|(_, why)| why.len() > 10), "why? {line}");
    }
}
