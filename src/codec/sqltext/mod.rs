//! Splits the plain text of `pg_dump` into its entries, and a script into its statements.
//!
//! `pg_dump --section=pre-data` and `--section=post-data` write
//!
//! ```text
//! --
//! -- PostgreSQL database dump
//! --
//! \restrict …                                   for psql; servers do not know it
//! SET client_encoding = 'UTF8'; …               the prologue: an entry without a kind
//!
//! --
//! -- Name: t; Type: TABLE; Schema: public; Owner: joe
//! --
//! CREATE TABLE …; ALTER TABLE … OWNER TO joe;   an entry
//! SET default_tablespace = fast;                settings for the entries to come: an entry without a kind
//! ```
//!
//! Only a header that stands outside every string, name and comment is one: a function's body, a comment on a table
//! and a table's name may all look like a header. Each entry's text can be sent as one simple query. Entries without
//! a kind set parameters for all later entries of their session.

mod lex;
mod statement;

use crate::codec::sqltext::lex::Lexer;
use crate::codec::sqltext::lex::Token;
use crate::codec::sqltext::statement::Statement;

/// Schema text that cannot be split. It quotes nothing of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlTextError {
    /// A quote or a comment has no end: the text was cut.
    #[error("line {line} of the schema text opens {what} that is never closed; the dump is incomplete")]
    Unclosed {
        /// What was opened.
        what: &'static str,
        /// Where; the first line is 1.
        line: usize,
    },
    /// `COPY … FROM stdin`: rows follow, which are no SQL.
    #[error("line {line} of the schema text holds rows; dump the sections pre-data and post-data only")]
    Rows {
        /// Where; the first line is 1.
        line: usize,
    },
}

/// One object of a dump. Its names are as the dump's comment tells them, with line ends made blanks: good to choose
/// and to report by, not to address an object by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The object's name, for some kinds with the name of what it belongs to before it.
    pub name: &'a str,
    /// What it is, in `pg_dump`'s words (`TABLE`, `FK CONSTRAINT`, `EVENT TRIGGER`); empty for settings.
    pub kind: &'a str,
    /// Its schema, if it is in one.
    pub schema: Option<&'a str>,
    /// Its owner, if the dump names one.
    pub owner: Option<&'a str>,
    /// Its statements, without the comments around them.
    pub sql: &'a str,
}

/// The entries of a dump in their order. Entries without any statement and psql's commands are left out.
pub fn entries(text: &str) -> Result<Vec<Entry<'_>>, SqlTextError> {
    let mut lexer = Lexer::new(text);
    let mut statement = Statement::default();
    let mut block = Block::new(text, SETTINGS);
    let mut done = Vec::new();
    loop {
        let (at, line_start) = (lexer.at(), lexer.at_line_start());
        let Some((token, piece)) = lexer.next()? else { break };
        if token == Token::Comment && line_start && piece == "--" {
            if let Some((header, bytes)) = header(lexer.rest()) {
                block.close(&mut statement, &mut done);
                block = Block::new(text, header);
                lexer.skip(bytes);
            }
        } else if token == Token::Meta {
            block.close(&mut statement, &mut done);
            block = Block::new(text, block.header);
        } else if let Some((from, to)) = statement.take(token, piece, at) {
            if text.get(from..to).is_some_and(brings_rows) {
                return Err(SqlTextError::Rows { line: lexer.line_number() });
            }
            block.statements.push((from, to));
        }
    }
    block.close(&mut statement, &mut done);
    Ok(done)
}

/// The single statements of a script in their order, each with its semicolon and without the comments around it.
pub fn statements(text: &str) -> Result<Vec<&str>, SqlTextError> {
    let mut lexer = Lexer::new(text);
    let mut statement = Statement::default();
    let mut found = Vec::new();
    loop {
        let at = lexer.at();
        let Some((token, piece)) = lexer.next()? else { break };
        let ended = if token == Token::Meta { statement.end() } else { statement.take(token, piece, at) };
        if let Some((from, to)) = ended {
            if text.get(from..to).is_some_and(brings_rows) {
                return Err(SqlTextError::Rows { line: lexer.line_number() });
            }
            found.extend(text.get(from..to));
        }
    }
    found.extend(statement.end().and_then(|(from, to)| text.get(from..to)));
    Ok(found)
}

