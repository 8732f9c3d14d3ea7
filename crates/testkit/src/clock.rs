//! A clock that moves only when told to.
//!
//! Not for production: code takes `now` as an argument, and a test hands it this clock's. Start at
//! [`VirtualClock`].

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A clock for one test. It starts at an arbitrary instant; only differences mean anything.
#[derive(Debug)]
pub struct VirtualClock {
    start: Instant,
    now: Cell<Instant>,
}

impl VirtualClock {
    /// A clock at zero.
    #[must_use]
    pub fn new() -> Self {
        // `Instant` has no constructor of its own; the value is never compared with real time.
        #[allow(clippy::disallowed_methods)]
        let start = Instant::now();
        Self {
            start,
            now: Cell::new(start),
        }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// The instant `offset` after the clock's start, wherever it stands now.
    #[must_use]
    pub fn at(&self, offset: Duration) -> Instant {
        self.start + offset
    }

    /// How long ago the clock started.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now.get() - self.start
    }

    /// Moves on, and returns the new present.
    pub fn advance(&self, by: Duration) -> Instant {
        self.now.set(self.now.get() + by);
        self.now.get()
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_only_when_told() {
        let clock = VirtualClock::new();
        let start = clock.now();
        assert_eq!(clock.now(), start);
        assert_eq!(
            clock.advance(Duration::from_secs(3)),
            clock.at(Duration::from_secs(3))
        );
        assert_eq!(clock.elapsed(), Duration::from_secs(3));
    }
}
