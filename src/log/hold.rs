//! Holds: stretches of history that retention must keep, for an investigation; sealed objects that every process sees.
//!
//! ```text
//!   plain:  from i64 | to i64, i64::MAX for no end | name_bytes u8 | name      little-endian, µs since 1970-01-01 UTC
//! ```
//! One that cannot be read is an error and never passed over: what it keeps is not known (L10).

use bytes::BufMut;

use crate::codec::frame::pack;
use crate::codec::segment::ObjectKind;
use crate::codec::wire::{Reader, WireError};
use crate::crypto::sealed::Sealed;
use crate::crypto::stream::SealError;
use crate::log::env::LogEnv;
use crate::log::error::{LogError, ObjectError, ObjectErrorKind};
use crate::log::object::{Object, Seal, draft};
use crate::model::{Epoch, HoldName, LogId, ObjectKey, SourceName, Timestamp};
use crate::store::layout::{self, Named};
use crate::store::{Keys, Part, Put, StoreErrorKind, put_own};

/// Holds know no epochs: whoever makes one may.
const NO_EPOCH: Epoch = Epoch::new(0);

/// A stretch that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What it is called.
    pub name: HoldName,
    /// Every instant from here on …
    pub from: Timestamp,
    /// … up to this one; [`Timestamp::MAX`] for no end.
    pub to: Timestamp,
}

impl Hold {
    /// The plain bytes.
    pub fn encode(&self) -> Vec<u8> {
        let name = self.name.to_string();
        let mut out = Vec::with_capacity(17 + name.len());
        out.put_i64_le(self.from.micros());
        out.put_i64_le(self.to.micros());
        out.put_u8(u8::try_from(name.len()).expect("a name has at most 32 characters"));
        out.extend_from_slice(name.as_bytes());
        out
    }

    /// Reads the plain bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        const FOREIGN: WireError = WireError::Foreign { what: "a hold" };
        let mut reader = Reader::new(bytes);
        let (from, to) = (Timestamp::from_micros(reader.i64_le()?), Timestamp::from_micros(reader.i64_le()?));
        let length = usize::from(reader.u8()?);
        let name = std::str::from_utf8(reader.take(length)?).map_err(|_| FOREIGN)?;
        let name = name.parse().map_err(|_| FOREIGN)?;
        reader.finish()?;
        Ok(Self { name, from, to })
    }

    /// The sealed object.
    pub fn seal(&self, seal: &mut Seal) -> Result<Sealed, SealError> {
        seal.seal(&draft(ObjectKind::Hold), &[pack(&self.encode())], |_| Vec::new())
    }

    /// Reads a sealed hold.
    pub fn read(mut object: Object) -> Result<Self, ObjectError> {
        let mut plain = Vec::new();
        while let Some(frame) = object.next_frame()? {
            plain.extend_from_slice(&frame);
        }
        object.footer()?;
        let hold = Self::decode(&plain).map_err(|error| object.wrong(error.into()))?;
        let named = match layout::parse(object.key()) {
            Some(Named::Hold { name, .. }) => name == hold.name,
            Some(_) | None => false,
        };
        let right = named && object.header.kind == ObjectKind::Hold;
        if right { Ok(hold) } else { Err(object.wrong(ObjectErrorKind::Misplaced { what: "kind or name" })) }
    }
}

/// What became of a hold that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is there now.
    Made,
    /// There is one of that name; it stays as it is.
    NameTaken,
}

/// Puts a hold on a log.
pub async fn add(env: &LogEnv, source: &SourceName, log: LogId, hold: &Hold) -> Result<Added, LogError> {
    let key = layout::hold(source, &hold.name);
    let mut seal = Seal::begin(env, *log.as_bytes(), NO_EPOCH).await?;
    let sealed = hold.seal(&mut seal).map_err(|error| ObjectError { key: key.clone(), kind: error.into() })?;
    Ok(match put_own(&*env.store, &key, &sealed).await? {
        Put::Ours => Added::Made,
        Put::Taken(_) => Added::NameTaken,
    })
}

