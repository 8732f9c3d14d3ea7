//! A limit on bytes per second: a token bucket in whole numbers.
//!
//! The state is one position on the line of bytes that the rate has let through since the start: how far has been spent. What is behind
//! the line is available, up to the burst. No fraction is ever lost, because the line is computed from the start each time and not
//! step by step. It does not wait: it says until when. Start at [`Bandwidth::take`], or [`SharedBandwidth`] for many connections.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::gcra::since;

/// The highest rate, 64 GiB/s; higher ones are taken as this. Far above any network card, and the count of bytes lasts eight years.
pub const MAX_BYTES_PER_SECOND: u64 = 1 << 36;

const NANOS: u128 = 1_000_000_000;
/// The share of a second worth waiting for: waking up for every byte would cost more than the bytes.
const WAKE_PER_SECOND: u64 = 100;

/// As far as debts go: what is added to it in sums stays within 64 bits.
const MAX_SPENT: u64 = u64::MAX / 4 * 3;

/// How many bytes may be moved now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the bytes have been counted; give back what is not moved"]
pub struct Grant {
    /// At most what was asked for. 0 means to wait until `ready_at`.
    pub bytes: u64,
}

/// The rate, the burst and the start: all that does not change.
#[derive(Debug, Clone, Copy)]
struct Line {
    rate: u64,
    burst: u64,
    epoch: Instant,
}

impl Line {
    fn new(bytes_per_second: u64, burst: u64, epoch: Instant) -> Self {
        // A rate or burst of 0 would never move a byte, and `ready_at` would be never.
        let rate = bytes_per_second.clamp(1, MAX_BYTES_PER_SECOND);
        Self {
            rate,
            burst: burst.clamp(1, u64::MAX / 4),
            epoch,
        }
    }

    /// The bytes that the rate lets through from the start to `now`.
    fn position(&self, now: Instant) -> u64 {
        let bytes = u128::from(since(self.epoch, now)) * u128::from(self.rate) / NANOS;
        u64::try_from(bytes).unwrap_or(u64::MAX).min(u64::MAX / 2)
    }

    /// What is available at `now` when `spent` is, and where on the line that is counted from.
    fn available(&self, spent: u64, now: Instant) -> (u64, u64) {
        let base = spent.max(self.position(now));
        // `base` is at least the position; above it by more than the burst only when the clock went back.
        (base, self.burst.saturating_sub(base - self.position(now)))
    }

    /// What `spent` becomes when `want` is asked for at `now`, and what is granted.
    fn take(&self, spent: u64, want: u64, now: Instant) -> (u64, Grant) {
        let (base, available) = self.available(spent, now);
        let bytes = want.min(available);
        if bytes == 0 {
            (spent, Grant { bytes })
        } else {
            (base + bytes, Grant { bytes })
        }
    }

    /// What `spent` becomes when `want` is taken at `now` whether or not it is available, and when the debt is paid.
    fn borrow_ahead(&self, spent: u64, want: u64, now: Instant) -> (u64, Instant) {
        if want == 0 {
            return (spent, now);
        }
        let (base, available) = self.available(spent, now);
        let next = base.saturating_add(want).min(MAX_SPENT);
        let paid = if want <= available {
            now
        } else {
            self.reached_at(next.saturating_sub(self.burst), now)
        };
        (next, paid)
    }

    fn ready_at(&self, spent: u64, now: Instant) -> Instant {
        if self.available(spent, now).1 > 0 {
            return now;
        }
        let worth = (self.rate / WAKE_PER_SECOND).clamp(1, self.burst);
        // Not below 0: nothing is available, so at least the burst has been spent.
        self.reached_at((spent + worth).saturating_sub(self.burst), now)
    }

    /// When the rate lets this position through; not before `now`.
    fn reached_at(&self, position: u64, now: Instant) -> Instant {
        let nanos = (u128::from(position) * NANOS).div_ceil(u128::from(self.rate));
        let wait = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.epoch.checked_add(wait).unwrap_or(now).max(now)
    }
}

