//! Lengths of time: `5s`, `250ms`, `1m30s`.
//!
//! A plain number is refused, since nobody knows its unit, and so is zero: where "never" makes sense the type is
//! [`Timeout`], which says `off`. Start with [`Duration`].

use std::fmt;
use std::str::FromStr;

use super::text::{TextValue, ValueError, quote, split_decimal, text_value};

/// A length of time above zero and at most 100 years, exact to the nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

/// A length of time, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Timeout {
    /// Never; written `off`.
    #[default]
    Off,
    /// After this time.
    After(Duration),
}

/// Units from long to short, in nanoseconds. `us` also reads as `µs`.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const LONGEST: u64 = 36_500 * 86_400_000_000_000;

impl Duration {
    /// Whole seconds, for defaults. Zero counts as one second, and more than 100 years as 100 years.
    pub const fn from_secs(seconds: u64) -> Self {
        Self::clamped(seconds.saturating_mul(1_000_000_000))
    }

    /// Whole milliseconds, for defaults. Zero counts as one millisecond, and more than 100 years as 100 years.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self::clamped(if milliseconds == 0 {
            1_000_000
        } else {
            milliseconds.saturating_mul(1_000_000)
        })
    }

    /// The length as the standard library has it.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    const fn clamped(nanoseconds: u64) -> Self {
        let nanoseconds = match nanoseconds {
            0 => 1_000_000_000,
            more if more > LONGEST => LONGEST,
            fits => fits,
        };
        Self(std::time::Duration::from_nanos(nanoseconds))
    }
}

impl TryFrom<std::time::Duration> for Duration {
    type Error = ValueError;

    fn try_from(duration: std::time::Duration) -> Result<Self, ValueError> {
        match u64::try_from(duration.as_nanos()) {
            Ok(0) => Err(Self::refuse("a duration cannot be zero here")),
            Ok(nanoseconds) if nanoseconds <= LONGEST => Ok(Self(duration)),
            _ => Err(Self::refuse("a duration cannot be longer than 100 years")),
        }
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl TextValue for Duration {
    const EXPECTED: &'static str = "a duration such as 5s, 250ms or 1m30s";

    fn from_number(number: u64) -> Option<Result<Self, ValueError>> {
        Some(Err(Self::refuse(format!(
            "the number {number} needs a unit"
        ))))
    }
}

impl FromStr for Duration {
    type Err = ValueError;

    /// Numbers with units `d`, `h`, `m`, `s`, `ms`, `us`, `ns`, from long to short, each at most once; decimals are allowed.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut total: u64 = 0;
        let mut rest = text;
        let mut allowed = UNITS.as_slice();
        if rest.is_empty() {
            return Err(Self::refuse("this is empty"));
        }
        while !rest.is_empty() {
            let Some((number, after)) = split_decimal(rest) else {
                return Err(Self::refuse(format!("{} is not a duration", quote(text))));
            };
            let end = after
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(after.len());
            let (unit, remaining) = after.split_at(end);
            if unit.is_empty() {
                return Err(Self::refuse(format!("{} needs a unit", quote(rest))));
            }
            let unit = match unit.trim() {
                "µs" => "us",
                unit => unit,
            };
            let Some(&(_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(Self::refuse(format!("unknown unit {}", quote(unit))));
            };
            let Some(position) = allowed.iter().position(|(name, _)| *name == unit) else {
                return Err(Self::refuse(
                    "units go from long to short, each at most once",
                ));
            };
            allowed = allowed.get(position + 1..).unwrap_or_default();
            let part = number.times(scale).and_then(|part| total.checked_add(part));
            let Some(sum) = part else {
                return Err(Self::refuse(format!(
                    "{} is too long or too fine",
                    quote(text)
                )));
            };
            total = sum;
            rest = remaining;
        }
        Self::try_from(std::time::Duration::from_nanos(total))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_nanos() as u64;
        for (name, scale) in UNITS {
            let count = left / scale;
            left %= scale;
            if count > 0 {
                write!(formatter, "{count}{name}")?;
            }
        }
        Ok(())
    }
}

impl Timeout {
    /// Whole seconds, for defaults, as [`Duration::from_secs`].
    pub const fn from_secs(seconds: u64) -> Self {
        Self::After(Duration::from_secs(seconds))
    }

    /// The time after which, or `None` for never.
    pub const fn get(self) -> Option<std::time::Duration> {
        match self {
            Self::Off => None,
            Self::After(duration) => Some(duration.get()),
        }
    }
}

impl From<Duration> for Timeout {
    fn from(duration: Duration) -> Self {
        Self::After(duration)
    }
}

impl TextValue for Timeout {
    const EXPECTED: &'static str = "a duration such as 5s, 250ms or 1m30s, or 'off'";

    fn from_number(number: u64) -> Option<Result<Self, ValueError>> {
        let reason = match number {
            0 => "0 could mean at once or never: write 'off' for never".to_owned(),
            number => format!("the number {number} needs a unit"),
        };
        Some(Err(Self::refuse(reason)))
    }
}

impl FromStr for Timeout {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let duration = text.parse::<Duration>();
        duration
            .map(Self::After)
            .map_err(|error| Self::refuse(error.reason))
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => formatter.write_str("off"),
            Self::After(duration) => duration.fmt(formatter),
        }
    }
}

text_value!(Duration, number: false,
    pattern: r"^([0-9]+(\.[0-9]+)? *(d|h|m|s|ms|us|µs|ns) *)+$",
    examples: ["5s", "250ms", "1m30s", "1h"],
    about: "A length of time above zero, with units d, h, m, s, ms, us, ns.");
text_value!(Timeout, number: false,
    pattern: r"^(off|([0-9]+(\.[0-9]+)? *(d|h|m|s|ms|us|µs|ns) *)+)$",
    examples: ["5s", "1m30s", "off"],
    about: "A length of time above zero, or 'off' for never.");
