//! When to try again after a connection could not be opened.
//!
//! Attempts that ran side by side count as one failure. Not a circuit breaker: it never refuses while there are connections
//! to wait for. Start at [`Backoff::failed`].

use std::time::{Duration, Instant};

use super::limits::ConnectBackoff;
use super::reason::OpenFailure;

/// The failures in a row of one pool.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    last: Option<OpenFailure>,
    /// When the first of them was.
    since: Option<Instant>,
    until: Option<Instant>,
    round: u64,
}

impl Backoff {
    /// The number that an attempt which begins now carries.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// How the last attempt failed, unless one has succeeded since.
    pub(super) fn last(&self) -> Option<OpenFailure> {
        self.last
    }

    /// When the first of the failures in a row was.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Until when nothing is to be opened.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn blocks(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    pub(super) fn succeeded(&mut self) {
        if self.failures > 0 {
            *self = Self {
                round: self.round + 1,
                ..Self::default()
            };
        }
    }

    pub(super) fn failed(
        &mut self,
        round: u64,
        now: Instant,
        failure: OpenFailure,
        bounds: ConnectBackoff,
        random: u64,
    ) {
        if round != self.round {
            return;
        }
        self.round += 1;
        self.failures = self.failures.saturating_add(1);
        self.last = Some(failure);
        self.since.get_or_insert(now);
        let factor = 1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX);
        let whole = bounds.first.saturating_mul(factor).min(bounds.max);
        let half = whole / 2;
        self.until = now.checked_add(half + part(whole.saturating_sub(half), random));
    }
}

/// A part of `whole` between nothing and all of it, evenly by `random`.
pub(super) fn part(whole: Duration, random: u64) -> Duration {
    let nanos = whole.as_nanos().min(u128::from(u64::MAX));
    Duration::from_nanos(((nanos * u128::from(random)) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::VirtualClock;

    use super::*;

    const BOUNDS: ConnectBackoff = ConnectBackoff {
        first: Duration::from_millis(100),
        max: Duration::from_secs(1),
    };

    #[test]
    fn doubles_up_to_the_bound_and_jitters_down_to_half() {
        let clock = VirtualClock::new();
        let mut backoff = Backoff::default();
        for whole in [100, 200, 400, 800, 1000, 1000] {
            for random in [0, u64::MAX / 2, u64::MAX] {
                let mut copy = Backoff {
                    failures: backoff.failures,
                    ..Backoff::default()
                };
                copy.failed(0, clock.now(), OpenFailure::Connect, BOUNDS, random);
                let delay = copy.until().unwrap() - clock.now();
                let shortest = Duration::from_millis(whole / 2);
                assert!(
                    delay >= shortest && delay <= shortest * 2,
                    "{whole} ms, {random}: {delay:?}"
                );
            }
            backoff.failed(
                backoff.round(),
                clock.now(),
                OpenFailure::Connect,
                BOUNDS,
                0,
            );
        }
        let shifted_out = Backoff {
            failures: 200,
            ..Backoff::default()
        };
        let mut copy = shifted_out;
        copy.failed(0, clock.now(), OpenFailure::Connect, BOUNDS, 0);
        assert_eq!(copy.until(), Some(clock.now() + BOUNDS.max / 2));
    }

    #[test]
    fn attempts_side_by_side_are_one_failure() {
        let clock = VirtualClock::new();
        let mut backoff = Backoff::default();
        let round = backoff.round();
        for failure in [OpenFailure::Connect, OpenFailure::Timeout] {
            backoff.failed(round, clock.now(), failure, BOUNDS, 0);
        }
        assert_eq!(
            (backoff.failures, backoff.last()),
            (1, Some(OpenFailure::Connect))
        );
        assert!(backoff.blocks(clock.now()));
        backoff.succeeded();
        assert!(!backoff.blocks(clock.now()));
        backoff.failed(round, clock.now(), OpenFailure::Connect, BOUNDS, 0);
        assert_eq!(
            backoff.last(),
            None,
            "an old attempt's failure says nothing of now"
        );
    }
}
