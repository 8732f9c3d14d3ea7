//! How many frames of one kind a peer may send: so many at once, so many per second, and some for free.
//!
//! The generic cell rate algorithm with its state in one number, without the atomics and answers of
//! `portcullis_limit::Gcra`: one connection is one task, and there are ten of these on each. Start at [`Budget::spend`].

use super::limits::BudgetConfig;

/// The most free frames that are remembered: as many as answer the largest window full of small frames.
const MOST_CREDIT: u32 = 1 << 16;

/// One budget of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Nanoseconds that one frame takes of the rate.
    interval: u64,
    /// Nanoseconds that the burst takes.
    burst: u64,
    /// When the rate has caught up with what was spent, in nanoseconds since the connection began.
    due: u64,
    /// Frames that cost nothing because of what else has passed.
    credit: u32,
}

impl Budget {
    pub(super) fn new(config: BudgetConfig) -> Self {
        let period = u64::try_from(config.rate.per().as_nanos()).unwrap_or(u64::MAX);
        let interval = period.div_ceil(config.rate.count());
        Self {
            interval,
            burst: interval.saturating_mul(u64::from(config.burst)),
            due: 0,
            credit: 0,
        }
    }

    /// One frame at `now`, in nanoseconds since the connection began. Whether it is within the budget.
    #[inline]
    pub(super) const fn spend(&mut self, now: u64) -> bool {
        if self.credit > 0 {
            self.credit -= 1;
            return true;
        }
        let from = if self.due > now { self.due } else { now };
        let due = from.saturating_add(self.interval);
        if due - now > self.burst {
            return false;
        }
        self.due = due;
        true
    }

    /// So many more frames are free.
    #[inline]
    pub(super) const fn earn(&mut self, frames: u32) {
        let credit = self.credit.saturating_add(frames);
        self.credit = if credit > MOST_CREDIT {
            MOST_CREDIT
        } else {
            credit
        };
    }

    /// One frame that was spent is as if it had not been. Never more than the burst comes back.
    #[inline]
    pub(super) const fn refund(&mut self) {
        self.due = self.due.saturating_sub(self.interval);
    }
}

#[cfg(test)]
mod tests {
    use portcullis_config::Rate;

    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    fn budget(burst: u32) -> Budget {
        let rate = Rate::per_second(1000);
        Budget::new(BudgetConfig { rate, burst })
    }

    #[test]
    fn the_burst_then_the_rate() {
        let mut budget = budget(3);
        let spent: Vec<bool> = (0..4).map(|_| budget.spend(0)).collect();
        assert_eq!(spent, [true, true, true, false]);
        assert!(!budget.spend(MILLISECOND - 1));
        assert!(budget.spend(MILLISECOND));
        assert!(!budget.spend(MILLISECOND));
        let spent = (0..9).filter(|_| budget.spend(100 * MILLISECOND)).count();
        assert_eq!(spent, 3, "no more than the burst after a rest");
    }

    #[test]
    fn credit_goes_first_and_refunds_bring_back() {
        let mut budget = budget(1);
        budget.earn(2);
        assert!(budget.spend(0) && budget.spend(0) && budget.spend(0));
        assert!(!budget.spend(0));
        budget.refund();
        budget.refund();
        assert!(budget.spend(0));
        assert!(!budget.spend(0), "refunds do not exceed the burst");
    }

    #[test]
    fn a_burst_of_nothing_allows_nothing() {
        let mut budget = budget(0);
        assert!(!budget.spend(u64::MAX / 2));
        budget.earn(1);
        assert!(budget.spend(0));
    }
}
