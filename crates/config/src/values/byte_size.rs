//! Amounts of bytes: `64KiB`, `10MB`, or a plain number.
//!
//! `K` and `k` alone are refused: half of the world reads them as 1000. Start with [`ByteSize`].

use std::fmt;
use std::str::FromStr;

use super::text::{TextValue, ValueError, quote, split_decimal, text_value};

/// A number of bytes, zero allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ByteSize(pub u64);

/// Units in the order in which the canonical form prefers them: the largest binary one that is exact, then decimal ones.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// So many KiB, for defaults; at most what fits.
    pub const fn kib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 10))
    }

    /// So many MiB, for defaults; at most what fits.
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 20))
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes for sizes of things in memory; at most what fits.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl TextValue for ByteSize {
    const EXPECTED: &'static str = "a size such as 64KiB, 10MB or 4096";

    fn from_number(number: u64) -> Option<Result<Self, ValueError>> {
        Some(Ok(Self(number)))
    }
}

impl FromStr for ByteSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let Some((number, unit)) = split_decimal(text) else {
            return Err(Self::refuse(format!("{} is not a size", quote(text))));
        };
        let unit = match unit.trim_start_matches(' ') {
            "" => "B",
            "kB" => "KB",
            unit => unit,
        };
        let Some(&(_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(Self::refuse(format!("unknown unit {}", quote(unit))));
        };
        let bytes = number.times(scale);
        bytes.map(Self).ok_or_else(|| {
            Self::refuse(format!(
                "{} is not a whole number of bytes that fits",
                quote(text)
            ))
        })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, scale) in UNITS {
            if self.0 >= scale && self.0.is_multiple_of(scale) {
                return write!(formatter, "{}{name}", self.0 / scale);
            }
        }
        formatter.write_str("0B")
    }
}

text_value!(ByteSize, number: true,
    pattern: r"^[0-9]+(\.[0-9]+)? *(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$",
    examples: ["64KiB", "10MB", 4096],
    about: "An amount of bytes: KiB, MiB, GiB, TiB are powers of 1024; KB, MB, GB, TB of 1000; a plain number is bytes.");
