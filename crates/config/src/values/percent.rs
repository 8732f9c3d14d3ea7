//! Shares of a whole: `20%`, `0.5%`.
//!
//! A plain number is refused: 1 could be all or a hundredth. Start with [`Percent`].

use std::fmt;
use std::str::FromStr;

use super::text::{TextValue, ValueError, quote, split_decimal, text_value};

/// A share from 0 % to 100 %, exact to a millionth of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Percent {
    millionths: u32,
}

impl Percent {
    /// Nothing.
    pub const ZERO: Self = Self { millionths: 0 };
    /// Everything.
    pub const ALL: Self = Self {
        millionths: WHOLE as u32,
    };

    /// Whole percents, for defaults; at most 100.
    pub const fn whole(percents: u32) -> Self {
        let percents = if percents > 100 { 100 } else { percents };
        Self {
            millionths: percents * PER_PERCENT as u32,
        }
    }

    /// The share in parts per million, 0 to 1,000,000.
    pub const fn millionths(self) -> u32 {
        self.millionths
    }

    /// The share as a fraction from 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.millionths) / WHOLE as f64
    }

    /// This share of an amount, rounded down.
    pub const fn of(self, amount: u64) -> u64 {
        (amount as u128 * self.millionths as u128 / WHOLE as u128) as u64
    }
}

const WHOLE: u64 = 1_000_000;
const PER_PERCENT: u64 = WHOLE / 100;

impl TextValue for Percent {
    const EXPECTED: &'static str = "a percentage such as 20% or 0.5%";

    fn from_number(number: u64) -> Option<Result<Self, ValueError>> {
        Some(Err(Self::refuse(format!(
            "the number {number} needs a '%'"
        ))))
    }
}

impl FromStr for Percent {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let Some(number) = text.strip_suffix('%') else {
            return Err(Self::refuse(format!("{} needs a '%'", quote(text))));
        };
        let Some((number, "")) = split_decimal(number.trim_end()) else {
            return Err(Self::refuse(format!("{} is not a percentage", quote(text))));
        };
        match number.times(PER_PERCENT) {
            Some(millionths) if millionths <= WHOLE => Ok(Self {
                millionths: millionths as u32,
            }),
            Some(_) => Err(Self::refuse("a share is at most 100%")),
            None => Err(Self::refuse("a share has at most four decimals")),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (
            u64::from(self.millionths) / PER_PERCENT,
            u64::from(self.millionths) % PER_PERCENT,
        );
        if fraction == 0 {
            return write!(formatter, "{whole}%");
        }
        let digits = format!("{fraction:04}");
        write!(formatter, "{whole}.{}%", digits.trim_end_matches('0'))
    }
}

text_value!(Percent, number: false,
    pattern: r"^[0-9]+(\.[0-9]{1,4})? *%$",
    examples: ["20%", "0.5%"],
    about: "A share from 0% to 100%, with at most four decimals.");
