//! A budget for retries: at most a share of the requests of the last seconds.
//!
//! Without one, retries multiply the load exactly when the upstreams have too much of it. One budget belongs to one worker and is
//! deliberately neither shared nor atomic: shares of each worker's requests add up to the same share of all. It does not decide whether
//! a retry is safe. Start at [`RetryBudget::try_retry`].

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The window, in slots: long enough to carry a quiet second, short enough to forget an outage.
const SLOTS: usize = 10;
const SLOT: Duration = Duration::from_secs(1);

/// How many retries there may be, on one worker. The window is ten seconds.
#[derive(Debug)]
pub struct RetryBudget {
    percent: u64,
    /// Allowed in a window, however few requests there are.
    floor: u64,
    epoch: Instant,
    /// The number of the newest slot since the epoch.
    newest: Cell<u64>,
    /// When the next slot begins.
    next: Cell<Instant>,
    slots: [Cell<Slot>; SLOTS],
    /// The sum of the slots.
    total: Cell<Slot>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Slot {
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    /// The default share of requests. A fifth: an upstream that fails everything then sees at most 1.2 times the load.
    pub const DEFAULT_PERCENT: u32 = 20;
    /// The default floor, so that a nearly idle worker may retry at all.
    pub const DEFAULT_MIN_PER_SECOND: u32 = 3;

    /// Retries for `percent` of the requests of the last ten seconds, and in any case `min_per_second` on average over them.
    pub fn new(percent: u32, min_per_second: u32, now: Instant) -> Self {
        Self {
            percent: percent.into(),
            floor: u64::from(min_per_second) * SLOTS as u64,
            epoch: now,
            newest: Cell::new(0),
            next: Cell::new(now),
            slots: Default::default(),
            total: Cell::default(),
        }
    }

    /// Counts a request, of which retries may follow. Not to be called for the retries themselves.
    pub fn on_request(&self, now: Instant) {
        self.advance(now);
        self.add(Slot {
            requests: 1,
            retries: 0,
        });
    }

    /// Whether one more retry is within the budget; if so, it has been counted.
    pub fn try_retry(&self, now: Instant) -> bool {
        self.advance(now);
        let Slot { requests, retries } = self.total.get();
        let allowed = (requests.saturating_mul(self.percent) / 100).max(self.floor);
        if retries >= allowed {
            return false;
        }
        self.add(Slot {
            requests: 0,
            retries: 1,
        });
        true
    }

    /// Empties the slots that have left the window. An earlier `now` than before counts into the newest slot.
    #[inline]
    fn advance(&self, now: Instant) {
        // As nearly always.
        if now >= self.next.get() {
            self.move_on(now);
        }
    }

    fn move_on(&self, now: Instant) {
        let current = now.saturating_duration_since(self.epoch).as_secs() / SLOT.as_secs();
        let next = SLOT.saturating_mul(u32::try_from(current + 1).unwrap_or(u32::MAX));
        self.next.set(self.epoch.checked_add(next).unwrap_or(now));
        let newest = self.newest.get();
        if current <= newest {
            return;
        }
        self.newest.set(current);
        let mut total = self.total.get();
        for number in (newest + 1..=current).take(SLOTS) {
            let gone = self.slot(number).map(Cell::take).unwrap_or_default();
            total.requests -= gone.requests;
            total.retries -= gone.retries;
        }
        self.total.set(total);
    }

    fn add(&self, more: Slot) {
        let sum = |to: Slot| Slot {
            requests: to.requests + more.requests,
            retries: to.retries + more.retries,
        };
        if let Some(slot) = self.slot(self.newest.get()) {
            slot.set(sum(slot.get()));
            self.total.set(sum(self.total.get()));
        }
    }

    /// Always there: the number is reduced by the length.
    fn slot(&self, number: u64) -> Option<&Cell<Slot>> {
        self.slots.get((number % SLOTS as u64) as usize)
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        let sum = self
            .slots
            .iter()
            .map(Cell::get)
            .fold(Slot::default(), |sum, slot| Slot {
                requests: sum.requests + slot.requests,
                retries: sum.retries + slot.retries,
            });
        assert_eq!(sum, self.total.get());
    }
}
