//! A notice that a base is about to be deleted: who confirms a hold meanwhile does not count on that base (L10).
//!
//! ```text
//!   boundary/<source>/<base>.doomed    holdfast doomed base 1\n
//!                                      base <32 hex>\n
//!                                      at <µs since 1970-01-01 UTC>\n
//!                                      sum <CRC-32C of all before, 8 hex digits>\n
//! ```
//! Whoever deletes puts the notice, then looks at the holds, then deletes; whoever adds a hold puts that, then looks at the
//! notices: one of them sees the other. Where the boundary moves it does the same for the log. It is clear, since it says
//! nothing that names do not say, and it goes with its base.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;

use crate::codec::wire::WireError;
use crate::crypto::Sealed;
use crate::log::env::LogEnv;
use crate::model::{BaseId, SourceName, Timestamp};
use crate::store::layout::{self, Named};
use crate::store::{Keys, Part, PutNew, StoreError, StoreErrorKind};

const HEAD: &str = "holdfast doomed base 1";

/// Nobody is about to delete for so long: a notice of that age was left behind.
const STALE_AFTER: Duration = Duration::from_hours(24);

/// That a base is about to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which.
    pub base: BaseId,
    /// When that was decided, by the clock of whoever deletes.
    pub at: Timestamp,
}

impl Notice {
    /// The object's bytes.
    pub fn encode(self) -> Sealed {
        let mut text = format!("{HEAD}\nbase {}\nat {}\n", self.base, self.at.micros());
        let sum = crc32c::crc32c(text.as_bytes());
        // Writing into a String cannot fail.
        let _written = writeln!(text, "sum {sum:08x}");
        Sealed::stored(Bytes::from(text))
    }

    /// Reads an object's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let foreign = || WireError::Foreign { what: "a notice" };
        let text = std::str::from_utf8(bytes).map_err(|_| foreign())?;
        let mut lines = text.split('\n');
        let mut value = |word: &str| lines.next().and_then(|line| line.strip_prefix(word)).ok_or_else(foreign);
        let _head = value(HEAD)?;
        let base = value("base ")?.parse().map_err(|_| foreign())?;
        let at = Timestamp::from_micros(value("at ")?.parse().map_err(|_| foreign())?);
        let notice = Self { base, at };
        // One notice has one form: a changed sum, sign or zero is another object.
        if notice.encode().as_bytes() == bytes { Ok(notice) } else { Err(foreign()) }
    }
}

/// Gives notice of `bases`; gives those of which nobody had.
pub async fn give(env: &LogEnv, source: &SourceName, bases: &[BaseId]) -> Result<Vec<BaseId>, StoreError> {
    let mut ours = Vec::new();
    for base in bases {
        let notice = Notice { base: *base, at: env.clock.now() };
        match env.store.put_new(&layout::doomed(source, *base), notice.encode()).await? {
            PutNew::Created => ours.push(*base),
            PutNew::AlreadyThere => {}
        }
    }
    Ok(ours)
}

/// Takes notices back.
pub async fn take_back(env: &LogEnv, source: &SourceName, bases: &[BaseId]) -> Result<(), StoreError> {
    for base in bases {
        env.store.delete(&layout::doomed(source, *base)).await?;
    }
    Ok(())
}

/// The bases of which notice was given. The name is enough: a false one only keeps somebody from relying on a base.
pub async fn list(env: &LogEnv, source: &SourceName) -> Result<Vec<BaseId>, StoreError> {
    let mut keys = Keys::new(&*env.store, layout::boundaries_prefix(source), None);
    let mut bases = Vec::new();
    while let Some(key) = keys.next().await? {
        if let Some(Named::Doomed { base, .. }) = layout::parse(&key) {
            bases.push(base);
        }
    }
    Ok(bases)
}

/// Takes back notices of bases that are not `doomed`, where whoever gave them has long ended. Younger ones may be another
/// process's that is about to delete.
pub async fn forget_stale(env: &LogEnv, source: &SourceName, doomed: &[BaseId]) -> Result<(), StoreError> {
    let long_ago = env.clock.now().earlier_by(STALE_AFTER);
    for base in list(env, source).await? {
        if doomed.contains(&base) {
            continue;
        }
        let key = layout::doomed(source, base);
        let stale = match env.store.get(&key, Part::Whole).await {
            // What cannot be read says nothing to anybody but `verify`.
            Ok(bytes) => Notice::decode(bytes.as_bytes()).is_ok_and(|notice| notice.at < long_ago),
            Err(error) if error.kind == StoreErrorKind::Missing => false,
            Err(error) => return Err(error),
        };
        if stale {
            env.store.delete(&key).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_notice_comes_back_and_nothing_else_is_one(base: [u8; 16], at: i64, bit: usize, cut: usize) {
            let notice = Notice { base: BaseId::from_bytes(base), at: Timestamp::from_micros(at) };
            let bytes = notice.encode().bytes().to_vec();
            prop_assert_eq!(Notice::decode(&bytes), Ok(notice));
            let mut flipped = bytes.clone();
            let at = bit % (bytes.len() * 8);
            flipped[at / 8] ^= 1 << (at % 8);
            prop_assert!(Notice::decode(&flipped).is_err());
            prop_assert!(Notice::decode(&bytes[..cut % bytes.len()]).is_err());
        }

        #[test]
        fn any_bytes_are_an_error_and_no_panic(bytes: Vec<u8>) {
            prop_assert!(Notice::decode(&bytes).is_err());
        }
    }
}
