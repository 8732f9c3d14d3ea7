//! Maglev's table (Eisenbud et al., NSDI 2016, section 3.4): even shares, one look, and few keys moved by a change.
//!
//! Shares are as even as they can be, which a ring's are not; a change moves a few keys more than a ring's would. There is
//! no other implementation that it must agree with, so the hash is one that is fast.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::Shard;

/// How many places the table has: a prime, so that every step visits all of them.
const PLACES: usize = 65_537;
const EMPTY: u16 = u16::MAX;

/// A table of places, each a shard's.
#[derive(Debug, Clone)]
pub struct Maglev {
    places: Box<[u16]>,
}

/// How one shard chooses places, and how often it is its turn.
struct Chooser {
    next: usize,
    step: usize,
    weight: u64,
    credit: u64,
    owner: u16,
}

impl Maglev {
    /// The most shards that a table can have.
    pub const MOST: usize = 4096;

    /// The table of these shards, of which more than [`Maglev::MOST`] are not looked at. It depends on their names and weights
    /// and, where two want the same place, on their order.
    #[must_use]
    pub fn new(shards: &[Shard]) -> Self {
        let heaviest = shards.iter().map(|shard| u64::from(shard.weight)).max();
        let heaviest = heaviest.filter(|weight| *weight > 0);
        let Some(heaviest) = heaviest else {
            return Self {
                places: Box::default(),
            };
        };
        let mut choosers: Vec<Chooser> = shards
            .iter()
            .take(Self::MOST)
            .enumerate()
            .map(|(owner, shard)| Chooser::new(owner, shard))
            .filter(|chooser| chooser.weight > 0)
            .collect();
        let mut places = vec![EMPTY; PLACES].into_boxed_slice();
        let mut left = PLACES;
        while left > 0 {
            for chooser in &mut choosers {
                chooser.credit += chooser.weight;
                if chooser.credit < heaviest || left == 0 {
                    continue;
                }
                chooser.credit -= heaviest;
                chooser.take(&mut places);
                left -= 1;
            }
        }
        Self { places }
    }

    /// Whose a key is: an index into the shards. `None` if there is no weight at all.
    #[must_use]
    #[inline]
    pub fn pick(&self, key: &[u8]) -> Option<usize> {
        let place = xxh3_64(key) % PLACES as u64;
        self.places
            .get(place as usize)
            .map(|owner| usize::from(*owner))
    }
}

impl Chooser {
    fn new(owner: usize, shard: &Shard) -> Self {
        let name = shard.name.as_bytes();
        Self {
            next: (xxh3_64_with_seed(name, 1) % PLACES as u64) as usize,
            step: (xxh3_64_with_seed(name, 2) % (PLACES as u64 - 1)) as usize + 1,
            weight: u64::from(shard.weight),
            credit: 0,
            owner: owner as u16,
        }
    }

    /// Takes the next free place of its own order. There must be one.
    fn take(&mut self, places: &mut [u16]) {
        for _ in 0..PLACES {
            let at = self.next;
            self.next = (self.next + self.step) % PLACES;
            if let Some(place) = places.get_mut(at).filter(|place| **place == EMPTY) {
                *place = self.owner;
                return;
            }
        }
    }
}
