//! Numbers as QUIC writes them (RFC 9000 section 16).
//!
//! Start at [`Varint::parse`].

/// A number and how many bytes it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Varint {
    /// The number, below 2^62.
    pub value: u64,
    /// Its bytes: 1, 2, 4 or 8.
    pub size: usize,
}

impl Varint {
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