/// The holds on a log, by name.
pub async fn list(env: &LogEnv, source: &SourceName) -> Result<Vec<Hold>, LogError> {
    let mut keys = Keys::new(&*env.store, layout::holds_prefix(source), None);
    let mut holds = Vec::new();
    while let Some(key) = keys.next().await? {
        let bytes = match env.store.get(&key, Part::Whole).await {
            Ok(sealed) => sealed.bytes(),
            // Removed since it was listed, if a listing says so too: passed over, what it keeps would be deleted (L10).
            Err(error) if error.kind == StoreErrorKind::Missing => {
                if is_listed(env, source, &key).await? {
                    return Err(LogError::Missing { key });
                }
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        holds.push(Hold::read(Object::open(env, &key, bytes).await?)?);
    }
    Ok(holds)
}

async fn is_listed(env: &LogEnv, source: &SourceName, wanted: &ObjectKey) -> Result<bool, LogError> {
    let mut keys = Keys::new(&*env.store, layout::holds_prefix(source), None);
    while let Some(key) = keys.next().await? {
        if key == *wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes a hold off a log; whether there was one.
pub async fn remove(env: &LogEnv, source: &SourceName, name: &HoldName) -> Result<bool, LogError> {
    let key = layout::hold(source, name);
    match env.store.size(&key).await {
        Ok(_) => {}
        Err(error) if error.kind == StoreErrorKind::Missing => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    env.store.delete(&key).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, main_source};
    use crate::store::{Fate, Op};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn hold(name: &str, from: i64, to: i64) -> Hold {
        let (from, to) = (Timestamp::from_micros(from), Timestamp::from_micros(to));
        Hold { name: name.parse().unwrap(), from, to }
    }

    proptest! {
        #[test]
        fn a_hold_is_read_as_it_was_written_and_cut_nowhere(name in "[a-z][a-z0-9_-]{0,31}", from: i64, to: i64) {
            let hold = hold(&name, from, to);
            let bytes = hold.encode();
            prop_assert_eq!(Hold::decode(&bytes), Ok(hold));
            for end in 0..bytes.len() {
                prop_assert!(Hold::decode(&bytes[..end]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_a_hold_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(hold) = Hold::decode(&bytes) {
                prop_assert_eq!(hold.encode(), bytes);
            }
        }
    }

    #[tokio::test]
    async fn a_hold_is_seen_by_every_process_until_it_is_removed_and_a_damaged_one_is_never_passed_over() {
        let fixture = Fixture::with_a_log(51).await;
        let (env, source, log) = (&fixture.env, main_source(), fixture.log().await);
        let (one, two) = (hold("case-1", 5, 9), hold("case-2", 7, i64::MAX));
        for hold in [&two, &one] {
            assert_eq!(add(env, &source, log, hold).await.unwrap(), Added::Made);
        }
        let other = hold("case-1", 0, 1);
        assert_eq!(add(env, &source, log, &other).await.unwrap(), Added::NameTaken, "it stays as it is");
        assert_eq!(list(env, &source).await.unwrap(), [one.clone(), two.clone()]);
        assert!(remove(env, &source, &two.name).await.unwrap());
        assert!(!remove(env, &source, &two.name).await.unwrap(), "once is enough");
        let key = layout::hold(&source, &one.name);
        let body = env.store.get(&key, Part::Whole).await.unwrap().bytes();
        let elsewhere = layout::hold(&source, &two.name);
        #[rustfmt::skip]
        let damages = [
            (&key,       body.slice(..body.len() - 1),   "cut"),
            (&elsewhere, body.clone(),                   "another one's bytes: its own name is sealed in it"),
        ];
        for (key, bytes, why) in damages {
            fixture.store.tamper(key, Some(bytes));
            assert!(matches!(list(env, &source).await, Err(LogError::Object(error)) if error.key == *key), "{why}");
            fixture.store.tamper(&elsewhere, None);
            fixture.store.tamper(&layout::hold(&source, &one.name), Some(body.clone()));
        }
    }

    #[tokio::test]
    async fn l10_a_hold_that_is_listed_and_said_to_be_missing_is_never_passed_over() {
        let fixture = Fixture::with_a_log(52).await;
        let (source, log) = (main_source(), fixture.log().await);
        for name in ["case-1", "case-2"] {
            add(&fixture.env, &source, log, &hold(name, 5, 9)).await.unwrap();
        }
        // Lists holds and gives none of them; where it forgets, it lists them once.
        let lost = |forgets: bool| {
            let below = Arc::clone(&fixture.store);
            fixture.fated(move |asked| {
                if !asked.is(Op::Get, "hold/") {
                    return Fate::Done;
                }
                if forgets {
                    below.tamper(&asked.name.parse().unwrap(), None);
                }
                Fate::Fails(StoreErrorKind::Missing)
            })
        };
        let error = list(&lost(false), &source).await.unwrap_err();
        assert!(
            matches!(&error, LogError::Missing { key } if *key == layout::hold(&source, &hold("case-1", 5, 9).name))
        );
        assert_eq!(list(&lost(true), &source).await.unwrap(), [], "removed since: a second listing says so too");
    }
}
