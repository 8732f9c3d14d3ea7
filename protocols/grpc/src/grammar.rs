//! The grammar of the framing: bytes to prefixes and to lines of trailers. Nothing is copied.
//!
//! Every parser here is given a complete unit. Start at [`header`].

use std::ops::Range;

use nom::number::complete::{be_u32, u8};
use nom::{Err, IResult, Parser};
use portcullis_codec::ByteSet;

use crate::error::MessageError;
use crate::message::MessageHeader;

type Parsed<'a, T> = IResult<&'a [u8], T, MessageError>;

/// The bit of a gRPC-Web frame that says that it holds trailers.
pub(crate) const TRAILERS: u8 = 0x80;

/// A message's prefix: flag and length ("Length-Prefixed-Message").
pub(crate) fn header(input: &[u8]) -> Result<MessageHeader, MessageError> {
    let (_, (compressed, length)) = (flag, be_u32).parse(input).map_err(into_error)?;
    Ok(MessageHeader { compressed, length })
}

/// "Compressed-Flag → 0 / 1": a peer that sets other bits speaks something else.
fn flag(input: &[u8]) -> Parsed<'_, bool> {
    let (rest, flag) = u8(input)?;
    match flag {
        0 => Ok((rest, false)),
        1 => Ok((rest, true)),
        _ => Err(Err::Failure(MessageError::BadFlag)),
    }
}

/// The length of a gRPC-Web frame of trailers. Compressed ones (0x81) are as good as never seen and not read.
pub(crate) fn trailers_length(input: &[u8]) -> Result<u32, MessageError> {
    let (_, (flag, length)) = (u8, be_u32).parse(input).map_err(into_error)?;
    if flag == TRAILERS {
        Ok(length)
    } else {
        Err(MessageError::BadFlag)
    }
}

/// RFC 9110 section 5.6.2.
const TOKEN: ByteSet = ByteSet::of(b"!#$%&'*+-.^_`|~")
    .with_range(b'0', b'9')
    .with_range(b'a', b'z')
    .with_range(b'A', b'Z');

/// RFC 9110 section 5.5, and tab.
const VALUE: ByteSet = ByteSet::of(b"\t").with_range(b' ', 0xff).without(b"\x7f");

/// The lines of a frame of trailers, as places of names and values: `name: value` and CRLF, as in HTTP/1.
pub(crate) fn trailer_lines(
    block: &[u8],
    mut found: impl FnMut(Range<usize>, Range<usize>),
) -> Result<(), MessageError> {
    let mut at = 0;
    while let Some(rest) = block.get(at..).filter(|rest| !rest.is_empty()) {
        let name = TOKEN.prefix_len(rest);
        let after = rest.get(name..).unwrap_or_default();
        let text = match after.strip_prefix(b":") {
            Some(text) if name > 0 => text,
            _ => return Err(MessageError::BadTrailers),
        };
        let length = VALUE.prefix_len(text);
        let (value, end) = text.split_at(length);
        if !end.starts_with(b"\r\n") {
            return Err(MessageError::BadTrailers);
        }
        let start = at + name + 1 + (value.len() - value.trim_ascii_start().len());
        found(at..at + name, start..start + value.trim_ascii().len());
        at += name + 1 + length + 2;
    }
    Ok(())
}

#[allow(clippy::needless_pass_by_value)] // the shape that `map_err` wants
fn into_error(error: Err<MessageError>) -> MessageError {
    match error {
        Err::Error(error) | Err::Failure(error) => error,
        Err::Incomplete(_) => MessageError::Truncated,
    }
}
