//! Which of several stores decides: a small object in each of them says so, and the highest number counts (L5).
//!
//! ```text
//!   first/<number>.fst    holdfast first store 1\n
//!                         number <decimal>\n
//!                         name <the store's name in the configuration>\n
//!                         sum <CRC-32C of all before, 8 hex digits>\n
//! ```
//! Where there is none nobody has ever promoted a store, and the configuration's word counts. It is clear, since a
//! writer that may not decrypt must read it, and holds nothing but a name.

use std::fmt::Write;

use bytes::Bytes;

use crate::codec::wire::WireError;
use crate::crypto::Sealed;
use crate::model::ObjectKey;
use crate::store::error::StoreError;
use crate::store::keys::Keys;
use crate::store::layout;
use crate::store::{Part, Put, Store, put_own};

const HEAD: &str = "holdfast first store 1";

/// From its number on this store decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Counts the changes.
    pub number: u64,
    /// The name of the store that decides.
    pub name: String,
}

/// Why a store may not decide, or why that cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// A store did not answer.
    #[error("which store decides could not be asked")]
    Store(#[from] StoreError),
    /// What a store says of it cannot be read.
    #[error("{key} cannot be read, so which store decides is not known; `holdfast store promote` settles it")]
    Damaged {
        /// The object.
        key: ObjectKey,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// Another store was made the first one.
    #[error(
        "store {ours} does not decide any more: store {told_by} says that {name} was made the first one (change \
         {number}); put [[store]] {name} first in the configuration, or run `holdfast store promote {ours}`"
    )]
    Deposed {
        /// The one that the configuration names first.
        ours: String,
        /// The one that decides.
        name: String,
        /// By which change.
        number: u64,
        /// Which store says so.
        told_by: String,
    },
    /// Two stores were promoted out of sight of each other.
    #[error(
        "{one} and {other} were both made the first store (change {number}); stop both daemons and run `holdfast store \
         promote` for the one to keep"
    )]
    Contested {
        /// One of them.
        one: String,
        /// The other.
        other: String,
        /// By which change.
        number: u64,
    },
}

impl Claim {
    /// The object's bytes.
    pub fn encode(&self) -> Sealed {
        let mut text = format!("{HEAD}\nnumber {}\nname {}\n", self.number, self.name);
        let sum = crc32c::crc32c(text.as_bytes());
        // Writing into a String cannot fail.
        let _written = writeln!(text, "sum {sum:08x}");
        Sealed::stored(Bytes::from(text))
    }

    /// Reads an object's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let foreign = || WireError::Foreign { what: "a claim about the first store" };
        let text = std::str::from_utf8(bytes).map_err(|_| foreign())?;
        let mut lines = text.split('\n');
        let mut value = |word: &str| lines.next().and_then(|line| line.strip_prefix(word)).ok_or_else(foreign);
        let _head = value(HEAD)?;
        let number = value("number ")?.parse().map_err(|_| foreign())?;
        let claim = Self { number, name: value("name ")?.to_owned() };
        // One claim has one form: a changed sum, sign or zero is another object.
        if claim.encode().as_bytes() == bytes { Ok(claim) } else { Err(foreign()) }
    }
}

/// The newest claim that a store holds.
pub async fn newest(store: &dyn Store) -> Result<Option<Claim>, OrderError> {
    let mut keys = Keys::new(store, layout::FIRSTS_PREFIX, None);
    let mut newest = None;
    while let Some(key) = keys.next().await? {
        newest = Some(key);
    }
    let Some(key) = newest else { return Ok(None) };
    let bytes = store.get(&key, Part::Whole).await?;
    match Claim::decode(bytes.as_bytes()) {
        Ok(claim) if layout::first(claim.number) == key => Ok(Some(claim)),
        Ok(_) => Err(OrderError::Damaged { key, source: WireError::Foreign { what: "the claim of its name" } }),
        Err(source) => Err(OrderError::Damaged { key, source }),
    }
}

