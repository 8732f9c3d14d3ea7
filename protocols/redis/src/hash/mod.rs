//! Where a key lives: the slots of Redis Cluster, and the placements of hashed shards.
//!
//! It knows of no connections, health or failover: a key has its place whether or not somebody is there. Nothing here hands
//! out keys to whoever is alive, since a cache that moves its keys at every hiccup is no cache.
//!
//! Start at [`slot()`] for Redis Cluster and at [`Placement`] for shards.

mod jenkins;
mod ketama;
mod key_hash;
mod maglev;
mod modula;
mod placement;
mod slot;

pub use ketama::Ketama;
pub use key_hash::KeyHash;
pub use maglev::Maglev;
pub use modula::Modula;
pub use placement::{Distribution, Placement, Shard, shard_name};
pub use slot::{HashTag, SLOTS, slot};

#[cfg(test)]
mod tests;
