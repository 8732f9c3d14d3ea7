//! The slot of a key in Redis Cluster, and hash tags.
//!
//! Both are as the specification of Redis Cluster has them ("Keys distribution model", "Hash tags"): a key is any bytes.

use memchr::memchr;

/// How many slots a Redis Cluster has.
pub const SLOTS: u16 = 16_384;

/// The slot of a key: CRC16 (XMODEM) of its tag, or of all of it if it has none.
#[must_use]
#[inline]
pub fn slot(key: &[u8]) -> u16 {
    crc16(HashTag::REDIS.part(key)) & (SLOTS - 1)
}

/// Two bytes that enclose the part of a key that is hashed, so that keys can be made to live together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashTag {
    /// What the part begins behind.
    pub open: u8,
    /// What it ends before. May be the same byte.
    pub close: u8,
}

impl HashTag {
    /// That of Redis Cluster, and of most who use another placement: `{…}`.
    pub const REDIS: Self = Self {
        open: b'{',
        close: b'}',
    };

    /// The two bytes of a text of two, such as `{}`.
    #[must_use]
    pub fn of(text: &[u8]) -> Option<Self> {
        match *text {
            [open, close] => Some(Self { open, close }),
            _ => None,
        }
    }

    /// The part of the key that is hashed: what is between the first opening byte and the first closing one behind it. All
    /// of the key if one of them is missing or nothing is between.
    #[must_use]
    #[inline]
    pub fn part(self, key: &[u8]) -> &[u8] {
        self.tagged(key).unwrap_or(key)
    }

    #[inline]
    fn tagged(self, key: &[u8]) -> Option<&[u8]> {
        let open = memchr(self.open, key)?;
        let behind = key.get(open + 1..)?;
        let close = memchr(self.close, behind)?;
        behind.get(..close).filter(|part| !part.is_empty())
    }
}

/// CRC16 with polynomial 0x1021, no reflection, from 0: XMODEM's.
#[inline]
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        // An u8 is always inside the table.
        let index = usize::from((crc >> 8) as u8 ^ byte);
        (crc << 8) ^ TABLE.get(index).copied().unwrap_or_default()
    })
}

#[allow(clippy::indexing_slicing)] // Run by the compiler only, which would say so.
static TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};
