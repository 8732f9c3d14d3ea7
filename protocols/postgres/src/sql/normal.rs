//! Statements without their values: the fingerprint, and the text for logs, by one machine.
//!
//! Tokens come in as the lexer finds them; values become `?`, words lose their case, lists of equal elements become one
//! element. The hash of what is left chains xxh3 from token to token, so that a list's element can be taken back by
//! taking the hash from before it. Neither depends on how long the text may become. Start at [`Normal::push`]; for
//! logs at [`normalise`].

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Options;
use super::analysis::{Fingerprint, Span};
use super::keyword::Keyword;
use super::lexer::{Lexer, Token, TokenKind};
use super::words::load;

/// Where hashes begin. Changing it changes every fingerprint that anybody has written down.
const SEED: u64 = 0x706f_7274_6375_6c6c;
/// Lists inside lists that are made short; deeper ones stay as they are.
const MAX_LISTS: usize = 24;
/// Words are folded in pieces of this size, so that nothing is allocated for them.
const PIECE: usize = 64;

/// Bytes of a token that are hashed at once.
const SHORT: usize = 16;
/// The bits of ASCII bytes.
const ASCII: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// A bracket that is open.
#[derive(Debug, Clone, Copy)]
struct List {
    /// Brackets around it.
    depth: u32,
    /// The hash before the element that is being read.
    before: u64,
    /// The hash of the last element that stayed.
    last: Option<u64>,
    /// Bytes of text before the element and the comma in front of it.
    text: usize,
    /// A row of VALUES: it has no bracket of its own and ends with the next word.
    rows: bool,
}

/// The machine. Made anew for each text; [`Normal::finish`] ends a statement.
#[derive(Debug)]
pub(super) struct Normal<'o> {
    hash: u64,
    depth: u32,
    lists: SmallVec<[List; 4]>,
    /// What the last token was.
    last: Last,
    /// A sign that may belong to the value behind it.
    sign: Option<u8>,
    out: Option<Text<'o>>,
}

#[derive(Debug)]
struct Text<'o> {
    out: &'o mut Vec<u8>,
    base: usize,
    limit: usize,
    /// A token did not fit: nothing is written any more.
    full: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Nothing yet in this statement.
    Nothing,
    /// Something a sign behind it subtracts from.
    Operand,
    /// That, and a name.
    Name,
    /// Something a sign behind it belongs to the next value.
    Other,
    /// IN, ANY, ALL, SOME, ARRAY: a bracket begins a list.
    Lister,
    /// VALUES.
    Values,
}

impl<'o> Normal<'o> {
    /// Only hashes.
    pub(super) fn new() -> Self {
        Self {
            hash: SEED,
            depth: 0,
            lists: SmallVec::new(),
            last: Last::Nothing,
            sign: None,
            out: None,
        }
    }

    /// Writes as well: no more than `limit` bytes.
    fn writing(out: &'o mut Vec<u8>, limit: usize) -> Self {
        let base = out.len();
        Self {
            out: Some(Text {
                out,
                base,
                limit,
                full: false,
            }),
            ..Self::new()
        }
    }

    fn is_full(&self) -> bool {
        self.out.as_ref().is_some_and(|text| text.full)
    }

    /// The statement has ended: its fingerprint. The next token begins another.
    pub(super) fn finish(&mut self) -> Fingerprint {
        self.flush_sign();
        while !self.lists.is_empty() {
            self.end_list();
        }
        let fingerprint = Fingerprint(self.hash);
        self.hash = SEED;
        self.depth = 0;
        self.last = Last::Nothing;
        fingerprint
    }

    /// One token of a statement: anything but `;` at its end and the end itself.
    #[inline]
    pub(super) fn push(&mut self, sql: &[u8], token: Token) {
        match token.kind {
            TokenKind::Word => {
                self.flush_sign();
                self.end_rows();
                self.word(sql, token.span);
                self.last = word_kind(token.keyword);
                if self.last == Last::Values {
                    self.begin_list(true);
                }
            }
            TokenKind::String | TokenKind::Number | TokenKind::Parameter => self.value(),
            TokenKind::Operator => self.operator(token.span.of(sql)),
            TokenKind::Open | TokenKind::OpenBracket => self.open(token.kind),
            TokenKind::Close | TokenKind::CloseBracket => self.close(token.kind),
            TokenKind::Comma => self.comma(),
            TokenKind::Quoted | TokenKind::UnicodeQuoted => {
                self.flush_sign();
                self.end_rows();
                self.exact(token.span.of(sql));
                self.last = Last::Name;
            }
            // What does not end may be a value from its first byte on.
            TokenKind::Unterminated => {
                self.flush_sign();
                self.exact(b"...");
            }
            TokenKind::Dot | TokenKind::Cast | TokenKind::Colon | TokenKind::Semicolon => {
                self.flush_sign();
                self.end_rows();
                self.exact(token.span.of(sql));
                self.last = Last::Other;
            }
            TokenKind::Invalid => {
                self.flush_sign();
                self.exact(b"~?~");
                self.last = Last::Other;
            }
            TokenKind::End => {}
        }
    }

