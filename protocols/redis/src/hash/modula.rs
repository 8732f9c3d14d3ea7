//! Remainders: the hash modulo the sum of weights. As twemproxy's `modula`: it moves most keys when a shard comes or goes.

use super::Shard;
use super::placement::in_order;

/// Shards, each as often as its weight says.
#[derive(Debug, Clone)]
pub struct Modula {
    /// For each shard in twemproxy's order, the sum of the weights up to and with its own, and its index.
    ends: Vec<(u32, u32)>,
}

impl Modula {
    /// The placement of these shards. Their order does not matter, but for shards of the same name.
    #[must_use]
    pub fn new(shards: &[Shard]) -> Self {
        let ends = in_order(shards).scan(0_u32, |end, (owner, shard)| {
            *end = end.saturating_add(shard.weight);
            Some((*end, owner as u32))
        });
        Self {
            ends: ends.collect(),
        }
    }

    /// Whose a hash is: an index into the shards. `None` if there is no weight at all.
    #[must_use]
    #[inline]
    pub fn pick(&self, hash: u32) -> Option<usize> {
        let (total, _) = self.ends.last().filter(|(total, _)| *total > 0)?;
        let place = hash % total;
        let at = self.ends.partition_point(|(end, _)| *end <= place);
        self.ends.get(at).map(|(_, owner)| *owner as usize)
    }
}
