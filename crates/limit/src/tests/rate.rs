//! Rate limits: what one answers, what is never exceeded, exactness between threads, and forgetting.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{key, millis, moved, start};
use crate::{Decision, Gcra, Quota, RateLimiter};

fn quota(count: u64, burst: u64) -> Quota {
    Quota::new(count, Duration::from_secs(1))
        .unwrap()
        .with_burst(burst)
        .unwrap()
}

#[test]
fn a_limit_counts_as_the_table_says() {
    // Ten per second, three at once: one unit is 100 ms.
    let start = start();
    let limiter = RateLimiter::new(quota(10, 3), start);
    let (never, at_once) = (Some(Duration::MAX), None);
    // what, at, cost, remaining, reset after, retry after
    let rows = [
        ("only looks", 0, 0, 3, 0, at_once),
        ("first", 0, 1, 2, 100, at_once),
        ("two more", 0, 2, 0, 300, at_once),
        ("full", 0, 1, 0, 300, Some(millis(100))),
        ("full for a larger one", 0, 3, 0, 300, Some(millis(300))),
        ("never", 0, 4, 0, 300, never),
        ("most of a unit later", 99, 1, 0, 201, Some(millis(1))),
        ("a unit later", 100, 1, 0, 300, at_once),
        ("the clock goes back", 0, 1, 0, 400, Some(millis(200))),
        ("and looks", 0, 0, 0, 400, at_once),
        ("long after", 10_000, 3, 0, 300, at_once),
        (
            "no more than the burst",
            10_000,
            1,
            0,
            300,
            Some(millis(100)),
        ),
    ];
    for (name, at, cost, remaining, reset_after, retry_after) in rows {
        let decision = limiter.check(None, cost, start + millis(at));
        let got = (
            decision.remaining(),
            decision.reset_after(),
            decision.retry_after(),
        );
        assert_eq!(got, (remaining, millis(reset_after), retry_after), "{name}");
        assert_eq!(decision.is_allowed(), retry_after.is_none(), "{name}");
        let (Decision::Allowed { limit, burst, .. } | Decision::Denied { limit, burst, .. }) =
            decision;
        assert_eq!((limit, burst), (10, 3), "{name}");
    }
}

#[test]
fn a_clock_that_goes_back_by_centuries_only_denies() {
    let start = start();
    // Just below one unit per nanosecond, with a burst of decades: the schedule nearly fills its number.
    let quota = Quota::new(
        617_720_575_820_753_042,
        Duration::from_nanos(617_720_575_820_753_043),
    );
    let gcra = Gcra::new(
        quota
            .unwrap()
            .with_burst(1_127_196_370_343_208_057)
            .unwrap(),
        start,
    );
    let far = start + Duration::from_nanos(u64::MAX - 2);
    assert!(gcra.check(1, far).is_allowed());
    let denied = gcra.check(1_000_000_000_000_000_000, start);
    assert!(
        denied
            .retry_after()
            .is_some_and(|wait| wait > Duration::from_hours(24 * 365 * 400))
    );
}

#[test]
fn keys_are_apart_and_an_unkeyed_limiter_ignores_them() {
    let start = start();
    let each = RateLimiter::keyed(quota(1, 1), start);
    let all = RateLimiter::new(quota(1, 1), start);
    // who, each, all
    let rows = [
        ("first", Some(key(1)), true, true),
        ("first again", Some(key(1)), false, false),
        ("second", Some(key(2)), true, false),
        ("nobody", None, true, false),
        ("nobody again", None, false, false),
    ];
    for (name, key, by_key, together) in rows {
        assert_eq!(
            each.check(key, 1, start).is_allowed(),
            by_key,
            "{name}, by key"
        );
        assert_eq!(
            all.check(key, 1, start).is_allowed(),
            together,
            "{name}, together"
        );
    }
    assert_eq!(
        (each.is_keyed(), each.keys(), all.is_keyed(), all.keys()),
        (true, 2, false, 0)
    );
}

