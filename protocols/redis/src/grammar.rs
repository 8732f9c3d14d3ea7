//! The grammar of RESP below whole messages: numbers behind a type byte, and what may stand in a line.
//!
//! Not a decoder: nothing here remembers anything. Numbers are read by hand, since every argument and every string has one;
//! rarer shapes are nom's. Start at [`length`] and [`integer`].

mod token;

use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::character::complete::{char, digit0, digit1, one_of};
use nom::combinator::{all_consuming, opt, value};
use nom::sequence::preceded;
use nom::{IResult, Parser};

use crate::limits::DIGITS;

pub(crate) use token::{Token, token};

/// What was read of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// A number and its line end.
    Is {
        /// The number.
        value: u64,
        /// The bytes of digits and line end.
        len: usize,
    },
    /// So far it may become one.
    Unfinished,
    /// More than [`DIGITS`] digits.
    TooManyDigits,
    /// Not a number without sign and leading zeros, or no CRLF behind it.
    Bad,
}

/// Reads a count or a length with the CRLF behind it. What is said of some bytes is never taken back when more come.
#[inline]
pub(crate) fn length(src: &[u8]) -> Length {
    match short_length(src) {
        Some((value, len)) => Length::Is { value, len },
        None => long_length(src),
    }
}

/// A length of up to three digits, where all of it is there and more: the length, and its bytes with those of the CRLF. Few are
/// longer, and behind those of strings there are always two bytes in the end.
#[inline]
pub(crate) fn short_length(src: &[u8]) -> Option<(u64, usize)> {
    const CRLF: u16 = u16::from_le_bytes(*b"\r\n");
    let word = u32::from_le_bytes(*src.first_chunk::<4>()?);
    let digit = |index: u32| ((word >> (8 * index)) as u8).wrapping_sub(b'0');
    let (first, second, third) = (digit(0), digit(1), digit(2));
    if first > 9 {
        return None;
    }
    if (word >> 8) as u16 == CRLF {
        return Some((u64::from(first), 3));
    }
    if first == 0 || second > 9 {
        return None;
    }
    let value = u64::from(first) * 10 + u64::from(second);
    if (word >> 16) as u16 == CRLF {
        return Some((value, 4));
    }
    let is_long = third > 9 || (word >> 24) as u8 != b'\r' || src.get(4) != Some(&b'\n');
    (!is_long).then_some((value * 10 + u64::from(third), 5))
}

/// The header of a string of up to 999 bytes, where at least eight bytes are there: its bytes, and those of the string. `None`
/// of all others.
#[inline]
pub(crate) fn short_header(src: &[u8]) -> Option<(usize, usize)> {
    let word = u64::from_le_bytes(*src.first_chunk::<8>()?);
    let digit = |index: u32| ((word >> (8 * index)) as u8).wrapping_sub(b'0') as usize;
    let is_header = |digits: u32| {
        let mask = 0xff | 0xffff << (8 * (digits + 1));
        let wanted = u64::from(b'$') | 0x0a0d << (8 * (digits + 1));
        word & mask == wanted
    };
    let (first, second) = (digit(1), digit(2));
    if is_header(1) {
        return (first <= 9).then_some((4, first));
    }
    if first == 0 || first > 9 || second > 9 {
        return None;
    }
    if is_header(2) {
        return Some((5, first * 10 + second));
    }
    let third = digit(3);
    (is_header(3) && third <= 9).then_some((6, first * 100 + second * 10 + third))
}

#[inline(never)]
pub(crate) fn long_length(src: &[u8]) -> Length {
    let mut value = 0;
    for (index, &byte) in src.iter().enumerate() {
        if byte == b'\r' && index > 0 {
            return line_end(src, index, value);
        }
        let has_leading_zero = index > 0 && value == 0;
        if !byte.is_ascii_digit() || has_leading_zero {
            return Length::Bad;
        }
        if index == DIGITS {
            return Length::TooManyDigits;
        }
        // 18 digits fit.
        value = value * 10 + u64::from(byte - b'0');
    }
    Length::Unfinished
}

fn line_end(src: &[u8], index: usize, value: u64) -> Length {
    match src.get(index + 1) {
        Some(b'\n') => Length::Is {
            value,
            len: index + 2,
        },
        Some(_) => Length::Bad,
        None => Length::Unfinished,
    }
}

/// The number in a line: a sign or none, and digits.
#[inline]
pub(crate) fn integer(line: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match line {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    // Downwards, since there is one more number below zero.
    let mut number = 0_i64;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number
            .checked_mul(10)?
            .checked_sub(i64::from(byte - b'0'))?;
    }
    if is_negative {
        Some(number)
    } else {
        number.checked_neg()
    }
}

/// Whether a line is a double as RESP3 writes them.
pub(crate) fn is_double(line: &[u8]) -> bool {
    all_consuming(double).parse(line).is_ok()
}

fn double(input: &[u8]) -> IResult<&[u8], ()> {
    let special = preceded(opt(char('-')), alt((tag(&b"inf"[..]), tag(&b"nan"[..]))));
    let fraction = preceded(char('.'), digit0);
    let exponent = (one_of("eE"), opt(one_of("+-")), digit1);
    let number = (opt(one_of("+-")), digit1, opt(fraction), opt(exponent));
    alt((value((), special), value((), number))).parse(input)
}

/// Whether a line is an integer of any size.
pub(crate) fn is_big_number(line: &[u8]) -> bool {
    let number = (opt(one_of("+-")), digit1);
    let number: IResult<&[u8], _> = all_consuming(number).parse(line);
    number.is_ok()
}

/// Whether a line begins an HTTP request: `POST` or `Host:` as Redis has it, or three words of which the last is a version.
pub(crate) fn is_http(words: &[Vec<u8>]) -> bool {
    match words {
        [_, target, version] if version.starts_with(b"HTTP/1.") => {
            target.first() == Some(&b'/') || memchr::memmem::find(target, b"://").is_some()
        }
        [first, ..] => is_http_name(first),
        [] => false,
    }
}

/// Whether a first word is one of those that Redis takes for HTTP.
pub(crate) fn is_http_name(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:")
}

#[cfg(test)]
mod tests;
