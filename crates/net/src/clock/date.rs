//! Dates as HTTP writes them.
//!
//! Only formats; reading dates is not needed. Start at [`HttpDate::from_unix_seconds`].

use std::io::Write as _;

const LENGTH: usize = 29;
const SECONDS_PER_DAY: u64 = 86_400;
/// The last second of the year 9999: the format has four digits for the year.
const LAST: u64 = 253_402_300_799;

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// An IMF-fixdate (RFC 9110, section 5.6.7), such as `Sun, 06 Nov 1994 08:49:37 GMT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpDate {
    seconds: u64,
    text: [u8; LENGTH],
}

impl HttpDate {
    /// The first second of 1970.
    pub const EPOCH: Self = Self {
        seconds: 0,
        text: *b"Thu, 01 Jan 1970 00:00:00 GMT",
    };

    /// The date of a number of seconds since 1970, in UTC without leap seconds. Later than the year 9999 is its last
    /// second.
    #[must_use]
    pub fn from_unix_seconds(seconds: u64) -> Self {
        let shown = seconds.min(LAST);
        let days = shown / SECONDS_PER_DAY;
        let (year, month, day) = civil(days);
        let weekday = WEEKDAYS.get((days % 7) as usize).unwrap_or(&"");
        let month = MONTHS.get(month as usize - 1).unwrap_or(&"");
        let (hour, minute, second) = (shown / 3600 % 24, shown / 60 % 60, shown % 60);
        let mut text = Self::EPOCH.text;
        // The text is as long as the array for every year up to 9999, so nothing is cut off.
        let _ = write!(
            &mut text[..],
            "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT"
        );
        Self { seconds, text }
    }

    /// The 29 bytes of the text.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.text
    }

    /// The seconds since 1970 that it was made from.
    #[must_use]
    pub const fn unix_seconds(&self) -> u64 {
        self.seconds
    }
}

/// Year, month (1 to 12) and day of a day counted from the first of 1970 in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last day of a year and months have a regular pattern.
const fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_FROM_MARCH_0000_TO_1970: u64 = 719_468;
    const DAYS_PER_400_YEARS: u64 = 146_097;
    let days = days_since_1970 + DAYS_FROM_MARCH_0000_TO_1970;
    let (era, day_of_era) = (days / DAYS_PER_400_YEARS, days % DAYS_PER_400_YEARS);
    let leap_days = day_of_era / 1460 + day_of_era / (DAYS_PER_400_YEARS - 1);
    let year_of_era = (day_of_era - leap_days + day_of_era / 36_524) / 365;
    let before_year = 365 * year_of_era + year_of_era / 4 - year_of_era / 100;
    let day_of_year = day_of_era - before_year;
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let rows: &[(&str, u64, &str)] = &[
            ("epoch", 0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("rfc 9110", 784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("leap day", 1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            ("day after", 1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (
                "no leap day in 2100",
                4_107_542_400,
                "Mon, 01 Mar 2100 00:00:00 GMT",
            ),
            (
                "leap day in 2000",
                951_782_400,
                "Tue, 29 Feb 2000 00:00:00 GMT",
            ),
            (
                "end of a year",
                1_767_225_599,
                "Wed, 31 Dec 2025 23:59:59 GMT",
            ),
            ("last", LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
            ("beyond", u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (name, seconds, expected) in rows {
            let date = HttpDate::from_unix_seconds(*seconds);
            assert_eq!(
                std::str::from_utf8(date.as_bytes()).unwrap(),
                *expected,
                "{name}"
            );
            assert_eq!(date.unix_seconds(), *seconds, "{name}");
        }
    }
}
