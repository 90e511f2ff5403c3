//! Every name that a configuration may use, those of later versions too, and the nearest name to one that is none.

/// How often a section may stand in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Once: `[section]`.
    One,
    /// Any number of times: `[[section]]`.
    Many,
}

/// Every section, its shape and its settings, in the order of `config/holdfast.toml`.
pub const SETTINGS: [(&str, Shape, &[&str]); 12] = [
    ("service", Shape::One, &["name", "environment", "state_dir"]),
    ("key", Shape::One, &["file", "kms", "recovery", "cipher"]),
    ("store", Shape::Many, &["name", "folder", "s3", "required"]),
    ("source", Shape::Many, &["name", "postgres", "admin", "identity", "heartbeat", "slot_bytes_max"]),
    ("log", Shape::One, &["segment_bytes", "segment_age"]),
    ("base", Shape::One, &["every", "jobs"]),
    ("schema_image", Shape::One, &["quiet", "max_wait"]),
    ("retention", Shape::One, &["bases", "log", "delete"]),
    ("verify", Shape::One, &["quick", "full", "bytes_per_second"]),
    ("hold", Shape::Many, &["name", "from", "to"]),
    ("objectives", Shape::One, &["rpo", "rto"]),
    ("listen", Shape::One, &["http"]),
];

/// Settings that are tables of their own, written in one line, and what may stand in them.
const INLINE: [(&str, &[&str]); 2] = [
    ("key.kms", &["key_id", "region", "endpoint", "old"]),
    ("store.s3", &["bucket", "prefix", "region", "endpoint", "path_style"]),
];

/// What the design names and this version does not do: said as that, so that nobody looks for a spelling mistake.
const LATER: [(&str, &str, &str); 8] = [
    ("source", "redis", "use postgres = \"postgres://…\""),
    ("source", "files", "use postgres = \"postgres://…\""),
    ("source", "engine", "take it out: PostgreSQL has one engine"),
    ("kafka", "", "take the section out"),
    ("standby", "", "take the section out"),
    ("drill", "", "take the section out"),
    ("roles", "", "take the section out: restore has --roles"),
    ("audit", "", "take the section out"),
];

/// The settings of a section.
pub(crate) fn of(section: &str) -> &'static [&'static str] {
    let inline = || INLINE.iter().find(|(name, _)| *name == section).map_or(&[][..], |(_, settings)| settings);
    SETTINGS.iter().find(|(name, _, _)| *name == section).map_or_else(inline, |(_, _, settings)| settings)
}

/// What to do instead, if a setting (or with an empty `name` a whole section) is one of a later version.
pub(crate) fn later(section: &str, name: &str) -> Option<&'static str> {
    LATER.iter().find(|(s, n, _)| *s == section && *n == name).map(|(_, _, remedy)| *remedy)
}

/// What to do about a name that means nothing here.
pub(crate) fn remedy(unknown: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|name| (distance(unknown, name), name)).min();
    match nearest {
        Some((steps, name)) if steps <= 1 + name.len() / 3 => format!("write {name}, or take it out"),
        Some(_) | None => format!("take it out, or write one of {}", known.join(", ")),
    }
}

/// How many letters must be added, dropped or changed to get from one to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut left = above.saturating_add(1);
        let mut next = vec![left];
        for (pair, other) in row.windows(2).zip(to.chars()) {
            let [diagonal, up] = pair else { continue };
            let changed = diagonal.saturating_add(usize::from(letter != other));
            left = changed.min(up.saturating_add(1)).min(left.saturating_add(1));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_told_from_a_foreign_one() {
        #[rustfmt::skip]
        let cases = [
            // unknown        section    remedy                                                      why
            ("segment_byte",  "log",     "write segment_bytes, or take it out",                      "a letter is missing"),
            ("segmant_age",   "log",     "write segment_age, or take it out",                        "a letter is wrong"),
            ("colour",        "log",     "take it out, or write one of segment_bytes, segment_age",  "nothing is near"),
        ];
        for (unknown, section, expected, why) in cases {
            assert_eq!(remedy(unknown, of(section)), expected, "{why}");
        }
        assert_eq!(distance("kitten", "sitting"), 3, "the textbook's example");
    }
}
