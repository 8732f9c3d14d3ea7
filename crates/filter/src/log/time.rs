//! Wall-clock times in a line, in UTC.
//!
//! Not a calendar library: it knows the few conversions of `strftime` that logs use. Start at [`TimeFormat`].

use std::time::{SystemTime, UNIX_EPOCH};

use super::value::append;

/// A time format, compiled: a `strftime` subset with Envoy's fractions.
///
/// `%Y %m %d %e %b %a %H %M %S %F %T %s %z %%`; `%f` and `%1f` to `%9f` are the fraction of a second in so many
/// digits (9), `%E1S` to `%E9S` seconds with a fraction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeFormat(Box<[Part]>);

/// A conversion that does not exist; the text is the conversion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no time conversion; there are %Y %m %d %e %b %a %H %M %S %F %T %s %z %f %3f %E3S and %%"
)]
pub struct TimeFormatError(pub String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Year,
    Month,
    MonthName,
    Day,
    DayPadded,
    WeekDay,
    Hour,
    Minute,
    Second,
    Fraction(u32),
    Unix,
    Offset,
}

/// Envoy's, which is ISO 8601 to the millisecond.
const DEFAULT: &str = "%Y-%m-%dT%H:%M:%E3SZ";

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// From the first day of the epoch on.
const WEEK_DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

impl Default for TimeFormat {
    /// `2026-11-23T18:50:37.123Z`.
    fn default() -> Self {
        // The default is of this file and compiles, as a test says.
        Self::new(DEFAULT).unwrap_or_else(|_| Self(Box::default()))
    }
}

impl TimeFormat {
    /// Compiles a format.
    ///
    /// # Errors
    /// The first conversion that does not exist.
    pub fn new(format: &str) -> Result<Self, TimeFormatError> {
        let mut parts = Vec::new();
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            let (literal, conversion) = rest.split_at(at);
            push_literal(&mut parts, literal);
            let length = compile(conversion, &mut parts)
                .ok_or_else(|| TimeFormatError(conversion.chars().take(4).collect()))?;
            rest = conversion.get(length..).unwrap_or_default();
        }
        push_literal(&mut parts, rest);
        Ok(Self(parts.into()))
    }

    /// Appends a time. One before 1970 is written as 1970.
    pub fn write(&self, time: SystemTime, line: &mut Vec<u8>) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix = since.as_secs();
        let date = Date::of_day(unix / 86_400);
        let of_day = unix % 86_400;
        for part in &self.0 {
            match part {
                Part::Literal(text) => line.extend_from_slice(text.as_bytes()),
                Part::Year => append(line, format_args!("{:04}", date.year)),
                Part::Month => append(line, format_args!("{:02}", date.month)),
                Part::MonthName => line.extend_from_slice(name(&MONTHS, date.month - 1)),
                Part::Day => append(line, format_args!("{:02}", date.day)),
                Part::DayPadded => append(line, format_args!("{:2}", date.day)),
                Part::WeekDay => line.extend_from_slice(name(&WEEK_DAYS, unix / 86_400 % 7)),
                Part::Hour => append(line, format_args!("{:02}", of_day / 3600)),
                Part::Minute => append(line, format_args!("{:02}", of_day / 60 % 60)),
                Part::Second => append(line, format_args!("{:02}", of_day % 60)),
                Part::Fraction(digits) => {
                    let value = since.subsec_nanos() / 10_u32.pow(9 - digits);
                    append(
                        line,
                        format_args!("{value:0width$}", width = *digits as usize),
                    );
                }
                Part::Unix => append(line, format_args!("{unix}")),
                Part::Offset => line.extend_from_slice(b"+0000"),
            }
        }
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Literal(text.into()));
    }
}

/// Compiles the conversion at the front of `text`; the answer is its length.
fn compile(text: &str, parts: &mut Vec<Part>) -> Option<usize> {
    let colon = || Part::Literal(":".into());
    let dash = || Part::Literal("-".into());
    let mut found = text.chars().skip(1);
    match found.next()? {
        'Y' => parts.push(Part::Year),
        'm' => parts.push(Part::Month),
        'b' => parts.push(Part::MonthName),
        'd' => parts.push(Part::Day),
        'e' => parts.push(Part::DayPadded),
        'a' => parts.push(Part::WeekDay),
        'H' => parts.push(Part::Hour),
        'M' => parts.push(Part::Minute),
        'S' => parts.push(Part::Second),
        'F' => parts.extend([Part::Year, dash(), Part::Month, dash(), Part::Day]),
        'T' => parts.extend([Part::Hour, colon(), Part::Minute, colon(), Part::Second]),
        's' => parts.push(Part::Unix),
        'z' => parts.push(Part::Offset),
        'f' => parts.push(Part::Fraction(9)),
        '%' => parts.push(Part::Literal("%".into())),
        'E' => {
            let digits = digits(found.next()?)?;
            (found.next()? == 'S').then_some(())?;
            let dot = Part::Literal(".".into());
            parts.extend([Part::Second, dot, Part::Fraction(digits)]);
            return Some(4);
        }
        first => {
            let digits = digits(first)?;
            (found.next()? == 'f').then_some(())?;
            parts.push(Part::Fraction(digits));
            return Some(3);
        }
    }
    Some(2)
}

fn digits(found: char) -> Option<u32> {
    found.to_digit(10).filter(|digits| *digits > 0)
}

fn name(names: &[&'static str], at: u64) -> &'static [u8] {
    let at = usize::try_from(at).unwrap_or_default();
    names.get(at).copied().unwrap_or_default().as_bytes()
}

struct Date {
    year: u64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
}

impl Date {
    /// The date of a day, counted from 1970-01-01. Years are counted from March, so that the leap day is the
    /// last; 400 years are 146097 days.
    const fn of_day(day: u64) -> Self {
        let day = day + 719_468;
        let era = day / 146_097;
        let of_era = day % 146_097;
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        Self {
            year: year + era * 400 + (month <= 2) as u64,
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
        }
    }
}
