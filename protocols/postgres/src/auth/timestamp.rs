//! `timestamptz` in the text that PostgreSQL prints with `DateStyle` ISO, such as `2030-01-31 23:59:59.5+05:30`.
//!
//! No calendar beyond that: no other style, no name of a month or a zone. What cannot be read is for the caller to refuse.

#[cfg(test)]
mod tests;

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970-01-01 00:00:00 UTC, without leap seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMicros(i128);

impl UnixMicros {
    /// That moment, rounded down.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i128::try_from(since.as_micros()).unwrap_or(i128::MAX),
            Err(before) => {
                let before = before.duration();
                let micros = i128::try_from(before.as_micros()).unwrap_or(i128::MAX);
                -micros - i128::from(before.subsec_nanos() % 1000 != 0)
            }
        })
    }
}

/// A moment, or one of the two ends of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timestamp {
    /// `-infinity`.
    NegativeInfinity,
    /// A moment.
    At(UnixMicros),
    /// `infinity`.
    Infinity,
}

impl Timestamp {
    /// Reads `infinity`, `-infinity` or `year-month-day hour:minute:second[.fraction](+|-)hour[:minute[:second]][ BC]`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"infinity" => return Some(Self::Infinity),
            b"-infinity" => return Some(Self::NegativeInfinity),
            _ => {}
        }
        let (text, is_before_christ) = match text.strip_suffix(b" BC") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let mut cursor = Cursor(text);
        let days = cursor.date(is_before_christ)?;
        cursor.skip(b' ')?;
        let micros = cursor.time()?;
        let offset = cursor.offset()?;
        if !cursor.0.is_empty() {
            return None;
        }
        let seconds = days * 86_400 - offset;
        Some(Self::At(UnixMicros(
            i128::from(seconds) * 1_000_000 + i128::from(micros),
        )))
    }
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// A number of so many digits, at least and at most.
    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let digits = self
            .0
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if !(least..=most).contains(&digits) {
            return None;
        }
        let (digits, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        let value = |number: i64, digit: &u8| number * 10 + i64::from(digit - b'0');
        Some(digits.iter().fold(0, value))
    }

    fn skip(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// Days since 1970-01-01 in the Gregorian calendar, reckoned backwards too.
    fn date(&mut self, is_before_christ: bool) -> Option<i64> {
        // PostgreSQL's years end at 294276.
        let written = self.number(4, 6)?;
        self.skip(b'-')?;
        let month = self.number(2, 2)?;
        self.skip(b'-')?;
        let day = self.number(2, 2)?;
        // There is no year 0 in the text: 1 BC is the one before 1.
        let year = if is_before_christ {
            1 - written
        } else {
            written
        };
        let is_date = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        (written > 0 && is_date).then(|| days_since_epoch(year, month, day))
    }

    /// Microseconds since midnight.
    fn time(&mut self) -> Option<i64> {
        let hour = self.number(2, 2)?;
        self.skip(b':')?;
        let minute = self.number(2, 2)?;
        self.skip(b':')?;
        let second = self.number(2, 2)?;
        let is_time = hour < 24 && minute < 60 && second < 60;
        let micros = if self.skip(b'.').is_some() {
            self.fraction()?
        } else {
            0
        };
        is_time.then_some(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
    }

    /// One to six digits behind the point, as microseconds.
    fn fraction(&mut self) -> Option<i64> {
        let before = self.0.len();
        let digits = self.number(1, 6)?;
        let count = u32::try_from(before - self.0.len()).ok()?;
        Some(digits * 10_i64.pow(6_u32.saturating_sub(count)))
    }

    /// Seconds east of Greenwich.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.0.split_first()? {
            (b'+', rest) => {
                self.0 = rest;
                1
            }
            (b'-', rest) => {
                self.0 = rest;
                -1
            }
            _ => return None,
        };
        let hours = self.number(2, 2)?;
        let minutes = if self.skip(b':').is_some() {
            self.number(2, 2)?
        } else {
            0
        };
        let seconds = if self.skip(b':').is_some() {
            self.number(2, 2)?
        } else {
            0
        };
        let is_offset = hours < 24 && minutes < 60 && seconds < 60;
        is_offset.then_some(sign * ((hours * 60 + minutes) * 60 + seconds))
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Counted in eras of 400 years, which all have the same number of days, from 1 March, so that a leap day is the last of its year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    const DAYS_OF_ERA: i64 = 146_097;
    const EPOCH: i64 = 719_468;
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_OF_ERA + day_of_era - EPOCH
}
