//! Bookkeeping of idle connections: last in, first out, bounded and timed.
//!
//! It never looks at a connection: whether one still works is for the caller to see after taking it, and
//! what comes out expired is for the caller to close. Start at [`IdlePool`].

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

/// Bounds of an [`IdlePool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleLimits {
    /// Idle connections per key.
    pub per_key: usize,
    /// Idle connections altogether.
    pub total: usize,
    /// How long one may be idle.
    pub timeout: Duration,
}

/// Idle connections by key.
///
/// The one used last is taken first: it is the least likely to have been closed, and those not needed
/// at present load age out.
#[derive(Debug)]
pub struct IdlePool<K, C> {
    limits: IdleLimits,
    /// Oldest in front.
    idle: HashMap<K, VecDeque<Idle<C>>, RandomState>,
    total: usize,
}

#[derive(Debug)]
struct Idle<C> {
    connection: C,
    since: Instant,
}

impl<K: Hash + Eq, C> IdlePool<K, C> {
    /// An empty pool.
    pub fn new(limits: impl Into<IdleLimits>) -> Self {
        Self {
            limits: limits.into(),
            idle: HashMap::default(),
            total: 0,
        }
    }

    /// Changes the bounds. What is over them leaves by use and by age, not at once.
    pub fn set_limits(&mut self, limits: impl Into<IdleLimits>) {
        self.limits = limits.into();
    }

    /// How many connections are idle.
    pub fn len(&self) -> usize {
        self.total
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The connection of `key` that was used last, unless even that is past its time.
    pub fn take(&mut self, key: &K, now: Instant) -> Option<C> {
        let list = self.idle.get_mut(key)?;
        if is_expired(list.back()?, self.limits.timeout, now) {
            return None;
        }
        let idle = list.pop_back()?;
        self.total -= 1;
        Some(idle.connection)
    }

    /// Keeps a connection that has become idle; gives it back when the pool is full.
    pub fn put(&mut self, key: K, connection: C, now: Instant) -> Result<(), C> {
        if self.total >= self.limits.total {
            return Err(connection);
        }
        // A key that is known, as nearly always, is looked up for less than it would take to make a place.
        let list = match self.idle.get_mut(&key) {
            Some(list) => list,
            None => self.idle.entry(key).or_default(),
        };
        if list.len() >= self.limits.per_key {
            return Err(connection);
        }
        // Time must not run backwards within a list, or its front would hide what is older.
        let since = list.back().map_or(now, |newest| newest.since.max(now));
        list.push_back(Idle { connection, since });
        self.total += 1;
        Ok(())
    }

    /// Takes out what has been idle for too long. Connections not consumed stay in the pool.
    pub fn expire(&mut self, now: Instant) -> impl Iterator<Item = C> {
        let timeout = self.limits.timeout;
        let total = &mut self.total;
        self.idle
            .values_mut()
            .flat_map(move |list| {
                std::iter::from_fn(move || {
                    let idle = list.pop_front_if(|oldest| is_expired(oldest, timeout, now))?;
                    Some(idle.connection)
                })
            })
            .inspect(move |_| *total -= 1)
    }

    /// Takes out the connection that has been idle for longest.
    pub fn pop_oldest(&mut self) -> Option<C> {
        let lists = self.idle.values_mut().filter(|list| !list.is_empty());
        let list = lists.min_by_key(|list| list.front().map(|idle| idle.since))?;
        let idle = list.pop_front()?;
        self.total -= 1;
        Some(idle.connection)
    }

    /// When the oldest connection will have been idle for too long.
    pub fn next_expiry(&self) -> Option<Instant> {
        let oldest = self
            .idle
            .values()
            .filter_map(|list| Some(list.front()?.since))
            .min()?;
        oldest.checked_add(self.limits.timeout)
    }

    /// Takes out all connections whose key `keep` refuses, as when an endpoint leaves its cluster.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) -> Vec<C> {
        let removed: Vec<C> = self
            .idle
            .extract_if(|key, _| !keep(key))
            .flat_map(|(_, list)| list)
            .map(|idle| idle.connection)
            .collect();
        self.total -= removed.len();
        removed
    }

    /// Takes out everything.
    pub fn clear(&mut self) -> Vec<C> {
        self.retain(|_| false)
    }
}

fn is_expired<C>(idle: &Idle<C>, timeout: Duration, now: Instant) -> bool {
    // A time too far to be told never comes.
    idle.since
        .checked_add(timeout)
        .is_some_and(|expires| expires <= now)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: IdleLimits = IdleLimits {
        per_key: 2,
        total: 3,
        timeout: Duration::from_secs(10),
    };

    #[allow(clippy::disallowed_methods)] // an arbitrary origin; the tests move time themselves
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn newest_first_within_bounds() {
        let now = start();
        let mut pool = IdlePool::new(LIMITS);
        assert_eq!(pool.put('a', 1, now), Ok(()));
        assert_eq!(pool.put('a', 2, now), Ok(()));
        assert_eq!(pool.put('a', 3, now), Err(3), "per key");
        assert_eq!(pool.put('b', 4, now), Ok(()));
        assert_eq!(pool.put('b', 5, now), Err(5), "in total");
        assert_eq!(pool.take(&'a', now), Some(2));
        assert_eq!(pool.take(&'a', now), Some(1));
        assert_eq!(pool.take(&'a', now), None);
        assert_eq!(pool.take(&'c', now), None);
        assert_eq!(pool.len(), 1);
    }

    #[test]
    fn expiry_by_time() {
        let now = start();
        let second = Duration::from_secs(1);
        let mut pool = IdlePool::new(LIMITS);
        assert_eq!(pool.next_expiry(), None);
        pool.put('a', 1, now).unwrap();
        pool.put('a', 2, now + second * 5).unwrap();
        pool.put('b', 3, now + second).unwrap();
        assert_eq!(pool.next_expiry(), Some(now + second * 10));
        assert_eq!(pool.take(&'b', now + second * 11), None, "too old to use");
        let mut expired: Vec<_> = pool.expire(now + second * 11).collect();
        expired.sort_unstable();
        assert_eq!(expired, [1, 3]);
        assert_eq!(pool.len(), 1);
        assert_eq!(pool.next_expiry(), Some(now + second * 15));
        assert_eq!(pool.take(&'a', now + second * 14), Some(2));
        assert!(pool.is_empty());
    }

    #[test]
    fn keys_that_leave() {
        let now = start();
        let mut pool = IdlePool::new(LIMITS);
        pool.put('a', 1, now).unwrap();
        pool.put('b', 2, now).unwrap();
        assert_eq!(pool.retain(|key| *key == 'b'), [1]);
        assert_eq!(pool.len(), 1);
        assert_eq!(pool.clear(), [2]);
        assert!(pool.is_empty());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled(steps in proptest::collection::vec((0_u8..4, 0_u8..3, 0_u64..4), 1..80)) {
            let mut now = start();
            let mut pool = IdlePool::new(LIMITS);
            let mut inside = std::collections::HashSet::new();
            for (serial, (step, key, seconds)) in steps.into_iter().enumerate() {
                now += Duration::from_secs(seconds);
                match step {
                    0 | 1 => if pool.put(key, serial, now).is_ok() { inside.insert(serial); },
                    2 => if let Some(taken) = pool.take(&key, now) { prop_assert!(inside.remove(&taken)); },
                    _ => for gone in pool.expire(now) { prop_assert!(inside.remove(&gone)); },
                }
                prop_assert_eq!(pool.len(), inside.len());
                prop_assert!(pool.len() <= LIMITS.total);
            }
        }
    }
}
