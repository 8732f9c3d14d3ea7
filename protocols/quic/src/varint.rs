//! Variable-length integers (RFC 9000 section 16).
//!
//! The two upper bits of the first byte say how many bytes there are. A number may be written longer than it must be;
//! what may not (the type of a frame) is for its reader to check. Start at [`encode_varint`].

use bytes::{BufMut, BytesMut};
use nom::IResult;
use nom::error::{ErrorKind, ParseError};

/// The greatest number that has a wire form.
pub const VARINT_MAX: u64 = (1 << 62) - 1;

/// Reads one number off the front.
pub(crate) fn varint<'a, E: ParseError<&'a [u8]>>(input: &'a [u8]) -> IResult<&'a [u8], u64, E> {
    let short = || nom::Err::Error(E::from_error_kind(input, ErrorKind::Eof));
    let (&first, rest) = input.split_first().ok_or_else(short)?;
    let more = (1_usize << (first >> 6)) - 1;
    let (bytes, rest) = rest.split_at_checked(more).ok_or_else(short)?;
    let number = bytes.iter().fold(u64::from(first & 0x3f), |number, &byte| {
        number << 8 | u64::from(byte)
    });
    Ok((rest, number))
}

/// How many bytes the shortest form of a number takes; of a number without one, as many as the longest.
#[must_use]
pub const fn varint_bytes(number: u64) -> usize {
    match number {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        _ => 8,
    }
}

/// Appends the shortest form of a number of at most [`VARINT_MAX`]; a larger one is written as that.
pub fn encode_varint(number: u64, dst: &mut BytesMut) {
    let number = number.min(VARINT_MAX);
    match varint_bytes(number) {
        1 => dst.put_u8(number as u8),
        2 => dst.put_u16(number as u16 | 1 << 14),
        4 => dst.put_u32(number as u32 | 2 << 30),
        _ => dst.put_u64(number | 3 << 62),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Option<(u64, usize)> {
        let (rest, number) = varint::<()>(input).ok()?;
        Some((number, rest.len()))
    }

    #[test]
    fn numbers_and_their_forms() {
        let rows: &[(&str, &[u8], Option<u64>)] = &[
            // RFC 9000 appendix A.1.
            (
                "eight bytes",
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
                Some(151_288_809_941_952_652),
            ),
            ("four bytes", &[0x9d, 0x7f, 0x3e, 0x7d], Some(494_878_333)),
            ("two bytes", &[0x7b, 0xbd], Some(15_293)),
            ("one byte", &[0x25], Some(37)),
            ("longer than it must be", &[0x40, 0x25], Some(37)),
            ("the greatest", &[0xff; 8], Some(VARINT_MAX)),
            ("nothing", &[], None),
            ("cut off", &[0xc2, 0x19], None),
        ];
        for (name, input, expected) in rows {
            assert_eq!(read(input), expected.map(|number| (number, 0)), "{name}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for shift in 0..62 {
            for number in [(1_u64 << shift) - 1, 1 << shift, (1 << shift) + 1] {
                let mut dst = BytesMut::new();
                encode_varint(number, &mut dst);
                assert_eq!(dst.len(), varint_bytes(number), "{number}");
                assert_eq!(read(&dst), Some((number, 0)), "{number}");
            }
        }
    }
}
