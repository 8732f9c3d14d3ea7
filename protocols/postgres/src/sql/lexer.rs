//! Bytes to tokens by PostgreSQL's lexical rules (chapter "Lexical Structure" of its manual), up to version 18.
//!
//! It keeps nothing, allocates nothing, never fails: what cannot be a token is [`TokenKind::Invalid`], and what does not
//! end is [`TokenKind::Unterminated`] up to the end of the text. Comments and whitespace are skipped. Every byte is
//! looked at a bounded number of times. Start at [`Lexer::next_token`].

use memchr::{memchr, memchr2, memmem};

use super::analysis::Span;
use super::keyword::{self, Keyword};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// An unquoted word: keyword or name.
    Word,
    /// A name in double quotes.
    Quoted,
    /// A name as `U&"..."`.
    UnicodeQuoted,
    /// A string in any of its forms, with its continuations; bit strings too.
    String,
    /// A number.
    Number,
    /// `$1`.
    Parameter,
    /// An operator, also `=`, `*`, `+` and other single characters.
    Operator,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `[`
    OpenBracket,
    /// `]`
    CloseBracket,
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// `.`
    Dot,
    /// `:`, `:=` or `..`
    Colon,
    /// `::`
    Cast,
    /// A byte that begins no token.
    Invalid,
    /// A string, quoted name or comment without an end: the rest of the text.
    Unterminated,
    /// Nothing is left.
    End,
}

/// A token and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Which keyword a word is; [`Keyword::Plain`] for names and all else.
    pub keyword: Keyword,
    /// Where it is.
    pub span: Span,
}

impl Token {
    /// What stands before the first one.
    pub const NOTHING: Self = Self {
        kind: TokenKind::End,
        keyword: Keyword::Plain,
        span: Span { start: 0, end: 0 },
    };
}

/// Walks over the tokens of a text.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    sql: &'a [u8],
    at: usize,
    standard_conforming_strings: bool,
}

/// What a first byte begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Invalid,
    Space,
    Letter,
    /// A letter that can begin a string: B, E, N, U, X.
    Prefix,
    Digit,
    Quote,
    DoubleQuote,
    Dollar,
    Operator,
    Dash,
    Slash,
    Dot,
    Colon,
    Single(TokenKind),
}

static FIRST: [First; 256] = first_bytes();

#[allow(clippy::indexing_slicing)] // at compile time
const fn first_bytes() -> [First; 256] {
    let mut table = [First::Invalid; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = first(byte as u8);
        byte += 1;
    }
    table
}

const fn first(byte: u8) -> First {
    match byte {
        // \v is whitespace since version 16 and an error before.
        b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => First::Space,
        b'b' | b'B' | b'e' | b'E' | b'n' | b'N' | b'u' | b'U' | b'x' | b'X' => First::Prefix,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => First::Letter,
        b'0'..=b'9' => First::Digit,
        b'\'' => First::Quote,
        b'"' => First::DoubleQuote,
        b'$' => First::Dollar,
        b'-' => First::Dash,
        b'/' => First::Slash,
        b'.' => First::Dot,
        b':' => First::Colon,
        b'(' => First::Single(TokenKind::Open),
        b')' => First::Single(TokenKind::Close),
        b'[' => First::Single(TokenKind::OpenBracket),
        b']' => First::Single(TokenKind::CloseBracket),
        b',' => First::Single(TokenKind::Comma),
        b';' => First::Single(TokenKind::Semicolon),
        _ if is_operator(byte) => First::Operator,
        _ => First::Invalid,
    }
}

const fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'~' | b'!'
            | b'@'
            | b'#'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
            | b'+'
            | b'-'
            | b'*'
            | b'/'
            | b'%'
            | b'<'
            | b'>'
            | b'='
    )
}

/// Operators may end in `+` or `-` only with one of these inside.
const fn lets_sign_end(byte: u8) -> bool {
    matches!(
        byte,
        b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'%'
    )
}

static IN_WORD: [bool; 256] = word_bytes();

#[allow(clippy::indexing_slicing)] // at compile time
const fn word_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'$' | 0x80..=0xff);
        byte += 1;
    }
    table
}

