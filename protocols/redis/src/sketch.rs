//! The keys that are used most, and the largest: a bounded picture of a keyspace that only its server knows.
//!
//! Counts are of the commands that were shown, which the session samples; each says by how much it may be too high (the
//! Space-Saving algorithm of Metwally, Agrawal and El Abbadi, 2005). Start at [`KeySketch::record`].

use xxhash_rust::xxh3::xxh3_64;

/// How many keys are kept of each kind.
pub const KEPT: usize = 64;

/// Bytes of a key that are kept.
pub const LONGEST: usize = 256;

/// A key that is used much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotKey {
    /// The key, or its first bytes.
    pub key: Box<[u8]>,
    /// How many commands were shown for it, at most.
    pub count: u64,
    /// By how much that may be too high.
    pub error: u64,
}

/// A key whose commands or replies are large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BigKey {
    /// The key, or its first bytes.
    pub key: Box<[u8]>,
    /// Bytes of the largest command or reply that was shown.
    pub bytes: u64,
}

/// What was seen of keys.
#[derive(Debug, Default)]
pub struct KeySketch {
    hot: Vec<HotKey>,
    /// Of each key in `hot`, in the same order: most that are not there are told by them from those that are.
    prints: Vec<u64>,
    big: Vec<BigKey>,
    /// Bytes of the smallest in `big`, or fewer: nothing up to them changes it once it is full.
    least: u64,
}

impl KeySketch {
    /// A command with this key is over; it or its reply had so many bytes.
    pub fn record(&mut self, key: &[u8], bytes: u64) {
        let key = key.get(..key.len().min(LONGEST)).unwrap_or_default();
        self.count(key);
        self.measure(key, bytes);
    }

    fn count(&mut self, key: &[u8]) {
        let print = xxh3_64(key);
        let mut known = self.hot.iter_mut().zip(&self.prints);
        if let Some((known, _)) = known.find(|(known, its)| **its == print && *known.key == *key) {
            known.count += 1;
            return;
        }
        if self.hot.len() < KEPT {
            self.prints.push(print);
            self.hot.push(HotKey {
                key: key.into(),
                count: 1,
                error: 0,
            });
            return;
        }
        // The rarest gives its place, and its count: the newcomer may have been seen as often while it had none.
        let all = self.hot.iter_mut().zip(&mut self.prints);
        if let Some((rarest, its)) = all.min_by_key(|(known, _)| known.count) {
            *its = print;
            rarest.key = key.into();
            rarest.error = rarest.count;
            rarest.count += 1;
        }
    }

    /// Notes how large a command or reply of a key was, without counting it as a use.
    pub fn measure(&mut self, key: &[u8], bytes: u64) {
        if self.big.len() == KEPT && bytes <= self.least {
            return;
        }
        let key = key.get(..key.len().min(LONGEST)).unwrap_or_default();
        if let Some(known) = self.big.iter_mut().find(|known| *known.key == *key) {
            known.bytes = known.bytes.max(bytes);
            return;
        }
        let key = key.into();
        if self.big.len() < KEPT {
            return self.big.push(BigKey { key, bytes });
        }
        let smallest = self.big.iter_mut().min_by_key(|known| known.bytes);
        if let Some(smallest) = smallest.filter(|smallest| smallest.bytes < bytes) {
            *smallest = BigKey { key, bytes };
        }
        let all = self.big.iter().map(|known| known.bytes);
        self.least = all.min().unwrap_or(0);
    }

    /// The keys that are used most, those first.
    #[must_use]
    pub fn hot(&self) -> Vec<HotKey> {
        let mut keys = self.hot.clone();
        keys.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
        keys
    }

    /// The largest, those first.
    #[must_use]
    pub fn big(&self) -> Vec<BigKey> {
        let mut keys = self.big.clone();
        keys.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.key.cmp(&b.key)));
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_much_is_found_among_what_is_not() {
        let mut sketch = KeySketch::default();
        for round in 0..10_000_u64 {
            sketch.record(format!("rare:{round}").as_bytes(), round % 7);
            if round % 10 == 0 {
                sketch.record(b"hot", 10);
            }
            if round % 25 == 0 {
                sketch.record(b"warm", 9);
            }
        }
        let hot = sketch.hot();
        assert_eq!(hot.len(), KEPT);
        assert_eq!((&*hot[0].key, &*hot[1].key), (&b"hot"[..], &b"warm"[..]));
        let true_count = hot[0].count - hot[0].error;
        assert!(true_count <= 1000 && hot[0].count >= 1000, "{:?}", hot[0]);
        assert_eq!(&*sketch.big()[0].key, b"hot");
    }

    #[test]
    fn the_largest_stay_and_long_keys_are_cut() {
        let mut sketch = KeySketch::default();
        for bytes in 0..1000 {
            sketch.measure(format!("key:{bytes}").as_bytes(), bytes);
        }
        sketch.measure(&[b'k'; 10_000], 5000);
        let big = sketch.big();
        assert_eq!(big.len(), KEPT);
        assert_eq!((big[0].bytes, big[0].key.len()), (5000, LONGEST));
        assert_eq!(big[1].bytes, 999);
        assert!(sketch.hot().is_empty());
    }
}
