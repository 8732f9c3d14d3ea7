//! The hash functions that twemproxy offers for keys, bit for bit, and the names it has for them.
//!
//! They are here so that a gateway can take twemproxy's place without moving a key, whatever it was set up with. Some are
//! not what their name says (noted at each); bytes past 127 are taken as negative where twemproxy does so. None is fit for
//! anything that must be hard to foresee.

use md5::{Digest as _, Md5};

use super::jenkins::jenkins;
use super::slot;

/// A hash function for keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyHash {
    /// FNV-1a with the low halves of the 64-bit constants, in 32 bits. What twemproxy has by default.
    #[default]
    Fnv1a64,
    /// FNV-1 in 64 bits, of which the low 32 are used.
    Fnv164,
    /// FNV-1a in 32 bits.
    Fnv1a32,
    /// FNV-1 in 32 bits.
    Fnv132,
    /// The first four bytes of MD5, the least significant first.
    Md5,
    /// CRC16 with the polynomial of Redis Cluster's, but in 32 bits: what should fall off is kept.
    Crc16,
    /// CRC-32, of which 15 bits are used, as libmemcached does.
    Crc32,
    /// CRC-32.
    Crc32a,
    /// Bob Jenkins's one-at-a-time.
    OneAtATime,
    /// Bob Jenkins's lookup3, begun with 13.
    Jenkins,
    /// MurmurHash2, seeded with the length.
    Murmur,
    /// Paul Hsieh's SuperFastHash.
    Hsieh,
}

impl KeyHash {
    /// All of them with the names that twemproxy's `hash:` takes.
    pub const NAMES: [(Self, &'static str); 12] = [
        (Self::OneAtATime, "one_at_a_time"),
        (Self::Md5, "md5"),
        (Self::Crc16, "crc16"),
        (Self::Crc32, "crc32"),
        (Self::Crc32a, "crc32a"),
        (Self::Fnv164, "fnv1_64"),
        (Self::Fnv1a64, "fnv1a_64"),
        (Self::Fnv132, "fnv1_32"),
        (Self::Fnv1a32, "fnv1a_32"),
        (Self::Hsieh, "hsieh"),
        (Self::Murmur, "murmur"),
        (Self::Jenkins, "jenkins"),
    ];

    /// The function of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, text)| *text == name)
            .map(|(hash, _)| *hash)
    }

    /// The hash of a key.
    #[must_use]
    pub fn hash(self, key: &[u8]) -> u32 {
        match self {
            Self::Fnv1a64 => fold(key, FNV_64_BASIS as u32, |hash, value| {
                (hash ^ value).wrapping_mul(FNV_64_PRIME as u32)
            }),
            Self::Fnv164 => fnv1_64(key),
            Self::Fnv1a32 => fold(key, FNV_32_BASIS, |hash, value| {
                (hash ^ value).wrapping_mul(FNV_32_PRIME)
            }),
            Self::Fnv132 => fold(key, FNV_32_BASIS, |hash, value| {
                hash.wrapping_mul(FNV_32_PRIME) ^ value
            }),
            Self::Md5 => md5(key),
            Self::Crc16 => crc16(key),
            Self::Crc32 => (crc32(key) >> 16) & 0x7fff,
            Self::Crc32a => crc32(key),
            Self::OneAtATime => one_at_a_time(key),
            Self::Jenkins => jenkins(key),
            Self::Murmur => murmur(key),
            Self::Hsieh => hsieh(key),
        }
    }
}

const FNV_64_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_64_PRIME: u64 = 0x0100_0000_01b3;
const FNV_32_BASIS: u32 = 0x811c_9dc5;
const FNV_32_PRIME: u32 = 0x0100_0193;

/// A byte as C's `char` is where twemproxy runs: signed.
fn signed(byte: u8) -> u32 {
    i32::from(byte.cast_signed()).cast_unsigned()
}

fn fold(key: &[u8], basis: u32, step: impl Fn(u32, u32) -> u32) -> u32 {
    key.iter()
        .fold(basis, |hash, byte| step(hash, signed(*byte)))
}

fn fnv1_64(key: &[u8]) -> u32 {
    let hash = key.iter().fold(FNV_64_BASIS, |hash, byte| {
        hash.wrapping_mul(FNV_64_PRIME) ^ i64::from(byte.cast_signed()).cast_unsigned()
    });
    hash as u32
}

fn md5(key: &[u8]) -> u32 {
    let [a, b, c, d, ..] = <[u8; 16]>::from(Md5::digest(key));
    u32::from_le_bytes([a, b, c, d])
}

fn crc16(key: &[u8]) -> u32 {
    key.iter().fold(0, |crc: u32, byte| {
        // What is shifted out of the 16 bits stays where it is.
        (crc << 8) ^ u32::from(slot::crc16(&[(crc >> 8) as u8 ^ byte]))
    })
}

fn crc32(key: &[u8]) -> u32 {
    !key.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 0 {
                crc >> 1
            } else {
                (crc >> 1) ^ 0xedb8_8320
            }
        })
    })
}

fn one_at_a_time(key: &[u8]) -> u32 {
    let mut hash = fold(key, 0, |hash, value| {
        let hash = hash.wrapping_add(value);
        let hash = hash.wrapping_add(hash << 10);
        hash ^ (hash >> 6)
    });
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

fn murmur(key: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let length = key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    let mut hash = 0xdead_beef_u32.wrapping_mul(length) ^ length;
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(MIX);
        word = (word ^ (word >> 24)).wrapping_mul(MIX);
        hash = hash.wrapping_mul(MIX) ^ word;
    }
    if !rest.is_empty() {
        let word = rest
            .iter()
            .rev()
            .fold(0, |word, byte| (word << 8) | u32::from(*byte));
        hash = (hash ^ word).wrapping_mul(MIX);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

fn hsieh(key: &[u8]) -> u32 {
    let pair = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]));
    let (words, rest) = key.as_chunks::<4>();
    let mut hash = 0_u32;
    for [a, b, c, d] in words {
        hash = hash.wrapping_add(pair(*a, *b));
        hash = (hash << 16) ^ ((pair(*c, *d) << 11) ^ hash);
        hash = hash.wrapping_add(hash >> 11);
    }
    match *rest {
        [a, b, c] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 16;
            hash ^= signed(c) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [a, b] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [a] => {
            hash = hash.wrapping_add(u32::from(a));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}