    fn value(&mut self) {
        self.sign = None;
        self.end_rows();
        self.exact(b"?");
        self.last = Last::Operand;
    }

    fn operator(&mut self, text: &[u8]) {
        match text {
            // What an earlier pass wrote for a value.
            b"?" => self.value(),
            [sign @ (b'-' | b'+')] if !matches!(self.last, Last::Operand | Last::Name) => {
                self.sign = Some(*sign);
            }
            _ => {
                self.flush_sign();
                self.end_rows();
                self.exact(text);
                // `*` in `count(*)` and `t.*` is an operand that nothing is subtracted from anyway.
                self.last = Last::Other;
            }
        }
    }

    /// The sign was no part of a value.
    #[inline]
    fn flush_sign(&mut self) {
        if let Some(sign) = self.sign.take() {
            self.end_rows();
            self.exact(&[sign]);
            self.last = Last::Other;
        }
    }

    fn open(&mut self, kind: TokenKind) {
        self.flush_sign();
        let parent = self.lists.last();
        let at_element = parent.is_some_and(|list| list.depth == self.depth && self.hash == SEED);
        let lists = at_element || self.last == Last::Lister;
        self.exact(if kind == TokenKind::Open { b"(" } else { b"[" });
        self.depth = self.depth.saturating_add(1);
        self.last = Last::Other;
        if lists {
            self.begin_list(false);
        }
    }

    fn close(&mut self, kind: TokenKind) {
        self.flush_sign();
        self.end_rows();
        if self
            .lists
            .last()
            .is_some_and(|list| list.depth == self.depth && !list.rows)
        {
            self.end_list();
        }
        self.depth = self.depth.saturating_sub(1);
        self.exact(if kind == TokenKind::Close { b")" } else { b"]" });
        self.last = Last::Operand;
    }

    fn comma(&mut self) {
        self.flush_sign();
        if let Some(list) = self.lists.last()
            && list.depth == self.depth
        {
            self.end_element();
            self.begin_element();
        } else {
            self.exact(b",");
        }
        self.last = Last::Other;
    }

    fn begin_list(&mut self, rows: bool) {
        if self.lists.len() < MAX_LISTS {
            self.lists.push(List {
                depth: self.depth,
                before: self.hash,
                last: None,
                text: self.written(),
                rows,
            });
            self.hash = SEED;
        }
    }

    fn end_list(&mut self) {
        self.end_element();
        self.lists.pop();
    }

    /// Rows of VALUES end at whatever is no row.
    #[inline]
    fn end_rows(&mut self) {
        // Inside an element of another list it is that element's.
        if let Some(list) = self.lists.last()
            && list.rows
            && list.depth == self.depth
        {
            self.end_list();
        }
    }

    /// Keeps the element that was read, or takes it back when it is the one before it again.
    fn end_element(&mut self) {
        let Some(list) = self.lists.last_mut() else {
            return;
        };
        let element = self.hash;
        if list.last == Some(element) {
            self.hash = list.before;
            let text = list.text;
            self.rewind(text);
        } else {
            list.last = Some(element);
            self.hash = xxh3_64_with_seed(&element.to_le_bytes(), list.before);
        }
    }

    /// Behind a comma.
    fn begin_element(&mut self) {
        let text = self.written();
        let hash = self.hash;
        if let Some(list) = self.lists.last_mut() {
            list.before = hash;
            list.text = text;
        }
        self.hash = SEED;
        self.write(b",");
    }

    #[inline]
    fn exact(&mut self, text: &[u8]) {
        if text.len() <= SHORT {
            self.short(
                load(text, 0, text.len()),
                load(text, 8, text.len().saturating_sub(8)),
            );
        } else {
            self.long(text);
        }
        if self.out.is_some() {
            self.write(text);
        }
    }

    #[inline]
    fn word(&mut self, sql: &[u8], span: Span) {
        let (start, length) = (span.start as usize, span.len());
        let front = load(sql, start, length);
        let back = load(sql, start + 8, length.saturating_sub(8));
        if length <= SHORT && (front | back) & !ASCII == 0 {
            self.short(lower(front), lower(back));
        } else {
            self.long(span.of(sql));
        }
        if self.out.is_some() {
            self.write(&span.of(sql).to_ascii_lowercase());
        }
    }

