//! The worker's clock: the only place on the data path that asks the system for the time.
//!
//! A worker caches the time and refreshes it when its runtime wakes up, and at the latest after a few uses, so `now` costs
//! a load and is never off by more than the work of one loop turn. It is not a timer (see [`crate::Timer`]) and does
//! not follow steps of the wall clock for deadlines. Start at [`now`].

// The one place that the ban points to.
#![allow(clippy::disallowed_methods)]

mod date;

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

pub use date::HttpDate;

/// How often a cached time is handed out before the system is asked again. Bounds the error while a worker is so
/// busy that its runtime never waits; at a few microseconds of work per use that is well below a millisecond.
const USES: u8 = 16;

/// How long the wall clock is carried forward by the monotonic one. Steps of the wall clock show after this time.
const ANCHOR_LIFE: Duration = Duration::from_millis(500);

struct LocalClock {
    /// `None` on threads that do not refresh it: there every question goes to the system.
    cached: Cell<Option<Instant>>,
    uses_left: Cell<u8>,
    anchor: Cell<Option<(Instant, SystemTime)>>,
    /// The last answer of [`wall`] and when it was given: most questions come within one loop turn.
    wall: Cell<Option<(Instant, SystemTime)>>,
    date: Cell<HttpDate>,
    /// Until when the date is right.
    dated: Cell<Option<Instant>>,
}

thread_local! {
    static CLOCK: LocalClock = const {
        LocalClock {
            cached: Cell::new(None),
            uses_left: Cell::new(0),
            anchor: Cell::new(None),
            wall: Cell::new(None),
            date: Cell::new(HttpDate::EPOCH),
            dated: Cell::new(None),
        }
    };
}

/// The time of this loop turn on a worker; the exact time elsewhere.
#[inline]
#[must_use]
pub fn now() -> Instant {
    CLOCK.with(|clock| {
        let Some(cached) = clock.cached.get() else {
            return Instant::now();
        };
        let Some(left) = clock.uses_left.get().checked_sub(1) else {
            return clock.refresh();
        };
        clock.uses_left.set(left);
        cached
    })
}

/// The exact time, which is also cached if this thread caches: for sessions that have worked for long.
pub fn refresh() -> Instant {
    CLOCK.with(LocalClock::refresh)
}

/// The wall clock, for logs and dates. Never for deadlines: it can be set back.
#[must_use]
pub fn wall() -> SystemTime {
    CLOCK.with(|clock| clock.wall_at(now()))
}

/// The value of a `Date` field for this second. Formatted once a second.
#[must_use]
pub fn http_date() -> HttpDate {
    CLOCK.with(|clock| {
        let now = now();
        if clock.dated.get().is_none_or(|until| until <= now) {
            clock.look_at_date(now);
        }
        clock.date.get()
    })
}

/// Lets this thread cache the time. Only for threads whose runtime calls [`refresh`] when it wakes up: a cache that
/// nobody refreshes would let deadlines pass early.
pub(crate) fn enable_cache() {
    CLOCK.with(|clock| clock.cached.set(Some(Instant::now())));
    refresh();
}

impl LocalClock {
    fn refresh(&self) -> Instant {
        let now = Instant::now();
        if self.cached.get().is_some() {
            self.cached.set(Some(now));
            self.uses_left.set(USES);
        }
        now
    }

    /// The wall clock at `now`, which is the time of the monotonic one.
    fn wall_at(&self, now: Instant) -> SystemTime {
        match self.wall.get() {
            Some((instant, wall)) if instant == now => wall,
            _ => {
                let wall = self.carry_forward(now);
                self.wall.set(Some((now, wall)));
                wall
            }
        }
    }

    fn carry_forward(&self, now: Instant) -> SystemTime {
        if let Some((instant, wall)) = self.anchor.get() {
            let since = now.saturating_duration_since(instant);
            if since < ANCHOR_LIFE {
                return wall.checked_add(since).unwrap_or(wall);
            }
        }
        let wall = SystemTime::now();
        self.anchor.set(Some((now, wall)));
        wall
    }

    /// Formats the date anew if `now` is in another second.
    fn look_at_date(&self, now: Instant) {
        let since = self.wall_at(now).duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default();
        if self.date.get().unix_seconds() != since.as_secs() {
            self.date.set(HttpDate::from_unix_seconds(since.as_secs()));
        }
        // To the end of the second, but not for longer than the wall clock is trusted.
        let past = Duration::from_nanos(since.subsec_nanos().into());
        let left = Duration::from_secs(1).saturating_sub(past);
        self.dated.set(now.checked_add(left.min(ANCHOR_LIFE)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_time_moves_on_after_a_bounded_number_of_uses() {
        std::thread::spawn(|| {
            enable_cache();
            let first = now();
            // The system's clock has to move for the refresh to be seen.
            while Instant::now() == first {}
            assert_eq!(now(), first);
            let moved = (0..=USES).any(|_| now() > first);
            assert!(moved);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_without_cache_asks_the_system() {
        let before = Instant::now();
        while Instant::now() == before {}
        assert!(now() > before);
        assert!(refresh() > before);
    }

    #[test]
    fn wall_clock_and_date_agree() {
        let before = SystemTime::now();
        let wall = wall();
        let apart = wall
            .duration_since(before)
            .unwrap_or_else(|error| error.duration());
        assert!(apart < Duration::from_secs(2), "{apart:?}");
        let seconds = http_date().unix_seconds();
        let expected = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert!(seconds.abs_diff(expected) <= 1);
    }
}
