//! Bandwidth: what is granted when, that no fraction is lost, and what is never exceeded.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{millis, moved, start};
use crate::{Bandwidth, SharedBandwidth};

#[test]
fn bytes_are_granted_as_the_table_says() {
    let start = start();
    // 1,000 bytes per second, 100 at once: one byte is 1 ms, and 10 are worth waking up for.
    let mut limit = Bandwidth::new(1_000, 100, start);
    // what, at, wanted, granted, ready at
    let rows = [
        ("part of the burst", 0, 60, 60, 0),
        ("the rest of it", 0, 60, 40, 10),
        ("nothing left", 0, 60, 0, 10),
        ("not enough to wake for, but some", 3, 60, 3, 13),
        ("wanting nothing", 13, 0, 0, 13),
        ("what came", 13, 60, 10, 23),
        ("the clock goes back", 5, 60, 0, 23),
        ("no more than the burst", 5_000, 1_000, 100, 5_010),
    ];
    for (name, at, want, granted, ready) in rows {
        let now = start + millis(at);
        assert_eq!(limit.take(want, now).bytes, granted, "{name}");
        assert_eq!(limit.ready_at(now), start + millis(ready), "{name}");
    }
    limit.give_back(30);
    assert_eq!(
        limit.take(1_000, start + millis(5_000)).bytes,
        30,
        "given back"
    );
}

#[test]
fn debts_are_paid_as_the_table_says() {
    let start = start();
    // 1,000 bytes per second, 100 at once: one byte is 1 ms.
    let mut limit = Bandwidth::new(1_000, 100, start);
    let shared = SharedBandwidth::new(1_000, 100, start);
    // what, at, wanted, paid at
    let rows = [
        ("part of the burst", 0, 60, 0),
        ("over the burst", 0, 60, 20),
        ("behind that debt", 0, 50, 70),
        ("nothing", 0, 0, 0),
        ("while in debt", 30, 10, 80),
        ("the clock goes back", 5, 1, 81),
        ("paid, and some saved", 181, 100, 181),
        ("a second's worth", 181, 1_000, 1_181),
    ];
    for (name, at, want, paid) in rows {
        let now = start + millis(at);
        assert_eq!(
            limit.borrow_ahead(want, now),
            start + millis(paid),
            "{name}"
        );
        assert_eq!(
            shared.borrow_ahead(want, now),
            start + millis(paid),
            "{name}, shared"
        );
    }
    assert_eq!(limit.take(1, start + millis(1_180)).bytes, 0, "in debt");
    limit.borrow_ahead(u64::MAX, start);
    limit.borrow_ahead(u64::MAX, start);
    assert!(limit.ready_at(start) > start, "the largest debt is a debt");
}

#[test]
fn the_ends_of_the_range_still_move() {
    let start = start();
    for (name, rate, burst) in [
        ("nothing", 0, 0),
        ("everything", u64::MAX, u64::MAX),
        ("tiny burst", u64::MAX, 1),
    ] {
        let mut limit = Bandwidth::new(rate, burst, start);
        let mut now = start;
        for _ in 0..10 {
            assert!(limit.take(u64::MAX, now).bytes > 0, "{name}");
            now = limit.ready_at(now);
        }
        let years = start + Duration::from_hours(24 * 365 * 5);
        assert!(limit.take(1, years).bytes > 0, "{name}, after years");
    }
}

#[test]
fn threads_move_exactly_the_rate() {
    let start = start();
    let limit = SharedBandwidth::new(1_000_000, 5_000, start);
    let moved = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for step in 0..=100 {
                    for _ in 0..50 {
                        moved.fetch_add(limit.take(700, start + millis(step)).bytes, Relaxed);
                    }
                }
                let last = start + millis(100);
                while limit.ready_at(last) <= last {
                    moved.fetch_add(limit.take(u64::MAX, last).bytes, Relaxed);
                }
            });
        }
    });
    // The burst, and what the rate lets through in 100 ms.
    assert_eq!(moved.into_inner(), 105_000);
}

proptest! {
    /// Law: however it is asked for, a bucket that is never full moves every byte of the rate and not one more.
    #[test]
    fn no_fraction_is_lost(rate in 1u64..5_000, steps in prop::collection::vec(1u64..100_000_000, 1..200)) {
        let start = start();
        // A burst that never fills up: longer than all steps together.
        let burst = 1_000_000;
        let mut limit = Bandwidth::new(rate, burst, start);
        let mut moved = limit.take(u64::MAX, start).bytes;
        let mut now = start;
        for step in steps {
            now += Duration::from_nanos(step);
            moved += limit.take(u64::MAX, now).bytes;
        }
        let time = (now - start).as_nanos();
        prop_assert_eq!(u128::from(moved - burst), time * u128::from(rate) / 1_000_000_000);
    }

    /// Law: between any two grants, no more than the burst and the rate over the time between them (and the byte under way). The
    /// shared limit grants the same as the plain one.
    #[test]
    fn no_window_moves_more_than_burst_and_rate(
        rate in 1u64..100_000,
        burst in 1u64..5_000,
        asks in prop::collection::vec((-50i32..100, 0u64..6_000), 1..80),
    ) {
        let mut now = start();
        let shared = SharedBandwidth::new(rate, burst, now);
        let mut plain = Bandwidth::new(rate, burst, now);
        let mut moves: Vec<(Instant, u64)> = Vec::new();
        for (step, want) in asks {
            now = moved(now, step);
            let granted = plain.take(want, now).bytes;
            prop_assert_eq!(granted, shared.take(want, now).bytes);
            prop_assert_eq!(plain.ready_at(now), shared.ready_at(now));
            prop_assert!(granted <= want);
            // A question without a move neither begins nor ends a window: the clock may have been elsewhere for it.
            if granted > 0 {
                moves.push((now, granted));
            }
        }
        for (first, (from, _)) in moves.iter().enumerate() {
            let mut sum = 0;
            for (until, bytes) in &moves[first..] {
                sum += u128::from(*bytes);
                let time = until.saturating_duration_since(*from).as_nanos();
                let most = u128::from(burst) + (time * u128::from(rate)).div_ceil(1_000_000_000);
                prop_assert!(sum <= most, "{sum} in {time} ns");
            }
        }
    }

    /// Law: who waits until each debt is paid moves the burst and the rate, and not one byte more.
    #[test]
    fn debts_keep_the_rate(rate in 1u64..100_000, burst in 1u64..5_000, wants in prop::collection::vec(1u64..6_000, 1..80)) {
        let start = start();
        let mut limit = Bandwidth::new(rate, burst, start);
        let (mut now, mut sum) = (start, 0);
        for want in wants {
            now = limit.borrow_ahead(want, now);
            sum += u128::from(want);
            let time = (now - start).as_nanos();
            let most = u128::from(burst) + (time * u128::from(rate)).div_ceil(1_000_000_000);
            prop_assert!(sum <= most, "{sum} in {time} ns");
        }
    }

    /// Law: at `ready_at` there is something to take.
    #[test]
    fn ready_is_ready(rate: u64, burst: u64, wants in prop::collection::vec(1u64.., 1..50)) {
        let mut now = start();
        let mut limit = Bandwidth::new(rate, burst, now);
        for want in wants {
            let ready = limit.ready_at(now);
            prop_assert!(ready >= now);
            now = ready;
            prop_assert!(limit.take(want, now).bytes > 0);
        }
    }
}
