//! Names as the server folds them, and the tables that rules speak of.
//!
//! It knows nothing of `search_path`: a name without a schema can be in any. Start at [`Relations`] and [`fold_name`].

use std::borrow::Cow;
use std::str::FromStr;

use super::lexer::{Lexer, Token, TokenKind};

/// Bytes of a name that the server keeps (`NAMEDATALEN` less one); it cuts longer ones silently.
const NAME_BYTES: usize = 63;

/// A table as a rule names it: `orders`, `shop.orders`, `"Orders"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Relation {
    schema: Option<Box<[u8]>>,
    name: Box<[u8]>,
}

/// Text that names no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the name of a table: expected name or schema.name, in double quotes where case matters"
)]
pub struct BadRelation;

impl FromStr for Relation {
    type Err = BadRelation;

    fn from_str(text: &str) -> Result<Self, BadRelation> {
        let mut lexer = Lexer::new(text.as_bytes(), true);
        let (schema, name) = match parts(&mut lexer) {
            Some((None, name)) => (None, name),
            Some((Some(schema), name)) => (Some(schema), name),
            None => return Err(BadRelation),
        };
        let dots = text.bytes().filter(|&byte| byte == b'.').count();
        if dots > 1 && !text.contains('"') {
            return Err(BadRelation);
        }
        Ok(Self {
            schema: schema.map(Into::into),
            name: name.into(),
        })
    }
}

/// Tables that a rule speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relations(Vec<Relation>);

impl FromIterator<Relation> for Relations {
    fn from_iter<I: IntoIterator<Item = Relation>>(relations: I) -> Self {
        Self(relations.into_iter().collect())
    }
}

impl Relations {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a name as written in a statement can be one of them. Names that cannot be read can.
    ///
    /// A schema decides only where both sides have one.
    #[must_use]
    pub fn matches(&self, written: &[u8]) -> bool {
        self.0.iter().any(|relation| names(written, relation))
    }
}

/// Whether a name as written can be `relation`.
pub(super) fn names(written: &[u8], relation: &Relation) -> bool {
    let Some((schema, name)) = parts(&mut Lexer::new(written, true)) else {
        return true;
    };
    let schema_fits = match (&schema, &relation.schema) {
        (Some(one), Some(other)) => one[..] == other[..],
        _ => true,
    };
    schema_fits && name[..] == relation.name[..]
}

/// The last two parts of a dotted name, folded. `None` when it is none or cannot be read.
#[allow(clippy::type_complexity)] // a pair of names
fn parts<'a>(lexer: &mut Lexer<'a>) -> Option<(Option<Cow<'a, [u8]>>, Cow<'a, [u8]>)> {
    let (mut schema, mut name) = (None, None);
    loop {
        let part = fold_token(lexer.text(), lexer.next_token())?;
        schema = name.replace(part).or(schema);
        match lexer.next_token().kind {
            TokenKind::Dot => {}
            TokenKind::End => return Some((schema, name?)),
            _ => return None,
        }
    }
}

/// One part: lower case unless quoted, doubled quotes taken out, cut as the server cuts. `None` for anything else than a
/// name, and for `U&"..."`, whose escape character is not known here.
pub(super) fn fold_token(sql: &[u8], token: Token) -> Option<Cow<'_, [u8]>> {
    let text = token.span.of(sql);
    match token.kind {
        TokenKind::Word if text.iter().any(u8::is_ascii_uppercase) => {
            let mut folded = text.to_ascii_lowercase();
            folded.truncate(clip(&folded));
            Some(Cow::Owned(folded))
        }
        TokenKind::Word => text.get(..clip(text)).map(Cow::Borrowed),
        TokenKind::Quoted => {
            let inner = text.get(1..text.len().saturating_sub(1))?;
            if !inner.contains(&b'"') {
                return inner.get(..clip(inner)).map(Cow::Borrowed);
            }
            let mut unescaped = Vec::with_capacity(inner.len());
            let mut skip = false;
            for &byte in inner {
                skip = byte == b'"' && !skip;
                if !skip {
                    unescaped.push(byte);
                }
            }
            unescaped.truncate(clip(&unescaped));
            Some(Cow::Owned(unescaped))
        }
        _ => None,
    }
}

/// Whether two parts are surely one name to the server.
pub(super) fn same_token(sql: &[u8], one: Token, other: Token) -> bool {
    let plain = |token: Token| {
        matches!(token.kind, TokenKind::Word | TokenKind::Quoted) && token.span.len() <= NAME_BYTES
    };
    if !plain(one) || !plain(other) {
        return false;
    }
    if one.kind == TokenKind::Word && other.kind == TokenKind::Word {
        return one.span.of(sql).eq_ignore_ascii_case(other.span.of(sql));
    }
    fold_token(sql, one) == fold_token(sql, other)
}

/// How many bytes the server keeps: no more than [`NAME_BYTES`], whole characters.
fn clip(name: &[u8]) -> usize {
    let mut end = name.len().min(NAME_BYTES);
    while end < name.len() && end > 0 && name.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    end
}

/// A name as written, dotted or not, the way the server folds it: parts in lower case unless quoted, with dots between.
///
/// Empty when it is no name, or one that cannot be read (`U&"..."`). Allocates only when something changes.
#[must_use]
pub fn fold_name(written: &[u8]) -> Cow<'_, [u8]> {
    let mut lexer = Lexer::new(written, true);
    let mut folded: Option<Cow<'_, [u8]>> = None;
    loop {
        let Some(part) = fold_token(written, lexer.next_token()) else {
            return Cow::Borrowed(b"");
        };
        folded = Some(match folded {
            None => part,
            Some(before) => Cow::Owned([&before, &part[..]].join(&b'.')),
        });
        match lexer.next_token().kind {
            TokenKind::Dot => {}
            TokenKind::End => return folded.unwrap_or_default(),
            _ => return Cow::Borrowed(b""),
        }
    }
}
