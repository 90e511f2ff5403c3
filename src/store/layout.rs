//! Every object's name, made and parsed here and nowhere else.
//!
//! ```text
//!   log/<source>/<slot>.seg                 one segment, fence or heartbeat of a source's log
//!   checkpoint/<source>/<slot>.ckp          what came before that slot
//!   boundary/<source>/<slot>.bnd            from that slot on everything must be there
//!   boundary/<source>/<base>.doomed         that base is about to be deleted
//!   hold/<source>/<name>.hold               a stretch that retention must keep; the name is as a source's
//!   base/<source>/<base>/<number>.part      one object of a base
//!   base/<source>/<base>/manifest           what makes these objects a base
//!   keys/<32 hex>/<32 hex>.rewrap           later wraps of the data key of these wraps, known by their own id
//!   first/<number>.fst                      which store decides from now on; see `order`
//!   probe/<32 hex>                          `check` makes and removes these
//! ```
//!
//! A slot is 16 hexadecimal digits, a base's id 32, a part's number 8, always lowercase and with every zero: the order of
//! names is the order of numbers, and each object has exactly one name.

use std::fmt;
use std::str::FromStr;

use crate::model::BaseId;
use crate::model::HoldName;
use crate::model::ObjectKey;
use crate::model::Slot;
use crate::model::SourceName;

/// What an object's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A segment of a log.
    Segment {
        /// Whose log.
        source: SourceName,
        /// Where in it.
        slot: Slot,
    },
    /// A checkpoint of a log.
    Checkpoint {
        /// Whose log.
        source: SourceName,
        /// The last slot that it covers.
        slot: Slot,
    },
    /// A boundary of a log.
    Boundary {
        /// Whose log.
        source: SourceName,
        /// The first slot that must be there.
        slot: Slot,
    },
    /// A notice that a base is about to be deleted.
    Doomed {
        /// Whose base.
        source: SourceName,
        /// Which base.
        base: BaseId,
    },
    /// A hold on a log.
    Hold {
        /// Whose log.
        source: SourceName,
        /// What it is called.
        name: HoldName,
    },
    /// An object of a base.
    BasePart {
        /// Whose base.
        source: SourceName,
        /// Which base.
        base: BaseId,
        /// Which of its objects.
        number: u32,
    },
    /// The manifest of a base.
    Manifest {
        /// Whose base.
        source: SourceName,
        /// Which base.
        base: BaseId,
    },
    /// Later wraps of a data key.
    Rewrap {
        /// The first half of the id of the wraps in old headers.
        wraps: [u8; 16],
        /// The first half of the id of the later ones.
        later: [u8; 16],
    },
    /// Which of several stores decides.
    First {
        /// Counts the changes; the highest holds.
        number: u64,
    },
    /// Left by a probe that could not delete.
    Probe([u8; 16]),
}

/// The name of a segment.
pub fn segment(source: &SourceName, slot: Slot) -> ObjectKey {
    key(format_args!("log/{source}/{:016x}.seg", slot.get()))
}

/// The name of a checkpoint.
pub fn checkpoint(source: &SourceName, slot: Slot) -> ObjectKey {
    key(format_args!("checkpoint/{source}/{:016x}.ckp", slot.get()))
}

/// The name of a boundary.
pub fn boundary(source: &SourceName, slot: Slot) -> ObjectKey {
    key(format_args!("boundary/{source}/{:016x}.bnd", slot.get()))
}

/// The name of a notice that a base is about to be deleted.
pub fn doomed(source: &SourceName, base: BaseId) -> ObjectKey {
    key(format_args!("boundary/{source}/{base}.doomed"))
}

/// The name of a hold's object.
pub fn hold(source: &SourceName, name: &HoldName) -> ObjectKey {
    key(format_args!("hold/{source}/{name}.hold"))
}

/// The name of an object of a base.
pub fn base_part(source: &SourceName, base: BaseId, number: u32) -> ObjectKey {
    key(format_args!("base/{source}/{base}/{number:08x}.part"))
}

/// The name of a base's manifest.
pub fn manifest(source: &SourceName, base: BaseId) -> ObjectKey {
    key(format_args!("base/{source}/{base}/manifest"))
}

/// The name of later wraps of a data key: first the id of the wraps in the old headers, then their own.
pub fn rewrap(wraps: &[u8; 32], later: &[u8; 32]) -> ObjectKey {
    key(format_args!("keys/{}/{}.rewrap", half(wraps), half(later)))
}

/// What all later wraps of one data key start with.
pub fn rewraps_prefix(wraps: &[u8; 32]) -> String {
    format!("keys/{}/", half(wraps))
}

fn half(id: &[u8; 32]) -> String {
    hex::encode(id.first_chunk::<16>().expect("32 bytes have sixteen"))
}

/// The name of a claim about which store decides.
pub fn first(number: u64) -> ObjectKey {
    key(format_args!("{FIRSTS_PREFIX}{number:016x}.fst"))
}

