//! A limit on how many at a time, for everybody or for each key, exact for the process.
//!
//! A [`Permit`] is held as long as the thing lasts (a connection, a request) and gives its place back when dropped. There is no queue:
//! whoever does not get a permit is refused at once. Start at [`ConcurrencyLimiter::try_acquire`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;

use crate::key::Key;
use crate::rate::DEFAULT_KEYS;

/// Locks of a keyed limiter, so that workers seldom wait for each other.
const TABLES: usize = 64;

/// A limit on how many at a time. Clones share it.
#[derive(Debug, Clone)]
pub struct ConcurrencyLimiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: u64,
    /// Permits held without a key.
    single: AtomicU64,
    keyed: Option<Keyed>,
}

/// Permits held by key. A key without any has no entry.
#[derive(Debug)]
struct Keyed {
    tables: Box<[Mutex<Held>]>,
    keys: AtomicUsize,
    room: usize,
    overflows: AtomicU64,
}

type Held = HashMap<Key, NonZeroU64, FixedState>;

/// One place, given back when dropped. May be dropped on any thread.
#[derive(Debug)]
#[must_use = "the place is given back when the permit is dropped"]
pub struct Permit {
    limiter: Arc<Inner>,
    key: Option<Key>,
}

impl ConcurrencyLimiter {
    /// At most `limit` at a time, all together: keys are ignored. A limit of 0 refuses everything.
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Inner {
            limit,
            single: AtomicU64::new(0),
            keyed: None,
        }))
    }

    /// At most `limit` at a time for each key, for up to [`DEFAULT_KEYS`] keys at a time.
    pub fn keyed(limit: u64) -> Self {
        Self::keyed_with(limit, DEFAULT_KEYS)
    }

    /// At most `limit` at a time for each key. When `keys` keys hold permits, another key gets none.
    pub fn keyed_with(limit: u64, keys: usize) -> Self {
        let tables = (0..TABLES).map(|_| Mutex::default()).collect();
        let keyed = Keyed {
            tables,
            keys: AtomicUsize::new(0),
            room: keys,
            overflows: AtomicU64::new(0),
        };
        Self(Arc::new(Inner {
            limit,
            single: AtomicU64::new(0),
            keyed: Some(keyed),
        }))
    }

    /// A place for `key`, or among those without a key. `None` when all are taken, or when there are too many keys.
    pub fn try_acquire(&self, key: Option<Key>) -> Option<Permit> {
        let key = key.filter(|_| self.0.keyed.is_some());
        let taken = match (&self.0.keyed, key) {
            (Some(keyed), Some(key)) => keyed.take(key, self.0.limit),
            _ => self
                .0
                .single
                .fetch_update(Relaxed, Relaxed, |held| {
                    (held < self.0.limit).then_some(held + 1)
                })
                .is_ok(),
        };
        taken.then(|| Permit {
            limiter: Arc::clone(&self.0),
            key,
        })
    }

    /// How many permits `key`, or those without a key, hold now.
    pub fn held(&self, key: Option<Key>) -> u64 {
        match (&self.0.keyed, key) {
            (Some(keyed), Some(key)) => keyed
                .table(key)
                .and_then(|table| table.get(&key).copied())
                .map_or(0, NonZeroU64::get),
            _ => self.0.single.load(Relaxed),
        }
    }

    /// How many at a time.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// How many keys hold permits now.
    pub fn keys(&self) -> usize {
        self.0
            .keyed
            .as_ref()
            .map_or(0, |keyed| keyed.keys.load(Relaxed))
    }

    /// How often a key was refused only because there were too many keys.
    pub fn overflows(&self) -> u64 {
        self.0
            .keyed
            .as_ref()
            .map_or(0, |keyed| keyed.overflows.load(Relaxed))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        match (&self.limiter.keyed, self.key) {
            (Some(keyed), Some(key)) => keyed.give_back(key),
            _ => {
                self.limiter.single.fetch_sub(1, Relaxed);
            }
        }
    }
}

impl Keyed {
    fn take(&self, key: Key, limit: u64) -> bool {
        let Some(mut table) = self.table(key) else {
            return false;
        };
        match table.entry(key) {
            Entry::Occupied(mut held) => {
                let more = held.get().checked_add(1).filter(|more| more.get() <= limit);
                more.is_some_and(|more| {
                    held.insert(more);
                    true
                })
            }
            Entry::Vacant(place) if limit > 0 && self.add_key() => {
                place.insert(NonZeroU64::MIN);
                true
            }
            Entry::Vacant(_) => false,
        }
    }

    /// Counts one more key, if there is room.
    fn add_key(&self) -> bool {
        let added = self
            .keys
            .fetch_update(Relaxed, Relaxed, |keys| {
                (keys < self.room).then_some(keys + 1)
            })
            .is_ok();
        if !added {
            self.overflows.fetch_add(1, Relaxed);
        }
        added
    }

    fn give_back(&self, key: Key) {
        let Some(mut table) = self.table(key) else {
            return;
        };
        let Entry::Occupied(mut held) = table.entry(key) else {
            return;
        };
        if let Some(fewer) = NonZeroU64::new(held.get().get() - 1) {
            held.insert(fewer);
            return;
        }
        held.remove();
        self.keys.fetch_sub(1, Relaxed);
    }

    fn table(&self, key: Key) -> Option<MutexGuard<'_, Held>> {
        let table = self.tables.get(key.part(self.tables.len()))?;
        Some(table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
