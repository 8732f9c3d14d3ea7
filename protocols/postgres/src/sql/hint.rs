//! Routing hints in a comment at the very front of a text.
//!
//! Whoever can write a comment can choose with it, so nobody reads it unless asked to. Start at [`read`].

use memchr::memmem;

use super::analysis::Hint;

/// Bytes of a comment that are looked at.
const MAX_COMMENT: usize = 64;

/// The hint, when the text begins with nothing else.
pub(super) fn read(sql: &[u8]) -> Option<Hint> {
    let front = sql.get(..sql.len().min(MAX_COMMENT))?;
    let inner = front.strip_prefix(b"/*")?;
    let end = memmem::find(inner, b"*/")?;
    let words = inner.get(..end)?.trim_ascii();
    let value = words.strip_prefix(b"portcullis:")?.trim_ascii();
    match value {
        b"primary" => Some(Hint::Primary),
        b"replica" => Some(Hint::Replica),
        _ => None,
    }
}
