//! The few shapes that all bodies are made of ("Message Data Types").
//!
//! Parsers of nom over a body that is whole, so that what is missing is an error and never waited for. Start at [`whole`].

use memchr::memchr;
use nom::bytes::complete::take;
pub(super) use nom::combinator::rest;
use nom::number::complete::{be_i32, be_u16};
use nom::{Err, IResult, Parser};

use super::Format;
use super::lists::{Formats, Numbers, Strings, Values};
use crate::error::MessageError;

pub(super) type Parsed<'a, T> = IResult<&'a [u8], T, MessageError>;

/// Runs `parser`, which must take all of `body`.
pub(super) fn whole<'a, T>(
    body: &'a [u8],
    mut parser: impl Parser<&'a [u8], Output = T, Error = MessageError>,
) -> Result<T, MessageError> {
    match parser.parse(body) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(MessageError::Trailing),
        Err(Err::Error(error) | Err::Failure(error)) => Err(error),
        // Only streaming parsers ask for more.
        Err(Err::Incomplete(_)) => Err(MessageError::Truncated),
    }
}

/// Nothing at all.
pub(super) fn empty(body: &[u8]) -> Result<(), MessageError> {
    if body.is_empty() {
        Ok(())
    } else {
        Err(MessageError::Trailing)
    }
}

pub(super) fn fail<T>(error: MessageError) -> Result<T, Err<MessageError>> {
    Err(Err::Failure(error))
}

/// String: bytes up to a NUL.
pub(super) fn string(input: &[u8]) -> Parsed<'_, &[u8]> {
    let Some(end) = memchr(0, input) else {
        return fail(MessageError::Unterminated);
    };
    let (text, rest) = input.split_at_checked(end).unwrap_or((input, &[]));
    Ok((rest.get(1..).unwrap_or_default(), text))
}

/// Int16, a format code.
pub(super) fn format(input: &[u8]) -> Parsed<'_, Format> {
    nom::number::complete::be_i16.map(Format).parse(input)
}

/// Int16 n, then n format codes.
pub(super) fn formats(input: &[u8]) -> Parsed<'_, Formats<'_>> {
    let (input, count) = be_u16(input)?;
    let (input, bytes) = take(usize::from(count) * 2).parse(input)?;
    Ok((input, Formats::new(bytes)))
}

/// Int16 n, then n Int32.
pub(super) fn numbers(input: &[u8]) -> Parsed<'_, Numbers<'_>> {
    let (input, count) = be_u16(input)?;
    let (input, bytes) = take(usize::from(count) * 4).parse(input)?;
    Ok((input, Numbers::new(bytes)))
}

/// Int32, the length of a value, then the value; -1 is NULL.
pub(super) fn value(input: &[u8]) -> Parsed<'_, Option<&[u8]>> {
    let (input, length) = be_i32(input)?;
    match usize::try_from(length) {
        Ok(length) => take(length).map(Some).parse(input),
        Err(_) if length == -1 => Ok((input, None)),
        Err(_) => fail(MessageError::ValueLength),
    }
}

/// Int16 n, then n values.
pub(super) fn values(input: &[u8]) -> Parsed<'_, Values<'_>> {
    let (start, count) = be_u16(input)?;
    let mut end = start;
    for _ in 0..count {
        (end, _) = value(end)?;
    }
    let bytes = start.get(..start.len() - end.len()).unwrap_or_default();
    Ok((end, Values::new(bytes, count)))
}

/// Strings up to an empty one.
pub(super) fn strings(input: &[u8]) -> Parsed<'_, Strings<'_>> {
    let mut end = input;
    loop {
        let (next, text) = string(end)?;
        if text.is_empty() {
            let bytes = input.get(..input.len() - end.len()).unwrap_or_default();
            return Ok((next, Strings::new(bytes)));
        }
        end = next;
    }
}

/// So many strings.
pub(super) fn counted_strings(count: i32) -> impl FnMut(&[u8]) -> Parsed<'_, Strings<'_>> {
    move |input| {
        if count < 0 {
            return fail(MessageError::Value);
        }
        let mut end = input;
        // Each takes a byte at least, so a count that lies ends soon.
        for _ in 0..count {
            (end, _) = string(end)?;
        }
        let bytes = input.get(..input.len() - end.len()).unwrap_or_default();
        Ok((end, Strings::new(bytes)))
    }
}
