//! Cuts SQL text into tokens just far enough to know what is quoted, what is a comment and what ends a statement.
//!
//! The rules are those of psql's scanner (PostgreSQL manual, *Lexical Structure*), not of the grammar: a doubled
//! quote is two strings side by side, a number is a run of letters and digits.

use crate::codec::sqltext::SqlTextError;

/// What a piece of SQL text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A keyword or a name without quotes.
    Word,
    /// A string or a quoted name, with its quotes.
    Quoted,
    /// `-- …` up to the end of the line, or `/* … */`.
    Comment,
    /// A command to psql: a backslash at the beginning of a line, and that line.
    Meta,
    /// Blanks and line ends.
    Space,
    /// `;`
    Semicolon,
    /// `(`
    Open,
    /// `)`
    Close,
    /// Numbers and operators.
    Other,
}

/// Gives the tokens of a text one after another; every byte is in exactly one of them.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, rest: text }
    }

    /// Where the next token begins.
    pub(crate) const fn at(&self) -> usize {
        self.text.len().saturating_sub(self.rest.len())
    }

    /// What has not been read.
    pub(crate) const fn rest(&self) -> &'a str {
        self.rest
    }

    /// Leaves out `bytes` bytes.
    pub(crate) fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or("");
    }

    /// Whether the next token is the first of its line.
    pub(crate) fn at_line_start(&self) -> bool {
        self.text.get(..self.at()).is_none_or(|before| before.is_empty() || before.ends_with('\n'))
    }

    /// The next token with its text; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(Token, &'a str)>, SqlTextError> {
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let (token, bytes) = self.measure(first)?;
        let (piece, rest) = self.rest.split_at_checked(bytes.max(first.len_utf8())).unwrap_or((self.rest, ""));
        self.rest = rest;
        Ok(Some((token, piece)))
    }

    fn measure(&self, first: char) -> Result<(Token, usize), SqlTextError> {
        let rest = self.rest;
        Ok(match first {
            ';' => (Token::Semicolon, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '\'' => (Token::Quoted, self.closed(1, "'", "a string")?),
            '"' => (Token::Quoted, self.closed(1, "\"", "a quoted name")?),
            '\\' if self.at_line_start() => (Token::Meta, line(rest)),
            '-' if rest.starts_with("--") => (Token::Comment, line(rest)),
            '/' if rest.starts_with("/*") => {
                (Token::Comment, block_comment(rest).ok_or_else(|| self.unclosed("a comment"))?)
            }
            '$' => match dollar_tag(rest) {
                Some(tag) => (Token::Quoted, self.closed(tag.len(), tag, "a dollar-quoted string")?),
                None => (Token::Other, 1),
            },
            c if c.is_ascii_whitespace() => (Token::Space, run(rest, |c| c.is_ascii_whitespace())),
            c if c.is_ascii_digit() => (Token::Other, run(rest, |c| in_word(c) || c == '.')),
            c if starts_word(c) => match run(rest, in_word) {
                1 if rest.starts_with("E'") || rest.starts_with("e'") => {
                    (Token::Quoted, escape_string(rest).ok_or_else(|| self.unclosed("a string"))?)
                }
                bytes => (Token::Word, bytes),
            },
            c => (Token::Other, c.len_utf8()),
        })
    }

    /// Bytes up to and with `end`, looked for after the first `opening` bytes.
    fn closed(&self, opening: usize, end: &str, what: &'static str) -> Result<usize, SqlTextError> {
        let inside = self.rest.get(opening..).and_then(|inside| inside.find(end));
        let inside = inside.ok_or_else(|| self.unclosed(what))?;
        Ok(opening.saturating_add(inside).saturating_add(end.len()))
    }

    fn unclosed(&self, what: &'static str) -> SqlTextError {
        SqlTextError::Unclosed { what, line: self.line_number() }
    }

    /// The line of the next token; the first is 1.
    pub(crate) fn line_number(&self) -> usize {
        let before = self.text.get(..self.at()).unwrap_or("");
        memchr::memchr_iter(b'\n', before.as_bytes()).count().saturating_add(1)
    }
}

const fn starts_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

