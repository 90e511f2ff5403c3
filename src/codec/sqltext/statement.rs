//! Finds where a statement begins and ends: at a semicolon outside parentheses and outside a routine's `BEGIN ATOMIC`.
//!
//! A rule's commands stand in parentheses, a routine's between BEGIN and END, within which CASE has an END too. These
//! are psql's own rules, so what psql would send as one query is one statement here.

use crate::codec::sqltext::lex::Token;

/// The statement being read.
#[derive(Debug, Default)]
pub(crate) struct Statement {
    /// Where its first token begins and its last one so far ends.
    span: Option<(usize, usize)>,
    opening: Opening,
    parentheses: usize,
    begins: usize,
}

/// How far the first words agree with `CREATE [OR REPLACE] FUNCTION|PROCEDURE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Opening {
    #[default]
    Nothing,
    Create,
    Or,
    Replace,
    Routine,
    Otherwise,
}

impl Statement {
    /// Takes the token at `at`; gives back the statement that it ends, as offsets.
    pub(crate) fn take(&mut self, token: Token, piece: &str, at: usize) -> Option<(usize, usize)> {
        match token {
            Token::Space | Token::Comment | Token::Meta => return None,
            Token::Semicolon if self.span.is_none() => return None, // an empty statement
            Token::Word => self.word(piece),
            Token::Open => self.parentheses = self.parentheses.saturating_add(1),
            Token::Close => self.parentheses = self.parentheses.saturating_sub(1),
            Token::Semicolon | Token::Quoted | Token::Other => {}
        }
        let (from, _) = self.span.unwrap_or((at, at));
        self.span = Some((from, at.saturating_add(piece.len())));
        let ends = token == Token::Semicolon && self.parentheses == 0 && self.begins == 0;
        if ends { self.end() } else { None }
    }

    /// Ends the statement wherever it stands; `None` if nothing of it was read.
    pub(crate) fn end(&mut self) -> Option<(usize, usize)> {
        std::mem::take(self).span
    }

    fn word(&mut self, word: &str) {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        self.opening = match self.opening {
            Opening::Nothing if is("create") => Opening::Create,
            Opening::Create if is("or") => Opening::Or,
            Opening::Or if is("replace") => Opening::Replace,
            Opening::Create | Opening::Replace if is("function") || is("procedure") => Opening::Routine,
            Opening::Routine => Opening::Routine,
            Opening::Nothing | Opening::Create | Opening::Or | Opening::Replace | Opening::Otherwise => {
                Opening::Otherwise
            }
        };
        if self.opening == Opening::Routine && self.parentheses == 0 {
            if is("begin") || (is("case") && self.begins > 0) {
                self.begins = self.begins.saturating_add(1);
            } else if is("end") {
                self.begins = self.begins.saturating_sub(1);
            }
        }
    }
}
