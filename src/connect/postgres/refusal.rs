//! What a server says when it refuses, without what it says about rows (L6).
//!
//! An error of PostgreSQL may hold row values in its DETAIL, HINT, CONTEXT, query text, and for some conditions in
//! the message itself (`invalid input syntax for type integer: "…"`). Only the condition, the names of the objects,
//! and the message of conditions that speak of no rows are read; nothing else leaves the wire.

use std::fmt;

use crate::connect::postgres::sqlstate::{Speech, condition, speech};

/// A longer message is cut.
const MESSAGE_CHARS_MAX: usize = 500;

/// A refusal by the server: its condition, and what may be said about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ServerError {
    sqlstate: String,
    severity: String,
    message: Option<String>,
    objects: Vec<(&'static str, String)>,
}

impl ServerError {
    /// Reads the body of an `ErrorResponse`. Shape: fields `code u8 | text | 0`, then `0`. Bytes that are not of that
    /// shape give an error with fewer fields. Source: PostgreSQL manual, *Error and Notice Message Fields*.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut this =
            Self { sqlstate: "?????".to_owned(), severity: "ERROR".to_owned(), message: None, objects: Vec::new() };
        let mut said = None;
        for field in body.split(|byte| *byte == 0) {
            let Some((code, text)) = field.split_first() else { continue };
            let text = String::from_utf8_lossy(text);
            match code {
                b'C' if text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                    this.sqlstate = text.into_owned();
                }
                b'V' => this.severity = text.into_owned(),
                b'M' => said = Some(text.into_owned()),
                b's' => this.objects.push(("schema", text.into_owned())),
                b't' => this.objects.push(("table", text.into_owned())),
                b'c' => this.objects.push(("column", text.into_owned())),
                b'd' => this.objects.push(("type", text.into_owned())),
                b'n' => this.objects.push(("constraint", text.into_owned())),
                _ => {} // DETAIL, HINT, CONTEXT, queries and positions stay on the wire
            }
        }
        this.message = said.and_then(|said| match speech(&this.sqlstate) {
            Speech::Whole => Some(said),
            Speech::WithoutQuotes => Some(without_quoted(&said)),
            Speech::Silent => None,
        });
        this.message = this.message.map(|message| message.chars().take(MESSAGE_CHARS_MAX).collect());
        this
    }

    /// The five characters of the condition.
    pub fn sqlstate(&self) -> &str {
        &self.sqlstate
    }

    /// The condition's name in PostgreSQL's manual, or its class.
    pub fn condition(&self) -> &'static str {
        condition(&self.sqlstate)
    }

    /// `ERROR`, `FATAL` or `PANIC`; the latter two end the session.
    pub fn severity(&self) -> &str {
        &self.severity
    }

    /// The server's message, where its condition cannot speak of rows.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The name of an object that the server named: `schema`, `table`, `column`, `type` or `constraint`.
    pub fn object(&self, kind: &str) -> Option<&str> {
        self.objects.iter().find(|(named, _)| *named == kind).map(|(_, name)| name.as_str())
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL says {} {} ({})", self.severity, self.sqlstate, self.condition())?;
        self.objects.iter().try_for_each(|(kind, name)| write!(f, ", {kind} {name:?}"))?;
        self.message.iter().try_for_each(|message| write!(f, ": {message}"))
    }
}

/// The text with everything between quotation marks left out.
fn without_quoted(text: &str) -> String {
    let mut kept = String::new();
    let mut open = None;
    for letter in text.chars() {
        match open {
            Some(mark) if mark == letter => open = None,
            Some(_) => continue,
            None if letter == '"' || letter == '\'' => {
                open = Some(letter);
                kept.push(letter);
                kept.push('…');
            }
            None => {}
        }
        if open.is_none() {
            kept.push(letter);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(fields: &[(u8, &str)]) -> ServerError {
        let mut body: Vec<u8> = Vec::new();
        for (code, text) in fields {
            body.push(*code);
            body.extend(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        ServerError::read(&body)
    }

    #[test]
    fn l6_no_value_of_a_row_comes_through_any_field() {
        #[rustfmt::skip]
        let cases = [
            // sqlstate  message                                                     why
            ("22P02",    "invalid input syntax for type integer: \"hunter2\"",       "quotes the input"),
            ("22003",    "value \"hunter2\" is out of range for type integer",       "quotes the input"),
            ("23505",    "duplicate key hunter2",                                    "constraints speak of rows"),
            ("23514",    "hunter2",                                                  "constraints speak of rows"),
            ("P0001",    "no such customer: hunter2",                                "a function's own words"),
            ("42601",    "syntax error at or near \"hunter2\"",                      "quotes the statement"),
            ("42602",    "invalid name syntax: hunter2",                             "quotes the input"),
            ("55P04",    "unsafe use of new value \"hunter2\" of enum type mood",    "an enum's label is a value"),
            ("XX000",    "unexpected thing \"hunter2\" and 'hunter2'",               "extensions use it for anything"),
            ("XX000",    "unexpected thing 'hunter2",                                "a mark that is never closed"),
            ("ZZ999",    "hunter2",                                                  "unknown conditions are silent"),
            ("hunter2",  "hunter2",                                                  "a condition of the wrong length"),
        ];
        for (sqlstate, message, why) in cases {
            let hidden = [b'D', b'H', b'W', b'q', b'p', b'P', b'F', b'L', b'R', b'x'].map(|code| (code, "hunter2"));
            let mut fields = vec![(b'S', "hunter2"), (b'V', "ERROR"), (b'C', sqlstate), (b'M', message)];
            fields.extend(hidden);
            let error = said(&fields);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{why}: {error}");
        }
    }

    #[test]
    fn what_helps_and_names_no_row_is_kept() {
        let error = said(&[(b'V', "FATAL"), (b'C', "3D000"), (b'M', "database \"nope\" does not exist")]);
        let shown = "PostgreSQL says FATAL 3D000 (invalid_catalog_name): database \"nope\" does not exist";
        assert_eq!(error.to_string(), shown);
        let error = said(&[(b'C', "23505"), (b'M', "x"), (b's', "public"), (b't', "t"), (b'n', "t_pkey")]);
        assert_eq!(
            error.to_string(),
            "PostgreSQL says ERROR 23505 (unique_violation), schema \"public\", table \"t\", constraint \"t_pkey\""
        );
        assert_eq!((error.object("constraint"), error.object("column")), (Some("t_pkey"), None));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_at_all_are_read_without_a_panic(body: Vec<u8>) {
            drop(ServerError::read(&body).to_string());
        }
    }
}