fn brings_rows(sql: &str) -> bool {
    sql.starts_with("COPY ") && sql.ends_with("FROM stdin;")
}

/// What a dump's comment says about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header<'a> {
    name: &'a str,
    kind: &'a str,
    schema: Option<&'a str>,
    owner: Option<&'a str>,
}

/// The header of what has none.
const SETTINGS: Header<'static> = Header { name: "", kind: "", schema: None, owner: None };

impl<'a> Header<'a> {
    fn entry(self, sql: &'a str) -> Entry<'a> {
        let Self { name, kind, schema, owner } = self;
        Entry { name, kind, schema, owner, sql }
    }
}

/// What stands under one header.
#[derive(Debug)]
struct Block<'a> {
    text: &'a str,
    header: Header<'a>,
    statements: Vec<(usize, usize)>,
}

impl<'a> Block<'a> {
    const fn new(text: &'a str, header: Header<'a>) -> Self {
        Self { text, header, statements: Vec::new() }
    }

    /// Ends the block, and a statement that is open, and adds its entries to `done`.
    fn close(&mut self, open: &mut Statement, done: &mut Vec<Entry<'a>>) {
        self.statements.extend(open.end());
        // pg_dump sets the tablespace and the access method of the next entry before that entry's header.
        let is_set =
            |&&(from, to): &&(usize, usize)| self.text.get(from..to).is_some_and(|sql| sql.starts_with("SET "));
        let settings = match self.header.kind {
            "" => 0,
            _ => self.statements.iter().rev().take_while(is_set).count(),
        };
        let (own, settings) = self.statements.split_at(self.statements.len().saturating_sub(settings));
        for (header, statements) in [(self.header, own), (SETTINGS, settings)] {
            if let (Some(first), Some(last)) = (statements.first(), statements.last()) {
                done.extend(self.text.get(first.0..last.1).map(|sql| header.entry(sql)));
            }
        }
    }
}

/// The header whose first line, `--`, was just read, and its bytes up to the end of its last line.
fn header(rest: &str) -> Option<(Header<'_>, usize)> {
    let mut bytes = 1_usize; // the end of the first line
    let mut found = None;
    for line in rest.strip_prefix('\n')?.split('\n') {
        bytes = bytes.saturating_add(line.len());
        if line == "--" {
            return found.map(|header| (header, bytes));
        }
        bytes = bytes.saturating_add(1);
        // With --verbose a line about the entry's numbers and one about what it depends on stand around the name.
        let said = line.strip_prefix("-- ")?;
        if let Some(said) = said.strip_prefix("Name: ").or_else(|| said.strip_prefix("Data for Name: ")) {
            found = Some(parse_header(said)?);
        }
    }
    None
}

/// Reads `NAME; Type: TYPE; Schema: SCHEMA; Owner: OWNER`, where a name may contain the like of what follows it.
fn parse_header(said: &str) -> Option<Header<'_>> {
    let is_kind = |kind: &str| !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_uppercase() || b == b' ');
    let (name, kind, place) = said.rmatch_indices("; Type: ").find_map(|(at, mark)| {
        let (name, rest) = said.split_at_checked(at)?;
        let (kind, place) = rest.strip_prefix(mark)?.split_once("; Schema: ")?;
        is_kind(kind).then_some((name, kind, place))
    })?;
    let (schema, owner) = place.split_once("; Owner: ")?;
    let owner = owner.rsplit_once("; Tablespace: ").map_or(owner, |(owner, _)| owner);
    let named = |text: &'_ str| !matches!(text, "" | "-");
    Some(Header { name, kind, schema: Some(schema).filter(|s| named(s)), owner: Some(owner).filter(|o| named(o)) })
}

#[cfg(test)]
mod tests;
