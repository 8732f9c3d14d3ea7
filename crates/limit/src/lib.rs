//! Rate, concurrency and bandwidth limits, and the budget for retries.
//!
//! Everything here is arithmetic on facts that come in as arguments: time is `now`, and who is asking is a [`Key`]. There is
//! deliberately no clock, no timer, no configuration and no notion of a protocol; waiting and answering are up to the caller. Limits that
//! are shared between workers are exact for the process. Start at [`RateLimiter`] with a [`Quota`], and [`KeyBuilder`] for keys.
//!
//! `now` may go backwards (workers read the clock at different moments): nothing panics, and nothing is granted twice for it.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use portcullis_limit::{KeyBuilder, Quota, RateLimiter, Seed};
//!
//! # fn main() -> Result<(), portcullis_limit::QuotaError> {
//! # #[allow(clippy::disallowed_methods)]
//! let start = Instant::now(); // taken once, where the process starts
//! let limiter = RateLimiter::keyed(Quota::new(100, Duration::from_secs(1))?.with_burst(2)?, start);
//! let seed = Seed::random(); // likewise
//! let mut key = KeyBuilder::new(&seed);
//! key.write(b"192.0.2.1");
//! let key = Some(key.finish());
//! let allowed: Vec<bool> = (0..3).map(|_| limiter.check(key, 1, start).is_allowed()).collect();
//! assert_eq!(allowed, [true, true, false]);
//! # Ok(())
//! # }
//! ```

mod bandwidth;
mod concurrency;
mod gcra;
mod key;
mod quota;
mod rate;
mod retry;
mod table;

pub use bandwidth::{Bandwidth, Grant, MAX_BYTES_PER_SECOND, SharedBandwidth};
pub use concurrency::{ConcurrencyLimiter, Permit};
pub use gcra::{Decision, Gcra};
pub use key::{Key, KeyBuilder, Seed};
pub use quota::{Quota, QuotaError};
pub use rate::{DEFAULT_KEYS, RateLimiter};
pub use retry::RetryBudget;

#[cfg(test)]
mod tests;
