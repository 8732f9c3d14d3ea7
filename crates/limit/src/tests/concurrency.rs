//! Concurrency limits: places taken and given back, by key and together, also between threads.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use super::key;
use crate::{ConcurrencyLimiter, Key};

#[test]
fn places_are_taken_and_given_back() {
    let rows: [(&str, ConcurrencyLimiter, Option<Key>); 3] = [
        ("together", ConcurrencyLimiter::new(2), Some(key(1))),
        ("by key", ConcurrencyLimiter::keyed(2), Some(key(1))),
        ("by key, without one", ConcurrencyLimiter::keyed(2), None),
    ];
    for (name, limiter, key) in rows {
        let first = limiter.try_acquire(key).expect(name);
        let second = limiter.try_acquire(key).expect(name);
        assert!(limiter.try_acquire(key).is_none(), "{name}: a third");
        assert_eq!((limiter.held(key), limiter.limit()), (2, 2), "{name}");
        drop(first);
        let third = limiter.try_acquire(key).expect(name);
        drop((second, third));
        assert_eq!(
            (limiter.held(key), limiter.keys()),
            (0, 0),
            "{name}: nothing is left"
        );
    }
}

#[test]
fn a_limit_of_zero_refuses_everything() {
    for limiter in [ConcurrencyLimiter::new(0), ConcurrencyLimiter::keyed(0)] {
        assert!(limiter.try_acquire(Some(key(1))).is_none());
        assert_eq!((limiter.keys(), limiter.overflows()), (0, 0));
    }
}

#[test]
fn keys_are_apart_and_bounded() {
    let limiter = ConcurrencyLimiter::keyed_with(1, 3);
    let held: Vec<_> = (0..3)
        .map(|number| {
            limiter
                .try_acquire(Some(key(number)))
                .expect("a key with room")
        })
        .collect();
    assert!(
        limiter.try_acquire(Some(key(0))).is_none(),
        "its one place is taken"
    );
    assert_eq!(limiter.overflows(), 0);
    assert!(
        limiter.try_acquire(Some(key(3))).is_none(),
        "no room for a fourth key"
    );
    assert_eq!((limiter.overflows(), limiter.keys()), (1, 3));
    drop(held);
    assert!(limiter.try_acquire(Some(key(3))).is_some());
    assert_eq!(limiter.keys(), 0);
}

#[test]
fn a_permit_outlives_the_limiter_and_may_change_threads() {
    let limiter = ConcurrencyLimiter::keyed(1);
    let permit = limiter.try_acquire(Some(key(1)));
    let clone = limiter.clone();
    drop(limiter);
    thread::spawn(move || drop(permit)).join().expect("dropped");
    assert_eq!(clone.held(Some(key(1))), 0);
}

#[test]
fn threads_never_hold_more_than_the_limit() {
    const LIMIT: u64 = 3;
    for limiter in [
        ConcurrencyLimiter::new(LIMIT),
        ConcurrencyLimiter::keyed(LIMIT),
    ] {
        let inside = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let Some(permit) = limiter.try_acquire(Some(key(1))) else {
                            continue;
                        };
                        assert!(inside.fetch_add(1, SeqCst) < LIMIT);
                        inside.fetch_sub(1, SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!((limiter.held(Some(key(1))), limiter.keys()), (0, 0));
    }
}
