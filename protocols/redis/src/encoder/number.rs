//! Numbers in digits, without the formatting machinery: every string and every aggregate has one.
//!
//! Not for signs. Start at [`put`].

use bytes::{BufMut as _, BytesMut};

/// A type byte, a number and the line end.
#[inline]
pub(super) fn put_header(kind: u8, number: usize, dst: &mut BytesMut) {
    if number < 10 {
        dst.extend_from_slice(&[kind, b'0' + number as u8, b'\r', b'\n']);
        return;
    }
    dst.put_u8(kind);
    put(number as u64, dst);
    dst.extend_from_slice(b"\r\n");
}

/// Digits.
pub(super) fn put(number: u64, dst: &mut BytesMut) {
    // 2^64 has twenty.
    let mut digits = [0_u8; 20];
    let mut left = number;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
        used += 1;
        if left == 0 {
            break;
        }
    }
    let (_, digits) = digits.split_at(digits.len() - used);
    dst.extend_from_slice(digits);
}
