//! A bounded table that forgets what was not used for longest, in two classes.
//!
//! What has proved itself does not have to make room for what has not: each class has its own bound, order and time. Looking up
//! is one hash and no allocation. It has no clock: `now` comes in, and where it runs backwards it is taken for the latest. Start at [`IdleTable`].

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use foldhash::quality::FixedState;

/// How exactly use is remembered: what was used more recently than this is not moved again.
const GRAIN: Duration = Duration::from_millis(500);

/// No slot.
const NONE: u32 = u32::MAX;

/// How much an entry is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Anybody could have made it.
    Unproven,
    /// Its peer has proved something.
    Proven,
}

impl Class {
    pub(super) const ALL: [Self; 2] = [Self::Unproven, Self::Proven];
}

/// The bounds of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) entries: usize,
    pub(super) idle: Duration,
}

#[derive(Debug)]
struct Slot<K, V> {
    /// Empty while the slot is free.
    entry: Option<(K, V)>,
    used: Instant,
    class: Class,
    earlier: u32,
    later: u32,
}

/// The entries of one class, by use.
#[derive(Debug)]
struct Order {
    bounds: Bounds,
    oldest: u32,
    newest: u32,
    count: usize,
}

/// Entries by key.
#[derive(Debug)]
pub(super) struct IdleTable<K, V> {
    places: HashMap<K, u32, FixedState>,
    slots: Vec<Slot<K, V>>,
    free: Vec<u32>,
    unproven: Order,
    proven: Order,
}

impl<K: Copy + Eq + Hash, V> IdleTable<K, V> {
    /// An empty table. The seed makes it unpredictable which keys meet.
    pub(super) fn new(seed: u64, unproven: Bounds, proven: Bounds) -> Self {
        let order = |bounds| Order {
            bounds,
            oldest: NONE,
            newest: NONE,
            count: 0,
        };
        Self {
            places: HashMap::with_hasher(FixedState::with_seed(seed)),
            slots: Vec::new(),
            free: Vec::new(),
            unproven: order(unproven),
            proven: order(proven),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The entry, which counts as used.
    #[inline]
    pub(super) fn use_entry(&mut self, key: &K, now: Instant) -> Option<&mut V> {
        let place = *self.places.get(key)?;
        let slot = self.slots.get(place as usize)?;
        if now.saturating_duration_since(slot.used) >= GRAIN {
            let class = slot.class;
            self.unlink(place);
            self.link(place, class, now);
        }
        self.value(place)
    }

    /// The entry as it is.
    pub(super) fn entry(&mut self, key: &K) -> Option<&mut V> {
        let place = *self.places.get(key)?;
        self.value(place)
    }

    /// What class an entry is in.
    pub(super) fn class(&self, key: &K) -> Option<Class> {
        let place = *self.places.get(key)?;
        Some(self.slots.get(place as usize)?.class)
    }

    /// Puts an entry in place of one with the same key. What had to leave for it is given back.
    pub(super) fn insert(
        &mut self,
        key: K,
        value: V,
        class: Class,
        now: Instant,
    ) -> Option<(K, V)> {
        self.remove(&key);
        let order = self.order(class);
        if order.bounds.entries == 0 {
            return Some((key, value));
        }
        let evicted = if order.count >= order.bounds.entries {
            self.remove_oldest(class)
        } else {
            None
        };
        let slot = Slot {
            entry: Some((key, value)),
            used: now,
            class,
            earlier: NONE,
            later: NONE,
        };
        let free = self.free.pop();
        let place = free.unwrap_or(self.slots.len() as u32);
        match self.slots.get_mut(place as usize) {
            Some(place) => *place = slot,
            None => self.slots.push(slot),
        }
        self.places.insert(key, place);
        self.link(place, class, now);
        evicted
    }

    /// Moves an entry to the proven ones. What had to leave for it is given back.
    pub(super) fn prove(&mut self, key: &K, now: Instant) -> Option<(K, V)> {
        match self.class(key)? {
            Class::Proven => None,
            Class::Unproven => {
                let value = self.remove(key)?;
                self.insert(*key, value, Class::Proven, now)
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.places.remove(key)?;
        self.unlink(place);
        self.free.push(place);
        let (_, value) = self.slots.get_mut(place as usize)?.entry.take()?;
        Some(value)
    }

    /// Takes out the entry of a class that was not used for longest.
    pub(super) fn remove_oldest(&mut self, class: Class) -> Option<(K, V)> {
        let place = self.order(class).oldest;
        let slot = self.slots.get(place as usize)?;
        let (key, _) = slot.entry.as_ref()?;
        let key = *key;
        let value = self.remove(&key)?;
        Some((key, value))
    }

    /// Takes out one entry that was idle for too long.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(K, V)> {
        let is_due = |class: &Class| self.due(*class).is_some_and(|due| due <= now);
        let class = Class::ALL.into_iter().find(is_due)?;
        self.remove_oldest(class)
    }

    /// When the next entry will have been idle for too long.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = Class::ALL.into_iter().filter_map(|class| self.due(class));
        due.min()
    }

    fn due(&self, class: Class) -> Option<Instant> {
        let order = match class {
            Class::Unproven => &self.unproven,
            Class::Proven => &self.proven,
        };
        let oldest = self.slots.get(order.oldest as usize)?;
        oldest.used.checked_add(order.bounds.idle)
    }

    /// Takes out whatever is not to be kept.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        let mut gone = Vec::new();
        for slot in &mut self.slots {
            if let Some((key, value)) = &mut slot.entry
                && !keep(key, value)
            {
                gone.push(*key);
            }
        }
        for key in gone {
            self.remove(&key);
        }
    }

    /// All entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref())
    }

