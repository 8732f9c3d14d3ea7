//! Datagrams that wait until it is known where they go.
//!
//! One hold for each client that has begun to say a ClientHello. Bytes are counted here, and the oldest hold leaves when there
//! are too many. Not the reading: that is [`HelloReader`]'s. Start at [`Holds`].

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::idle::{Bounds, Class, IdleTable};
use super::limits::SteeringLimits;
use crate::connection_id::ConnectionId;
use crate::error::HelloError;
use crate::hello::HelloReader;

/// What a hold takes besides datagrams and pieces: keys, tables, the hold itself.
const OVERHEAD: usize = 2048;

/// The sender, and the destination that it chose.
pub(super) type HoldKey = (SocketAddr, ConnectionId);

/// How far a hold has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// The ClientHello is not whole.
    Reading(Box<HelloReader>),
    /// It is, and somebody thinks about where it goes.
    Routing,
    /// It will never be.
    Failed(HelloError),
}

/// The datagrams of one client.
#[derive(Debug)]
pub(super) struct Hold {
    /// Tells this hold from an earlier one with the same key.
    pub(super) number: u64,
    /// The client's own id.
    pub(super) client: ConnectionId,
    pub(super) stage: Stage,
    pub(super) datagrams: Vec<Bytes>,
    /// What it counts for among the bytes of all holds.
    counted: usize,
}

impl Hold {
    fn cost(&self) -> usize {
        let pieces = match &self.stage {
            Stage::Reading(reader) => reader.bytes(),
            Stage::Routing | Stage::Failed(_) => 0,
        };
        let datagrams: usize = self.datagrams.iter().map(Bytes::len).sum();
        OVERHEAD + datagrams + pieces
    }
}

/// All holds.
#[derive(Debug)]
pub(super) struct Holds {
    table: IdleTable<HoldKey, Hold>,
    most_bytes: usize,
    most_datagrams: usize,
    bytes: usize,
    next_number: u64,
    evicted: u64,
}

impl Holds {
    pub(super) fn new(seed: u64, limits: &SteeringLimits) -> Self {
        let bounds = |entries| Bounds {
            entries,
            idle: limits.hold_time,
        };
        Self {
            // Nobody in it has proved anything.
            table: IdleTable::new(seed, bounds(limits.holds), bounds(0)),
            most_bytes: limits.held_bytes,
            most_datagrams: limits.held_datagrams,
            bytes: 0,
            next_number: 0,
            evicted: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds that had to leave before their time.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// What stands there; its time is not lengthened.
    pub(super) fn stage(&mut self, key: &HoldKey) -> Option<&mut Stage> {
        self.table.entry(key).map(|hold| &mut hold.stage)
    }

    /// Whether one more datagram may be kept there.
    pub(super) fn has_room(&mut self, key: &HoldKey) -> bool {
        let most = self.most_datagrams;
        let hold = self.table.entry(key);
        hold.is_some_and(|hold| hold.datagrams.len() < most)
    }

    /// Begins a hold with its first datagram: its number, or `None` if there is no room for it even alone.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        key: HoldKey,
        client: ConnectionId,
        stage: Stage,
        datagram: &[u8],
    ) -> Option<u64> {
        let number = self.next_number;
        self.next_number += 1;
        let hold = Hold {
            number,
            client,
            stage,
            datagrams: Vec::new(),
            counted: 0,
        };
        if let Some((_, evicted)) = self.table.insert(key, hold, Class::Unproven, now) {
            self.count_out(&evicted);
        }
        if !self.has_room(&key) {
            self.table.remove(&key);
            return None;
        }
        self.add(&key, datagram, None)
    }

    /// Keeps a datagram, and sets the stage if it changes: the hold's number, or `None` if it had to leave for lack of room.
    pub(super) fn add(
        &mut self,
        key: &HoldKey,
        datagram: &[u8],
        stage: Option<Stage>,
    ) -> Option<u64> {
        let hold = self.table.entry(key)?;
        hold.datagrams.push(Bytes::copy_from_slice(datagram));
        if let Some(stage) = stage {
            hold.stage = stage;
        }
        let cost = hold.cost();
        let before = std::mem::replace(&mut hold.counted, cost);
        self.bytes = (self.bytes + hold.counted).saturating_sub(before);
        while self.bytes > self.most_bytes {
            let (_, oldest) = self.table.remove_oldest(Class::Unproven)?;
            self.count_out(&oldest);
        }
        self.table.entry(key).map(|hold| hold.number)
    }

    /// Ends a hold.
    pub(super) fn take(&mut self, key: &HoldKey) -> Option<Hold> {
        let hold = self.table.remove(key)?;
        self.bytes = self.bytes.saturating_sub(hold.counted);
        Some(hold)
    }

    /// The same, if it is the one with this number.
    pub(super) fn take_numbered(&mut self, key: &HoldKey, number: u64) -> Option<Hold> {
        if self.table.entry(key)?.number != number {
            return None;
        }
        self.take(key)
    }

    fn count_out(&mut self, hold: &Hold) {
        self.bytes = self.bytes.saturating_sub(hold.counted);
        self.evicted += 1;
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((_, hold)) = self.table.expire(now) {
            self.bytes = self.bytes.saturating_sub(hold.counted);
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.table.next_due()
    }

    /// Panics if anything contradicts itself: for tests and fuzzing.
    pub(super) fn check_invariants(&self) {
        self.table.check_invariants();
        let counted: usize = self.table.iter().map(|(_, hold)| hold.counted).sum();
        assert!(counted == self.bytes && self.bytes <= self.most_bytes);
        for (_, hold) in self.table.iter() {
            assert!(hold.datagrams.len() <= self.most_datagrams);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hold_takes_is_counted() {
        let parts = size_of::<HelloReader>() + size_of::<Hold>() + 2 * size_of::<HoldKey>();
        assert!(parts < OVERHEAD, "{parts}");
    }
}
