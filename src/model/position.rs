//! Where in a source's own history something stands: an LSN for PostgreSQL, in general a number that only grows.

use std::fmt;
use std::str::FromStr;

/// A place in one source's history. What the number means is the source's own (for PostgreSQL it is an [`Lsn`]);
/// two positions can be compared only within one log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// A position as a format or a source gave it.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The number that formats store.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// How far `self` trails `head`, in the source's units; zero once it has caught up.
    pub const fn lag_behind(self, head: Self) -> LagBytes {
        LagBytes(head.0.saturating_sub(self.0))
    }
}

/// A distance between two positions of one source, in bytes of its own history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LagBytes(u64);

impl LagBytes {
    /// The distance in bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A place in PostgreSQL's write-ahead log. Prints as psql does, `16/B374D848`, so that a log line can be pasted there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// Before everything; PostgreSQL's `InvalidXLogRecPtr`.
    pub const ZERO: Self = Self(0);

    /// An LSN as the wire carries it.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The 64-bit number that the wire carries.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The same place as a position of the log.
    pub const fn position(self) -> Position {
        Position(self.0)
    }
}

impl From<Position> for Lsn {
    fn from(position: Position) -> Self {
        Self(position.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// A text that is not an LSN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an LSN: {0:?}; write it as psql does, for example 16/B374D848")]
pub struct LsnError(String);

impl FromStr for Lsn {
    type Err = LsnError;

    fn from_str(text: &str) -> Result<Self, LsnError> {
        let wrong = || LsnError(text.to_owned());
        let (high, low) = text.split_once('/').ok_or_else(wrong)?;
        let half = |part: &str| {
            let digits = (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
            if digits { u32::from_str_radix(part, 16).map_err(|_| wrong()) } else { Err(wrong()) }
        };
        Ok(Self((u64::from(half(high)?) << 32) | u64::from(half(low)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lsn_prints_and_parses_as_psql_writes_it() {
        #[rustfmt::skip]
        let cases = [
            // text             value                         why
            ("16/B374D848",     Some(0x16_B374_D848),         "the manual's own example"),
            ("0/0",             Some(0),                      "the invalid one is still an LSN"),
            ("FFFFFFFF/FFFFFFFF", Some(u64::MAX),             "the largest"),
            ("16B374D848",      None,                         "no slash"),
            ("1/123456789",     None,                         "more than 32 bits in a half"),
            ("/1",              None,                         "an empty half"),
            ("+1/1",            None,                         "a sign is no digit"),
        ];
        for (text, value, why) in cases {
            assert_eq!(text.parse::<Lsn>().ok().map(Lsn::get), value, "{why}: {text}");
            if let Some(raw) = value {
                assert_eq!(Lsn::new(raw).to_string().parse(), Ok(Lsn::new(raw)), "{why}");
            }
        }
    }
}