#[inline]
fn is_in_word(byte: u8) -> bool {
    IN_WORD.get(byte as usize).copied().unwrap_or(false)
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

impl<'a> Lexer<'a> {
    /// At the front of `sql`. With `standard_conforming_strings` off, a backslash escapes in plain strings too.
    #[must_use]
    pub const fn new(sql: &'a [u8], standard_conforming_strings: bool) -> Self {
        Self {
            sql,
            at: 0,
            standard_conforming_strings,
        }
    }

    /// The text.
    #[must_use]
    pub const fn text(&self) -> &'a [u8] {
        self.sql
    }

    /// The next token; [`TokenKind::End`] again and again at the end.
    #[inline]
    pub fn next_token(&mut self) -> Token {
        loop {
            let start = self.at;
            let Some(&byte) = self.sql.get(start) else {
                return self.token(TokenKind::End, start, start);
            };
            match FIRST.get(byte as usize).copied().unwrap_or(First::Invalid) {
                First::Space => self.at += 1,
                First::Letter => return self.word(start),
                First::Prefix => return self.prefixed(start),
                First::Single(kind) => return self.token(kind, start, start + 1),
                First::Digit => return self.number(start),
                First::Operator => return self.operator(start),
                First::Quote => {
                    return self.string(start, start + 1, !self.standard_conforming_strings);
                }
                First::Dash if self.peek(1) == Some(b'-') => self.skip_line(),
                First::Slash if self.peek(1) == Some(b'*') => {
                    if !self.skip_comment() {
                        return self.token(TokenKind::Unterminated, start, self.sql.len());
                    }
                }
                First::Dash | First::Slash => return self.operator(start),
                First::DoubleQuote => return self.quoted(start, start + 1, TokenKind::Quoted),
                First::Dollar => return self.dollar(start),
                First::Dot => return self.dot(start),
                First::Colon => return self.colon(start),
                First::Invalid => return self.token(TokenKind::Invalid, start, start + 1),
            }
        }
    }

    #[inline]
    const fn token(&mut self, kind: TokenKind, start: usize, end: usize) -> Token {
        self.at = end;
        Token {
            kind,
            keyword: Keyword::Plain,
            span: Span::new(start, end),
        }
    }

    #[inline]
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.sql.get(self.at + ahead).copied()
    }

    fn rest(&self, from: usize) -> &'a [u8] {
        self.sql.get(from..).unwrap_or_default()
    }

    #[inline]
    fn word(&mut self, start: usize) -> Token {
        let behind = self.sql.get(start + 1..).unwrap_or_default();
        let outside = |byte: &u8| !is_in_word(*byte);
        let end = start + 1 + behind.iter().position(outside).unwrap_or(behind.len());
        self.at = end;
        Token {
            kind: TokenKind::Word,
            keyword: keyword::find(self.sql, start, end),
            span: Span::new(start, end),
        }
    }

    /// A word, or a string or name with a letter in front.
    fn prefixed(&mut self, start: usize) -> Token {
        let escapes = !self.standard_conforming_strings;
        match (self.sql.get(start).copied(), self.peek(1), self.peek(2)) {
            (Some(b'e' | b'E'), Some(b'\''), _) => self.string(start, start + 2, true),
            (Some(b'n' | b'N'), Some(b'\''), _) => self.string(start, start + 2, escapes),
            (Some(b'b' | b'B' | b'x' | b'X'), Some(b'\''), _) => {
                self.string(start, start + 2, false)
            }
            (Some(b'u' | b'U'), Some(b'&'), Some(b'\'')) => self.string(start, start + 3, false),
            (Some(b'u' | b'U'), Some(b'&'), Some(b'"')) => {
                self.quoted(start, start + 3, TokenKind::UnicodeQuoted)
            }
            _ => self.word(start),
        }
    }

    /// From behind the opening quote, with the pieces that continue it on later lines.
    fn string(&mut self, start: usize, mut at: usize, escapes: bool) -> Token {
        loop {
            let rest = self.rest(at);
            let found = if escapes {
                memchr2(b'\'', b'\\', rest)
            } else {
                memchr(b'\'', rest)
            };
            let Some(offset) = found else {
                return self.token(TokenKind::Unterminated, start, self.sql.len());
            };
            at += offset + 1;
            if self.sql.get(at - 1) == Some(&b'\\') || self.sql.get(at) == Some(&b'\'') {
                at += 1;
            } else if let Some(next) = self.continuation(at) {
                at = next;
            } else {
                return self.token(TokenKind::String, start, at);
            }
        }
    }

    /// Where a string that ended at `at` goes on: behind a quote that only whitespace with a newline and line comments
    /// keep apart.
    fn continuation(&self, mut at: usize) -> Option<usize> {
        let mut newline = false;
        loop {
            let byte = *self.sql.get(at)?;
            match byte {
                b'\'' => return newline.then_some(at + 1),
                b'-' if self.sql.get(at + 1) == Some(&b'-') => at = self.line_end(at)?,
                _ if is_space(byte) => {
                    newline |= matches!(byte, b'\n' | b'\r');
                    at += 1;
                }
                _ => return None,
            }
        }
    }

    /// From behind the opening quote. A name without a character is an error to the server.
    fn quoted(&mut self, start: usize, open: usize, kind: TokenKind) -> Token {
        let mut at = open;
        while let Some(offset) = memchr(b'"', self.rest(at)) {
            at += offset + 1;
            if self.sql.get(at) != Some(&b'"') {
                let empty = at == open + 1;
                let kind = if empty { TokenKind::Invalid } else { kind };
                return self.token(kind, start, at);
            }
            at += 1;
        }
        self.token(TokenKind::Unterminated, start, self.sql.len())
    }

    /// `$1`, `$$...$$` or `$tag$...$tag$`.
    fn dollar(&mut self, start: usize) -> Token {
        let mut at = start + 1;
        if self.peek(1).is_some_and(|byte| byte.is_ascii_digit()) {
            while self.sql.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            return self.token(TokenKind::Parameter, start, at);
        }
        while let Some(&byte) = self.sql.get(at)
            && byte != b'$'
            && is_in_word(byte)
        {
            at += 1;
        }
        if self.sql.get(at) != Some(&b'$') {
            return self.token(TokenKind::Invalid, start, start + 1);
        }
        at += 1;
        let tag = self.sql.get(start..at).unwrap_or_default();
        match memmem::find(self.rest(at), tag) {
            Some(offset) => self.token(TokenKind::String, start, at + offset + tag.len()),
            None => self.token(TokenKind::Unterminated, start, self.sql.len()),
        }
    }

    fn number(&mut self, start: usize) -> Token {
        let digits: fn(&u8) -> bool = match (self.sql.get(start), self.peek(1)) {
            (Some(b'0'), Some(b'x' | b'X')) => u8::is_ascii_hexdigit,
            (Some(b'0'), Some(b'o' | b'O')) => |byte| (b'0'..=b'7').contains(byte),
            (Some(b'0'), Some(b'b' | b'B')) => |byte| matches!(byte, b'0' | b'1'),
            _ => return self.decimal(start),
        };
        let end = self.digits(start + 2, digits);
        if end == start + 2 {
            return self.decimal(start);
        }
        self.token(TokenKind::Number, start, end)
    }

    /// Behind the digits from `at` on, single underscores between them.
    fn digits(&self, mut at: usize, is_digit: fn(&u8) -> bool) -> usize {
        loop {
            let digit = self.sql.get(at).is_some_and(is_digit);
            let underscore = self.sql.get(at) == Some(&b'_');
            if digit {
                at += 1;
            } else if underscore && self.sql.get(at + 1).is_some_and(is_digit) {
                at += 2;
            } else {
                return at;
            }
        }
    }

    fn decimal(&mut self, start: usize) -> Token {
        let mut at = self.digits(start, u8::is_ascii_digit);
        // `1..2` is a range: the number ends before it.
        if self.sql.get(at) == Some(&b'.') && self.sql.get(at + 1) != Some(&b'.') {
            at = self.digits(at + 1, u8::is_ascii_digit);
        }
        if matches!(self.sql.get(at), Some(b'e' | b'E')) {
            let sign = matches!(self.sql.get(at + 1), Some(b'+' | b'-'));
            let digits = at + 1 + usize::from(sign);
            if self.sql.get(digits).is_some_and(u8::is_ascii_digit) {
                at = self.digits(digits, u8::is_ascii_digit);
            }
        }
        self.token(TokenKind::Number, start, at)
    }

    fn operator(&mut self, start: usize) -> Token {
        let mut end = start;
        let mut sign_may_end = false;
        while let Some(&byte) = self.sql.get(end)
            && is_operator(byte)
        {
            let next = self.sql.get(end + 1).copied();
            if matches!((byte, next), (b'-', Some(b'-')) | (b'/', Some(b'*'))) {
                break;
            }
            sign_may_end |= lets_sign_end(byte);
            end += 1;
        }
        while !sign_may_end && end > start + 1 && matches!(self.sql.get(end - 1), Some(b'+' | b'-'))
        {
            end -= 1;
        }
        self.token(TokenKind::Operator, start, end.max(start + 1))
    }

    fn dot(&mut self, start: usize) -> Token {
        match self.peek(1) {
            Some(b'0'..=b'9') => self.decimal(start),
            Some(b'.') => self.token(TokenKind::Colon, start, start + 2),
            _ => self.token(TokenKind::Dot, start, start + 1),
        }
    }

    fn colon(&mut self, start: usize) -> Token {
        match self.peek(1) {
            Some(b':') => self.token(TokenKind::Cast, start, start + 2),
            Some(b'=') => self.token(TokenKind::Colon, start, start + 2),
            _ => self.token(TokenKind::Colon, start, start + 1),
        }
    }

    /// Where the line that holds `at` ends: at its newline. `None` at the end of the text.
    fn line_end(&self, at: usize) -> Option<usize> {
        memchr2(b'\n', b'\r', self.rest(at)).map(|offset| at + offset)
    }

    fn skip_line(&mut self) {
        self.at = self.line_end(self.at).unwrap_or(self.sql.len());
    }

    /// Over a comment with the comments in it. False when it does not end.
    fn skip_comment(&mut self) -> bool {
        let mut depth = 1_usize;
        let mut at = self.at + 2;
        while let Some(offset) = memchr2(b'*', b'/', self.rest(at)) {
            at += offset;
            match (self.sql.get(at), self.sql.get(at + 1)) {
                (Some(b'*'), Some(b'/')) => {
                    at += 2;
                    depth -= 1;
                    if depth == 0 {
                        self.at = at;
                        return true;
                    }
                }
                (Some(b'/'), Some(b'*')) => {
                    at += 2;
                    depth += 1;
                }
                _ => at += 1,
            }
        }
        self.at = self.sql.len();
        false
    }
}
