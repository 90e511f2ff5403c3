//! Where a restore should stop, as an operator writes it and as a plan prints it.
//!
//! ```text
//!   latest | 2026-11-23T10:15:00Z | lsn:16/B374D848 | xid:1234 | before-xid:1234 | mark:NAME
//! ```
//! A time says its zone: the operator, the source and this machine may live in three of them, and a restore that is an
//! hour off is a loss that nobody notices. The cut rule behind each target (L2) is the plan's.

use std::fmt;
use std::str::FromStr;

use crate::model::{Lsn, Timestamp};

/// The most characters that a mark's name may have.
pub const MARK_CHARS_MAX: usize = 64;

/// Where a restore should stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The newest instant outside every gap.
    Latest,
    /// Up to but not including the first transaction that committed after this moment.
    Time(Timestamp),
    /// Every transaction whose commit record ends at or before this place.
    Lsn(Lsn),
    /// Up to and including this transaction. Below 2^32 it is what the source's views show, epoch left out.
    Xid(u64),
    /// Up to this transaction, without it.
    BeforeXid(u64),
    /// Up to the named point that an operator set.
    Mark(String),
}

/// A text that is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// None of the forms.
    #[error(
        "not a target: {0:?}; write latest, a time with its zone (2026-11-23T10:15:00Z), lsn:0/16B3748, xid:1234, \
         before-xid:1234 or mark:NAME"
    )]
    Unknown(String),
    /// A time that could be any of 38 moments.
    #[error("the time {0:?} has no zone; write {0}Z if it is UTC, or its offset, as in {0}+01:00")]
    NoZone(String),
    /// A time that no calendar holds, or that is finer than a microsecond.
    #[error("not a time: {0:?}; write 2026-11-23T10:15:00Z, with at most six digits after the second")]
    Time(String),
    /// `lsn:` and then something else.
    #[error("not an LSN: {0:?}; write it as psql does, for example lsn:16/B374D848")]
    Lsn(String),
    /// `xid:` and then something else.
    #[error("not a transaction's number: {0:?}; write decimal digits, as txid_current() and find show them, from 3 on")]
    Xid(String),
    /// `mark:` and then no usable name.
    #[error("not a mark's name: {0:?}; write 1 to 64 characters without spaces at the ends")]
    Mark(String),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        match text.split_once(':') {
            Some(("lsn", lsn)) => lsn.parse().map(Self::Lsn).map_err(|_| TargetError::Lsn(lsn.to_owned())),
            Some(("xid", xid)) => transaction(xid).map(Self::Xid),
            Some(("before-xid", xid)) => transaction(xid).map(Self::BeforeXid),
            Some(("mark", name)) => mark(name).map(Self::Mark),
            Some(_) | None if text.starts_with(|c: char| c.is_ascii_digit()) => time(text).map(Self::Time),
            Some(_) | None => Err(TargetError::Unknown(text.to_owned())),
        }
    }
}

/// A moment in RFC 3339: zone required, to the microsecond, with `T`, `t` or a space between date and time.
pub fn time(text: &str) -> Result<Timestamp, TargetError> {
    let wrong = || TargetError::Time(text.to_owned());
    let (_, clock) = text.split_once(['T', 't', ' ']).ok_or_else(wrong)?;
    if !clock.contains(['Z', 'z', '+', '-']) {
        // Only a time that would be right with a zone is told to add one.
        let known = text.parse::<jiff::civil::DateTime>().is_ok();
        return Err(if known { TargetError::NoZone(text.to_owned()) } else { wrong() });
    }
    let fraction = clock.split_once(['.', ',']).map_or("", |(_, rest)| rest);
    if fraction.chars().take_while(char::is_ascii_digit).count() > 6 {
        return Err(wrong());
    }
    let moment: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    Ok(Timestamp::from_micros(moment.as_microsecond()))
}

/// What may be called a mark: it is printed in one line, and survives being copied from there.
pub fn mark(name: &str) -> Result<String, TargetError> {
    let length = name.chars().count();
    let plain = name.trim() == name && !name.contains(char::is_control);
    if plain && (1..=MARK_CHARS_MAX).contains(&length) {
        Ok(name.to_owned())
    } else {
        Err(TargetError::Mark(name.to_owned()))
    }
}

