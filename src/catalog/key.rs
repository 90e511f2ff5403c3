//! Keys of the index: the order of their bytes is the order of history.
//!
//! ```text
//!   's' source 0 slot u64                     a segment            integers big-endian
//!   'b' source 0 position u64 id 16 bytes     a base
//!   'g' source 0 position u64                 a gap that begins there
//! ```
//!
//! A source's name has no zero byte, so no source's keys start with another's.

use crate::model::{BaseId, Position, Slot, SourceName};

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CatalogKey {
    /// A base.
    Base {
        /// Whose.
        source: SourceName,
        /// Where the source stood.
        position: Position,
        /// Which base.
        id: BaseId,
    },
    /// A gap.
    Gap {
        /// Whose.
        source: SourceName,
        /// Up to where history is exact.
        position: Position,
    },
    /// A segment.
    Segment {
        /// Whose.
        source: SourceName,
        /// Where in its log.
        slot: Slot,
    },
}

impl CatalogKey {
    /// The key's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Base { source, position, id } => {
                let mut key = bases_of(source);
                key.extend(position.get().to_be_bytes());
                key.extend(id.as_bytes());
                key
            }
            Self::Gap { source, position } => {
                let mut key = gaps_of(source);
                key.extend(position.get().to_be_bytes());
                key
            }
            Self::Segment { source, slot } => {
                let mut key = segments_of(source);
                key.extend(slot.get().to_be_bytes());
                key
            }
        }
    }

    /// What the bytes name; `None` for bytes that no key has.
    pub fn decode(key: &[u8]) -> Option<Self> {
        let (kind, rest) = key.split_first()?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let source = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?;
        let (number, rest) = rest.get(end..)?.get(1..)?.split_first_chunk::<8>()?;
        let number = u64::from_be_bytes(*number);
        match (kind, rest) {
            (b'b', id) => {
                let id = BaseId::from_bytes(id.try_into().ok()?);
                Some(Self::Base { source, position: Position::new(number), id })
            }
            (b'g', []) => Some(Self::Gap { source, position: Position::new(number) }),
            (b's', []) => Some(Self::Segment { source, slot: Slot::new(number) }),
            (_, _) => None,
        }
    }
}

/// What the keys of all bases of a source start with.
pub fn bases_of(source: &SourceName) -> Vec<u8> {
    prefix(b'b', source)
}

/// What the keys of all gaps of a source start with.
pub fn gaps_of(source: &SourceName) -> Vec<u8> {
    prefix(b'g', source)
}

/// What the keys of all segments of a source start with.
pub fn segments_of(source: &SourceName) -> Vec<u8> {
    prefix(b's', source)
}

/// The greatest key of a base at or before a position: where a search for the base to restore from starts.
pub fn last_base_at(source: &SourceName, position: Position) -> Vec<u8> {
    CatalogKey::Base { source: source.clone(), position, id: BaseId::from_bytes([0xFF; 16]) }.encode()
}

fn prefix(kind: u8, source: &SourceName) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend(source.as_str().as_bytes());
    key.push(0);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = CatalogKey> {
        ("[a-z][a-z0-9_-]{0,4}", 0..3, any::<u64>(), any::<[u8; 16]>()).prop_map(|(source, kind, number, id)| {
            let source = source.parse().unwrap();
            match kind {
                0 => CatalogKey::Base { source, position: Position::new(number), id: BaseId::from_bytes(id) },
                1 => CatalogKey::Gap { source, position: Position::new(number) },
                _ => CatalogKey::Segment { source, slot: Slot::new(number) },
            }
        })
    }

    proptest! {
        #[test]
        fn a_key_comes_back(key in any_key()) {
            prop_assert_eq!(CatalogKey::decode(&key.encode()), Some(key));
        }

        #[test]
        fn the_order_of_bytes_is_the_order_of_history(a in any_key(), b in any_key()) {
            prop_assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
        }

        #[test]
        fn a_key_cut_anywhere_is_none(key in any_key(), cut: prop::sample::Index) {
            let bytes = key.encode();
            prop_assert_eq!(CatalogKey::decode(&bytes[..cut.index(bytes.len())]), None);
        }

        #[test]
        fn any_bytes_are_none_or_the_one_key_they_spell(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(key) = CatalogKey::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }

        #[test]
        fn a_prefix_covers_its_source_and_no_other(key in any_key(), other in "[a-z][a-z0-9_-]{0,4}") {
            let other: SourceName = other.parse().unwrap();
            let (CatalogKey::Base { source, .. } | CatalogKey::Gap { source, .. } | CatalogKey::Segment { source, .. }) = &key;
            let prefixes = [bases_of(&other), gaps_of(&other), segments_of(&other)];
            prop_assert_eq!(prefixes.iter().any(|prefix| key.encode().starts_with(prefix)), *source == other);
        }
    }
}
