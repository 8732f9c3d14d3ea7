//! The generic cell rate algorithm: a rate limit whose whole state is one moment.
//!
//! The state is the *theoretical arrival time* (TAT): when the next unit would be due if units came exactly at the rate. A request is
//! allowed while the TAT is not further ahead of the clock than the burst takes. No timer refills anything. The ITU-T I.371 leaky
//! bucket is the same thing. This file knows nothing of keys: `rate` does. Start at [`Gcra::check`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::quota::Quota;

/// The answer of a rate limit, with what a `ratelimit` header needs to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Go on; the cost has been counted.
    Allowed {
        /// Units per period, as configured.
        limit: u64,
        /// Units at once, as configured.
        burst: u64,
        /// Units that could be spent now.
        remaining: u64,
        /// Until the whole burst is available again.
        reset_after: Duration,
    },
    /// Too much; nothing has been counted.
    Denied {
        /// Units per period, as configured.
        limit: u64,
        /// Units at once, as configured.
        burst: u64,
        /// Units that could be spent now: fewer than were asked for.
        remaining: u64,
        /// Until the whole burst is available again.
        reset_after: Duration,
        /// Until the same request would be allowed if nobody else asked. [`Duration::MAX`] when its cost is above the burst.
        retry_after: Duration,
    },
}

impl Decision {
    /// Whether to go on.
    #[inline]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    /// Units that could be spent now.
    pub fn remaining(&self) -> u64 {
        let (Self::Allowed { remaining, .. } | Self::Denied { remaining, .. }) = self;
        *remaining
    }

    /// Until the whole burst is available again.
    pub fn reset_after(&self) -> Duration {
        let (Self::Allowed { reset_after, .. } | Self::Denied { reset_after, .. }) = self;
        *reset_after
    }

    /// Until the same request would be allowed; `None` when it was.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Allowed { .. } => None,
            Self::Denied { retry_after, .. } => Some(*retry_after),
        }
    }
}

/// One rate limit, shared by any number of threads and exact among them.
#[derive(Debug)]
pub struct Gcra {
    quota: Quota,
    epoch: Instant,
    tat: AtomicU64,
}

impl Gcra {
    /// A limit whose burst is available at once. `epoch` is a moment not after any `now` to come, such as the start of the process.
    pub fn new(quota: Quota, epoch: Instant) -> Self {
        Self {
            quota,
            epoch,
            tat: AtomicU64::new(0),
        }
    }

    /// Asks for `cost` units. A cost of 0 is always allowed and only looks.
    #[inline]
    pub fn check(&self, cost: u64, now: Instant) -> Decision {
        let now = since(self.epoch, now);
        let mut tat = self.tat.load(Relaxed);
        loop {
            let step = step(&self.quota, tat, cost, now);
            let Some(next) = step else {
                return decision(&self.quota, tat, cost, now, false);
            };
            // Nothing else is published through this number, so relaxed ordering is enough; the exchange makes it exact.
            match self.tat.compare_exchange_weak(tat, next, Relaxed, Relaxed) {
                Ok(_) => return decision(&self.quota, next, cost, now, true),
                Err(current) => tat = current,
            }
        }
    }

    /// What is allowed.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }
}

/// Nanoseconds from `epoch` to `now`; 0 when `now` is earlier.
#[inline]
pub(crate) fn since(epoch: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX)
}

/// The TAT after `cost` units at `now`, or `None` when they are too many.
#[inline]
pub(crate) fn step(quota: &Quota, tat: u64, cost: u64, now: u64) -> Option<u64> {
    if cost == 0 {
        return Some(tat);
    }
    let next = cost
        .checked_mul(quota.interval())
        .and_then(|wait| tat.max(now).checked_add(wait))?;
    // `next` is at least `now`.
    (next - now <= quota.tolerance()).then_some(next)
}

/// The answer, from the TAT as it is after the question.
#[inline]
pub(crate) fn decision(quota: &Quota, tat: u64, cost: u64, now: u64, allowed: bool) -> Decision {
    let (limit, burst) = (quota.count(), quota.burst());
    let ahead = tat.saturating_sub(now);
    // The clock may have gone back, and then `ahead` exceeds the tolerance.
    let remaining = quota.tolerance().saturating_sub(ahead) / quota.interval();
    let reset_after = Duration::from_nanos(ahead);
    if allowed {
        return Decision::Allowed {
            limit,
            burst,
            remaining,
            reset_after,
        };
    }
    let retry_after = if cost > burst {
        Duration::MAX
    } else {
        Duration::from_nanos(
            ahead
                .saturating_add(cost * quota.interval())
                .saturating_sub(quota.tolerance()),
        )
    };
    Decision::Denied {
        limit,
        burst,
        remaining,
        reset_after,
        retry_after,
    }
}
