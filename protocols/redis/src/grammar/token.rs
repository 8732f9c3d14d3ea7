//! One step of a reply: a line, or the header of a string or an aggregate.
//!
//! Not what is inside: strings and elements are for who asked. A token is whole or not there; bytes that can never become
//! one are refused as soon as they are there. Start at [`token`].

use memchr::memchr2;

use super::{Length, integer, is_big_number, is_double, length};
use crate::error::ReplyError;
use crate::limits::ReplyLimits;
use crate::reply::ReplyKind;

/// What stands at one place of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// A whole value in one line, nulls among them.
    Line {
        /// Its type.
        kind: ReplyKind,
        /// Its bytes, with type and line end.
        len: usize,
    },
    /// A string begins. Its bytes follow, and a CRLF.
    Bulk {
        /// Its type.
        kind: ReplyKind,
        /// The bytes up to its own: of a verbatim string also those that name its format.
        header: usize,
        /// Its bytes, the format's not counted.
        length: u64,
    },
    /// Elements follow; of maps and attributes twice as many.
    Aggregate {
        /// Its type; [`None`] for attributes.
        kind: Option<ReplyKind>,
        /// The bytes of the header.
        header: usize,
        /// Elements or pairs.
        count: u32,
    },
    /// Elements follow until [`End`](Self::End).
    StreamedAggregate {
        /// Its type.
        kind: ReplyKind,
        /// The bytes of the header.
        header: usize,
    },
    /// Chunks follow until an empty one.
    StreamedBulk {
        /// The bytes of the header.
        header: usize,
    },
    /// A chunk of a streamed string. Its bytes follow, and a CRLF; nothing follows an empty one.
    Chunk {
        /// The bytes of the header.
        header: usize,
        /// Its bytes.
        length: u64,
    },
    /// A streamed aggregate ends.
    End {
        /// The bytes of it.
        len: usize,
    },
}

/// What is at the front of `src`. `None`: more has to come.
#[inline]
pub(crate) fn token(src: &[u8], limits: &ReplyLimits) -> Result<Option<Token>, ReplyError> {
    let Some((&first, rest)) = src.split_first() else {
        return Ok(None);
    };
    match first {
        b'$' => bulk(rest, limits),
        b'*' => aggregate(Some(ReplyKind::Array), rest, limits),
        b':' => line(ReplyKind::Integer, rest, limits),
        b'+' => line(ReplyKind::Simple, rest, limits),
        b'-' => line(ReplyKind::Error, rest, limits),
        _ => third(first, rest, limits),
    }
}

/// Types that are new in RESP3.
fn third(first: u8, rest: &[u8], limits: &ReplyLimits) -> Result<Option<Token>, ReplyError> {
    match first {
        b'_' => line(ReplyKind::Null, rest, limits),
        b',' => line(ReplyKind::Double, rest, limits),
        b'#' => line(ReplyKind::Boolean, rest, limits),
        b'(' => line(ReplyKind::BigNumber, rest, limits),
        b'!' => sized(rest, limits.bulk).map(|found| {
            found.map(|(header, length)| Token::Bulk {
                kind: ReplyKind::BulkError,
                header,
                length,
            })
        }),
        b'=' => verbatim(rest, limits),
        b'%' => aggregate(Some(ReplyKind::Map), rest, limits),
        b'~' => aggregate(Some(ReplyKind::Set), rest, limits),
        b'>' => aggregate(Some(ReplyKind::Push), rest, limits),
        b'|' => aggregate(None, rest, limits),
        b';' => sized(rest, limits.bulk)
            .map(|found| found.map(|(header, length)| Token::Chunk { header, length })),
        b'.' => exact(rest, b"\r\n").map(|found| found.map(|len| Token::End { len })),
        _ => Err(ReplyError::Type),
    }
}

/// A line, and whether its type may be written so.
#[inline]
fn line(kind: ReplyKind, rest: &[u8], limits: &ReplyLimits) -> Result<Option<Token>, ReplyError> {
    // With type and line end the line has three bytes more.
    let most = limits.line.saturating_sub(3);
    let window = rest.get(..=most).unwrap_or(rest);
    let Some(end) = memchr2(b'\r', b'\n', window) else {
        return if rest.len() > most {
            Err(ReplyError::LineTooLong)
        } else {
            Ok(None)
        };
    };
    match rest.get(end..) {
        Some([b'\r', b'\n', ..]) => {}
        Some([b'\r']) => return Ok(None),
        _ => return Err(ReplyError::LineEnd),
    }
    if !may_hold(kind, rest.get(..end).unwrap_or_default()) {
        return Err(ReplyError::Value);
    }
    let len = end + 3;
    Ok(Some(Token::Line { kind, len }))
}