    fn value(&mut self, place: u32) -> Option<&mut V> {
        let entry = self.slots.get_mut(place as usize)?.entry.as_mut();
        entry.map(|(_, value)| value)
    }

    const fn order(&mut self, class: Class) -> &mut Order {
        match class {
            Class::Unproven => &mut self.unproven,
            Class::Proven => &mut self.proven,
        }
    }

    /// Puts a slot at the end of an order.
    fn link(&mut self, place: u32, class: Class, now: Instant) {
        let order = self.order(class);
        let before = std::mem::replace(&mut order.newest, place);
        order.count += 1;
        if before == NONE {
            order.oldest = place;
        }
        let mut now = now;
        if let Some(slot) = self.slots.get_mut(before as usize) {
            slot.later = place;
            // Workers whose clocks differ by moments may share the table.
            now = now.max(slot.used);
        }
        if let Some(slot) = self.slots.get_mut(place as usize) {
            slot.earlier = before;
            slot.later = NONE;
            slot.class = class;
            slot.used = now;
        }
    }

    fn unlink(&mut self, place: u32) {
        let Some(slot) = self.slots.get(place as usize) else {
            return;
        };
        let (earlier, later, class) = (slot.earlier, slot.later, slot.class);
        let order = self.order(class);
        order.count -= 1;
        if order.oldest == place {
            order.oldest = later;
        }
        if order.newest == place {
            order.newest = earlier;
        }
        if let Some(slot) = self.slots.get_mut(earlier as usize) {
            slot.later = later;
        }
        if let Some(slot) = self.slots.get_mut(later as usize) {
            slot.earlier = earlier;
        }
    }

    /// Panics if the table contradicts itself: for tests and fuzzing.
    pub(super) fn check_invariants(&self) {
        for order in [&self.unproven, &self.proven] {
            assert!(order.count <= order.bounds.entries);
            let mut place = order.oldest;
            let mut count = 0;
            let mut last = None;
            while let Some(slot) = self.slots.get(place as usize) {
                let key = slot.entry.as_ref().map(|(key, _)| key);
                assert!(key.and_then(|key| self.places.get(key)) == Some(&place));
                assert!(last.is_none_or(|last| last <= slot.used));
                last = Some(slot.used);
                place = slot.later;
                count += 1;
            }
            assert!(count == order.count);
        }
        assert!(self.places.len() == self.unproven.count + self.proven.count);
        assert!(self.slots.len() == self.places.len() + self.free.len());
    }
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::{Random, VirtualClock};

    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    fn table(entries: usize) -> IdleTable<u32, char> {
        let bounds = Bounds {
            entries,
            idle: IDLE,
        };
        IdleTable::new(1, bounds, bounds)
    }

    #[test]
    fn the_longest_unused_leaves_first() {
        let clock = VirtualClock::new();
        let mut table = table(2);
        let second = Duration::from_secs(1);
        assert_eq!(table.insert(1, 'a', Class::Unproven, clock.now()), None);
        table.insert(2, 'b', Class::Unproven, clock.advance(second));
        assert_eq!(table.use_entry(&1, clock.advance(second)), Some(&mut 'a'));
        let evicted = table.insert(3, 'c', Class::Unproven, clock.now());
        assert_eq!(evicted, Some((2, 'b')));
        // One that is proven has a bound of its own.
        assert_eq!(table.prove(&3, clock.now()), None);
        assert_eq!(table.insert(4, 'd', Class::Unproven, clock.now()), None);
        let evicted = table.insert(5, 'e', Class::Unproven, clock.now());
        assert_eq!(evicted, Some((1, 'a')));
        assert_eq!(table.class(&3), Some(Class::Proven));
        table.check_invariants();
    }

    #[test]
    fn what_is_idle_for_too_long_is_found() {
        let clock = VirtualClock::new();
        let mut table = table(9);
        let start = clock.now();
        table.insert(1, 'a', Class::Unproven, start);
        table.insert(2, 'b', Class::Proven, clock.advance(IDLE / 2));
        assert_eq!(table.next_due(), Some(start + IDLE));
        assert_eq!(table.expire(clock.now()), None);
        assert_eq!(table.expire(clock.advance(IDLE / 2)), Some((1, 'a')));
        assert_eq!(table.expire(clock.now()), None);
        assert_eq!(table.expire(clock.advance(IDLE)), Some((2, 'b')));
        assert_eq!(table.next_due(), None);
    }

    #[test]
    fn a_clock_that_is_behind_keeps_the_order() {
        let clock = VirtualClock::new();
        let mut table = table(9);
        let early = clock.now();
        let late = clock.advance(IDLE / 2);
        table.insert(1, 'a', Class::Unproven, late);
        table.insert(2, 'b', Class::Unproven, early);
        table.check_invariants();
        assert_eq!(table.next_due(), Some(late + IDLE));
    }

    #[test]
    fn any_sequence_keeps_the_order() {
        let (mut random, seed) = Random::from_environment(3);
        let clock = VirtualClock::new();
        let mut table = table(8);
        for step in 0..20_000 {
            let key = random.below(24) as u32;
            let now = clock.advance(Duration::from_millis(random.below(900) as u64));
            match random.below(6) {
                0 => drop(table.insert(key, 'x', Class::Unproven, now)),
                1 => drop(table.insert(key, 'y', Class::Proven, now)),
                2 => drop(table.use_entry(&key, now)),
                3 => drop(table.prove(&key, now)),
                4 => drop(table.remove(&key)),
                _ => while table.expire(now).is_some() {},
            }
            table.check_invariants();
            assert!(table.len() <= 16, "seed {seed} step {step}");
        }
    }
}