/// Numbers below 3 are PostgreSQL's own: invalid, bootstrap, frozen. No captured transaction has one.
fn transaction(text: &str) -> Result<u64, TargetError> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let xid = text.parse::<u64>().ok().filter(|xid| digits && *xid >= 3);
    xid.ok_or_else(|| TargetError::Xid(text.to_owned()))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Time(time) => time.fmt(f),
            Self::Lsn(lsn) => write!(f, "lsn:{lsn}"),
            Self::Xid(xid) => write!(f, "xid:{xid}"),
            Self::BeforeXid(xid) => write!(f, "before-xid:{xid}"),
            Self::Mark(name) => write!(f, "mark:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_target_is_read_as_it_is_meant_or_not_at_all() {
        let micros = |micros| Some(Target::Time(Timestamp::from_micros(micros)));
        #[rustfmt::skip]
        let cases = [
            // text                               target                                       why
            ("latest",                            Some(Target::Latest),                        "the usual one"),
            ("lsn:0/16B3748",                     Some(Target::Lsn(Lsn::new(0x16B_3748))),     "as psql prints it"),
            ("xid:1234",                          Some(Target::Xid(1234)),                     "including the transaction"),
            ("before-xid:1234",                   Some(Target::BeforeXid(1234)),               "up to the accident, without it"),
            ("xid:4294967299",                    Some(Target::Xid(4_294_967_299)),            "64 bits: with its epoch"),
            ("mark:before release 7",             Some(Target::Mark("before release 7".into())), "marks are for people"),
            ("mark:a:b",                          Some(Target::Mark("a:b".into())),            "a name may hold a colon"),
            ("1970-01-01T00:00:00Z",              micros(0),                                   "UTC"),
            ("1970-01-01T01:00:00+01:00",         micros(0),                                   "any zone, one moment"),
            ("1970-01-01T01:00:00+01",            micros(0),                                   "as psql prints it"),
            ("1970-01-01 01:00:00+01",            micros(0),                                   "with psql's space, too"),
            ("1969-12-31T19:00:00-05:00",         micros(0),                                   "west of Greenwich, the day before"),
            ("1970-01-01T00:00:00.000001Z",       micros(1),                                   "a microsecond counts"),
            ("1970-01-01T00:00:00.5Z",            micros(500_000),                             "any precision up to that"),
            ("2026-11-23T10:15:00",               None,                                        "no zone: whose quarter past ten?"),
            ("2026-11-23",                        None,                                        "no time"),
            ("2026-02-30T10:15:00Z",              None,                                        "no such day"),
            ("2026-11-23T10:15:00.1234567Z",      None,                                        "finer than PostgreSQL counts: which neighbour?"),
            ("xid:2",                             None,                                        "PostgreSQL's own numbers"),
            ("xid:-5",                            None,                                        "a sign is no digit"),
            ("xid:+5",                            None,                                        "a sign is no digit"),
            ("xid:18446744073709551616",          None,                                        "more than 64 bits"),
            ("lsn:16B3748",                       None,                                        "no slash"),
            ("mark:",                             None,                                        "no name"),
            ("mark: a",                           None,                                        "nobody sees that space again"),
            ("Latest",                            None,                                        "words are written one way"),
            ("yesterday",                         None,                                        "no form of a target"),
            ("",                                  None,                                        "nothing"),
        ];
        for (text, target, why) in cases {
            assert_eq!(text.parse().ok(), target, "{why}: {text}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_told_how_to_get_one() {
        let error = "2026-11-23T10:15:00".parse::<Target>().unwrap_err();
        assert_eq!(error, TargetError::NoZone("2026-11-23T10:15:00".into()));
        assert!(error.to_string().contains("write 2026-11-23T10:15:00Z if it is UTC"), "{error}");
        assert!(matches!("2026-99-23T10:15:00".parse::<Target>(), Err(TargetError::Time(_))), "no zone would mend it");
    }

    fn any_target() -> impl Strategy<Value = Target> {
        let micros = 0..253_402_207_200_000_000_i64;
        prop_oneof![
            Just(Target::Latest),
            micros.prop_map(|micros| Target::Time(Timestamp::from_micros(micros))),
            any::<u64>().prop_map(|raw| Target::Lsn(Lsn::new(raw))),
            (3..=u64::MAX).prop_map(Target::Xid),
            (3..=u64::MAX).prop_map(Target::BeforeXid),
            "[a-zA-Z0-9:/._-]{1,64}".prop_map(Target::Mark),
        ]
    }

    proptest! {
        #[test]
        fn what_a_plan_prints_can_be_given_back(target in any_target()) {
            prop_assert_eq!(target.to_string().parse(), Ok(target));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}") {
            drop(text.parse::<Target>());
        }
    }
}
