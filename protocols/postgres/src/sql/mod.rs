//! What a statement does, from its text alone: verb, read or write, effects on the session, tables, fingerprint.
//!
//! A lexer and a state machine over its tokens. It is no parser and knows no catalog: it accepts much that the server
//! refuses, and where it cannot know it says so ([`Class::Unknown`], [`StatementInfo::tables_truncated`]) or takes the
//! careful side ([`Class::Write`]). `SQL.md` beside the crate's README has the rules in words. Linear in the text,
//! without recursion, and, but for deep nesting, without allocation once an [`Analysis`] has its room. Start at [`analyse`]; for logs
//! [`normalise`].

mod analysis;
mod effects;
mod functions;
mod head;
mod hint;
mod keyword;
mod lexer;
mod name;
mod normal;
mod seen;
mod verb;
mod walk;
mod words;

use std::rc::Rc;
use std::sync::Arc;

pub use analysis::{
    Access, Analysis, Class, Fingerprint, Hint, Isolation, MAX_STATEMENTS, MAX_TABLES,
    ParameterName, ParameterValue, SetParameter, Span, StatementInfo, TransactionModes, Verbs,
};
pub use effects::Effects;
pub use functions::FunctionSet;
pub use keyword::Keyword;
pub use lexer::{Lexer, Token, TokenKind};
pub use name::fold_name;
pub use normal::normalise;
pub use seen::SeenTexts;
pub use verb::{Object, StatementPattern, UnknownStatement, Verb};

/// What an analysis must know beside the text.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server's `standard_conforming_strings`, as it last reported it. When off, a backslash escapes in `'...'`.
    pub standard_conforming_strings: bool,
    /// The text is only the front of a longer one: its last statement is [`Class::Unknown`], and it is not complete.
    pub truncated: bool,
    /// In the client's encoding, bytes below 0x80 are always ASCII. Not so in SJIS, BIG5, GBK, UHC, GB18030 and JOHAB:
    /// with `false`, a text with any byte above is [`Class::Unknown`] throughout. See [`is_ascii_safe`].
    pub ascii_safe: bool,
    /// Read a [`Hint`] at the front of the text. Off by default: anyone who can write a comment could choose.
    pub hints: bool,
    /// Functions that count as free of effects beside the built-in ones.
    pub safe_functions: Option<Arc<FunctionSet>>,
    /// What was read before with the same `hints` and `safe_functions`: spares reading a text again whose values have changed.
    pub seen: Option<Rc<SeenTexts>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            standard_conforming_strings: true,
            truncated: false,
            ascii_safe: true,
            hints: false,
            safe_functions: None,
            seen: None,
        }
    }
}

/// Says what `sql` is and does. Never fails: [`Analysis::complete`] is false where the text has an end that cannot be read.
///
/// Everything in `out` is replaced. Of texts longer than 4 GiB only that much is read.
pub fn analyse(sql: &[u8], options: &Options, out: &mut Analysis) {
    match &options.seen {
        Some(seen) => seen.analyse(sql, options, out),
        None => walk::walk(sql, options, out),
    }
}

/// As [`analyse`], where what was found may be shared with others that have read the same: `out` is put in place, not written to
/// while anybody else has it.
pub fn analyse_shared(sql: &[u8], options: &Options, out: &mut Rc<Analysis>) {
    match &options.seen {
        Some(seen) => seen.analyse_shared(sql, options, out),
        None => walk::walk(sql, options, own(out)),
    }
}

/// The analysis to write to: this one if nobody else has it.
fn own(shared: &mut Rc<Analysis>) -> &mut Analysis {
    if Rc::strong_count(shared) > 1 {
        *shared = Rc::default();
    }
    Rc::make_mut(shared)
}

/// Whether bytes below 0x80 are always ASCII in a client encoding, by the server's name for it.
#[must_use]
pub fn is_ascii_safe(client_encoding: &[u8]) -> bool {
    // The encodings that PostgreSQL allows on the client's side only, for this reason.
    const UNSAFE: [&str; 9] = [
        "sjis",
        "shiftjis",
        "shiftjis2004",
        "big5",
        "gbk",
        "uhc",
        "gb18030",
        "johab",
        "mskanji",
    ];
    let letters = client_encoding
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric());
    let name: Vec<u8> = letters.map(u8::to_ascii_lowercase).collect();
    let windows = [
        &b"win936"[..],
        b"windows936",
        b"win932",
        b"windows932",
        b"win949",
        b"windows949",
        b"win950",
        b"windows950",
    ];
    !UNSAFE
        .iter()
        .any(|unsafe_name| unsafe_name.as_bytes() == name)
        && !windows.contains(&&name[..])
}
