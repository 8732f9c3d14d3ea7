//! Times in buckets: small enough to have one set for each statement, exact enough for percentiles.
//!
//! Not `portcullis_stats`'s histogram: that one is shared with the control side and knows its series. Start at [`Times`].

use std::time::Duration;

/// Buckets for each doubling.
const STEPS: u32 = 4;
/// Doublings from 4 µs on; the last bucket takes what is longer, about a day and more.
const DOUBLINGS: u32 = 35;
const BUCKETS: usize = ((DOUBLINGS + 1) * STEPS) as usize;

/// Times in microseconds, in buckets whose ends are at most a quarter apart: a percentile is at most an eighth off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    buckets: [u32; BUCKETS],
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            count: 0,
            sum: 0,
            max: 0,
        }
    }
}

impl Times {
    /// Counts a time.
    pub fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(bucket_of(micros)) {
            *bucket = bucket.saturating_add(1);
        }
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(micros);
        self.max = self.max.max(micros);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *ours = ours.saturating_add(*theirs);
        }
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// How many.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// All of them together, in microseconds.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The longest, in microseconds.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The mean, in microseconds; 0 without any.
    #[must_use]
    pub const fn mean(&self) -> u64 {
        match self.sum.checked_div(self.count) {
            Some(mean) => mean,
            None => 0,
        }
    }

    /// The time in microseconds that so many of a hundred do not exceed, rounded to the middle of its bucket; 0 without any.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> u64 {
        let total: u64 = self.buckets.iter().copied().map(u64::from).sum();
        let rank = (total.saturating_mul(percent).div_ceil(100)).max(1);
        let mut seen = 0;
        for (place, count) in self.buckets.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                let (from, to) = (start_of(place), start_of(place + 1));
                return u64::midpoint(from, to - 1).min(self.max);
            }
        }
        0
    }
}

/// The first 4 microseconds have a bucket each, then every doubling has 4.
fn bucket_of(micros: u64) -> usize {
    let steps = u64::from(STEPS);
    if micros < steps {
        return micros as usize;
    }
    let doubling = micros.ilog2() - STEPS.ilog2();
    let within = (micros >> doubling) - steps;
    let place = u64::from(doubling + 1) * steps + within;
    (place as usize).min(BUCKETS - 1)
}

/// The smallest time of a bucket.
fn start_of(place: usize) -> u64 {
    let steps = u64::from(STEPS);
    let place = place as u64;
    if place < steps {
        return place;
    }
    let doubling = place / steps - 1;
    (steps + place % steps) << doubling
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other() {
        for place in 0..BUCKETS {
            let start = start_of(place);
            assert_eq!(bucket_of(start), place, "{place}");
            assert!(place == 0 || bucket_of(start - 1) == place - 1, "{place}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_near() {
        let mut times = Times::default();
        assert_eq!((times.percentile(50), times.mean()), (0, 0));
        for micros in 1..=10_000 {
            times.record(Duration::from_micros(micros));
        }
        for (percent, exact) in [(1, 100.0), (50, 5_000.0), (99, 9_900.0), (100, 10_000.0)] {
            let found = times.percentile(percent) as f64;
            assert!((found - exact).abs() <= exact / 8.0, "p{percent}: {found}");
        }
        assert_eq!(
            (times.count(), times.max(), times.mean()),
            (10_000, 10_000, 5_000)
        );
    }

    #[test]
    fn merging_is_counting_together() {
        let (mut one, mut other, mut both) = (Times::default(), Times::default(), Times::default());
        for micros in [0, 1, 7, 900, 1_000_000, 5_000_000_000] {
            one.record(Duration::from_micros(micros));
            other.record(Duration::from_micros(micros * 3));
            both.record(Duration::from_micros(micros));
            both.record(Duration::from_micros(micros * 3));
        }
        one.merge(&other);
        assert_eq!(one, both);
    }
}
