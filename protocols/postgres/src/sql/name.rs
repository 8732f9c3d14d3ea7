//! Names as the server folds them.
//!
//! It knows nothing of `search_path`: a name without a schema can be in any. Start at [`fold_name`].

use std::borrow::Cow;

use super::lexer::{Lexer, Token, TokenKind};

/// Bytes of a name that the server keeps (`NAMEDATALEN` less one); it cuts longer ones silently.
const NAME_BYTES: usize = 63;

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
