//! Rows as lines of COPY text.
//!
//! Values stand between tabs, a line ends in a line end, NULL is `\N`, and a backslash, a tab and line ends inside a value
//! are written `\\ \t \n \r`. Source: PostgreSQL manual, *COPY*, Text Format.

use crate::apply::postgres::row::Cell;

/// Appends a row. A value that was not sent counts as NULL: callers insert whole rows only.
pub fn push_row(row: &[Cell], line: &mut Vec<u8>) {
    for (at, cell) in row.iter().enumerate() {
        if at > 0 {
            line.push(b'\t');
        }
        match cell {
            Cell::Null | Cell::Unchanged => line.extend_from_slice(b"\\N"),
            Cell::Value(value) => push_value(value, line),
        }
    }
    line.push(b'\n');
}

fn push_value(mut value: &[u8], line: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r');
    while let Some((plain, rest)) = value.iter().position(special).and_then(|at| value.split_at_checked(at)) {
        line.extend_from_slice(plain);
        if let Some((byte, rest)) = rest.split_first() {
            let letter = match byte {
                b'\t' => b't',
                b'\n' => b'n',
                b'\r' => b'r',
                other => *other,
            };
            line.extend_from_slice(&[b'\\', letter]);
            value = rest;
        }
    }
    line.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_copy_would_write() {
        let value = |text: &str| Cell::Value(text.to_owned().into());
        #[rustfmt::skip]
        let cases: [(Vec<Cell>, &str, &str); 6] = [
            (vec![value("1"), value("a")],          "1\ta\n",            "plain"),
            (vec![Cell::Null, value("")],           "\\N\t\n",           "NULL is not the empty text"),
            (vec![value("a\tb\nc\rd\\e")],          "a\\tb\\nc\\rd\\\\e\n", "what would break the line"),
            (vec![value("\\.")],                    "\\\\.\n",           "not the end of the data"),
            (vec![value("\\N")],                    "\\\\N\n",           "not NULL"),
            (vec![],                                "\n",                "a table without columns has rows too"),
        ];
        for (row, line, why) in cases {
            let mut bytes = Vec::new();
            push_row(&row, &mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), line, "{why}");
        }
    }
}
