//! The connections that a pool holds: those that are idle in the order in which they became so, and those set aside for
//! somebody who has not fetched them yet.
//!
//! It keeps order and finds; when one is too old is the book's business. Start at [`Idle::take`].

use super::lease::{Affinity, Lease};
use std::time::Instant;

/// How many idle connections a checkout looks at before it takes the best so far. They are the ones used last.
const LOOKED_AT: usize = 64;

/// One connection in the store, and what the pool knows of it.
#[derive(Debug)]
pub(super) struct Entry {
    at: usize,
    pub(super) lease: Lease,
    pub(super) affinity: Affinity,
    pub(super) since: Instant,
}

/// See the module. Connections lie still in a slab, since they may be large and the order changes all the time.
#[derive(Debug)]
pub(super) struct Idle<C> {
    slab: Vec<Option<C>>,
    free: Vec<usize>,
    /// Longest idle in front.
    order: Vec<Entry>,
}

impl<C> Idle<C> {
    pub(super) fn new() -> Self {
        Self {
            slab: Vec::new(),
            free: Vec::new(),
            order: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.order
    }

    /// Keeps a connection as the one used last.
    pub(super) fn keep(&mut self, entry: Entry) {
        self.order.push(entry);
    }

    /// Puts a connection into the store, in nobody's order yet.
    pub(super) fn store(
        &mut self,
        connection: C,
        lease: Lease,
        affinity: Affinity,
        since: Instant,
    ) -> Entry {
        let at = if let Some(at) = self.free.pop() {
            at
        } else {
            self.slab.push(None);
            self.slab.len() - 1
        };
        if let Some(slot) = self.slab.get_mut(at) {
            *slot = Some(connection);
        }
        Entry {
            at,
            lease,
            affinity,
            since,
        }
    }

    /// Takes out the connection that `entry` stands for. `None` cannot happen: an entry exists once and is used up here.
    pub(super) fn fetch(&mut self, entry: Entry) -> Option<(C, Lease)> {
        let connection = self.slab.get_mut(entry.at)?.take()?;
        self.free.push(entry.at);
        Some((connection, entry.lease))
    }

    /// The idle connection that suits best: same worker and shape, same worker, same shape, any; of equals the one used last.
    pub(super) fn take(&mut self, wanted: Affinity) -> Option<Entry> {
        let mut best = None;
        for (place, entry) in self.order.iter().enumerate().rev().take(LOOKED_AT) {
            let rank = 2 * u8::from(entry.affinity.worker == wanted.worker)
                + u8::from(entry.affinity.shape == wanted.shape);
            if best.is_none_or(|(other, _)| rank > other) {
                best = Some((rank, place));
            }
            if rank == 3 {
                break;
            }
        }
        best.map(|(_, place)| self.order.remove(place))
    }

    /// Takes out those that `leaves` names, longest idle first. `leaves` is given how many have been taken so far.
    pub(super) fn take_where(
        &mut self,
        mut leaves: impl FnMut(&Entry, usize) -> bool,
        mut taken: impl FnMut(C, Lease),
    ) {
        let mut count = 0;
        let Self { slab, free, order } = self;
        for entry in order.extract_if(.., |entry| {
            let goes = leaves(entry, count);
            count += usize::from(goes);
            goes
        }) {
            if let Some(connection) = slab.get_mut(entry.at).and_then(Option::take) {
                free.push(entry.at);
                taken(connection, entry.lease);
            }
        }
    }

    /// The connection of an idle entry's place, for a look at it.
    pub(super) fn connection_mut(&mut self, place: usize) -> Option<&mut C> {
        let at = self.order.get(place)?.at;
        self.slab.get_mut(at)?.as_mut()
    }

    /// Takes the entry at a place in the order.
    pub(super) fn take_at(&mut self, place: usize) -> Option<Entry> {
        (place < self.order.len()).then(|| self.order.remove(place))
    }

    /// Connections in the store, idle or set aside.
    #[cfg(debug_assertions)]
    pub(super) fn stored(&self) -> usize {
        self.slab.len() - self.free.len()
    }
}
