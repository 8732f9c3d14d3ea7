//! Texts that were read before, so that the same text with other values is not read again.
//!
//! A text is compared, not its hash: between its values every byte must be the same. Numbers and plain strings may differ
//! where a query has them, since what a query does never depends on them; only positions move. What is kept is bounded, and
//! kept only of a text that has come twice. Not for what is prepared, which is known by its name. Start at
//! [`SeenTexts::analyse`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use memchr::memchr;
use smallvec::SmallVec;

use super::analysis::{Analysis, ParameterName, ParameterValue, SetParameter, Span};
use super::lexer::{Lexer, Token, TokenKind};
use super::verb::Verb;
use super::walk;
use super::{Options, own};

/// Longer texts are read each time: they are rare, and would fill the memory.
const LONGEST: usize = 1024;
/// Texts that can be told apart at once, and those that begin alike that are kept.
const SETS: usize = 64;
const ALIKE: usize = 4;
/// Values that may differ. A text with more of them is not kept.
const VALUES: usize = 16;

/// What one worker has read for one listener.
#[derive(Debug, Default)]
pub struct SeenTexts {
    sets: RefCell<Vec<Set>>,
    nothing: Rc<Analysis>,
}

/// Texts that begin alike.
#[derive(Debug, Default)]
struct Set {
    entries: SmallVec<[Box<Entry>; ALIKE]>,
    /// The hash of the last text that was not known.
    once: u64,
    /// The hash of the last text that was not fit to be kept.
    unfit: u64,
    /// Which entry is next to go, unless it was used since it was last looked at.
    next: usize,
}

/// One text.
#[derive(Debug)]
struct Entry {
    hash: u64,
    text: Box<[u8]>,
    escapes: bool,
    /// In their order.
    values: Box<[Value]>,
    analysis: Rc<Analysis>,
    used: Cell<bool>,
}

/// A value that may be another.
#[derive(Debug, Clone, Copy)]
struct Value {
    span: Span,
    is_string: bool,
}

/// How far positions move: from the end of each value on.
type Moves = SmallVec<[(u32, u32); VALUES]>;

impl SeenTexts {
    /// The analysis of no text, for all who have read nothing yet.
    #[must_use]
    pub fn nothing(&self) -> Rc<Analysis> {
        Rc::clone(&self.nothing)
    }

    /// As [`super::analyse`], of a whole text.
    pub(super) fn analyse(&self, sql: &[u8], options: &Options, out: &mut Analysis) {
        let mut shared = Rc::default();
        self.analyse_shared(sql, options, &mut shared);
        out.clone_from(&shared);
    }

    /// As [`super::analyse_shared`], of a whole text.
    pub(super) fn analyse_shared(&self, sql: &[u8], options: &Options, out: &mut Rc<Analysis>) {
        // Without ASCII safety another value could make a text unreadable.
        if options.truncated || !options.ascii_safe || sql.len() > LONGEST {
            return walk::walk(sql, options, own(out));
        }
        let escapes = !options.standard_conforming_strings;
        let hash = front_hash(sql);
        let mut sets = self.sets.borrow_mut();
        if sets.is_empty() {
            sets.resize_with(SETS, Set::default);
        }
        let Some(set) = sets.get_mut((hash >> 32) as usize % SETS) else {
            return walk::walk(sql, options, own(out));
        };
        for entry in &set.entries {
            if entry.hash == hash
                && entry.escapes == escapes
                && let Some(moves) = entry.fits(sql)
            {
                entry.used.set(true);
                return entry.tell(&moves, out);
            }
        }
        walk::walk(sql, options, own(out));
        if set.once == hash && set.unfit != hash && set.has_room() {
            match Entry::new(hash, sql, escapes, out) {
                Some(entry) => set.keep(entry),
                None => set.unfit = hash,
            }
        }
        set.once = hash;
    }
}

impl Set {
    /// Whether there is room for another, or something that can go for it. What was used gets another chance: texts of which
    /// there are too many would else push each other out all the time.
    fn has_room(&mut self) -> bool {
        let Some(next) = self.entries.get(self.next) else {
            return true;
        };
        let used = next.used.replace(false);
        if used {
            self.next = (self.next + 1) % ALIKE;
        }
        !used
    }

    fn keep(&mut self, entry: Entry) {
        let entry = Box::new(entry);
        match self.entries.get_mut(self.next) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
        self.next = (self.next + 1) % ALIKE;
    }
}

impl Entry {
    fn new(hash: u64, sql: &[u8], escapes: bool, analysis: &Rc<Analysis>) -> Option<Self> {
        let values = values(sql, escapes, analysis);
        (values.len() <= VALUES).then(|| Self {
            hash,
            text: sql.into(),
            escapes,
            values: values.into_boxed_slice(),
            analysis: Rc::clone(analysis),
            used: Cell::new(false),
        })
    }

    /// What a text is that has such values: this very analysis, if they are as long.
    fn tell(&self, moves: &Moves, out: &mut Rc<Analysis>) {
        if moves.iter().all(|(_, by)| *by == 0) {
            *out = Rc::clone(&self.analysis);
            return;
        }
        let own = own(out);
        own.clone_from(&self.analysis);
        move_all(own, moves);
    }

