//! One column of many rows as one parameter: a `text[]` in binary form, which needs no quoting.
//!
//! ```text
//!   dimensions i32 = 1 | has_null i32 | element type i32 = 25 | length i32 | lower bound i32 = 1
//!   per element: bytes i32 (-1 is NULL) | text          big-endian; source: array_recv of PostgreSQL
//! ```

use bytes::BufMut;

use crate::apply::postgres::row::Cell;

/// The OID of `text`.
const TEXT: i32 = 25;
/// The OID of `text[]`.
pub const TEXT_ARRAY: u32 = 1009;
const LENGTH_AT: usize = 12;
const HEAD_BYTES: usize = 20;

/// A `text[]` that grows.
#[derive(Clone, Debug)]
pub struct TextArray {
    bytes: Vec<u8>,
    length: i32,
}

impl Default for TextArray {
    fn default() -> Self {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        for word in [1, 1, TEXT, 0, 1] {
            bytes.put_i32(word);
        }
        Self { bytes, length: 0 }
    }
}

impl TextArray {
    /// Appends a value.
    pub fn push(&mut self, cell: &Cell) {
        self.push_text(cell.text());
    }

    /// Appends a text, or NULL.
    pub fn push_text(&mut self, text: Option<&[u8]>) {
        match text.map(|text| (i32::try_from(text.len()), text)) {
            Some((Ok(bytes), text)) => {
                self.bytes.put_i32(bytes);
                self.bytes.extend_from_slice(text);
            }
            Some((Err(_), _)) | None => self.bytes.put_i32(-1),
        }
        self.length = self.length.saturating_add(1);
        if let Some(place) = self.bytes.get_mut(LENGTH_AT..).and_then(|rest| rest.first_chunk_mut::<4>()) {
            *place = self.length.to_be_bytes();
        }
    }

    /// The parameter.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_says_how_long_it_is() {
        let mut array = TextArray::default();
        array.push(&Cell::Value("ab".into()));
        array.push(&Cell::Null);
        let expected = [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 25], [0, 0, 0, 2], [0, 0, 0, 1], [0, 0, 0, 2]].concat();
        assert_eq!(array.as_bytes(), [expected, b"ab".to_vec(), vec![255; 4]].concat());
    }
}
