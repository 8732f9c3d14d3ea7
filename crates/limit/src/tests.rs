//! Tables and laws for each limit, on virtual time.

mod bandwidth;
mod concurrency;
mod rate;
mod retry;

use std::time::{Duration, Instant};

use crate::{Key, KeyBuilder, Seed};

/// Some moment to count from: the tests only ever add to it.
#[allow(clippy::disallowed_methods)] // an `Instant` cannot be made in another way
fn start() -> Instant {
    Instant::now()
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A key for a number, the same in each run.
fn key(number: usize) -> Key {
    let seed = Seed::fixed(7);
    let mut builder = KeyBuilder::new(&seed);
    builder.write(&number.to_le_bytes());
    builder.finish()
}

/// A moment that goes forward and sometimes back, by these steps in milliseconds.
fn moved(now: Instant, step: i32) -> Instant {
    let by = millis(step.unsigned_abs().into());
    if step < 0 {
        now.checked_sub(by).unwrap_or(now)
    } else {
        now + by
    }
}
