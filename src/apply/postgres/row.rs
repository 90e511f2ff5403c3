//! Values of a row as the log carries them, and bytes by which rows are told apart.

use bytes::{BufMut, Bytes};

use crate::codec::pgoutput::{Column, Tuple};
use crate::codec::wire::WireError;

/// One value.
#[derive(Clone, PartialEq, Eq)]
pub enum Cell {
    /// NULL.
    Null,
    /// As it is in the target: a large value that the source did not send because it did not change.
    Unchanged,
    /// The value's text.
    Value(Bytes),
}

impl std::fmt::Debug for Cell {
    /// Without the value, which belongs in no log line (L6).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Unchanged => f.write_str("Unchanged"),
            Self::Value(value) => write!(f, "Value({} bytes)", value.len()),
        }
    }
}

impl Cell {
    /// The text; nothing for NULL.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Value(value) => Some(value),
            Self::Null | Self::Unchanged => None,
        }
    }

    /// How long the text is.
    pub fn len(&self) -> usize {
        self.text().map_or(0, <[u8]>::len)
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The values of a row, in the order of its table's published columns.
pub type Row = Vec<Cell>;

/// The values of `tuple`, which stands in `wire`; they share its bytes.
pub fn read(wire: &Bytes, tuple: Tuple<'_>) -> Result<Row, WireError> {
    let cell = |column| {
        Ok(match column {
            Column::Null => Cell::Null,
            Column::Unchanged => Cell::Unchanged,
            Column::Text(text) => Cell::Value(wire.slice_ref(text)),
            Column::Binary(_) => return Err(WireError::Foreign { what: "a value in text form" }),
        })
    };
    tuple.columns().map(cell).collect()
}

/// Whether every value is there.
pub fn is_whole(row: &[Cell]) -> bool {
    !row.contains(&Cell::Unchanged)
}

/// `newer` over `older`: what did not change is taken from the older version.
pub fn merge(older: &[Cell], newer: Row) -> Row {
    let pairs = newer.into_iter().zip(older);
    pairs.map(|(new, old)| if new == Cell::Unchanged { old.clone() } else { new }).collect()
}

/// Bytes that are equal exactly if the values are. Shape: per value its length plus one as u32, 0 for NULL, then the
/// text. `None` if a value was not sent.
pub fn identity_bytes<'c>(cells: impl IntoIterator<Item = &'c Cell>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for cell in cells {
        match cell {
            Cell::Null => bytes.put_u32(0),
            Cell::Unchanged => return None,
            Cell::Value(value) => {
                bytes.put_u32(u32::try_from(value.len()).ok()?.checked_add(1)?);
                bytes.extend_from_slice(value);
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_cell() -> impl Strategy<Value = Cell> {
        prop_oneof![Just(Cell::Null), proptest::collection::vec(0..3_u8, 0..4).prop_map(|v| Cell::Value(v.into()))]
    }

    proptest! {
        #[test]
        fn rows_have_equal_bytes_exactly_if_they_are_equal(
            a in proptest::collection::vec(any_cell(), 3),
            b in proptest::collection::vec(any_cell(), 3),
        ) {
            prop_assert_eq!(identity_bytes(&a) == identity_bytes(&b), a == b);
        }
    }

    #[test]
    fn what_did_not_change_keeps_its_older_value() {
        let value = |text: &'static str| Cell::Value(Bytes::from_static(text.as_bytes()));
        let merged = merge(&[value("old"), Cell::Null, value("gone")], vec![Cell::Unchanged, value("new"), Cell::Null]);
        assert_eq!(merged, vec![value("old"), value("new"), Cell::Null]);
        assert!(is_whole(&merged));
        assert_eq!(identity_bytes(&[Cell::Unchanged]), None, "a value that was not sent has no bytes");
    }
}