/// The name of a probe's object.
pub fn probe(id: [u8; 16]) -> ObjectKey {
    key(format_args!("{PROBES_PREFIX}{}", hex::encode(id)))
}

/// What all segments of a source start with.
pub fn segments_prefix(source: &SourceName) -> String {
    format!("{LOGS_PREFIX}{source}/")
}

/// What all checkpoints of a source start with.
pub fn checkpoints_prefix(source: &SourceName) -> String {
    format!("checkpoint/{source}/")
}

/// What all boundaries of a source start with, and all notices about its bases.
pub fn boundaries_prefix(source: &SourceName) -> String {
    format!("{BOUNDARIES_PREFIX}{source}/")
}

/// What all holds of a source start with.
pub fn holds_prefix(source: &SourceName) -> String {
    format!("hold/{source}/")
}

/// What all objects of all bases of a source start with.
pub fn bases_prefix(source: &SourceName) -> String {
    format!("base/{source}/")
}

/// What all objects of one base start with.
pub fn base_prefix(source: &SourceName, base: BaseId) -> String {
    format!("base/{source}/{base}/")
}

/// What the later wraps of all data keys start with.
pub const REWRAPS_PREFIX: &str = "keys/";

/// What the objects of probes start with: they are nobody's, and no mirror gets them.
pub const PROBES_PREFIX: &str = "probe/";

/// What the objects of every log start with.
pub const LOGS_PREFIX: &str = "log/";

/// What the boundaries of every log start with.
pub const BOUNDARIES_PREFIX: &str = "boundary/";

/// What the claims about which store decides start with.
pub const FIRSTS_PREFIX: &str = "first/";

/// What all that a mirror holds starts with, in the order in which it is copied, so that a mirror is at every instant what
/// the first store may have been: the later wraps of its keys and its holds before all else, a boundary before the log that
/// begins there, a checkpoint behind what it lists, and a manifest (whose name sorts last) behind the parts of its base.
pub const MIRRORED: [&str; 7] =
    [FIRSTS_PREFIX, "keys/", "hold/", BOUNDARIES_PREFIX, LOGS_PREFIX, "checkpoint/", "base/"];

/// Sorts after every segment of the source and before every other log that follows: where a search for sources goes on.
pub fn after_segments(source: &SourceName) -> ObjectKey {
    key(format_args!("{LOGS_PREFIX}{source}/z"))
}

/// Sorts after every object of the base: where a search for bases goes on.
pub fn after_base(source: &SourceName, base: BaseId) -> ObjectKey {
    key(format_args!("base/{source}/{base}/z"))
}

/// The source whose log the name belongs to, even if it is not a segment's.
pub fn log_of(name: &ObjectKey) -> Option<SourceName> {
    let (source, _) = name.as_str().strip_prefix(LOGS_PREFIX)?.split_once('/')?;
    source.parse().ok()
}

/// What the name says; `None` for every name that this module would not make.
pub fn parse(name: &ObjectKey) -> Option<Named> {
    let mut parts = name.as_str().split('/');
    let kind = parts.next()?;
    if kind == "probe" {
        let named = Named::Probe(*parse_id(parts.next()?)?.as_bytes());
        return parts.next().is_none().then_some(named);
    }
    if kind == "keys" {
        let wraps = *parse_id(parts.next()?)?.as_bytes();
        let later = *parse_id(parts.next()?.strip_suffix(".rewrap")?)?.as_bytes();
        return parts.next().is_none().then_some(Named::Rewrap { wraps, later });
    }
    if kind == "first" {
        let number = parse_number(parts.next()?.strip_suffix(".fst")?, 16)?;
        return parts.next().is_none().then_some(Named::First { number });
    }
    let source = SourceName::from_str(parts.next()?).ok()?;
    let leaf = parts.next()?;
    let named = match kind {
        "log" => Named::Segment { source, slot: parse_slot(leaf, ".seg")? },
        "checkpoint" => Named::Checkpoint { source, slot: parse_slot(leaf, ".ckp")? },
        "boundary" => match leaf.strip_suffix(".doomed") {
            Some(base) => Named::Doomed { source, base: parse_id(base)? },
            None => Named::Boundary { source, slot: parse_slot(leaf, ".bnd")? },
        },
        "hold" => Named::Hold { source, name: leaf.strip_suffix(".hold")?.parse().ok()? },
        "base" => {
            let base = parse_id(leaf)?;
            match parts.next()? {
                "manifest" => Named::Manifest { source, base },
                part => {
                    let digits = part.strip_suffix(".part")?;
                    Named::BasePart { source, base, number: u32::try_from(parse_number(digits, 8)?).ok()? }
                }
            }
        }
        _ => return None,
    };
    parts.next().is_none().then_some(named)
}

fn parse_slot(leaf: &str, suffix: &str) -> Option<Slot> {
    let slot = Slot::new(parse_number(leaf.strip_suffix(suffix)?, 16)?);
    (slot != Slot::NONE).then_some(slot)
}

