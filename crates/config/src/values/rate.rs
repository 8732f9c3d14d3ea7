//! How much per time: `100/s`, `5000/m`, `64KiB/s`.
//!
//! They say nothing about bursts; the limiter has its own word for that. Start with [`Rate`].

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use super::ByteSize;
use super::text::{TextValue, ValueError, quote, text_value};

/// Events per second, minute, hour or day; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: NonZeroU64,
    per: Period,
}

/// Bytes per second, minute, hour or day; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteRate {
    bytes: NonZeroU64,
    per: Period,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Period {
    Second,
    Minute,
    Hour,
    Day,
}

impl Period {
    const ALL: [(&'static str, Self, u64); 4] = [
        ("s", Self::Second, 1),
        ("m", Self::Minute, 60),
        ("h", Self::Hour, 3_600),
        ("d", Self::Day, 86_400),
    ];

    fn row(self) -> (&'static str, u64) {
        let row = Self::ALL.iter().find(|(_, period, _)| *period == self);
        row.map_or(("s", 1), |(name, _, seconds)| (*name, *seconds))
    }

    fn duration(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.row().1)
    }
}

impl Rate {
    /// So many per second, for defaults; zero counts as one.
    pub const fn per_second(count: u64) -> Self {
        let count = match NonZeroU64::new(count) {
            Some(count) => count,
            None => NonZeroU64::MIN,
        };
        Self {
            count,
            per: Period::Second,
        }
    }

    /// How many, at least one.
    pub const fn count(self) -> u64 {
        self.count.get()
    }

    /// In which time.
    pub fn per(self) -> std::time::Duration {
        self.per.duration()
    }
}

impl ByteRate {
    /// How many bytes, at least one.
    pub const fn bytes(self) -> u64 {
        self.bytes.get()
    }

    /// In which time.
    pub fn per(self) -> std::time::Duration {
        self.per.duration()
    }
}

/// Takes `amount/period` apart.
fn split<T: TextValue>(text: &str) -> Result<(&str, Period), ValueError> {
    let Some((amount, period)) = text.split_once('/') else {
        return Err(T::refuse(format!(
            "{} does not say per what time",
            quote(text)
        )));
    };
    let period = period.trim();
    match Period::ALL.iter().find(|(name, ..)| *name == period) {
        Some((_, period, _)) => Ok((amount.trim(), *period)),
        None => Err(T::refuse(format!(
            "unknown period {}: s, m, h and d are known",
            quote(period)
        ))),
    }
}

fn above_zero<T: TextValue>(amount: u64) -> Result<NonZeroU64, ValueError> {
    NonZeroU64::new(amount).ok_or_else(|| T::refuse("a rate cannot be zero"))
}

impl TextValue for Rate {
    const EXPECTED: &'static str = "a rate such as 100/s, 5000/m or 10/h";

    fn from_number(number: u64) -> Option<Result<Self, ValueError>> {
        Some(Err(Self::refuse(format!(
            "the number {number} does not say per what time"
        ))))
    }
}

impl FromStr for Rate {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (amount, per) = split::<Self>(text)?;
        let count = amount
            .parse::<u64>()
            .map_err(|_| Self::refuse(format!("{} is not a whole number", quote(amount))))?;
        let count = above_zero::<Self>(count)?;
        Ok(Self { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.count, self.per.row().0)
    }
}

impl TextValue for ByteRate {
    const EXPECTED: &'static str = "a rate of bytes such as 64KiB/s or 10MB/m";

    fn from_number(number: u64) -> Option<Result<Self, ValueError>> {
        Some(Err(Self::refuse(format!(
            "the number {number} does not say per what time"
        ))))
    }
}

impl FromStr for ByteRate {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (amount, per) = split::<Self>(text)?;
        let size = amount
            .parse::<ByteSize>()
            .map_err(|error| Self::refuse(error.reason))?;
        let bytes = above_zero::<Self>(size.get())?;
        Ok(Self { bytes, per })
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", ByteSize(self.bytes()), self.per.row().0)
    }
}

text_value!(Rate, number: false,
    pattern: r"^[0-9]+ */ *[smhd]$",
    examples: ["100/s", "5000/m", "10/h"],
    about: "Events per second (s), minute (m), hour (h) or day (d).");
text_value!(ByteRate, number: false,
    pattern: r"^[0-9]+(\.[0-9]+)? *(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)? */ *[smhd]$",
    examples: ["64KiB/s", "10MB/m"],
    about: "Bytes per second (s), minute (m), hour (h) or day (d).");
