//! Remainders: the hash modulo the sum of weights. As twemproxy's `modula`: it moves most keys when a shard comes or goes.

use super::Shard;

/// Shards, each as often as its weight says.
#[derive(Debug, Clone)]
pub struct Modula {
    /// For each shard, the sum of the weights up to and with its own.
    ends: Vec<u32>,
}

impl Modula {
    /// The placement of these shards, in this order.
    #[must_use]
    pub fn new(shards: &[Shard]) -> Self {
        let ends = shards.iter().scan(0_u32, |end, shard| {
            *end = end.saturating_add(shard.weight);
            Some(*end)
        });
        Self {
            ends: ends.collect(),
        }
    }

    /// Whose a hash is: an index into the shards. `None` if there is no weight at all.
    #[must_use]
    #[inline]
    pub fn pick(&self, hash: u32) -> Option<usize> {
        let total = self.ends.last().copied().filter(|total| *total > 0)?;
        let place = hash % total;
        Some(self.ends.partition_point(|end| *end <= place))
    }
}
