//! Names and numbers that identify things: sources, logs, bases, slots, epochs, keys and objects.

use std::fmt;
use std::str::FromStr;

/// A name that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a usable name: {why}")]
pub struct NameError {
    /// What was given.
    pub name: String,
    /// The rule it breaks.
    pub why: &'static str,
}

/// A source's name from the configuration. It becomes part of object names, so it keeps to `a-z 0-9 _ -`,
/// starts with a letter, and has at most 32 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(String);

impl SourceName {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SourceName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let wrong = |why| Err(NameError { name: name.to_owned(), why });
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return wrong("it starts with a letter a-z");
        }
        if name.len() > 32 {
            return wrong("it has at most 32 characters");
        }
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-') {
            return wrong("it has only a-z, 0-9, _ and -");
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a hold is called. It becomes part of an object's name, so it keeps to the rule for [`SourceName`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldName(SourceName);

impl FromStr for HoldName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        name.parse().map(Self)
    }
}

impl fmt::Display for HoldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Sixteen random bytes that name something for ever; prints as 32 hexadecimal digits.
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// An id from bytes that were drawn at random or read from a format.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The sixteen bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let mut bytes = [0; 16];
                let why = "it has 32 hexadecimal digits";
                hex::decode_to_slice(text, &mut bytes).map_err(|_| NameError { name: text.to_owned(), why })?;
                Ok(Self(bytes))
            }
        }
    };
}

random_id!(
    /// One log, from its first segment on. A store that was emptied and begun anew holds another log.
    LogId
);
random_id!(
    /// One base.
    BaseId
);
random_id!(
    /// One key encryption key: a fingerprint of the key, so that equal keys have equal ids.
    KeyId
);

/// The number of a writer's reign over a log; a higher one fences every lower one (L5). The first is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// An epoch as a format stores it.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next reign.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of an object in a log: contiguous numbers, in the object's name. The first is 1; 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u64);

impl Slot {
    /// No slot.
    pub const NONE: Self = Self(0);
    /// The first slot of a log.
    pub const FIRST: Self = Self(1);

    /// A slot as a format stores it.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The slot after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The slot before this one; [`Slot::NONE`] before the first.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The source's own number of a transaction (PostgreSQL's 32-bit xid, widened); 0 where a source has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xid(u64);

impl Xid {
    /// A number as the source gave it.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which kind of recipient can unwrap a data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recipient {
    /// Who holds the key file.
    KeyFile,
    /// Who may ask the key service to decrypt.
    Service,
    /// Who holds the private half of the recovery key.
    Recovery,
}

impl Recipient {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::KeyFile, Self::Service, Self::Recovery];

    /// The number in headers.
    pub const fn tag(self) -> u8 {
        match self {
            Self::KeyFile => 1,
            Self::Service => 2,
            Self::Recovery => 3,
        }
    }

    /// The kind in words, as `keys list` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyFile => "key file",
            Self::Service => "kms",
            Self::Recovery => "recovery",
        }
    }
}

/// A data key, wrapped for one recipient; it travels in every header that the data key sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrap {
    /// Who can unwrap it.
    pub recipient: Recipient,
    /// With which key.
    pub key: KeyId,
    /// The wrapped key, in the recipient's own form.
    pub bytes: Vec<u8>,
}

/// The name of an object in a store: `/`-separated parts of `a-z 0-9 . _ -`, none empty, none starting with a dot.
/// Only `store/layout.rs` makes and reads names; every store can rely on their shape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectKey {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let good = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain);
        if name.len() <= 512 && name.split('/').all(good) {
            Ok(Self(name.to_owned()))
        } else {
            Err(NameError { name: name.to_owned(), why: "object names have parts of a-z, 0-9, '.', '_' and '-'" })
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_its_folder_is_refused() {
        #[rustfmt::skip]
        let cases = [
            // name             usable  why
            ("log/main/1",      true,   "a plain name"),
            ("../etc/passwd",   false,  "it would leave the folder"),
            ("log//1",          false,  "an empty part"),
            ("/log",            false,  "an absolute path"),
            ("log/.hidden",     false,  "temporary files begin with a dot"),
            ("log/A",           false,  "some file systems do not tell A from a"),
        ];
        for (name, usable, why) in cases {
            assert_eq!(name.parse::<ObjectKey>().is_ok(), usable, "{why}: {name}");
        }
    }
}
