//! `grpc-timeout`: how long a caller will wait, in at most eight digits and a unit.
//!
//! Not a clock: whoever calls knows the time. Start at [`parse_timeout`].

use std::fmt::Write as _;
use std::time::Duration;

/// A value of `grpc-timeout` that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a grpc-timeout")]
pub struct TimeoutError;

const MAX_DIGITS: usize = 8;

const NANOS: u128 = 1;
const MICROS: u128 = 1_000;
const MILLIS: u128 = 1_000_000;
const SECONDS: u128 = 1_000_000_000;
const MINUTES: u128 = 60 * SECONDS;
const HOURS: u128 = 60 * MINUTES;

/// From the finest: the first unit in which a time has at most eight digits loses least.
const UNITS: [(char, u128); 6] = [
    ('n', NANOS),
    ('u', MICROS),
    ('m', MILLIS),
    ('S', SECONDS),
    ('M', MINUTES),
    ('H', HOURS),
];

/// Reads a value of `grpc-timeout`: one to eight digits and one of `H M S m u n`.
///
/// # Errors
/// It is anything else, also where it has more digits: the protocol allows no more, so it is not a large value but
/// a wrong one.
pub fn parse_timeout(value: &[u8]) -> Result<Duration, TimeoutError> {
    let (unit, digits) = value.split_last().ok_or(TimeoutError)?;
    let (_, nanos) = UNITS
        .into_iter()
        .find(|(letter, _)| u8::try_from(*letter) == Ok(*unit))
        .ok_or(TimeoutError)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return Err(TimeoutError);
    }
    let mut count = 0_u128;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(TimeoutError);
        }
        count = count * 10 + u128::from(digit - b'0');
    }
    Ok(duration(count * nanos))
}

fn duration(nanos: u128) -> Duration {
    let seconds = u64::try_from(nanos / SECONDS).unwrap_or(u64::MAX);
    let rest = u32::try_from(nanos % SECONDS).unwrap_or_default();
    Duration::new(seconds, rest)
}

/// Writes a time as a value of `grpc-timeout`, rounded up: the next hop must not give up before this one does. A
/// time beyond 99999999 hours is written as that.
pub fn write_timeout(time: Duration, to: &mut String) {
    let nanos = time.as_nanos();
    let fitting = UNITS
        .into_iter()
        .map(|(letter, unit)| (nanos.div_ceil(unit), letter))
        .find(|(count, _)| *count <= MAX_COUNT);
    let (count, letter) = fitting.unwrap_or((MAX_COUNT, 'H'));
    // Writing to a string cannot fail.
    let _ = write!(to, "{count}{letter}");
}

const MAX_COUNT: u128 = 99_999_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let rows = [
            ("0n", Some(Duration::ZERO)),
            ("1n", Some(Duration::from_nanos(1))),
            ("20u", Some(Duration::from_micros(20))),
            ("300m", Some(Duration::from_millis(300))),
            ("4S", Some(Duration::from_secs(4))),
            ("5M", Some(Duration::from_mins(5))),
            ("99999999H", Some(Duration::from_hours(99_999_999))),
            ("00000001S", Some(Duration::from_secs(1))),
            ("100000000n", None),
            ("000000001S", None),
            ("S", None),
            ("", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            (" 1S", None),
            ("1S ", None),
            ("1 S", None),
            ("\u{661}S", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_timeout(text.as_bytes()).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn values_are_written_as_finely_as_eight_digits_can() {
        let rows = [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_001), "100001u"),
            (Duration::from_secs(5), "5000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(1_000_000), "1000000S"),
            (Duration::from_secs(100_000_000), "1666667M"),
            (Duration::MAX, "99999999H"),
        ];
        for (time, expected) in rows {
            let mut text = String::new();
            write_timeout(time, &mut text);
            assert_eq!(text, expected, "{time:?}");
        }
    }
}