/// Asks from eight threads, each over the same 100 ms, far more often than allowed. Returns what was admitted.
fn hammer(ask: impl Fn(Instant) -> Decision + Sync, start: Instant) -> u64 {
    let admitted = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for step in 0..=100 {
                    let allowed = (0..50)
                        .filter(|_| ask(start + millis(step)).is_allowed())
                        .count();
                    admitted.fetch_add(allowed as u64, Relaxed);
                }
            });
        }
    });
    admitted.into_inner()
}

#[test]
fn many_threads_admit_exactly_the_quota() {
    let (start, quota) = (start(), quota(1_000, 500));
    let limiter = RateLimiter::keyed(quota, start);
    let gcra = Gcra::new(quota, start);
    // 500 at once and 100 in the 100 ms after.
    let rows: [(&str, &(dyn Fn(Instant) -> Decision + Sync)); 3] = [
        ("one number", &|now| gcra.check(1, now)),
        ("a key", &|now| limiter.check(Some(key(1)), 1, now)),
        ("no key", &|now| limiter.check(None, 1, now)),
    ];
    for (name, ask) in rows {
        assert_eq!(hammer(ask, start), 600, "{name}");
    }
}

#[test]
fn keys_are_bounded_and_live_ones_are_counted_when_forgotten() {
    let start = start();
    for room in [1, 2, 7, 100, 1_000, 5_000] {
        let limiter = RateLimiter::keyed_with(quota(1, 1), room, start);
        for number in 0..10_000 {
            let now = start + Duration::from_micros(number as u64);
            assert!(
                limiter.check(Some(key(number)), 1, now).is_allowed(),
                "a new key has a whole burst"
            );
        }
        limiter.check_invariants();
        assert!(limiter.keys() <= room, "{room}");
        assert!(limiter.keys() > room / 2, "{room}: room is used");
        assert_eq!(
            limiter.evictions(),
            10_000 - limiter.keys() as u64,
            "{room}"
        );
    }
}

#[test]
fn forgetting_what_is_past_is_free_and_makes_room() {
    let start = start();
    let limiter = RateLimiter::keyed_with(quota(10, 1), 256, start);
    for round in 0..100 {
        // A unit is back after 100 ms: every key of the round before is past.
        let now = start + millis(100) * round;
        for number in 0..200 {
            let key = key(round as usize * 1_000 + number);
            assert!(limiter.check(Some(key), 1, now).is_allowed());
        }
        limiter.check_invariants();
    }
    assert_eq!(limiter.evictions(), 0);
    assert!(limiter.keys() <= 256);
}

#[test]
fn a_flood_of_keys_does_not_make_a_busy_one_forgotten() {
    let start = start();
    let limiter = RateLimiter::keyed_with(quota(1, 1), 1_024, start);
    let busy = Some(key(usize::MAX));
    assert!(limiter.check(busy, 1, start).is_allowed());
    for number in 0..20_000 {
        // All within less than the second that a unit takes.
        let now = start + Duration::from_micros(number as u64 * 10);
        let _ = limiter.check(Some(key(number)), 1, now);
        if number % 20 == 0 {
            assert!(
                !limiter.check(busy, 1, now).is_allowed(),
                "forgotten after {number}"
            );
        }
    }
    assert!(limiter.evictions() > 10_000);
}

#[test]
fn a_clock_that_goes_back_does_not_revive_what_was_forgotten() {
    let start = start();
    let limiter = RateLimiter::keyed_with(quota(10, 1), 1, start);
    let (late, early) = (start + millis(1_000), start);
    assert!(limiter.check(Some(key(1)), 1, early).is_allowed());
    assert!(
        limiter.check(Some(key(2)), 1, late).is_allowed(),
        "the first is past, and gone"
    );
    assert!(
        limiter.check(Some(key(1)), 1, early).is_allowed(),
        "as if it were late: its unit was back"
    );
    assert!(!limiter.check(Some(key(1)), 1, early).is_allowed());
    assert!(
        !limiter.check(Some(key(1)), 1, late).is_allowed(),
        "not once more for the later clock"
    );
}

