//! How much is allowed: so many per period, and so many at once.
//!
//! Checked when it is made, so that nothing that decides about a request can fail. It holds no state: that is in `gcra`. Start at
//! [`Quota::new`].

use std::fmt;
use std::time::Duration;

/// A rate, and how far a caller may run ahead of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    count: u64,
    period: Duration,
    burst: u64,
    /// Nanoseconds from one unit to the next, rounded up: never more than the rate is admitted.
    interval: u64,
}

/// Why a quota cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaError {
    /// A rate of nothing. Deny by rule instead.
    ZeroCount,
    /// A period without length.
    ZeroPeriod,
    /// A burst of nothing would deny everything.
    ZeroBurst,
    /// More than one unit per nanosecond.
    TooFast,
    /// The burst takes more than a century to come back.
    TooSlow,
    /// A cost of nothing: nothing would ever be denied.
    ZeroCost,
    /// The cost of one request is above the burst: it would always be denied.
    CostAboveBurst {
        /// What one request costs.
        cost: u64,
        /// What is allowed at once.
        burst: u64,
    },
}

impl Quota {
    /// `count` units per `period`, all of which may come at once.
    pub fn new(count: u64, period: Duration) -> Result<Self, QuotaError> {
        if count == 0 {
            return Err(QuotaError::ZeroCount);
        }
        if period.is_zero() {
            return Err(QuotaError::ZeroPeriod);
        }
        let nanos = period.as_nanos();
        if u128::from(count) > nanos {
            return Err(QuotaError::TooFast);
        }
        let interval =
            u64::try_from(nanos.div_ceil(u128::from(count))).map_err(|_| QuotaError::TooSlow)?;
        Self {
            count,
            period,
            burst: count,
            interval,
        }
        .with_burst(count)
    }

    /// The same rate, with at most `burst` units at once.
    pub fn with_burst(self, burst: u64) -> Result<Self, QuotaError> {
        if burst == 0 {
            return Err(QuotaError::ZeroBurst);
        }
        match self.interval.checked_mul(burst) {
            Some(tolerance) if tolerance <= CENTURY => Ok(Self { burst, ..self }),
            _ => Err(QuotaError::TooSlow),
        }
    }

    /// Whether requests of this cost are sometimes allowed and sometimes not. For costs known when the configuration is read.
    pub fn check_cost(&self, cost: u64) -> Result<(), QuotaError> {
        if cost == 0 {
            Err(QuotaError::ZeroCost)
        } else if cost > self.burst {
            Err(QuotaError::CostAboveBurst {
                cost,
                burst: self.burst,
            })
        } else {
            Ok(())
        }
    }

    /// Units per period.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The period of the rate.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Units allowed at once.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Nanoseconds from one unit to the next.
    #[inline]
    pub(crate) fn interval(&self) -> u64 {
        self.interval
    }

    /// How many nanoseconds the schedule may be ahead of the clock. Does not overflow: see [`with_burst`](Self::with_burst).
    #[inline]
    pub(crate) fn tolerance(&self) -> u64 {
        self.interval * self.burst
    }
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroCount => f.write_str("a rate of 0 allows nothing"),
            Self::ZeroPeriod => f.write_str("the period of a rate must not be 0"),
            Self::ZeroBurst => f.write_str("a burst of 0 allows nothing"),
            Self::TooFast => f.write_str("a rate above one per nanosecond is no limit"),
            Self::TooSlow => f.write_str("the burst takes more than a century at this rate"),
            Self::ZeroCost => f.write_str("a cost of 0 limits nothing"),
            Self::CostAboveBurst { cost, burst } => {
                write!(
                    f,
                    "a cost of {cost} is above the burst of {burst}: every request would be denied"
                )
            }
        }
    }
}

impl std::error::Error for QuotaError {}

/// A hundred years in nanoseconds: leaves the other 484 of a `u64` for the uptime of the process.
const CENTURY: u64 = 100 * 365 * 24 * 3_600 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused() {
        let second = Duration::from_secs(1);
        let rows = [
            ("plain", 100, second, 200, Ok(())),
            ("slow", 1, Duration::from_hours(24 * 365), 99, Ok(())),
            ("no rate", 0, second, 1, Err(QuotaError::ZeroCount)),
            (
                "no period",
                1,
                Duration::ZERO,
                1,
                Err(QuotaError::ZeroPeriod),
            ),
            ("no burst", 1, second, 0, Err(QuotaError::ZeroBurst)),
            (
                "a rate that is none",
                2_000_000_000,
                second,
                1,
                Err(QuotaError::TooFast),
            ),
            (
                "largest rate",
                u64::MAX,
                second,
                1,
                Err(QuotaError::TooFast),
            ),
            (
                "longest period",
                1,
                Duration::MAX,
                1,
                Err(QuotaError::TooSlow),
            ),
            (
                "largest burst",
                1,
                second,
                u64::MAX,
                Err(QuotaError::TooSlow),
            ),
        ];
        for (name, count, period, burst, expected) in rows {
            let made = Quota::new(count, period).and_then(|quota| quota.with_burst(burst));
            assert_eq!(made.map(|_| ()), expected, "{name}");
        }
    }

    #[test]
    fn costs_that_make_no_limit_are_flagged() {
        let quota = Quota::new(10, Duration::from_secs(1)).unwrap();
        assert_eq!(quota.check_cost(10), Ok(()));
        assert_eq!(quota.check_cost(0), Err(QuotaError::ZeroCost));
        assert_eq!(
            quota.check_cost(11),
            Err(QuotaError::CostAboveBurst {
                cost: 11,
                burst: 10
            })
        );
    }
}
