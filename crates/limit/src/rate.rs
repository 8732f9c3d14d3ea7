//! A rate limit for everybody, or one for each key, exact for the process.
//!
//! Without keys it is one atomic number. With keys, the states are spread over many small tables, each behind its own lock that is held
//! for the time of a look-up; workers rarely meet. Not distributed: each process counts for itself. Start at
//! [`RateLimiter::check`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::gcra::{Decision, Gcra, since};
use crate::key::Key;
use crate::quota::Quota;
use crate::table::Table;

/// How many keys a limiter remembers unless told otherwise: some 8 MB when full.
pub const DEFAULT_KEYS: usize = 100_000;

/// Locks at most, so that 64 workers seldom wait for each other.
const MAX_TABLES: usize = 64;
/// Keys per table at least, so that chance does not fill one table long before the others.
const MIN_ROOM: usize = 256;

/// A rate limit. Shared between workers in an `Arc`.
#[derive(Debug)]
pub struct RateLimiter {
    /// For questions without a key.
    single: Gcra,
    epoch: Instant,
    tables: Box<[Padded]>,
}

/// A lock on its own pair of cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct Padded(Mutex<Table>);

impl RateLimiter {
    /// One limit for everybody: keys are ignored. `epoch` is a moment not after any `now` to come.
    pub fn new(quota: Quota, epoch: Instant) -> Self {
        Self {
            single: Gcra::new(quota, epoch),
            epoch,
            tables: Box::default(),
        }
    }

    /// A limit for each key, for up to [`DEFAULT_KEYS`] keys.
    pub fn keyed(quota: Quota, epoch: Instant) -> Self {
        Self::keyed_with(quota, DEFAULT_KEYS, epoch)
    }

    /// A limit for each key, for up to `keys` keys at a time (at least one).
    ///
    /// A key whose burst is whole again takes no room. When there is none, one of the keys used least recently is forgotten, and
    /// starts again with a whole burst: see [`evictions`](Self::evictions).
    pub fn keyed_with(quota: Quota, keys: usize, epoch: Instant) -> Self {
        let keys = keys.max(1);
        let count = (keys / MIN_ROOM).clamp(1, MAX_TABLES);
        let tables = (0..count)
            .map(|_| Padded(Mutex::new(Table::new(keys / count))))
            .collect();
        Self {
            single: Gcra::new(quota, epoch),
            epoch,
            tables,
        }
    }

    /// Asks for `cost` units for `key`, or for those without a key together. A cost of 0 is always allowed and only looks.
    #[inline]
    pub fn check(&self, key: Option<Key>, cost: u64, now: Instant) -> Decision {
        let table = key.and_then(|key| Some((key, self.tables.get(key.part(self.tables.len()))?)));
        match table {
            Some((key, table)) => {
                lock(table).check(self.quota(), key, cost, since(self.epoch, now))
            }
            None => self.single.check(cost, now),
        }
    }

    /// What is allowed.
    pub fn quota(&self) -> &Quota {
        self.single.quota()
    }

    /// Whether each key has its own limit.
    pub fn is_keyed(&self) -> bool {
        !self.tables.is_empty()
    }

    /// How many keys are remembered now. Takes every lock in turn: for the control side.
    pub fn keys(&self) -> usize {
        self.tables.iter().map(|table| lock(table).len()).sum()
    }

    /// How many keys were forgotten while they still counted for something, for lack of room. Takes every lock in turn.
    pub fn evictions(&self) -> u64 {
        self.tables
            .iter()
            .map(|table| lock(table).evictions())
            .sum()
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        self.tables
            .iter()
            .for_each(|table| lock(table).check_invariants());
    }
}

fn lock(table: &Padded) -> MutexGuard<'_, Table> {
    // Nothing under the lock panics; if it ever did, a wrong count is better than no service.
    table.0.lock().unwrap_or_else(PoisonError::into_inner)
}