proptest! {
    /// Law: between any two admitted requests, no more than the burst and the rate over the time between them.
    #[test]
    fn no_window_admits_more_than_burst_and_rate(
        count in 1u64..5_000,
        burst in 1u64..50,
        asks in prop::collection::vec((-50i32..100, 0u64..60), 1..80),
    ) {
        let start = start();
        let gcra = Gcra::new(quota(count, burst), start);
        let mut now = start;
        let mut admitted: Vec<(Instant, u64)> = Vec::new();
        for (step, cost) in asks {
            now = moved(now, step);
            let decision = gcra.check(cost, now);
            prop_assert!(decision.remaining() <= burst);
            prop_assert!(cost > 0 || decision.is_allowed());
            // A look at an earlier moment ends no window: what it would count was admitted later.
            if decision.is_allowed() && cost > 0 {
                admitted.push((now, cost));
            }
        }
        for (first, (from, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (until, cost) in &admitted[first..] {
                sum += u128::from(*cost);
                let time = until.saturating_duration_since(*from).as_nanos();
                // In nanounits, so that nothing is rounded.
                let most = u128::from(burst) * 1_000_000_000 + time * u128::from(count);
                prop_assert!(sum * 1_000_000_000 <= most, "{sum} in {time} ns");
            }
        }
    }

    /// Law: whoever waits for `retry_after` is allowed then, and not a nanosecond earlier.
    #[test]
    fn retry_after_is_exact(count in 1u64..5_000, burst in 1u64..50, spent in 1u64..50, cost in 1u64..50, later in 0u64..100) {
        let (spent, cost) = (spent.min(burst), cost.min(burst));
        let epoch = start();
        let now = epoch + millis(later);
        let gcra = Gcra::new(quota(count, burst), epoch);
        prop_assert!(gcra.check(spent, epoch).is_allowed());
        if let Some(wait) = gcra.check(cost, now).retry_after() {
            prop_assert!(!gcra.check(cost, now + wait.saturating_sub(Duration::from_nanos(1))).is_allowed());
            prop_assert!(gcra.check(cost, now + wait).is_allowed());
        }
    }

    /// Law: with room for all keys, each behaves as if it were alone, whatever the table forgets on the way.
    #[test]
    fn keys_do_not_disturb_each_other(asks in prop::collection::vec((-50i32..300, 0usize..12, 0u64..6), 1..300)) {
        let start = start();
        let quota = quota(10, 5);
        let limiter = RateLimiter::keyed_with(quota, 12, start);
        let alone: Vec<_> = (0..12).map(|_| Gcra::new(quota, start)).collect();
        let (mut now, mut latest) = (start, start);
        for (step, number, cost) in asks {
            now = moved(now, step);
            latest = latest.max(now);
            prop_assert_eq!(limiter.check(Some(key(number)), cost, now), alone[number].check(cost, latest));
            limiter.check_invariants();
        }
        prop_assert_eq!(limiter.evictions(), 0);
    }

    /// Law: any numbers at all give an answer.
    #[test]
    fn no_numbers_panic(count: u64, period: u64, burst: u64, asks: Vec<(u64, u64)>) {
        let made = Quota::new(count, Duration::from_nanos(period)).and_then(|quota| quota.with_burst(burst));
        let Ok(quota) = made else { return Ok(()) };
        let start = start();
        let limiter = RateLimiter::keyed(quota, start);
        for (after, cost) in asks {
            let now = start.checked_add(Duration::from_nanos(after)).unwrap_or(start);
            prop_assert!(cost <= quota.burst() || !limiter.check(Some(key(0)), cost, now).is_allowed());
            let _ = limiter.check(None, cost, now);
        }
    }
}
