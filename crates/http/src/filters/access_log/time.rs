//! Wall-clock times in the formats of `strftime`, in UTC.
//!
//! No time zones and no locales. Start at [`TimeFormat::parse`].

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// A format for times, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimeFormat(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<[u8]>),
    Year,
    ShortYear,
    Month,
    MonthName,
    Day,
    Hour,
    Minute,
    Second,
    /// So many digits of the second's fraction.
    Fraction(u32),
    Epoch,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// What Envoy writes without being told.
pub(super) const DEFAULT: &str = "%Y-%m-%dT%H:%M:%S.%3fZ";

impl TimeFormat {
    /// Compiles `%Y %y %m %b %d %H %M %S %f %3f %6f %9f %s %F %T %z %Z %%`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((plain, after)) = rest.split_once('%') {
            push_text(&mut pieces, plain);
            let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (width, after) = after.split_at(digits);
            let mut characters = after.chars();
            let Some(letter) = characters.next() else {
                return Err(format!(
                    "time format '{text}' ends in the middle of a conversion"
                ));
            };
            conversion(width, letter, &mut pieces).ok_or_else(|| {
                format!("time format '{text}' has an unknown conversion '%{width}{letter}'")
            })?;
            rest = characters.as_str();
        }
        push_text(&mut pieces, rest);
        Ok(Self(pieces))
    }

    /// Appends `time`.
    pub(super) fn write(&self, time: SystemTime, line: &mut Vec<u8>) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let civil = Civil::of(since.as_secs());
        for piece in &self.0 {
            // Writing to memory cannot fail.
            let _ = match piece {
                Piece::Text(text) => line.write_all(text),
                Piece::Year => write!(line, "{:04}", civil.year),
                Piece::ShortYear => write!(line, "{:02}", civil.year % 100),
                Piece::Month => write!(line, "{:02}", civil.month),
                Piece::MonthName => line.write_all(civil.month_name().as_bytes()),
                Piece::Day => write!(line, "{:02}", civil.day),
                Piece::Hour => write!(line, "{:02}", civil.second_of_day / 3600),
                Piece::Minute => write!(line, "{:02}", civil.second_of_day / 60 % 60),
                Piece::Second => write!(line, "{:02}", civil.second_of_day % 60),
                Piece::Fraction(digits) => {
                    let value = since.subsec_nanos() / 10_u32.pow(9 - digits);
                    write!(line, "{value:0width$}", width = *digits as usize)
                }
                Piece::Epoch => write!(line, "{}", since.as_secs()),
            };
        }
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.as_bytes().into()));
    }
}

fn conversion(width: &str, letter: char, pieces: &mut Vec<Piece>) -> Option<()> {
    let dash = || Piece::Text(b"-"[..].into());
    let colon = || Piece::Text(b":"[..].into());
    match (width, letter) {
        ("", 'Y') => pieces.push(Piece::Year),
        ("", 'y') => pieces.push(Piece::ShortYear),
        ("", 'm') => pieces.push(Piece::Month),
        ("", 'b' | 'h') => pieces.push(Piece::MonthName),
        ("", 'd') => pieces.push(Piece::Day),
        ("", 'H') => pieces.push(Piece::Hour),
        ("", 'M') => pieces.push(Piece::Minute),
        ("", 'S') => pieces.push(Piece::Second),
        ("" | "9", 'f') => pieces.push(Piece::Fraction(9)),
        ("1" | "2" | "3" | "4" | "5" | "6" | "7" | "8", 'f') => {
            pieces.push(Piece::Fraction(width.parse().ok()?));
        }
        ("", 's') => pieces.push(Piece::Epoch),
        ("", 'F') => pieces.extend([Piece::Year, dash(), Piece::Month, dash(), Piece::Day]),
        ("", 'T') => pieces.extend([Piece::Hour, colon(), Piece::Minute, colon(), Piece::Second]),
        ("", 'z') => push_text(pieces, "+0000"),
        ("", 'Z') => push_text(pieces, "UTC"),
        ("", '%') => push_text(pieces, "%"),
        _ => return None,
    }
    Some(())
}

/// A moment in the Gregorian calendar.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    second_of_day: u64,
}

impl Civil {
    /// The moment so many seconds after 1970 began. Years are counted from March, in eras of 400: then leap days stand
    /// at the ends.
    const fn of(seconds: u64) -> Self {
        let days = seconds / 86_400 + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        let january = if month <= 2 { 1 } else { 0 };
        Self {
            year: era * 400 + year_of_era + january,
            month,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            second_of_day: seconds % 86_400,
        }
    }

    fn month_name(&self) -> &'static str {
        MONTHS
            .get(self.month as usize - 1)
            .copied()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        let rows = [
            (0, DEFAULT, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "%F %T", "2000-02-29 00:00:00"),
            (1_709_251_199_999, DEFAULT, "2024-02-29T23:59:59.999Z"),
            (
                1_709_251_200_000,
                "%d/%b/%Y:%H:%M:%S %z",
                "01/Mar/2024:00:00:00 +0000",
            ),
            (
                4_102_444_799_123,
                "%y %s.%6f %% %Z",
                "99 4102444799.123000 % UTC",
            ),
            (1_735_689_599_000, "%b %d", "Dec 31"),
        ];
        for (millis, format, expected) in rows {
            let mut line = Vec::new();
            let time = UNIX_EPOCH + Duration::from_millis(millis);
            TimeFormat::parse(format).unwrap().write(time, &mut line);
            assert_eq!(String::from_utf8(line).unwrap(), expected, "{format}");
        }
        for text in ["%", "%Q", "%3S", "%12f"] {
            assert!(TimeFormat::parse(text).is_err(), "{text}");
        }
    }
}
