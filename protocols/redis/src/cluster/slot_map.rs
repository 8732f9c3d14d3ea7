//! Which node has which slot, as one node says.
//!
//! Of `CLUSTER SLOTS`, which every version has, and of `CLUSTER SHARDS` (7.0), which also knows nodes without slots: a slot
//! may be on its way to one of those. Start at [`SlotMap::read`].

use std::collections::{BTreeMap, BTreeSet};

use super::NodeAddress;
use crate::hash::SLOTS;
use crate::message::Value;

/// The most nodes of a cluster, replicas and all: as many as its specification recommends at most.
pub const MOST_NODES: usize = 1000;

/// In place of a node: nobody has the slot.
const NOBODY: u16 = u16::MAX;

/// Why what a node said is no map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MapError {
    /// It is no list of ranges of slots with nodes.
    #[error("not a list of slots and nodes")]
    Shape,
    /// A slot that there is not, or that two have.
    #[error("slots that cannot be")]
    Slot,
    /// More than [`MOST_NODES`].
    #[error("too many nodes")]
    TooManyNodes,
    /// Nobody has any slot.
    #[error("no nodes with slots")]
    Empty,
}

impl MapError {
    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Shape => "map_shape",
            Self::Slot => "map_slot",
            Self::TooManyNodes => "map_nodes",
            Self::Empty => "map_empty",
        }
    }
}

/// The nodes of a cluster, and which slots they have. Nodes are numbered from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotMap {
    nodes: Vec<NodeAddress>,
    /// For each slot its node, or [`NOBODY`].
    owners: Box<[u16]>,
    /// Those that have slots, in the order of those.
    primaries: Vec<u16>,
    /// For nodes that have slots, who has a copy.
    replicas: BTreeMap<u16, BTreeSet<u16>>,
}

/// A range of slots and who has it.
struct Range {
    first: u16,
    last: u16,
    owner: u16,
    replicas: Vec<u16>,
}

impl SlotMap {
    /// Reads the answers to `CLUSTER SLOTS` and, where there is one, `CLUSTER SHARDS`.
    ///
    /// `seed` is the host that was asked: who does not know its own says nothing in its place. `has_tls` chooses among the
    /// ports of nodes without slots. Nodes that do not say where they are, are left out, and so are their slots.
    ///
    /// # Errors
    /// It is no map, or not one that is believed. An odd `CLUSTER SHARDS` is no error: it is not looked at.
    pub fn read(
        slots: &Value,
        shards: Option<&Value>,
        seed: &str,
        has_tls: bool,
    ) -> Result<Self, MapError> {
        let mut nodes = Nodes::default();
        let mut ranges = Vec::new();
        let mut left = u32::from(SLOTS);
        for range in slots.elements().ok_or(MapError::Shape)? {
            let range = Range::read(range, seed, &mut nodes)?;
            let len = u32::from(range.last - range.first) + 1;
            left = left.checked_sub(len).ok_or(MapError::Slot)?;
            if range.owner != NOBODY {
                ranges.push(range);
            }
        }
        if ranges.is_empty() {
            return Err(MapError::Empty);
        }
        if let Some(shards) = shards {
            nodes.add_idle(shards, seed, has_tls)?;
        }
        ranges.sort_unstable_by_key(|range| range.first);
        let mut map = Self {
            nodes: nodes.list,
            owners: vec![NOBODY; SLOTS.into()].into(),
            primaries: Vec::new(),
            replicas: BTreeMap::new(),
        };
        ranges.iter().try_for_each(|range| map.take(range))?;
        Ok(map)
    }

    fn take(&mut self, range: &Range) -> Result<(), MapError> {
        let places = usize::from(range.first)..=usize::from(range.last);
        let owners = self.owners.get_mut(places).ok_or(MapError::Slot)?;
        if owners.iter().any(|owner| *owner != NOBODY) {
            return Err(MapError::Slot);
        }
        owners.fill(range.owner);
        if !self.primaries.contains(&range.owner) {
            self.primaries.push(range.owner);
        }
        if !range.replicas.is_empty() {
            let replicas = self.replicas.entry(range.owner).or_default();
            replicas.extend(&range.replicas);
        }
        Ok(())
    }

    /// The nodes, by their numbers: those with slots, their replicas, and others.
    #[must_use]
    pub fn nodes(&self) -> &[NodeAddress] {
        &self.nodes
    }

    /// The nodes that have slots, in the order of those. At least one.
    #[must_use]
    pub fn primaries(&self) -> &[u16] {
        &self.primaries
    }

    /// Who has a copy of what this node has, by its number.
    pub fn replicas(&self, node: u16) -> impl Iterator<Item = u16> {
        self.replicas.get(&node).into_iter().flatten().copied()
    }

    /// Who has a slot. `None`: nobody.
    #[must_use]
    #[inline]
    pub fn owner(&self, slot: u16) -> Option<u16> {
        let owner = self.owners.get(usize::from(slot)).copied();
        owner.filter(|owner| *owner != NOBODY)
    }

