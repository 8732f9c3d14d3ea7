//! What calling a function by its name means: free of effects, with effects that a pool must know, or not known.
//!
//! Names are believed: that nobody defined another `lower` is up to whoever may create functions. Start at [`call`];
//! configurations add to the list with a [`FunctionSet`].

mod names;

use std::collections::HashSet;

use super::analysis::Verbs;
use super::effects::Effects;
use super::lexer::{Token, TokenKind};
use super::name::{fold_name, fold_token};
use super::verb::Verb;
use names::{EFFECTIVE_TABLE, EFFECTS, SAFE_TABLE};

/// Functions that a configuration vouches for: free of effects, fit for a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FunctionSet(HashSet<Box<[u8]>, foldhash::fast::FixedState>);

impl FunctionSet {
    /// Adds `name` or `schema.name`, folded as the server folds names. False when it is no name.
    ///
    /// Without a schema it means calls that are written without one.
    pub fn insert(&mut self, name: &str) -> bool {
        let folded = fold_name(name.as_bytes());
        let dots = memchr::memchr_iter(b'.', &folded).count();
        let valid = !folded.is_empty() && dots <= 1;
        if valid {
            self.0.insert(folded.into());
        }
        valid
    }

    fn has(&self, sql: &[u8], schema: Option<Token>, name: Token) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let Some(name) = fold_token(sql, name) else {
            return false;
        };
        match schema {
            None => self.0.contains(&name[..]),
            Some(schema) => fold_token(sql, schema)
                .is_some_and(|schema| self.0.contains(&[&schema, &name[..]].join(&b'.')[..])),
        }
    }
}

/// What a call does, as far as its name tells.
pub(super) struct Call {
    pub(super) effects: Effects,
    pub(super) inner: Verbs,
}

/// A call of `name`, with the part before its dot, if any; `parts` counts all of them.
pub(super) fn call(
    sql: &[u8],
    schema: Option<Token>,
    name: Token,
    parts: u32,
    safe: Option<&FunctionSet>,
) -> Call {
    let mut call = Call {
        effects: Effects::NONE,
        inner: Verbs::default(),
    };
    let unreadable = |token: Token| token.kind == TokenKind::UnicodeQuoted;
    if unreadable(name) || schema.is_some_and(unreadable) {
        call.effects = Effects::OPAQUE | Effects::UNSAFE_CALL;
        return call;
    }
    if let Some((start, end)) = plain(sql, name) {
        let qualified_ok = match parts {
            1 => true,
            2 => matches!(
                schema.and_then(|schema| fold_token(sql, schema)).as_deref(),
                Some(b"pg_catalog" | b"information_schema")
            ),
            _ => false,
        };
        if qualified_ok && SAFE_TABLE.find(sql, start, end).is_some() {
            return call;
        }
        call.effects |= effects(sql, start, end);
        let text = sql.get(start..end).unwrap_or_default();
        if text.eq_ignore_ascii_case(b"pg_notify") {
            call.inner.insert(Verb::Notify);
        }
    }
    let vouched = parts <= 2 && safe.is_some_and(|safe| safe.has(sql, schema, name));
    if !(vouched && call.effects.is_empty()) {
        call.effects |= Effects::UNSAFE_CALL;
    }
    call
}

/// Where the letters of a name are, when it is one that the tables can have: unquoted, or quoted in lower case.
fn plain(sql: &[u8], name: Token) -> Option<(usize, usize)> {
    let range = name.span.range();
    match name.kind {
        TokenKind::Word => Some((range.start, range.end)),
        TokenKind::Quoted => {
            let (start, end) = (range.start + 1, range.end.saturating_sub(1));
            let inner = sql.get(start..end)?;
            let lower = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
            inner.iter().all(lower).then_some((start, end))
        }
        _ => None,
    }
}

fn effects(sql: &[u8], start: usize, end: usize) -> Effects {
    if let Some(index) = EFFECTIVE_TABLE.find(sql, start, end) {
        return EFFECTS
            .get(index)
            .map_or(Effects::OPAQUE, |(_, effects)| *effects);
    }
    let text = sql.get(start..end).unwrap_or_default();
    let family = |prefix: &[u8]| {
        text.get(..prefix.len())
            .is_some_and(|front| front.eq_ignore_ascii_case(prefix))
    };
    if family(b"dblink") {
        return Effects::OPAQUE;
    }
    Effects::NONE
}
