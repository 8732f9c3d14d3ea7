//! Numbers in digits, without the formatting machinery: every string and every aggregate has one.
//!
//! Start at [`put_header`].

use bytes::BytesMut;

/// Of the largest number with a type byte and a line end.
const LONGEST: usize = 20 + 3;

/// A type byte, a number and the line end.
#[inline]
pub(super) fn put_header(kind: u8, number: usize, dst: &mut BytesMut) {
    if number < 10 {
        dst.extend_from_slice(&[kind, b'0' + number as u8, b'\r', b'\n']);
    } else {
        put_signed(kind, b"", number as u64, dst);
    }
}

/// A type byte, a sign or none, a number and the line end.
pub(super) fn put_signed(kind: u8, sign: &[u8], number: u64, dst: &mut BytesMut) {
    let mut line = [0; LONGEST + 1];
    let (mut left, mut at) = (number, line.len());
    let mut put = |byte| {
        at -= 1;
        if let Some(place) = line.get_mut(at) {
            *place = byte;
        }
    };
    put(b'\n');
    put(b'\r');
    loop {
        put(b'0' + (left % 10) as u8);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    sign.iter().copied().for_each(&mut put);
    put(kind);
    dst.extend_from_slice(line.get(at..).unwrap_or_default());
}