/// Writes a claim into a store. One that is there already is as good; another one of that number is a contest.
pub async fn write(store: &dyn Store, claim: &Claim) -> Result<(), OrderError> {
    let (key, body) = (layout::first(claim.number), claim.encode());
    match put_own(store, &key, &body).await? {
        Put::Ours => Ok(()),
        Put::Taken(theirs) => match Claim::decode(theirs.as_bytes()) {
            Ok(theirs) => {
                Err(OrderError::Contested { one: claim.name.clone(), other: theirs.name, number: claim.number })
            }
            Err(source) => Err(OrderError::Damaged { key, source }),
        },
    }
}

/// What each store that could be asked says, by its name. Gives the newest claim if `first` may decide.
pub fn judge(first: &str, said: &[(String, Option<Claim>)]) -> Result<Option<Claim>, OrderError> {
    let claims = || said.iter().filter_map(|(store, claim)| claim.as_ref().map(|claim| (store, claim)));
    let Some((told_by, newest)) = claims().max_by_key(|(_, claim)| claim.number) else { return Ok(None) };
    let number = newest.number;
    if let Some((_, other)) = claims().find(|(_, claim)| claim.number == number && claim.name != newest.name) {
        return Err(OrderError::Contested { one: newest.name.clone(), other: other.name.clone(), number });
    }
    if newest.name == first {
        return Ok(Some(newest.clone()));
    }
    Err(OrderError::Deposed { ours: first.to_owned(), name: newest.name.clone(), number, told_by: told_by.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;
    use proptest::prelude::*;

    fn claim(number: u64, name: &str) -> Claim {
        Claim { number, name: name.to_owned() }
    }

    proptest! {
        #[test]
        fn a_claim_comes_back_and_nothing_else_is_one(number: u64, name in "[a-z][a-z0-9_-]{0,31}", bit: usize, cut: usize) {
            let claim = Claim { number, name };
            let bytes = claim.encode().bytes().to_vec();
            prop_assert_eq!(Claim::decode(&bytes), Ok(claim));
            let mut flipped = bytes.clone();
            let at = bit % (bytes.len() * 8);
            flipped[at / 8] ^= 1 << (at % 8);
            prop_assert!(Claim::decode(&flipped).is_err());
            prop_assert!(Claim::decode(&bytes[..cut % bytes.len()]).is_err());
        }

        #[test]
        fn any_bytes_are_an_error_and_no_panic(bytes: Vec<u8>) {
            prop_assert!(Claim::decode(&bytes).is_err());
        }
    }

    #[test]
    fn l5_a_store_decides_only_while_no_store_says_otherwise() {
        let none = || None;
        let is = |number, name| Some(claim(number, name));
        #[rustfmt::skip]
        let cases = [
            // a says           b says          a may decide    why
            (none(),            none(),         true,           "nobody ever promoted anything"),
            (is(1, "a"),        none(),         true,           "b has not heard of it yet"),
            (is(2, "a"),        is(1, "b"),     true,           "b was first, and is not any more"),
            (none(),            is(1, "b"),     false,          "b was promoted while a was away"),
            (is(1, "b"),        none(),         false,          "a itself says so"),
            (is(1, "a"),        is(2, "b"),     false,          "the newer one counts"),
            (is(1, "a"),        is(1, "b"),     false,          "promoted out of sight of each other: neither goes on"),
        ];
        for (a, b, may, why) in cases {
            let said = [("a".to_owned(), a), ("b".to_owned(), b)];
            assert_eq!(judge("a", &said).is_ok(), may, "{why}");
        }
    }

    #[tokio::test]
    async fn of_two_claims_of_one_number_the_first_stays() {
        let store = MemoryStore::new();
        assert_eq!(newest(&store).await.unwrap(), None);
        write(&store, &claim(1, "a")).await.unwrap();
        write(&store, &claim(1, "a")).await.unwrap();
        assert!(matches!(write(&store, &claim(1, "b")).await, Err(OrderError::Contested { .. })));
        write(&store, &claim(2, "b")).await.unwrap();
        assert_eq!(newest(&store).await.unwrap(), Some(claim(2, "b")));
        store.tamper(&layout::first(2), Some(claim(1, "a").encode().bytes()));
        assert!(matches!(newest(&store).await, Err(OrderError::Damaged { .. })), "a claim under another's name");
    }
}
