//! Numbers as QUIC writes them (RFC 9000 section 16).
//!
//! Start at [`Varint::parse`].

use bytes::{BufMut as _, BytesMut};

/// A number and how many bytes it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Varint {
    /// The number, below 2^62.
    pub value: u64,
    /// Its bytes: 1, 2, 4 or 8.
    pub size: usize,
}

impl Varint {
    /// Appends a number in its shortest form. Numbers from 2^62 on have none, and come out as the largest that has.
    pub fn write(value: u64, bytes: &mut BytesMut) {
        if let 0..0x40 = value {
            bytes.put_u8(value as u8);
        } else if let 0x40..0x4000 = value {
            bytes.put_u16(0x4000 | value as u16);
        } else if let 0x4000..0x4000_0000 = value {
            bytes.put_u32(0x8000_0000 | value as u32);
        } else {
            bytes.put_u64(0xc000_0000_0000_0000 | value.min((1 << 62) - 1));
        }
    }

    /// The number at the beginning of `bytes`; `None` if it has not all come.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (&first, _) = bytes.split_first()?;
        let size = 1_usize << (first >> 6);
        let (number, _) = bytes.split_at_checked(size)?;
        let value = number
            .iter()
            .fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
        // The two highest bits say the size.
        let bits = size * 8 - 2;
        Some(Self {
            value: value & ((1 << bits) - 1),
            size,
        })
    }
}
