//! The ketama ring, with twemproxy's points: a shard that comes or goes moves its own share of the keys alone.
//!
//! Not libmemcached's ring, which differs in how weights become points. Start at [`Ketama::pick`].

use md5::{Digest as _, Md5};

use super::Shard;
use super::placement::in_order;

/// How many points a shard of average weight has.
const POINTS: f32 = 160.0;
/// How many points one digest gives.
const POINTS_PER_DIGEST: usize = 4;

/// A ring of points, each a shard's; a hash belongs to the first point that is not before it.
#[derive(Debug, Clone)]
pub struct Ketama {
    /// In order, for the search.
    points: Vec<u32>,
    /// Whose each is.
    owners: Vec<u32>,
}

impl Ketama {
    /// The ring of these shards. Shards of weight 0 have no points.
    #[must_use]
    pub fn new(shards: &[Shard]) -> Self {
        let total: u64 = shards.iter().map(|shard| u64::from(shard.weight)).sum();
        let mut ring = Vec::with_capacity(shards.len() * POINTS as usize);
        for (owner, shard) in in_order(shards) {
            for round in 0..rounds(shard.weight, total, shards.len()) {
                let digest = Md5::digest(format!("{}-{round}", shard.name));
                let (words, _) = digest.as_chunks::<POINTS_PER_DIGEST>();
                ring.extend(
                    words
                        .iter()
                        .map(|word| (u32::from_le_bytes(*word), owner as u32)),
                );
            }
        }
        // Stable: of two at the same point, the first in twemproxy's order has it.
        ring.sort_by_key(|(point, _)| *point);
        let (points, owners) = ring.into_iter().unzip();
        Self { points, owners }
    }

    /// Whose a hash is: an index into the shards. `None` if there are no points.
    #[must_use]
    #[inline]
    pub fn pick(&self, hash: u32) -> Option<usize> {
        let at = self.points.partition_point(|point| *point < hash);
        self.owners
            .get(at)
            .or_else(|| self.owners.first())
            .map(|owner| *owner as usize)
    }

    /// How many points it has.
    #[must_use]
    pub fn points(&self) -> usize {
        self.points.len()
    }
}

/// How many digests a shard of this weight gives. In single precision and in this order, since twemproxy rounds so: another
/// order moves keys.
fn rounds(weight: u32, total: u64, shards: usize) -> u32 {
    if total == 0 {
        return 0;
    }
    let share = weight as f32 / total as f32;
    let digests = share * POINTS / POINTS_PER_DIGEST as f32 * shards as f32;
    (f64::from(digests) + 0.000_000_000_1) as f32 as u32
}