    /// Up to [`SHORT`] bytes, packed, in lower case.
    #[inline]
    fn short(&mut self, front: u64, back: u64) {
        let bytes = (u128::from(front) | u128::from(back) << 64).to_le_bytes();
        self.hash = xxh3_64_with_seed(&bytes, self.hash);
    }

    /// Longer names and words, and words beyond ASCII. Quoted names keep their case.
    fn long(&mut self, text: &[u8]) {
        let quoted = text.ends_with(b"\"");
        for piece in text.chunks(PIECE) {
            let mut folded = [0; PIECE];
            for (to, from) in folded.iter_mut().zip(piece) {
                *to = if quoted {
                    *from
                } else {
                    from.to_ascii_lowercase()
                };
            }
            let folded = folded.get(..piece.len()).unwrap_or_default();
            self.hash = xxh3_64_with_seed(folded, self.hash);
        }
    }

    /// Whether nothing is written yet.
    fn is_blank(&self) -> bool {
        self.out
            .as_ref()
            .is_none_or(|text| text.out.len() == text.base)
    }

    fn written(&self) -> usize {
        self.out.as_ref().map_or(0, |text| text.out.len())
    }

    fn rewind(&mut self, to: usize) {
        if let Some(text) = &mut self.out
            && !text.full
        {
            text.out.truncate(to);
        }
    }

    fn write(&mut self, token: &[u8]) {
        let Some(text) = &mut self.out else { return };
        if text.full {
            return;
        }
        let written = text.out.get(text.base..).unwrap_or_default();
        let space = needs_space(written, token, self.last);
        if written.len() + token.len() + usize::from(space) > text.limit {
            text.full = true;
            return;
        }
        if space {
            text.out.push(b' ');
        }
        text.out.extend_from_slice(token);
    }
}

/// ASCII bytes in lower case.
const fn lower(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The high bit of each byte: from `A` on, and from behind `Z` on.
    let from_a = bytes + (0x80 - b'A' as u64) * ONES;
    let behind_z = bytes + (0x80 - b'Z' as u64 - 1) * ONES;
    bytes | ((from_a & !behind_z & !ASCII) >> 2)
}

/// Whether a space goes between: not around brackets, commas and dots, where reading it again gives the same.
fn needs_space(written: &[u8], token: &[u8], last: Last) -> bool {
    let tight_after = matches!(written.last(), None | Some(b'(' | b'[' | b'.'));
    let tight_before = matches!(token, b"," | b")" | b"]" | b";" | b"." | b"[")
        || (token == b"(" && last == Last::Name);
    let dots = token.first() == Some(&b'.') && written.last() == Some(&b'.');
    dots || !(tight_after || tight_before)
}

/// How a sign or a bracket behind this word is meant.
const fn word_kind(keyword: Keyword) -> Last {
    use Keyword as K;
    match keyword {
        K::In | K::Any | K::All | K::Some | K::Array => Last::Lister,
        K::Values => Last::Values,
        K::Select
        | K::Where
        | K::And
        | K::Or
        | K::Not
        | K::When
        | K::Then
        | K::Else
        | K::Case
        | K::Between
        | K::Limit
        | K::Offset
        | K::Having
        | K::Returning
        | K::On
        | K::By
        | K::Distinct
        | K::Like
        | K::Ilike
        | K::Using
        | K::From
        | K::To => Last::Other,
        K::Plain => Last::Name,
        _ => Last::Operand,
    }
}

/// Appends `sql` to `out` without its values, for logs: literals and parameters are `?`, comments are gone, words are in
/// lower case, lists of equal elements are one element. At most `max_len` bytes are written, whole tokens only.
///
/// Names stay, also quoted ones. Text that does not end, such as an open string, is `...` from there on. False when
/// something is missing at the end: no room, or such a text. A whole text has the fingerprint of what it came from.
pub fn normalise(sql: &[u8], options: &Options, out: &mut Vec<u8>, max_len: usize) -> bool {
    let mut lexer = Lexer::new(sql, options.standard_conforming_strings);
    let readable = options.ascii_safe || sql.is_ascii();
    let mut normal = Normal::writing(out, max_len);
    let mut separator = None;
    loop {
        let token = if readable {
            lexer.next_token()
        } else {
            Token {
                kind: TokenKind::Unterminated,
                keyword: Keyword::Plain,
                span: Span::default(),
            }
        };
        match token.kind {
            TokenKind::End => break,
            // Inside a body too: what is written is the same.
            TokenKind::Semicolon => {
                normal.finish();
                separator = Some(token);
                continue;
            }
            _ => {}
        }
        if separator.take().is_some() && !normal.is_blank() {
            normal.write(b";");
        }
        normal.push(sql, token);
        if token.kind == TokenKind::Unterminated || normal.is_full() {
            normal.finish();
            return false;
        }
    }
    normal.finish();
    !normal.is_full() && !options.truncated
}
