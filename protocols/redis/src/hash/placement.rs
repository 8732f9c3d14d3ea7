//! One placement of keys on shards: hash tag, hash function and distribution, put together.
//!
//! Start at [`Placement::shard`].

use super::{HashTag, Ketama, KeyHash, Maglev, Modula};

/// One of several servers (or groups of them) that keys are spread over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// What its place on a ring is computed from: see [`shard_name`].
    pub name: String,
    /// Its share, against the weights of others. None of the keys if 0.
    pub weight: u32,
}

/// What twemproxy puts on its ring for a server that was given no name: the address as it is written in the configuration
/// with its port, or without if that is 11211, the port of memcached.
#[must_use]
pub fn shard_name(host: &str, port: u16) -> String {
    if port == 11_211 {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    }
}

/// The shards with their indexes, in the order in which twemproxy has them: by the length of their names, then by their
/// bytes.
pub(super) fn in_order(shards: &[Shard]) -> impl Iterator<Item = (usize, &Shard)> {
    let mut order: Vec<(usize, &Shard)> = shards.iter().enumerate().collect();
    order.sort_by_key(|(_, shard)| (shard.name.len(), &shard.name));
    order.into_iter()
}

/// How hashes become shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Distribution {
    /// A ring, as twemproxy's.
    #[default]
    Ketama,
    /// Remainders, as twemproxy's.
    Modula,
    /// Maglev's table. It has a hash function of its own.
    Maglev,
}

#[derive(Debug, Clone)]
enum Table {
    Ketama(KeyHash, Ketama),
    Modula(KeyHash, Modula),
    Maglev(Maglev),
}

/// Where keys are among shards.
#[derive(Debug, Clone)]
pub struct Placement {
    tag: Option<HashTag>,
    table: Table,
    shards: usize,
}

impl Placement {
    /// A placement over these shards. Builds its table: microseconds for rings, a millisecond for Maglev.
    #[must_use]
    pub fn new(
        shards: &[Shard],
        distribution: Distribution,
        hash: KeyHash,
        tag: Option<HashTag>,
    ) -> Self {
        let table = match distribution {
            Distribution::Ketama => Table::Ketama(hash, Ketama::new(shards)),
            Distribution::Modula => Table::Modula(hash, Modula::new(shards)),
            Distribution::Maglev => Table::Maglev(Maglev::new(shards)),
        };
        Self {
            tag,
            table,
            shards: shards.len(),
        }
    }

    /// The shard of a key, as an index into those that the placement was made of. `None` if none has weight.
    #[must_use]
    #[inline]
    pub fn shard(&self, key: &[u8]) -> Option<usize> {
        let part = self.tag.map_or(key, |tag| tag.part(key));
        match &self.table {
            // Twemproxy hashes nothing where there is nothing.
            Table::Ketama(hash, ring) => {
                ring.pick(if part.is_empty() { 0 } else { hash.hash(part) })
            }
            Table::Modula(hash, modula) => {
                modula.pick(if part.is_empty() { 0 } else { hash.hash(part) })
            }
            Table::Maglev(table) => table.pick(part),
        }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards
    }
}
