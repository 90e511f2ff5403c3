//! Rows of an answer as text, the tags that end answers, and how names and texts are quoted in SQL.

use bytes::{Buf, Bytes};

use crate::connect::error::WireError;

/// One row of an answer, in PostgreSQL's text form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    columns: Vec<Option<Bytes>>,
}

impl Row {
    /// Reads the body of a `DataRow`. Shape: `columns u16`, then per column `bytes i32` (-1 is NULL) and the bytes.
    pub(super) fn read(mut body: Bytes) -> Result<Self, WireError> {
        let short = || WireError::Malformed("a row shorter than it says");
        let count = body.try_get_u16().map_err(|_| short())?;
        let mut columns = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let bytes = body.try_get_i32().map_err(|_| short())?;
            columns.push(match usize::try_from(bytes) {
                Ok(bytes) if bytes <= body.len() => Some(body.split_to(bytes)),
                Ok(_) => return Err(short()),
                Err(_) => None,
            });
        }
        if body.is_empty() { Ok(Self { columns }) } else { Err(WireError::Malformed("a row longer than it says")) }
    }

    /// A column as text; nothing if it is NULL or not there.
    pub fn get(&self, column: usize) -> Option<&str> {
        self.bytes(column).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// A column's bytes; nothing if it is NULL or not there.
    pub fn bytes(&self, column: usize) -> Option<&Bytes> {
        self.columns.get(column).and_then(Option::as_ref)
    }

    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }
}

/// The rows that a `CommandComplete` reports (`INSERT 0 5`, `UPDATE 5`, `COPY 5`); zero for commands without rows.
pub(super) fn rows_of_tag(body: &[u8]) -> u64 {
    let tag = body.strip_suffix(&[0]).unwrap_or(body);
    let last = tag.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(last).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// A name in SQL: `"a ""b"""`.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL, right whatever `standard_conforming_strings` says: `'it''s'`, or ` E'a\\b'` if it holds a backslash.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_gives_its_rows() {
        #[rustfmt::skip]
        let cases: [(&[u8], u64, &str); 6] = [
            (b"INSERT 0 5\0", 5, "the OID before it is not the count"),
            (b"UPDATE 12\0", 12, "the usual"),
            (b"COPY 7\0", 7, "COPY counts too"),
            (b"BEGIN\0", 0, "no rows"),
            (b"CREATE TABLE\0", 0, "two words, no rows"),
            (b"", 0, "nothing at all"),
        ];
        for (tag, rows, why) in cases {
            assert_eq!(rows_of_tag(tag), rows, "{why}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_row_is_read_back_and_a_cut_one_is_refused(values: Vec<Option<Vec<u8>>>, cut in 1_usize..9) {
            let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
            for value in &values {
                body.extend(value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap()).to_be_bytes());
                body.extend(value.iter().flatten());
            }
            let row = Row::read(Bytes::from(body.clone())).unwrap();
            let back: Vec<_> = (0..row.len()).map(|at| row.bytes(at).map(|bytes| bytes.to_vec())).collect();
            proptest::prop_assert_eq!(back, values);
            body.truncate(body.len().saturating_sub(cut));
            proptest::prop_assert!(Row::read(Bytes::from(body)).is_err());
        }

        #[test]
        fn any_bytes_at_all_are_a_row_or_an_error(body: Vec<u8>) {
            drop(Row::read(Bytes::from(body)));
        }
    }
}