    /// If `sql` is this text but for its values, by how much what stands behind each of them has moved.
    #[inline]
    fn fits(&self, sql: &[u8]) -> Option<Moves> {
        let mut moves = Moves::new();
        let mut rest = sql;
        let mut at = 0;
        for value in &self.values {
            let same = self.text.get(at..value.span.start as usize)?;
            rest = rest.strip_prefix(same)?;
            rest = rest.get(value.length(rest)?..)?;
            at = value.span.end as usize;
            let moved = sql.len() - rest.len();
            moves.push((value.span.end, (moved as u32).wrapping_sub(value.span.end)));
        }
        (rest == self.text.get(at..)?).then_some(moves)
    }
}

impl Value {
    /// How long the value at the front of `text` is; `None` if there is none of its kind.
    #[inline]
    fn length(self, text: &[u8]) -> Option<usize> {
        if self.is_string {
            let inner = text.strip_prefix(b"'")?;
            return Some(memchr(b'\'', inner)? + 2);
        }
        let length = digits(text);
        (length > 0).then_some(length)
    }
}

/// Digits at the front.
#[inline]
fn digits(text: &[u8]) -> usize {
    let digit = |byte: &u8| byte.is_ascii_digit();
    text.iter()
        .position(|byte| !digit(byte))
        .unwrap_or(text.len())
}

/// The values of a text that may differ: none, unless it has nothing but queries and was read to its end.
fn values(sql: &[u8], escapes: bool, analysis: &Analysis) -> Vec<Value> {
    let query = |verb| {
        matches!(
            verb,
            Verb::Select | Verb::Insert | Verb::Update | Verb::Delete | Verb::Values
        )
    };
    let queries = analysis.statements.iter().all(|one| query(one.verb));
    if !queries || !analysis.complete {
        return Vec::new();
    }
    let mut lexer = Lexer::new(sql, !escapes);
    let mut values = Vec::new();
    while values.len() <= VALUES {
        let token = lexer.next_token();
        if token.kind == TokenKind::End {
            break;
        }
        if let Some(is_string) = may_differ(sql, escapes, token) {
            values.push(Value {
                span: token.span,
                is_string,
            });
        }
    }
    values
}

/// Whether any value of the same kind could stand in the token's place and be one token as well; and whether it is a string.
fn may_differ(sql: &[u8], escapes: bool, token: Token) -> Option<bool> {
    let text = token.span.of(sql);
    match token.kind {
        // Nothing may follow that could be part of a number.
        TokenKind::Number => {
            let next = sql.get(token.span.end as usize).copied();
            let ends = next.is_none_or(|byte| {
                byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"._$".contains(&byte)
            });
            (ends && digits(text) == text.len()).then_some(false)
        }
        // In one piece, without quotes inside.
        TokenKind::String => {
            let inner = text.strip_prefix(b"'")?.strip_suffix(b"'")?;
            (!escapes && memchr(b'\'', inner).is_none()).then_some(true)
        }
        _ => None,
    }
}

/// A hash of what stands before the first value, or seems to; in steps of eight bytes.
#[inline]
fn front_hash(sql: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (pieces, rest) = sql.as_chunks::<8>();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let mut hash = ODD;
    for piece in pieces.iter().chain([&last]) {
        let piece = u64::from_le_bytes(*piece);
        if has_value(piece) {
            break;
        }
        hash = (hash ^ piece).wrapping_mul(ODD).rotate_left(29);
    }
    (hash ^ hash >> 32).wrapping_mul(ODD)
}

/// Whether there is a digit or a quote among eight bytes, or something beyond ASCII that looks like one.
#[inline]
const fn has_value(bytes: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let ascii = bytes & !HIGH;
    // The high bit of each byte: from `0` on and not behind `9`; from the quote on and not behind it.
    let digits = (ascii + (0x80 - b'0' as u64) * ONES) & !(ascii + (0x7f - b'9' as u64) * ONES);
    let quotes = (ascii + (0x80 - b'\'' as u64) * ONES) & !(ascii + (0x7f - b'\'' as u64) * ONES);
    (digits | quotes) & HIGH != 0
}

/// Moves every position.
fn move_all(analysis: &mut Analysis, moves: &Moves) {
    for statement in &mut analysis.statements {
        move_span(&mut statement.span, moves);
        for table in &mut statement.tables {
            move_span(table, moves);
        }
        if let Some(name) = &mut statement.name {
            move_span(name, moves);
        }
        if let Some(parameter) = &mut statement.parameter {
            move_parameter(parameter, moves);
        }
    }
}

fn move_parameter(parameter: &mut SetParameter, moves: &Moves) {
    if let ParameterName::Named(span) = &mut parameter.name {
        move_span(span, moves);
    }
    if let ParameterValue::Text(span) = &mut parameter.value {
        move_span(span, moves);
    }
}

fn move_span(span: &mut Span, moves: &Moves) {
    span.start = moved(span.start, moves);
    span.end = moved(span.end, moves);
}

/// Where a position is that no value has inside.
fn moved(at: u32, moves: &Moves) -> u32 {
    let before = moves.iter().rev().find(|(end, _)| *end <= at);
    at.wrapping_add(before.map_or(0, |(_, by)| *by))
}

#[cfg(test)]
mod tests;
