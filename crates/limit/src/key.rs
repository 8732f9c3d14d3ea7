//! Keys: who or what a limit is counted for, as a number of fixed size.
//!
//! A key is a keyed hash of the facts that a limit names (client address, tenant, command). It is not reversible and not stable
//! between processes; facts themselves are never stored. Start at [`KeyBuilder`].

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

/// The facts that a limit is counted for, in 128 bits: with 100,000 keys, the chance that any two meet is below 10^-28.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u128);

impl Key {
    /// A part of the key that says which of `count` tables it belongs to.
    pub(crate) fn part(self, count: usize) -> usize {
        // The upper bits: hash maps inside the table use the lower ones.
        ((self.0 >> 64) as u64 % count.max(1) as u64) as usize
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:032x})", self.0)
    }
}

/// What makes the keys of one process unpredictable to its peers, so that nobody can choose facts that collide with another's.
#[derive(Clone)]
pub struct Seed {
    halves: [(u64, SharedSeed); 2],
}

impl Seed {
    /// From the randomness of the operating system. One per process (or per limiter): keys of different seeds do not compare.
    pub fn random() -> Self {
        // The standard library keys its hasher from the operating system; foldhash's own seed leans on addresses and time.
        let word = || RandomState::new().build_hasher().finish();
        Self {
            halves: [
                (word(), SharedSeed::from_u64(word())),
                (word(), SharedSeed::from_u64(word())),
            ],
        }
    }

    /// The same for the same number: for tests, and for whatever must be replayed. Predictable.
    pub fn fixed(number: u64) -> Self {
        let half = |salt: u64| {
            let word = number
                .wrapping_add(salt)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (word, SharedSeed::from_u64(word ^ salt.rotate_left(32)))
        };
        Self {
            halves: [half(0x51ED_270B), half(0xA24B_AED4)],
        }
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)") // a secret
    }
}

/// Takes facts one after the other and makes a [`Key`] of them. The order matters, and so do the borders: ("a", "bc") is not ("ab", "c").
#[derive(Clone)]
pub struct KeyBuilder<'a> {
    halves: [FoldHasher<'a>; 2],
}

impl<'a> KeyBuilder<'a> {
    /// Starts a key.
    #[inline]
    pub fn new(seed: &'a Seed) -> Self {
        Self {
            halves: seed
                .halves
                .each_ref()
                .map(|(own, shared)| FoldHasher::with_seed(*own, shared)),
        }
    }

    /// Adds one fact.
    #[inline]
    pub fn write(&mut self, fact: &[u8]) {
        for half in &mut self.halves {
            half.write_u64(fact.len() as u64);
            half.write(fact);
        }
    }

    /// Adds the lack of a fact, such as a header that was not sent. Differs from every fact, also from the empty one.
    #[inline]
    pub fn absent(&mut self) {
        for half in &mut self.halves {
            half.write_u64(u64::MAX); // no slice is this long
        }
    }

    /// The key of what was added.
    #[inline]
    pub fn finish(self) -> Key {
        let [upper, lower] = self.halves.map(|half| half.finish());
        Key(u128::from(upper) << 64 | u128::from(lower))
    }
}

impl fmt::Debug for KeyBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBuilder(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key(seed: &Seed, facts: &[Option<&str>]) -> Key {
        let mut builder = KeyBuilder::new(seed);
        for fact in facts {
            match fact {
                Some(fact) => builder.write(fact.as_bytes()),
                None => builder.absent(),
            }
        }
        builder.finish()
    }

    #[test]
    fn different_facts_make_different_keys() {
        let rows: &[(&str, &[Option<&str>])] = &[
            ("nothing", &[]),
            ("empty", &[Some("")]),
            ("absent", &[None]),
            ("absent twice", &[None, None]),
            ("absent then empty", &[None, Some("")]),
            ("empty then absent", &[Some(""), None]),
            ("border after one", &[Some("a"), Some("bc")]),
            ("border after two", &[Some("ab"), Some("c")]),
            ("no border", &[Some("abc")]),
            ("other order", &[Some("bc"), Some("a")]),
            ("eight zeros", &[Some("\0\0\0\0\0\0\0\0")]),
            (
                "looks like absent",
                &[Some("\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}")],
            ),
        ];
        let seed = Seed::random();
        let mut seen = HashSet::new();
        for (name, facts) in rows {
            assert!(seen.insert(key(&seed, facts)), "{name}");
            assert_eq!(
                key(&seed, facts),
                key(&seed, facts),
                "{name} is the same twice"
            );
        }
    }

    #[test]
    fn seeds_make_keys_their_own() {
        let facts = [Some("192.0.2.1")];
        assert_eq!(key(&Seed::fixed(1), &facts), key(&Seed::fixed(1), &facts));
        assert_ne!(key(&Seed::fixed(1), &facts), key(&Seed::fixed(2), &facts));
        assert_ne!(key(&Seed::random(), &facts), key(&Seed::random(), &facts));
        let Key(both) = key(&Seed::fixed(1), &facts);
        assert_ne!(
            (both >> 64) as u64,
            both as u64,
            "the halves are independent"
        );
    }
}