/// The bandwidth of one connection in one direction.
#[derive(Debug, Clone)]
pub struct Bandwidth {
    line: Line,
    spent: u64,
}

impl Bandwidth {
    /// `bytes_per_second` (1 to [`MAX_BYTES_PER_SECOND`]; what is outside is taken as the nearer end), with at most `burst` bytes at
    /// once (at least 1), all of which are available at `now`.
    pub fn new(bytes_per_second: u64, burst: u64, now: Instant) -> Self {
        Self {
            line: Line::new(bytes_per_second, burst, now),
            spent: 0,
        }
    }

    /// Takes up to `want` bytes.
    pub fn take(&mut self, want: u64, now: Instant) -> Grant {
        let (spent, grant) = self.line.take(self.spent, want, now);
        self.spent = spent;
        grant
    }

    /// Gives back bytes that were taken and not moved. For the same moment: bytes given back later may come on top of a burst that has
    /// filled up meanwhile. Giving back more than was taken is a mistake of the caller.
    pub fn give_back(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.spent, "more given back than taken");
        self.spent = self.spent.saturating_sub(bytes);
    }

    /// Takes all of `want`, running into debt where it is not available, and says when the debt is paid: `now` if there is none. Keeps
    /// the rate without cutting pieces, if the caller holds them until then and asks for no more before.
    pub fn borrow_ahead(&mut self, want: u64, now: Instant) -> Instant {
        let (spent, paid) = self.line.borrow_ahead(self.spent, want, now);
        self.spent = spent;
        paid
    }

    /// When to ask again: `now` if anything is available, else when a hundredth of a second's worth (or the burst, if smaller) is.
    pub fn ready_at(&self, now: Instant) -> Instant {
        self.line.ready_at(self.spent, now)
    }
}

/// The bandwidth that many connections share, on any thread. Exact for the process; kept in an `Arc`.
#[derive(Debug)]
pub struct SharedBandwidth {
    line: Line,
    spent: AtomicU64,
}

impl SharedBandwidth {
    /// As [`Bandwidth::new`].
    pub fn new(bytes_per_second: u64, burst: u64, now: Instant) -> Self {
        Self {
            line: Line::new(bytes_per_second, burst, now),
            spent: AtomicU64::new(0),
        }
    }

    /// Takes up to `want` bytes.
    pub fn take(&self, want: u64, now: Instant) -> Grant {
        let mut spent = self.spent.load(Relaxed);
        loop {
            let (next, grant) = self.line.take(spent, want, now);
            match self
                .spent
                .compare_exchange_weak(spent, next, Relaxed, Relaxed)
            {
                Ok(_) => return grant,
                Err(current) => spent = current,
            }
        }
    }

    /// As [`Bandwidth::borrow_ahead`]. Each connection waits for the debts before its own, so the order is that of asking.
    pub fn borrow_ahead(&self, want: u64, now: Instant) -> Instant {
        let mut spent = self.spent.load(Relaxed);
        loop {
            let (next, paid) = self.line.borrow_ahead(spent, want, now);
            match self
                .spent
                .compare_exchange_weak(spent, next, Relaxed, Relaxed)
            {
                Ok(_) => return paid,
                Err(current) => spent = current,
            }
        }
    }

    /// Gives back bytes that were taken and not moved. For the same moment: bytes given back later may come on top of a burst that has
    /// filled up meanwhile. Giving back more than was taken is a mistake of the caller.
    pub fn give_back(&self, bytes: u64) {
        let before = self
            .spent
            .fetch_update(Relaxed, Relaxed, |spent| Some(spent.saturating_sub(bytes)));
        debug_assert!(
            before.is_ok_and(|before| bytes <= before),
            "more given back than taken"
        );
    }

    /// As [`Bandwidth::ready_at`]. Another connection may be faster: then ask again.
    pub fn ready_at(&self, now: Instant) -> Instant {
        self.line.ready_at(self.spent.load(Relaxed), now)
    }
}