fn parse_id(text: &str) -> Option<BaseId> {
    is_lower_hex(text).then(|| text.parse().ok()).flatten()
}

fn parse_number(digits: &str, width: usize) -> Option<u64> {
    let canonical = digits.len() == width && is_lower_hex(digits);
    canonical.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn key(name: fmt::Arguments<'_>) -> ObjectKey {
    name.to_string().parse().expect("made of plain parts: a fixed word, a source's name, digits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn make(named: &Named) -> ObjectKey {
        match named {
            Named::Segment { source, slot } => segment(source, *slot),
            Named::Checkpoint { source, slot } => checkpoint(source, *slot),
            Named::Boundary { source, slot } => boundary(source, *slot),
            Named::Doomed { source, base } => doomed(source, *base),
            Named::Hold { source, name } => hold(source, name),
            Named::BasePart { source, base, number } => base_part(source, *base, *number),
            Named::Manifest { source, base } => manifest(source, *base),
            Named::Rewrap { wraps, later } => {
                rewrap(&[*wraps, [0; 16]].concat().try_into().unwrap(), &[*later; 2].concat().try_into().unwrap())
            }
            Named::First { number } => first(*number),
            Named::Probe(id) => probe(*id),
        }
    }

    fn source() -> impl Strategy<Value = SourceName> {
        "[a-z][a-z0-9_-]{0,31}".prop_map(|name| name.parse().unwrap())
    }

    fn named() -> impl Strategy<Value = Named> {
        (0..10, source(), 1..=u64::MAX, any::<[u8; 16]>(), any::<u32>()).prop_map(|(kind, source, slot, id, number)| {
            let (slot, base) = (Slot::new(slot), BaseId::from_bytes(id));
            let name = format!("case-{number}").parse().unwrap();
            match kind {
                0 => Named::Segment { source, slot },
                1 => Named::Checkpoint { source, slot },
                2 => Named::Boundary { source, slot },
                3 => Named::BasePart { source, base, number },
                4 => Named::Manifest { source, base },
                5 => Named::Hold { source, name },
                6 => Named::Rewrap { wraps: id, later: [7; 16] },
                7 => Named::First { number: slot.get() },
                8 => Named::Doomed { source, base },
                _ => Named::Probe(id),
            }
        })
    }

    proptest! {
        #[test]
        fn a_name_says_what_it_was_made_from(named in named()) {
            prop_assert_eq!(parse(&make(&named)), Some(named));
        }

        #[test]
        fn a_mirror_copies_all_but_probes(named in named()) {
            let copied = MIRRORED.iter().any(|prefix| make(&named).as_str().starts_with(prefix));
            prop_assert_eq!(copied, !matches!(named, Named::Probe(_)));
        }

        #[test]
        fn the_order_of_names_is_the_order_of_slots(source in source(), a: u64, b: u64) {
            prop_assert_eq!(segment(&source, Slot::new(a)).cmp(&segment(&source, Slot::new(b))), a.cmp(&b));
        }

        #[test]
        fn any_name_that_parses_is_the_one_name_of_its_object(text in "(log|base|probe|keys|boundary|checkpoint|hold|first)/[a-c0-1]{1,3}(/[0-9a-gA]{1,32}(.seg|.ckp|.bnd|.doomed|.hold|.fst)?)?(/[0-9a-f]{8}.part|/manifest)?") {
            if let Ok(key) = text.parse::<ObjectKey>() && let Some(named) = parse(&key) {
                prop_assert_eq!(make(&named), key);
            }
        }

        #[test]
        fn a_jump_lands_between_two_logs(a in source(), b in source(), slot: u64) {
            prop_assume!(a != b);
            let (jump, other) = (after_segments(&a), segment(&b, Slot::new(slot)));
            prop_assert!(segment(&a, Slot::new(u64::MAX)) < jump);
            prop_assert_eq!(other < jump, other < segment(&a, Slot::FIRST), "no object of another log is skipped");
        }
    }

    #[test]
    fn a_name_that_is_not_ours_says_nothing() {
        #[rustfmt::skip]
        let cases = [
            // name                                 why
            ("log/main/0000000000000000.seg",       "slot 0 means none"),
            ("log/main/1.seg",                      "every zero is written"),
            ("log/main/00000000000000001.seg",      "one digit too many"),
            ("log/main/0000000000000001.ckp",       "another kind's ending"),
            ("log/main/0000000000000001.seg/x",     "one part too many"),
            ("log/0main/0000000000000001.seg",      "not a source's name"),
            ("log/main",                            "a part is missing"),
            ("hold/main/1.hold",                    "no name begins with a digit"),
            ("hold/main/case",                      "not a hold's ending"),
            ("base/main/00/manifest",               "not a base's id"),
            ("boundary/main/00.doomed",             "not a base's id either"),
            ("other/main/0000000000000001.seg",     "no such kind"),
        ];
        for (name, why) in cases {
            assert_eq!(parse(&name.parse().unwrap()), None, "{why}: {name}");
        }
    }
}
