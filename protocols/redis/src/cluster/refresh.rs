//! When the map of a cluster is asked for again.
//!
//! Once at a time; every so often, with a share of chance so that workers and gateways do not ask together; at once when
//! something says that it is wrong, but not more often than [`RefreshTimes::least`]: a node that redirects everything must
//! not make a flood. Start at [`RefreshPolicy::due`].

use std::time::{Duration, Instant};

/// How often a map is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshTimes {
    /// The longest time between two questions.
    pub interval: Duration,
    /// The shortest time between two questions.
    pub least: Duration,
}

/// Decides when to ask. It has no clock: `now` comes in.
#[derive(Debug)]
pub struct RefreshPolicy {
    times: RefreshTimes,
    is_running: bool,
    is_wanted: bool,
    started: Option<Instant>,
    /// When to ask although nobody wants it.
    next: Option<Instant>,
    /// Questions in a row that brought no map.
    failures: u32,
}

impl RefreshPolicy {
    /// Nothing was asked yet: the first question is due at once.
    #[must_use]
    pub const fn new(times: RefreshTimes) -> Self {
        Self {
            times,
            is_running: false,
            is_wanted: true,
            started: None,
            next: None,
            failures: 0,
        }
    }

    /// The map is wrong, or may be. While a question is under way this asks for another: its answer may be older.
    pub const fn want(&mut self) {
        self.is_wanted = true;
    }

    /// As [`want`](Self::want), because somebody who knows says so: the pauses that grew while nobody had an answer begin
    /// anew.
    pub const fn want_anew(&mut self) {
        self.is_wanted = true;
        self.failures = 0;
    }

    /// Whether somebody wants an answer, beyond the one that is under way.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// When to ask next, which may be in the past. `None` while a question is under way.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<Instant> {
        if self.is_running {
            return None;
        }
        let soonest = match self.started {
            Some(started) => started.checked_add(self.pause())?,
            None => now,
        };
        if self.is_wanted {
            return Some(soonest);
        }
        self.next.map(|next| next.max(soonest))
    }

    /// Whether a question is under way.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.is_running
    }

    /// A question is under way.
    pub const fn on_start(&mut self, now: Instant) {
        self.is_running = true;
        self.is_wanted = false;
        self.started = Some(now);
    }

    /// It brought a map, or none. `random` is any number.
    pub fn on_end(&mut self, is_map: bool, now: Instant, random: u64) {
        self.is_running = false;
        self.failures = if is_map {
            0
        } else {
            self.failures.saturating_add(1)
        };
        if !is_map {
            self.is_wanted = true;
            // A question that took long is followed by a pause too.
            self.started = Some(now);
        }
        // Between three quarters of the interval and all of it.
        let share = (random >> 32) as f64 / f64::from(u32::MAX);
        let wait = self.times.interval.mul_f64(1.0 - share.min(1.0) / 4.0);
        self.next = now.checked_add(wait);
    }

    /// The pause behind the last question: it doubles while there is no answer.
    fn pause(&self) -> Duration {
        let longest = self.times.interval.max(self.times.least);
        let factor = 1_u32 << self.failures.min(10);
        self.times.least.saturating_mul(factor).min(longest)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // any instant will do
mod tests {
    use super::*;

    const TIMES: RefreshTimes = RefreshTimes {
        interval: Duration::from_secs(10),
        least: Duration::from_millis(100),
    };

    /// An arbitrary origin; tests move time themselves.
    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_first_is_due_at_once_and_the_next_by_the_interval() {
        let start = start();
        for (random, wait) in [(0, 10_000), (u64::MAX, 7500)] {
            let mut policy = RefreshPolicy::new(TIMES);
            assert_eq!(policy.due(start), Some(start));
            policy.on_start(start);
            assert_eq!(policy.due(start + Duration::from_hours(1)), None);
            policy.on_end(true, start, random);
            let due = policy.due(start).unwrap() - start;
            assert_eq!(due.as_millis(), wait);
        }
    }

    #[test]
    fn a_wish_is_granted_soon_but_not_more_often_than_the_least_time() {
        let start = start();
        let mut policy = RefreshPolicy::new(TIMES);
        policy.on_start(start);
        policy.on_end(true, start, 0);
        for _ in 0..1000 {
            policy.want();
        }
        assert_eq!(policy.due(start), Some(start + TIMES.least));
        policy.on_start(start + TIMES.least);
        // Its answer may be older than what is wanted now.
        policy.want();
        policy.on_end(true, start + TIMES.least, 0);
        assert_eq!(policy.due(start), Some(start + 2 * TIMES.least));
    }

    #[test]
    fn who_gets_no_answer_asks_ever_more_rarely() {
        let mut now = start();
        let mut policy = RefreshPolicy::new(TIMES);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            policy.on_start(now);
            policy.on_end(false, now, 0);
            let due = policy.due(now).unwrap();
            pauses.push((due - now).as_millis());
            now = due;
        }
        let expected = [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000];
        assert_eq!(pauses, expected);
        assert!(policy.is_wanted());
        policy.want_anew();
        assert!(policy.due(now).unwrap() < now, "the pauses are over");
        policy.on_start(now);
        policy.on_end(true, now, 0);
        policy.want();
        assert_eq!(policy.due(now), Some(now + TIMES.least));
    }
}
