//! The retry budget: its share, its floor, and what leaves the window.

use std::time::Duration;

use proptest::prelude::*;

use super::{millis, moved, start};
use crate::RetryBudget;

#[test]
fn retries_are_a_share_of_the_requests_in_the_window() {
    // what, percent, per second, requests, asked for at (ms), granted
    let rows = [
        ("a fifth", 20, 0, 100, 0, 20),
        ("a fifth of few is none", 20, 0, 4, 0, 0),
        ("the floor", 20, 3, 0, 0, 30),
        ("the larger of the two", 20, 1, 100, 0, 20),
        ("still in the window", 20, 0, 100, 9_999, 20),
        ("out of the window", 20, 0, 100, 10_000, 0),
        ("long after", 20, 1, 100, 3_600_000, 10),
        ("as many as requests", 100, 0, 50, 500, 50),
        ("none at all", 0, 0, 1_000, 0, 0),
    ];
    for (name, percent, per_second, requests, at, granted) in rows {
        let start = start();
        let budget = RetryBudget::new(percent, per_second, start);
        for _ in 0..requests {
            budget.on_request(start);
        }
        let got = (0..1_000)
            .filter(|_| budget.try_retry(start + millis(at)))
            .count();
        assert_eq!(got, granted, "{name}");
        budget.check_invariants();
    }
}

#[test]
fn retries_come_back_when_the_old_ones_leave() {
    let start = start();
    let budget = RetryBudget::new(0, 1, start);
    let granted_at = |second: u64| {
        (0..100)
            .filter(|_| budget.try_retry(start + Duration::from_secs(second)))
            .count()
    };
    assert_eq!(granted_at(0), 10);
    assert_eq!(granted_at(9), 0);
    assert_eq!(granted_at(10), 10);
    assert_eq!(granted_at(3), 0, "the clock goes back");
}

proptest! {
    /// Law: in the window, retries never exceed the larger of the share and the floor.
    #[test]
    fn the_share_is_never_exceeded(
        percent in 0u32..=100,
        per_second in 0u32..5,
        steps in prop::collection::vec((-500i32..900, 0u32..20, 0u32..20), 1..100),
    ) {
        let start = start();
        let budget = RetryBudget::new(percent, per_second, start);
        let mut now = start;
        // The second each happened in, never going back.
        let (mut second, mut requests, mut retries) = (0, Vec::new(), Vec::new());
        for (step, asked, retried) in steps {
            now = moved(now, step);
            if asked + retried == 0 {
                continue; // the budget does not see this moment
            }
            second = (now.saturating_duration_since(start).as_secs()).max(second);
            for _ in 0..asked {
                budget.on_request(now);
                requests.push(second);
            }
            for _ in 0..retried {
                if budget.try_retry(now) {
                    retries.push(second);
                    let within = |all: &[u64]| all.iter().filter(|at| **at + 10 > second).count() as u64;
                    let allowed = (within(&requests) * u64::from(percent) / 100).max(u64::from(per_second) * 10);
                    prop_assert!(within(&retries) <= allowed);
                }
            }
            budget.check_invariants();
        }
    }
}