    /// The number of a node.
    #[must_use]
    pub fn find(&self, address: &NodeAddress) -> Option<u16> {
        let found = self.nodes.iter().position(|known| known == address);
        found.map(|index| index as u16)
    }

    /// A node said that another has this slot. Nothing happens if there is no such slot or node.
    pub fn assign(&mut self, slot: u16, node: u16) {
        let is_known = usize::from(node) < self.nodes.len();
        if let Some(owner) = self.owners.get_mut(usize::from(slot)).filter(|_| is_known) {
            *owner = node;
            if !self.primaries.contains(&node) {
                self.primaries.push(node);
            }
        }
    }

    /// Adds a node that no map has, for those who follow wherever they are sent. Its number; `None` if there are too many.
    pub fn add(&mut self, address: &NodeAddress) -> Option<u16> {
        if let Some(known) = self.find(address) {
            return Some(known);
        }
        if self.nodes.len() >= MOST_NODES {
            return None;
        }
        self.nodes.push(address.clone());
        Some((self.nodes.len() - 1) as u16)
    }
}

/// Nodes as they are met.
#[derive(Default)]
struct Nodes {
    list: Vec<NodeAddress>,
    numbers: BTreeMap<NodeAddress, u16>,
}

impl Nodes {
    fn number(&mut self, address: NodeAddress) -> Result<u16, MapError> {
        if let Some(known) = self.numbers.get(&address) {
            return Ok(*known);
        }
        if self.list.len() >= MOST_NODES {
            return Err(MapError::TooManyNodes);
        }
        let number = self.list.len() as u16;
        self.list.push(address.clone());
        self.numbers.insert(address, number);
        Ok(number)
    }

    /// Adds what only `CLUSTER SHARDS` has: maps with `nodes`, of which each is a map.
    fn add_idle(&mut self, shards: &Value, seed: &str, has_tls: bool) -> Result<(), MapError> {
        let shards = shards.elements().unwrap_or_default().iter();
        let lists = shards.filter_map(|shard| shard.field(b"nodes")?.elements());
        for node in lists.flatten() {
            let host = node.field(b"endpoint").and_then(|host| host_of(host, seed));
            let host = host.or_else(|| node.field(b"ip")?.text().map(|ip| &**ip));
            let plain = || node.field(b"port");
            let port = if has_tls {
                node.field(b"tls-port").or_else(plain)
            } else {
                plain()
            };
            let port = port.and_then(Value::integer);
            let address = host.zip(port);
            let address = address.and_then(|(host, port)| NodeAddress::new(host, port));
            if let Some(address) = address {
                self.number(address)?;
            }
        }
        Ok(())
    }
}

impl Range {
    /// `[first, last, primary, replica…]`.
    fn read(value: &Value, seed: &str, nodes: &mut Nodes) -> Result<Self, MapError> {
        let Some([first, last, owners @ ..]) = value.elements() else {
            return Err(MapError::Shape);
        };
        let slot = |value: &Value| {
            let number = value.integer().ok_or(MapError::Shape)?;
            let slot = u16::try_from(number).map_err(|_| MapError::Slot)?;
            (slot < SLOTS).then_some(slot).ok_or(MapError::Slot)
        };
        let (first, last) = (slot(first)?, slot(last)?);
        if first > last {
            return Err(MapError::Slot);
        }
        let mut owner = None;
        let mut replicas = Vec::new();
        for node in owners {
            let number = match address_of(node, seed)? {
                Some(address) => nodes.number(address)?,
                None => NOBODY,
            };
            match owner {
                None => owner = Some(number),
                Some(owner) if number == NOBODY || number == owner => {}
                Some(_) => replicas.push(number),
            }
        }
        let owner = owner.ok_or(MapError::Shape)?;
        Ok(Self {
            first,
            last,
            owner,
            replicas,
        })
    }
}

/// `[host, port, id, [name, value…]]`; older versions have fewer.
fn address_of(node: &Value, seed: &str) -> Result<Option<NodeAddress>, MapError> {
    let Some([host, port, rest @ ..]) = node.elements() else {
        return Err(MapError::Shape);
    };
    let port = port.integer().ok_or(MapError::Shape)?;
    // Told to prefer names and without one it says `?`, and its address beside it.
    let more = || rest.get(1)?.field(b"ip")?.text().map(|ip| &**ip);
    let host = host_of(host, seed).or_else(more);
    Ok(host.and_then(|host| NodeAddress::new(host, port)))
}

/// The host that a node names: nothing stands for the one that was asked. `None` if it is not known.
fn host_of<'a>(host: &'a Value, seed: &'a str) -> Option<&'a [u8]> {
    match host.bare() {
        Value::Null(_) => Some(seed.as_bytes()),
        host => match &**host.text()? {
            b"" => Some(seed.as_bytes()),
            b"?" => None,
            host => Some(host),
        },
    }
}

#[cfg(test)]
mod tests;