const fn in_word(c: char) -> bool {
    starts_word(c) || c.is_ascii_digit() || c == '$'
}

/// Bytes at the beginning of `text` that all are `of` one kind.
fn run(text: &str, of: impl Fn(char) -> bool) -> usize {
    text.find(|c| !of(c)).unwrap_or(text.len())
}

/// Bytes of the first line, without its end.
fn line(text: &str) -> usize {
    memchr::memchr(b'\n', text.as_bytes()).unwrap_or(text.len())
}

/// `$tag$` at the beginning of `text`.
fn dollar_tag(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('$')?.split_once('$')?;
    let good = name.is_empty() || (name.starts_with(starts_word) && name.chars().all(in_word));
    if good { text.get(..name.len().saturating_add(2)) } else { None }
}

/// Bytes of `/* … */`; comments nest.
fn block_comment(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        let next = bytes.peek().map(|&(_, byte)| byte);
        if byte == b'/' && next == Some(b'*') {
            depth = depth.saturating_add(1);
            bytes.next();
        } else if byte == b'*' && next == Some(b'/') {
            depth = depth.saturating_sub(1);
            bytes.next();
            if depth == 0 {
                return Some(at.saturating_add(2));
            }
        }
    }
    None
}

/// Bytes of `E'…'`, where a backslash takes the meaning from the character after it.
fn escape_string(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate().skip(2).peekable();
    while let Some((at, byte)) = bytes.next() {
        let next = bytes.peek().map(|&(_, byte)| byte);
        if byte == b'\\' || (byte == b'\'' && next == Some(b'\'')) {
            bytes.next();
        } else if byte == b'\'' {
            return Some(at.saturating_add(1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(text: &str) -> Option<Vec<(Token, &str)>> {
        let mut lexer = Lexer::new(text);
        std::iter::from_fn(|| lexer.next().transpose()).collect::<Result<_, _>>().ok()
    }

    #[test]
    fn one_token_is_one_token() {
        #[rustfmt::skip]
        let cases = [
            // text                    token             why
            ("'a;b'",                  Token::Quoted,    "a semicolon in a string ends nothing"),
            ("'a\\'",                  Token::Quoted,    "a backslash in a standard string is a character"),
            ("E'a\\';--''\\\\'",       Token::Quoted,    "in an escape string it hides the quote"),
            ("\"a;'--\"",              Token::Quoted,    "a name may hold anything"),
            ("$$;'--$$",               Token::Quoted,    "dollar quotes without a tag"),
            ("$é1$ $$ ; $x$ $é1$",     Token::Quoted,    "only its own tag closes it"),
            ("a$b$c",                  Token::Word,      "a dollar inside a name opens nothing"),
            ("größe",                  Token::Word,      "names are not all ASCII"),
            ("/* ; /* nested */ ' */", Token::Comment,   "comments nest"),
            ("-- ' $$ /*",             Token::Comment,   "nothing opens in a comment"),
            ("\\restrict a'b",         Token::Meta,      "psql reads it, not the server"),
            ("1.5e10",                 Token::Other,     "a number"),
        ];
        for (text, token, why) in cases {
            assert_eq!(tokens(text), Some(vec![(token, text)]), "{why}: {text}");
        }
    }

    #[test]
    fn what_is_never_closed_is_an_error_with_its_line() {
        for (text, what) in [
            ("\n'a", "a string"),
            ("\n\"a", "a quoted name"),
            ("\n$a$ $b$", "a dollar-quoted string"),
            ("\n/* /* */", "a comment"),
            ("\nE'\\'", "a string"),
        ] {
            let mut lexer = Lexer::new(text);
            assert_eq!(lexer.next(), Ok(Some((Token::Space, "\n"))));
            assert_eq!(lexer.next(), Err(SqlTextError::Unclosed { what, line: 2 }));
        }
        assert_eq!(tokens("$1 $a").map(|all| all.len()), Some(5), "a parameter is no quote");
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_and_none_is_in_two_tokens(text in "[-a$'\"/*\\\\;()E \né]{0,40}") {
            if let Some(tokens) = tokens(&text) {
                prop_assert_eq!(tokens.iter().map(|&(_, piece)| piece).collect::<String>(), text);
            }
        }
    }
}
