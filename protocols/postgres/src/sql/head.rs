//! Statements that are no queries: what their first words, outside brackets, say when the whole statement is known.
//!
//! It reads forgivingly: what does not fit the grammar the server will refuse. Start at [`apply`].

mod ddl;
mod session;
mod transaction;

use super::analysis::{Span, StatementInfo};
use super::keyword::Keyword;
use super::lexer::{Token, TokenKind};
use super::verb::Verb;

/// Completes what `info` says of its statement, from the verb that its first word gave.
pub(super) fn apply(info: &mut StatementInfo, tokens: &[Token], sql: &[u8]) {
    let Some((first, rest)) = tokens.split_first() else {
        return;
    };
    let mut words = Words {
        first: first.keyword,
        tokens: rest,
        end: info.span.end,
        sql,
    };
    match info.verb {
        Verb::Set
        | Verb::Reset
        | Verb::Show
        | Verb::Discard
        | Verb::Prepare
        | Verb::Execute
        | Verb::Deallocate
        | Verb::Declare
        | Verb::Fetch
        | Verb::Move
        | Verb::Close
        | Verb::Listen
        | Verb::Unlisten
        | Verb::Notify
        | Verb::Load
        | Verb::Call
        | Verb::Do
        | Verb::Explain
        | Verb::Replication => session::apply(info, &mut words),
        Verb::Begin | Verb::Commit | Verb::Rollback | Verb::Savepoint | Verb::Release => {
            transaction::apply(info, &mut words);
        }
        _ => ddl::apply(info, &mut words),
    }
}

/// The words behind the verb.
struct Words<'a> {
    /// The verb itself.
    first: Keyword,
    tokens: &'a [Token],
    /// Where the statement ends.
    end: u32,
    sql: &'a [u8],
}

impl Words<'_> {
    fn peek(&self) -> Option<Token> {
        self.tokens.first().copied()
    }

    fn peek_keyword(&self) -> Keyword {
        self.peek().map_or(Keyword::Plain, |token| token.keyword)
    }

    fn next(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(*first)
    }

    /// Takes the next word if it is this one.
    fn eat(&mut self, keyword: Keyword) -> bool {
        let eaten = self.peek_keyword() == keyword;
        if eaten {
            self.next();
        }
        eaten
    }

    fn has(&self, keyword: Keyword) -> bool {
        self.tokens.iter().any(|token| token.keyword == keyword)
    }

    /// Whether these two stand side by side.
    fn has_pair(&self, one: Keyword, other: Keyword) -> bool {
        let mut pairs = self.tokens.iter().zip(self.tokens.iter().skip(1));
        pairs.any(|(left, right)| left.keyword == one && right.keyword == other)
    }

    /// A name with its dots, or a string in its place.
    fn name(&mut self) -> Option<Span> {
        let mut span = self.next()?.span;
        while self
            .peek()
            .is_some_and(|token| token.kind == TokenKind::Dot)
        {
            self.next();
            span.end = self.next().map_or(span.end, |token| token.span.end);
        }
        Some(span)
    }

    /// From the next token to the end of the statement.
    fn rest(&self) -> Option<Span> {
        let start = self.peek()?.span.start;
        Some(Span {
            start,
            end: self.end,
        })
    }

    /// Whether the text of the statement has these letters somewhere, in any case.
    fn mentions(&self, needle: &[u8]) -> bool {
        let rest = self
            .tokens
            .first()
            .map_or(self.end, |token| token.span.start);
        let text = Span {
            start: rest,
            end: self.end,
        };
        text.of(self.sql)
            .windows(needle.len())
            .any(|window| window.eq_ignore_ascii_case(needle))
    }
}
