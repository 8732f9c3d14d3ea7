//! The commonest values without tokens and nesting: what the walk would say of them, sooner.
//!
//! Not the rule: whatever is not whole, long, or odd in any way is left to the walk, which judges it. Start at [`value`].

use super::ReplyKind;
use crate::grammar::{Length, length, long_length, short_length};
use crate::limits::{DIGITS, ReplyLimits};

/// Elements of an array inside of another that is still short. What is not there yet may be looked at again, and this is how
/// much of it.
const ELEMENTS: u32 = 16;

/// A value that is no aggregate, at the front: its type and its bytes.
#[inline]
pub(super) fn value(src: &[u8], most: u64) -> Option<(ReplyKind, usize)> {
    let (&first, rest) = src.split_first()?;
    match first {
        b'$' => string(src, rest, most),
        b':' => Some((ReplyKind::Integer, integer(rest)? + 1)),
        b'+' => Some((ReplyKind::Simple, line(rest)? + 1)),
        _ => third(first, rest),
    }
}

/// An array or a map at the front: how many elements it has, and the bytes of its header.
#[inline]
pub(super) fn aggregate(kind: ReplyKind, src: &[u8], most: u32) -> Option<(u32, usize)> {
    match length(src.get(1..)?) {
        Length::Is { value, len } if value <= u64::from(most) => {
            let is_map = kind == ReplyKind::Map;
            Some(((value as u32) << u32::from(is_map), len + 1))
        }
        _ => None,
    }
}

/// Goes over up to `most` elements: their bytes and their number. `may_nest`: some may be short aggregates.
pub(super) fn elements(
    src: &[u8],
    most: u32,
    may_nest: bool,
    limits: &ReplyLimits,
) -> (usize, u32) {
    let (mut bytes, mut count) = (0, 0);
    while count < most {
        let rest = src.get(bytes..).unwrap_or_default();
        let len = match value(rest, limits.bulk) {
            Some((_, len)) => Some(len),
            None if may_nest => nested(rest, limits),
            None => None,
        };
        let Some(len) = len else {
            break;
        };
        bytes += len;
        count += 1;
    }
    (bytes, count)
}

/// How far what is at the front is the same in RESP2 and RESP3: strings, numbers, lines, and headers of arrays.
pub(crate) fn same(src: &[u8]) -> usize {
    let mut bytes = 0;
    while let Some(len) = src.get(bytes..).and_then(same_one) {
        bytes += len;
    }
    bytes
}

#[inline]
fn same_one(rest: &[u8]) -> Option<usize> {
    if rest.first() == Some(&b'*') {
        let (_, header) = aggregate(ReplyKind::Array, rest, u32::MAX)?;
        return Some(header);
    }
    let (kind, len) = value(rest, u64::MAX)?;
    let is_same = matches!(
        kind,
        ReplyKind::Simple | ReplyKind::Integer | ReplyKind::Bulk | ReplyKind::NullBulk
    );
    is_same.then_some(len)
}

/// An aggregate of few values: its bytes.
fn nested(src: &[u8], limits: &ReplyLimits) -> Option<usize> {
    let kind = match src.first()? {
        b'*' => ReplyKind::Array,
        b'%' => ReplyKind::Map,
        b'~' => ReplyKind::Set,
        _ => return None,
    };
    let (count, header) = aggregate(kind, src, limits.elements.min(ELEMENTS))?;
    let mut bytes = header;
    for _ in 0..count {
        bytes += value(src.get(bytes..)?, limits.bulk)?.1;
    }
    Some(bytes)
}

#[inline]
fn string(src: &[u8], rest: &[u8], most: u64) -> Option<(ReplyKind, usize)> {
    let Some((value, len)) = short_length(rest) else {
        return long_string(src, rest, most);
    };
    whole(src, value, len, most)
}

/// One with a long length, or nil.
#[inline(never)]
fn long_string(src: &[u8], rest: &[u8], most: u64) -> Option<(ReplyKind, usize)> {
    match long_length(rest) {
        Length::Is { value, len } => whole(src, value, len, most),
        _ => rest
            .starts_with(b"-1\r\n")
            .then_some((ReplyKind::NullBulk, 5)),
    }
}

#[inline]
fn whole(src: &[u8], value: u64, len: usize, most: u64) -> Option<(ReplyKind, usize)> {
    let end = 1 + len + value as usize;
    let is_whole = value <= most && src.get(end..end + 2)? == b"\r\n";
    is_whole.then_some((ReplyKind::Bulk, end + 2))
}

/// A number that cannot be too large: its bytes and those of the line end.
#[inline]
fn integer(rest: &[u8]) -> Option<usize> {
    let start = usize::from(rest.first() == Some(&b'-'));
    let digits = digits(rest.get(start..)?);
    let end = start + digits;
    let is_whole = digits > 0 && rest.get(end..end + 2)? == b"\r\n";
    is_whole.then_some(end + 2)
}

/// How many there are at the front, up to as many as 64 bits hold whatever they are.
#[inline]
fn digits(bytes: &[u8]) -> usize {
    let window = bytes.get(..DIGITS).unwrap_or(bytes);
    let end = window.iter().position(|byte| !byte.is_ascii_digit());
    end.unwrap_or(window.len())
}

/// A line of a word or two: its bytes and those of the line end.
#[inline]
fn line(rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"OK\r\n") {
        return Some(4);
    }
    let window = rest.get(..16).unwrap_or(rest);
    let end = window.iter().position(|&byte| byte < b' ')?;
    rest.get(end..)?.starts_with(b"\r\n").then_some(end + 2)
}

/// Types of RESP3.
#[inline(never)]
fn third(first: u8, rest: &[u8]) -> Option<(ReplyKind, usize)> {
    match (first, rest) {
        (b'_', [b'\r', b'\n', ..]) => Some((ReplyKind::Null, 3)),
        (b'#', [b't' | b'f', b'\r', b'\n', ..]) => Some((ReplyKind::Boolean, 4)),
        (b',', _) => Some((ReplyKind::Double, double(rest)? + 1)),
        _ => None,
    }
}

/// Digits, and a point among them or none: its bytes and those of the line end.
fn double(rest: &[u8]) -> Option<usize> {
    let part = |from: usize| match digits(rest.get(from..)?) {
        0 => None,
        count => Some(from + count),
    };
    let mut end = part(usize::from(rest.first() == Some(&b'-')))?;
    if rest.get(end) == Some(&b'.') {
        end = part(end + 1)?;
    }
    rest.get(end..)?.starts_with(b"\r\n").then_some(end + 2)
}
