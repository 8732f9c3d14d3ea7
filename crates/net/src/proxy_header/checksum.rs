//! CRC-32C (Castagnoli), as the version 2 header uses it.
//!
//! A table and one lookup for each byte: a header has a few hundred of them, once for each connection.

/// The polynomial 0x1EDC6F41, bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

const TABLE: [u32; 256] = table();

// Indices are below the length by construction, and a constant is evaluated when the crate is built.
#[allow(clippy::indexing_slicing)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let carry = remainder & 1 == 1;
            remainder >>= 1;
            if carry {
                remainder ^= POLYNOMIAL;
            }
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
}

/// A checksum being computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checksum(u32);

impl Checksum {
    pub(super) const fn new() -> Self {
        Self(u32::MAX)
    }

    /// Takes in more bytes.
    #[must_use]
    pub(super) fn with(self, bytes: &[u8]) -> Self {
        let step = |remainder: u32, byte: &u8| {
            let at = (remainder as u8) ^ byte;
            let entry = TABLE.get(usize::from(at)).copied().unwrap_or_default();
            (remainder >> 8) ^ entry
        };
        Self(bytes.iter().fold(self.0, step))
    }

    /// The checksum of all bytes taken in.
    pub(super) const fn finish(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let rows: &[(&str, &[u8], u32)] = &[
            ("nothing", b"", 0),
            ("check value", b"123456789", 0xE306_9283),
            ("32 zeros, RFC 3720 B.4", &[0; 32], 0x8A91_36AA),
            ("32 ones, RFC 3720 B.4", &[0xFF; 32], 0x62A8_AB43),
        ];
        for (name, bytes, expected) in rows {
            assert_eq!(Checksum::new().with(bytes).finish(), *expected, "{name}");
            let (front, back) = bytes.split_at(bytes.len() / 2);
            let pieces = Checksum::new().with(front).with(back);
            assert_eq!(pieces.finish(), *expected, "{name} in pieces");
        }
    }
}
