//! The states of many keys, bounded in number.
//!
//! A list that is searched through a hash map and swept by a hand, as a clock page replacement does. When there is no room, the
//! hand looks at a few entries: one whose time has passed says the same as no entry at all and costs nothing to forget;
//! else the one used least recently goes. Not a general cache, and not locked: `rate` does that. Start at [`Table::check`].

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::gcra::{Decision, decision, step};
use crate::key::Key;
use crate::quota::Quota;

/// One part of the keys of a limiter.
#[derive(Debug)]
pub(crate) struct Table {
    /// Keys are random to peers already, so a fixed hash of them is safe.
    places: HashMap<Key, u32, FixedState>,
    entries: Vec<Entry>,
    room: usize,
    hand: usize,
    /// The latest `now`. An entry that was forgotten because its time had passed must not come back before that time.
    latest: u64,
    evictions: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: Key,
    tat: u64,
    used: u64,
}

/// Entries looked at when one must go. A key in use is forgotten only when its seven neighbours were used even later.
const SAMPLE: usize = 8;
/// Entries looked at for each new key while there is room: more than one, so that the table shrinks faster than it grows.
const SWEEP: usize = 2;

impl Table {
    /// An empty table with room for `room` keys, at least one.
    pub(crate) fn new(room: usize) -> Self {
        let room = room.clamp(1, u32::MAX as usize);
        Self {
            places: HashMap::default(),
            entries: Vec::new(),
            room,
            hand: 0,
            latest: 0,
            evictions: 0,
        }
    }

    /// Asks for `cost` units for `key`.
    pub(crate) fn check(&mut self, quota: &Quota, key: Key, cost: u64, now: u64) -> Decision {
        self.latest = self.latest.max(now);
        let now = self.latest;
        let known = self
            .places
            .get(&key)
            .and_then(|place| self.entries.get_mut(*place as usize));
        let tat = known.as_ref().map_or(0, |entry| entry.tat);
        let next = step(quota, tat, cost, now);
        let after = next.unwrap_or(tat);
        if let Some(entry) = known {
            *entry = Entry {
                key,
                tat: after,
                used: now,
            };
        } else if after > now {
            self.insert(Entry {
                key,
                tat: after,
                used: now,
            });
        }
        decision(quota, after, cost, now, next.is_some())
    }

    /// How many keys are remembered.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many keys were forgotten before their time.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    fn insert(&mut self, entry: Entry) {
        let now = entry.used;
        self.sweep(now);
        if self.entries.len() >= self.room {
            self.evict(now);
        }
        self.places.insert(entry.key, self.entries.len() as u32);
        self.entries.push(entry);
    }

    /// Forgets what a few steps of the hand find to be past.
    fn sweep(&mut self, now: u64) {
        for _ in 0..SWEEP {
            match self.entries.get(self.hand) {
                Some(entry) if entry.tat <= now => self.remove(self.hand),
                _ => self.step_hand(),
            }
        }
    }

    /// Forgets one entry: one that is past if the hand finds it, else the least recently used of those that it passes.
    fn evict(&mut self, now: u64) {
        let mut oldest: Option<(u64, usize)> = None;
        for _ in 0..SAMPLE.min(self.entries.len()) {
            let Some(entry) = self.entries.get(self.hand) else {
                self.hand = 0;
                continue;
            };
            if entry.tat <= now {
                self.remove(self.hand);
                return;
            }
            if oldest.is_none_or(|(used, _)| entry.used < used) {
                oldest = Some((entry.used, self.hand));
            }
            self.step_hand();
        }
        self.remove(oldest.map_or(0, |(_, place)| place));
        self.evictions += 1;
    }

    fn step_hand(&mut self) {
        self.hand = if self.hand + 1 < self.entries.len() {
            self.hand + 1
        } else {
            0
        };
    }

    /// Removes the entry at `place`; the last one takes its place.
    fn remove(&mut self, place: usize) {
        if place >= self.entries.len() {
            return;
        }
        let gone = self.entries.swap_remove(place);
        self.places.remove(&gone.key);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.key, place as u32);
        }
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.places.len(), self.entries.len());
        assert!(self.entries.len() <= self.room);
        for (place, entry) in self.entries.iter().enumerate() {
            assert_eq!(self.places.get(&entry.key), Some(&(place as u32)));
        }
    }
}
