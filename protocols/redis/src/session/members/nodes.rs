//! The nodes that a map has, and those that it had: who stays keeps its connections.
//!
//! Start at [`State::replace`].

use std::rc::{Rc, Weak};

use portcullis_net::clock;

use super::{Members, State};
use crate::cluster::{NodeAddress, SlotMap};
use crate::hash::SLOTS;
use crate::session::group::Group;
use crate::session::shard::{Common, Of, Part, Shard};

/// A node, and its number for as long as it is there: maps number them anew.
pub(super) struct Node {
    pub(super) id: u16,
    pub(super) shard: Rc<Shard>,
    /// The same node, over connections on which it may be read from though it is a replica.
    reader: Option<Rc<Shard>>,
    /// It and its replicas, if those may be read from.
    pub(super) group: Option<Rc<Group>>,
}

impl State {
    /// Takes a new map. Nodes that stay keep their connections; the others are returned.
    pub(super) fn replace(&mut self, map: SlotMap, members: &Weak<Members>) -> Vec<Node> {
        let mut old = std::mem::take(&mut self.nodes);
        let before: Vec<_> = old.iter().map(|node| Rc::clone(&node.shard)).collect();
        for address in map.nodes() {
            let is_it = |node: &Node| node.shard.address() == Some(address);
            let node = if let Some(index) = old.iter().position(is_it) {
                old.swap_remove(index)
            } else {
                let id = free_id(&mut self.next_id, [&self.nodes, &old]);
                Node::new(id, address, members)
            };
            self.nodes.push(node);
        }
        self.compare(&map, &before);
        self.map = Some(map);
        old
    }

    /// Notes who has a copy of what which node has. Readers keep their connections.
    pub(super) fn regroup(&mut self, common: &Rc<Common>, members: &Weak<Members>) {
        let Some(map) = &self.map else { return };
        for (number, node) in (0..).zip(&mut self.nodes) {
            let is_primary = map.primaries().contains(&number);
            node.group = node.group.take().filter(|_| is_primary);
            if is_primary {
                node.group
                    .get_or_insert_with(|| Group::new(Rc::clone(common)));
            }
        }
        for primary in map.primaries() {
            let readers = map.replicas(*primary).filter_map(|number| {
                let node = self.nodes.get_mut(number as usize)?;
                Some(node.reader(members))
            });
            let readers = readers.flatten().collect();
            if let Some(node) = self.nodes.get(*primary as usize)
                && let Some(group) = &node.group
            {
                group.set(Some(Rc::clone(&node.shard)), readers);
            }
        }
    }

    /// Notes which slots are another node's than before. Those of nodes that are gone are nobody's to wait for.
    fn compare(&mut self, new: &SlotMap, before: &[Rc<Shard>]) {
        let now = clock::now();
        let is_there = |shard: &Rc<Shard>| {
            let mut nodes = self.nodes.iter();
            nodes.any(|node| Rc::ptr_eq(&node.shard, shard))
        };
        self.moves.expire(now, is_there);
        let Some(map) = &self.map else { return };
        for slot in 0..SLOTS {
            let (old, new) = (map.owner(slot), new.owner(slot));
            let old = old.and_then(|old| before.get(old as usize));
            let new = new.and_then(|new| self.nodes.get(new as usize));
            if let (Some(old), Some(new)) = (old, new)
                && !Rc::ptr_eq(old, &new.shard)
                && is_there(old)
            {
                self.moves.record(slot, Rc::clone(old), now);
            }
        }
    }
}

/// A number that no node has, as late as possible the one that another had.
pub(super) fn free_id(next: &mut u16, nodes: [&[Node]; 2]) -> u16 {
    loop {
        let id = *next;
        *next = (id + 1) % (Members::ANY - SLOTS);
        if nodes.into_iter().flatten().all(|node| node.id != id) {
            return id;
        }
    }
}

impl Node {
    pub(super) fn new(id: u16, address: &NodeAddress, members: &Weak<Members>) -> Self {
        let of = Of::Cluster(Weak::clone(members));
        Self {
            id,
            shard: Shard::found(address.clone(), Part::Node, of),
            reader: None,
            group: None,
        }
    }

    fn reader(&mut self, members: &Weak<Members>) -> Option<Rc<Shard>> {
        let address = self.shard.address()?;
        let reader = self.reader.get_or_insert_with(|| {
            let of = Of::Cluster(Weak::clone(members));
            Shard::found(address.clone(), Part::Reader, of)
        });
        Some(Rc::clone(reader))
    }

    pub(super) fn close(&self) {
        self.shard.close();
        if let Some(reader) = &self.reader {
            reader.close();
        }
    }
}
