//! The line in front of each chunk: size and extensions (RFC 9112 sections 7.1 and 7.1.1).
//!
//! Extensions are measured and dropped, never interpreted: peers that read them differently is how chunked
//! bodies get smuggled, so only their bytes are judged. Start at [`size_line`].

use nom::{Err, IResult, Parser};

use crate::error::BodyError;
use crate::grammar::text_run;
use crate::limits::CHUNK_SIZE_DIGITS;

/// What a chunk's first line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizeLine {
    pub(super) size: u64,
    pub(super) extension_len: usize,
}

/// Parses one complete line, line end included.
#[inline]
pub(super) fn size_line(line: &[u8]) -> Result<SizeLine, BodyError> {
    let (_, (size, extension_len, ())) = (size, extension, line_end)
        .parse(line)
        .map_err(into_error)?;
    Ok(SizeLine {
        size,
        extension_len,
    })
}

/// Why a line that fills `window` without ending is refused.
#[cold]
pub(super) fn overlong(window: &[u8]) -> BodyError {
    match size_line(window) {
        Ok(_) | Err(BodyError::ChunkExtension) => BodyError::ChunkExtensionTooLong,
        Err(error) => error,
    }
}

type Parsed<'a, T> = IResult<&'a [u8], T, BodyError>;

/// Hexadecimal digits and nothing else: no sign, no `0x`, no white space in front.
fn size(input: &[u8]) -> Parsed<'_, u64> {
    let mut value = 0_u64;
    let mut digits = 0;
    for byte in input {
        let Some(digit) = char::from(*byte).to_digit(16) else {
            break;
        };
        digits += 1;
        if digits > CHUNK_SIZE_DIGITS {
            return Err(Err::Failure(BodyError::ChunkSizeOverflow));
        }
        value = value << 4 | u64::from(digit);
    }
    if digits == 0 {
        return Err(Err::Failure(refusal(input, BodyError::ChunkSize)));
    }
    // Peers that count in signed 64 bits would read a negative size.
    if value > i64::MAX as u64 {
        return Err(Err::Failure(BodyError::ChunkSizeOverflow));
    }
    Ok((input.get(digits..).unwrap_or_default(), value))
}

/// Everything from white space or semicolon to the line end. White space alone is not an extension.
fn extension(input: &[u8]) -> Parsed<'_, usize> {
    if input.starts_with(b"\r\n") {
        return Ok((input, 0));
    }
    let (extension, rest) = input.split_at(text_run(input));
    match (extension.first(), extension.trim_ascii_start().first()) {
        (_, Some(b';')) => Ok((rest, extension.len())),
        (None | Some(b' ' | b'\t'), _) => {
            Err(Err::Failure(refusal(rest, BodyError::ChunkExtension)))
        }
        _ => Err(Err::Failure(BodyError::ChunkSize)),
    }
}

fn line_end(input: &[u8]) -> Parsed<'_, ()> {
    match input.strip_prefix(b"\r\n") {
        Some(rest) => Ok((rest, ())),
        None => Err(Err::Failure(refusal(input, BodyError::ChunkExtension))),
    }
}

#[cold]
fn refusal(input: &[u8], otherwise: BodyError) -> BodyError {
    match input {
        [b'\n', ..] => BodyError::BareLineFeed,
        [b'\r', b'\n', ..] | [b'\r'] => otherwise,
        [b'\r', ..] => BodyError::BareCarriageReturn,
        [0, ..] => BodyError::Nul,
        _ => otherwise,
    }
}

#[allow(clippy::needless_pass_by_value)] // the shape that `map_err` wants
fn into_error(error: Err<BodyError>) -> BodyError {
    match error {
        Err::Error(error) | Err::Failure(error) => error,
        Err::Incomplete(_) => BodyError::Truncated,
    }
}