#[inline]
fn may_hold(kind: ReplyKind, line: &[u8]) -> bool {
    match kind {
        ReplyKind::Integer => integer(line).is_some(),
        ReplyKind::Double => is_double(line),
        ReplyKind::BigNumber => is_big_number(line),
        ReplyKind::Boolean => matches!(line, b"t" | b"f"),
        ReplyKind::Null => line.is_empty(),
        _ => true,
    }
}

#[inline]
fn bulk(rest: &[u8], limits: &ReplyLimits) -> Result<Option<Token>, ReplyError> {
    match rest.first() {
        Some(b'-') => null(ReplyKind::NullBulk, rest),
        Some(b'?') => {
            streamed(rest).map(|found| found.map(|header| Token::StreamedBulk { header }))
        }
        _ => {
            let found = sized(rest, limits.bulk)?;
            Ok(found.map(|(header, length)| Token::Bulk {
                kind: ReplyKind::Bulk,
                header,
                length,
            }))
        }
    }
}

/// The format is three bytes and a colon, and counts as part of the header: it is never seen in parts.
fn verbatim(rest: &[u8], limits: &ReplyLimits) -> Result<Option<Token>, ReplyError> {
    const FORMAT: usize = 4;
    let Some((header, length)) = sized(rest, limits.bulk)? else {
        return Ok(None);
    };
    let Some(length) = length.checked_sub(FORMAT as u64) else {
        return Err(ReplyError::Value);
    };
    // Of `rest` the header is one byte less: the type is not there.
    match rest.get(header + 2) {
        None => Ok(None),
        Some(b':') => Ok(Some(Token::Bulk {
            kind: ReplyKind::Verbatim,
            header: header + FORMAT,
            length,
        })),
        Some(_) => Err(ReplyError::Value),
    }
}

#[inline]
fn aggregate(
    kind: Option<ReplyKind>,
    rest: &[u8],
    limits: &ReplyLimits,
) -> Result<Option<Token>, ReplyError> {
    match (kind, rest.first()) {
        (Some(ReplyKind::Array), Some(b'-')) => return null(ReplyKind::NullArray, rest),
        (Some(kind), Some(b'?')) if kind != ReplyKind::Push => {
            let found = streamed(rest)?;
            return Ok(found.map(|header| Token::StreamedAggregate { kind, header }));
        }
        _ => {}
    }
    match length(rest) {
        Length::Is { value, len } if value <= u64::from(limits.elements) => {
            Ok(Some(Token::Aggregate {
                kind,
                header: len + 1,
                count: value as u32,
            }))
        }
        Length::Is { .. } => Err(ReplyError::Elements),
        Length::Unfinished => Ok(None),
        Length::TooManyDigits | Length::Bad => Err(ReplyError::Length),
    }
}

/// A header with a length: its bytes with those of the type, and the length.
#[inline]
fn sized(rest: &[u8], most: u64) -> Result<Option<(usize, u64)>, ReplyError> {
    match length(rest) {
        Length::Is { value, len } if value <= most => Ok(Some((len + 1, value))),
        Length::Is { .. } => Err(ReplyError::BulkTooLarge),
        Length::Unfinished => Ok(None),
        Length::TooManyDigits | Length::Bad => Err(ReplyError::Length),
    }
}

fn null(kind: ReplyKind, rest: &[u8]) -> Result<Option<Token>, ReplyError> {
    let found = exact(rest, b"-1\r\n")?;
    Ok(found.map(|len| Token::Line { kind, len }))
}

fn streamed(rest: &[u8]) -> Result<Option<usize>, ReplyError> {
    exact(rest, b"?\r\n")
}

/// Exactly these bytes: their number with the type's.
fn exact(rest: &[u8], expected: &[u8]) -> Result<Option<usize>, ReplyError> {
    let here = rest.get(..expected.len()).unwrap_or(rest);
    if !expected.starts_with(here) {
        Err(ReplyError::Length)
    } else if here.len() < expected.len() {
        Ok(None)
    } else {
        Ok(Some(expected.len() + 1))
    }
}
