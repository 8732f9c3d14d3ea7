//! Paths in normal form, with no copy where they are so already.
//!
//! Not a URL library: the input is the path and query of a target. Start at [`normalize`].

use bytes::Bytes;

use super::{EscapedSlashes, NormalizeConfig, RequestError};

/// What a byte of a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    /// Fine as long as it is not alone, or with one other, between slashes.
    Dot,
    Slash,
    Percent,
    Backslash,
    Hash,
    Question,
    /// A control byte, space, or past ASCII.
    Invalid,
}

static CLASSES: [Class; 256] = classes();

#[allow(clippy::indexing_slicing)] // evaluated at compile time: an index out of range does not compile
const fn classes() -> [Class; 256] {
    let mut table = [Class::Invalid; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = Class::Plain;
        byte += 1;
    }
    table[b'.' as usize] = Class::Dot;
    table[b'/' as usize] = Class::Slash;
    table[b'%' as usize] = Class::Percent;
    table[b'\\' as usize] = Class::Backslash;
    table[b'#' as usize] = Class::Hash;
    table[b'?' as usize] = Class::Question;
    table
}

#[inline]
#[allow(clippy::indexing_slicing)] // a u8 is always below 256
fn class(byte: u8) -> Class {
    CLASSES[byte as usize]
}

/// The normal form of a path with query; `None` if it is the input.
pub(super) fn normalize(
    input: &[u8],
    config: NormalizeConfig,
) -> Result<Option<Bytes>, RequestError> {
    match check(input, config)? {
        Some(work) => rewrite(input, &work, config),
        None => Ok(None),
    }
}

#[cold]
fn rewrite(
    input: &[u8],
    work: &Work,
    config: NormalizeConfig,
) -> Result<Option<Bytes>, RequestError> {
    let (path, query) = input.split_at(work.end);
    let decoded = decode(path);
    let mut output = Vec::with_capacity(input.len() + 1);
    remove_dots(&decoded, config.merge_slashes, &mut output)?;
    output.extend_from_slice(query);
    Ok((output != input).then(|| Bytes::from(output)))
}

/// A path that may need work.
struct Work {
    /// Where the path ends and the query, if there is one, begins.
    end: usize,
}

/// Checks every byte; `None` if the path is certainly normal.
fn check(input: &[u8], config: NormalizeConfig) -> Result<Option<Work>, RequestError> {
    let mut work = false;
    let mut end = input.len();
    match input.first() {
        Some(b'/') => {}
        None | Some(b'?') => work = true,
        Some(b'#') => return Err(RequestError::Fragment),
        Some(_) => return Err(RequestError::InvalidPath),
    }
    let mut previous = b'/';
    for (index, &byte) in input.iter().enumerate() {
        match class(byte) {
            Class::Plain => {}
            Class::Dot => work |= previous == b'/',
            Class::Slash => work |= config.merge_slashes && previous == b'/' && index > 0,
            Class::Percent => {
                work |= check_escape(input.get(index + 1..).unwrap_or_default(), config)?;
            }
            Class::Backslash if config.escaped_slashes == EscapedSlashes::Reject => {
                return Err(RequestError::EscapedSlash);
            }
            Class::Backslash => {}
            Class::Question => {
                end = index;
                break;
            }
            Class::Hash => return Err(RequestError::Fragment),
            Class::Invalid => return Err(RequestError::InvalidPath),
        }
        previous = byte;
    }
    check_query(input.get(end..).unwrap_or_default())?;
    Ok(work.then_some(Work { end }))
}

/// Whether the escape is not in its normal form.
#[inline(never)] // few paths have any
fn check_escape(rest: &[u8], config: NormalizeConfig) -> Result<bool, RequestError> {
    let value = escape(rest).ok_or(RequestError::BadEscape)?;
    match value {
        0 => Err(RequestError::EscapedNul),
        b'/' | b'\\' if config.escaped_slashes == EscapedSlashes::Reject => {
            Err(RequestError::EscapedSlash)
        }
        value => Ok(is_unreserved(value) || rest.iter().take(2).any(u8::is_ascii_lowercase)),
    }
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// A query is opaque, as long as it is printable and has no fragment behind it.
fn check_query(query: &[u8]) -> Result<(), RequestError> {
    for &byte in query {
        match class(byte) {
            Class::Hash => return Err(RequestError::Fragment),
            Class::Invalid => return Err(RequestError::InvalidPath),
            _ => {}
        }
    }
    Ok(())
}

/// The byte that the two hex digits behind a `%` mean.
fn escape(rest: &[u8]) -> Option<u8> {
    let [high, low, ..] = rest else { return None };
    let high = char::from(*high).to_digit(16)?;
    let low = char::from(*low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

/// RFC 3986 section 6.2.2: unreserved bytes as themselves, other escapes with upper-case digits.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let value = if byte == b'%' { escape(rest) } else { None };
        let Some(value) = value else {
            output.push(byte);
            continue;
        };
        let (digits, behind) = rest.split_at(2);
        rest = behind;
        if is_unreserved(value) {
            output.push(value);
        } else {
            output.push(b'%');
            output.extend(digits.iter().map(u8::to_ascii_uppercase));
        }
    }
    output
}

/// RFC 3986 section 5.2.4, except that climbing above the root is an error and not forgiven.
fn remove_dots(path: &[u8], merge_slashes: bool, output: &mut Vec<u8>) -> Result<(), RequestError> {
    let segments = path.strip_prefix(b"/").unwrap_or(path);
    let mut parts = segments.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = parts.next() {
        let is_last = parts.peek().is_none();
        match segment {
            b"." => {}
            b".." => {
                let parent = output.iter().rposition(|&byte| byte == b'/');
                output.truncate(parent.ok_or(RequestError::AboveRoot)?);
            }
            b"" if merge_slashes && !is_last => continue,
            segment => {
                output.push(b'/');
                output.extend_from_slice(segment);
                continue;
            }
        }
        // What a dot segment at the end leaves is a directory.
        if is_last {
            output.push(b'/');
        }
    }
    if output.is_empty() {
        output.push(b'/');
    }
    Ok(())
}

/// Whether a segment of `path` is `.` or `..`, plain or escaped.
pub(crate) fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/')
        .any(|segment| matches!(&*decode(segment), b"." | b".."))
}

/// Whether `path` (without query) is one that may be sent: it begins with a slash, is printable, and its escapes
/// are whole.
pub(crate) fn is_target_path(path: &[u8]) -> bool {
    path.first() == Some(&b'/')
        && path
            .iter()
            .enumerate()
            .all(|(index, &byte)| match class(byte) {
                Class::Hash | Class::Question | Class::Invalid => false,
                Class::Percent => escape(path.get(index + 1..).unwrap_or_default())
                    .is_some_and(|value| value != 0),
                _ => true,
            })
}
