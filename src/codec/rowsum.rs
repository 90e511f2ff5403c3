//! The checksum of a table that does not depend on the order of its rows, so that source and restore can be compared.
//!
//! Each row is the line that `COPY … TO STDOUT` in text form writes for it, without the line's end. Its XXH3 (128 bits)
//! is added to the sum modulo 2^128: addition has no order, and unlike XOR it sees a row that is there twice. Values
//! print alike only under the same settings, so both sides pin them. Proof against accidents, not against malice.

use serde::Deserialize;
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;
use xxhash_rust::xxh3::xxh3_128;

/// How many rows, and the sum of their hashes. In JSON: `{"rows": 2, "hash": "32 hexadecimal digits"}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowSum {
    rows: u64,
    #[serde(with = "hex_digest")]
    hash: u128,
}

impl RowSum {
    /// Adds a row: its line without the line's end.
    pub fn add_row(&mut self, line: &[u8]) {
        self.add_hash(xxh3_128(line));
    }

    /// Adds all rows of `other`.
    pub const fn merge(&mut self, other: Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.hash = self.hash.wrapping_add(other.hash);
    }

    /// How many rows were added.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// The sum as 32 hexadecimal digits.
    pub fn digest(&self) -> String {
        format!("{:032x}", self.hash)
    }

    const fn add_hash(&mut self, hash: u128) {
        self.merge(Self { rows: 1, hash });
    }
}

mod hex_digest {
    use serde::Deserialize;

    pub(crate) fn serialize<S: serde::Serializer>(hash: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{hash:032x}"))
    }

    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let wrong = || serde::de::Error::custom("a row hash has 32 hexadecimal digits");
        if digits { u128::from_str_radix(&text, 16).map_err(|_| wrong()) } else { Err(wrong()) }
    }
}

/// A stream of rows that ended inside one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rows end inside row {row}; the copy was cut off")]
pub struct CutRow {
    /// Which row was cut; the first is 1.
    pub row: u64,
}

/// Finds the rows in a stream of COPY text that may be cut anywhere, and sums them.
#[derive(Default)]
pub struct RowSplitter {
    sum: RowSum,
    /// Has seen the beginning of a row whose end is still to come.
    open: Option<Box<Xxh3>>,
    /// The hasher of the row before, to be used again.
    spare: Option<Box<Xxh3>>,
}

impl RowSplitter {
    /// Takes the next bytes of the stream. COPY writes a line end inside a value as `\n`, so every line is a row.
    pub fn push(&mut self, mut chunk: &[u8]) {
        while let Some((line, rest)) =
            memchr::memchr(b'\n', chunk).and_then(|end| chunk.split_at_checked(end)).and_then(skip_line_end)
        {
            chunk = rest;
            match self.open.take() {
                None => self.sum.add_row(line),
                Some(mut hasher) => {
                    hasher.update(line);
                    self.sum.add_hash(hasher.digest128());
                    hasher.reset();
                    self.spare = Some(hasher);
                }
            }
        }
        if !chunk.is_empty() {
            let spare = &mut self.spare;
            self.open.get_or_insert_with(|| spare.take().unwrap_or_default()).update(chunk);
        }
    }

    /// The rows so far that are complete.
    pub const fn so_far(&self) -> RowSum {
        self.sum
    }

    /// The sum of all rows, once the stream has ended; an error if it ended inside a row.
    pub fn finish(self) -> Result<RowSum, CutRow> {
        match self.open {
            None => Ok(self.sum),
            Some(_) => Err(CutRow { row: self.sum.rows().saturating_add(1) }),
        }
    }
}

fn skip_line_end<'a>((line, rest): (&'a [u8], &'a [u8])) -> Option<(&'a [u8], &'a [u8])> {
    rest.split_first().map(|(_, rest)| (line, rest))
}

impl std::fmt::Debug for RowSplitter {
    /// Without the hasher, whose buffer holds bytes of a row (L6).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowSplitter").field("sum", &self.sum).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(rows: &[Vec<u8>]) -> RowSum {
        let mut sum = RowSum::default();
        for row in rows {
            sum.add_row(row);
        }
        sum
    }

    fn rows() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = any::<u8>().prop_map(|byte| if byte == b'\n' { b'\t' } else { byte });
        prop::collection::vec(prop::collection::vec(byte, 0..600), 1..20)
    }

    proptest! {
        #[test]
        fn neither_order_nor_chunks_change_the_sum(
            (rows, shuffled) in rows().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
            cuts in prop::collection::vec(1_usize..700, 1..40),
        ) {
            let stream: Vec<u8> = shuffled.iter().flat_map(|row| row.iter().copied().chain([b'\n'])).collect();
            let mut splitter = RowSplitter::default();
            let (mut left, mut cuts) = (&stream[..], cuts.into_iter().cycle());
            while !left.is_empty() {
                let (chunk, rest) = left.split_at(cuts.next().unwrap().min(left.len()));
                splitter.push(chunk);
                left = rest;
            }
            prop_assert_eq!(splitter.finish(), Ok(sum(&rows)));
        }

        #[test]
        fn a_row_that_is_missing_changed_or_twice_changes_the_sum(rows in rows(), at: prop::sample::Index, bit in 0..8_u32) {
            let (at, whole) = (at.index(rows.len()), sum(&rows));
            let (mut missing, mut twice, mut changed) = (rows.clone(), rows.clone(), rows.clone());
            missing.remove(at);
            twice.push(rows[at].clone());
            match changed[at].first_mut() {
                Some(byte) => *byte ^= 1_u8.rotate_left(bit),
                None => changed[at].push(0),
            }
            for other in [missing, twice, changed] {
                prop_assert_ne!(sum(&other).digest(), whole.digest());
            }
        }

        #[test]
        fn parts_summed_apart_give_the_whole(rows in rows(), at: prop::sample::Index) {
            let (left, right) = rows.split_at(at.index(rows.len()));
            let mut merged = sum(left);
            merged.merge(sum(right));
            prop_assert_eq!(merged, sum(&rows));
            let json = serde_json::to_string(&merged).unwrap();
            prop_assert_eq!(serde_json::from_str::<RowSum>(&json).unwrap(), merged);
        }
    }

    #[test]
    fn a_stream_that_ends_inside_a_row_is_an_error() {
        let mut splitter = RowSplitter::default();
        splitter.push(b"1\ta\n2\tb");
        assert_eq!(splitter.so_far().rows(), 1);
        assert_eq!(splitter.finish(), Err(CutRow { row: 2 }));
    }

    #[test]
    fn the_sum_is_the_same_in_every_version() {
        // XXH3's own value for no bytes at all; manifests of years ago hold such sums.
        assert_eq!(sum(&[vec![]]).digest(), "99aa06d3014798d86001c324468d497f");
        assert_eq!(sum(&[b"1\ta".to_vec(), b"2\t\\N".to_vec()]).rows(), 2);
        assert!(serde_json::from_str::<RowSum>(r#"{"rows":1,"hash":"+9aa06d3014798d86001c324468d497f"}"#).is_err());
    }
}
