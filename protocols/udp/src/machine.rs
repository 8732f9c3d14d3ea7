//! The flows of one listener on one worker: who speaks with which endpoint, how much may go back, and when it is over.
//!
//! UDP has no connections; what comes from one address for one endpoint is taken together as a *flow* until nothing has moved
//! for a while. Pure: no socket, and the time is handed in. What a flow leads to is the session's, by [`FlowId`]. Start at
//! [`Flows`].

mod order;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

use self::order::{Link, Order};
pub use self::slots::FlowId;
use self::slots::Slots;

/// What tells flows apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Where the client's datagrams come from.
    pub client: SocketAddr,
    /// Which of the client's flows: what it speaks with, where one address may speak with several endpoints at a time.
    pub lane: u64,
}

/// Bounds on flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowLimits {
    /// How long nothing may move in a flow.
    pub idle: Duration,
    /// Flows at a time.
    pub flows: usize,
    /// Whether a new flow takes the place of the one that is idle longest where there is no room.
    pub evict: bool,
    /// Flows at a time of one IP address; of IPv6 the first 64 bits count.
    pub per_source: usize,
    /// Datagrams that may come back for each that was sent; `None` for any number.
    pub replies: Option<u32>,
    /// Bytes that may come back for each that was sent; `None` for any number.
    pub amplification: Option<u32>,
}

/// Why a datagram is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// As many flows as may be are open.
    #[error("too many flows")]
    TableFull,
    /// As many flows of this address as may be are open.
    #[error("too many flows of one source")]
    SourceFull,
    /// More datagrams came back than were asked for.
    #[error("more replies than allowed")]
    Replies,
    /// More bytes came back than were paid for.
    #[error("more bytes than allowed in reply")]
    Amplification,
}

impl Refusal {
    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TableFull => "flow_limit",
            Self::SourceFull => "source_limit",
            Self::Replies => "too_many_replies",
            Self::Amplification => "amplification",
        }
    }
}

/// What has moved in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Datagrams.
    pub datagrams: u64,
    /// Their bytes, without headers.
    pub bytes: u64,
}

impl Moved {
    /// One datagram.
    #[must_use]
    pub const fn one(bytes: usize) -> Self {
        Self {
            datagrams: 1,
            bytes: bytes as u64,
        }
    }

    const fn add(&mut self, other: Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
    }
}

/// The state of one flow.
#[derive(Debug)]
struct Flow {
    key: FlowKey,
    active_at: Instant,
    link: Link,
    up: Moved,
    down: Moved,
}

/// What became of a flow that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Its key.
    pub key: FlowKey,
    /// When something moved last.
    pub active_at: Instant,
    /// From the client.
    pub up: Moved,
    /// To the client.
    pub down: Moved,
}

/// The flows. Keys come from the network, so the tables that they are looked up in are seeded.
#[derive(Debug)]
pub struct Flows {
    limits: FlowLimits,
    slots: Slots<Flow>,
    by_key: HashMap<FlowKey, FlowId, RandomState>,
    by_source: HashMap<IpAddr, usize, RandomState>,
    /// From the one that is idle longest to the one that moved last.
    order: Order,
}

impl Flows {
    /// No flows yet.
    #[must_use]
    pub fn new(limits: FlowLimits, seed: RandomState) -> Self {
        Self {
            limits,
            slots: Slots::default(),
            by_key: HashMap::with_hasher(seed.clone()),
            by_source: HashMap::with_hasher(seed),
            order: Order::default(),
        }
    }

    /// Changes the bounds. Flows that are there stay, and end by the new time.
    pub const fn set_limits(&mut self, limits: FlowLimits) {
        self.limits = limits;
    }

    /// The bounds.
    #[must_use]
    pub const fn limits(&self) -> FlowLimits {
        self.limits
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The flow of a datagram that has come, if it is open.
    #[must_use]
    pub fn find(&self, key: &FlowKey) -> Option<FlowId> {
        self.by_key.get(key).copied()
    }

    /// Whether a client's flow may be opened, and which must be closed first to make room for it. `full` says that there is no
    /// room elsewhere, whatever there is here.
    ///
    /// # Errors
    /// There is no room, whatever is closed.
    pub fn room(&self, client: SocketAddr, full: bool) -> Result<Option<FlowId>, Refusal> {
        let of_source = self.by_source.get(&source(client.ip())).copied();
        if of_source.unwrap_or(0) >= self.limits.per_source {
            return Err(Refusal::SourceFull);
        }
        if !full && self.len() < self.limits.flows {
            return Ok(None);
        }
        let oldest = self.order.oldest().filter(|_| self.limits.evict);
        oldest.map(Some).ok_or(Refusal::TableFull)
    }

    /// Opens a flow that is not there. To be asked for [`room`](Self::room) before.
    pub fn open(&mut self, now: Instant, key: FlowKey) -> FlowId {
        let id = self.slots.insert(Flow {
            key,
            active_at: now,
            link: Link::default(),
            up: Moved::default(),
            down: Moved::default(),
        });
        self.by_key.insert(key, id);
        *self.by_source.entry(source(key.client.ip())).or_default() += 1;
        self.order.push(&mut self.slots, id);
        id
    }

    /// Datagrams go up. Nothing happens to a flow that is over.
    pub fn on_up(&mut self, now: Instant, id: FlowId, moved: Moved) {
        if let Some(flow) = self.slots.get_mut(id) {
            flow.up.add(moved);
            self.touch(now, id);
        }
    }

    /// Whether datagrams may go back, which they then do.
    ///
    /// # Errors
    /// With all of them, more would have come back than the bounds allow: none of them goes.
    pub fn on_down(&mut self, now: Instant, id: FlowId, moved: Moved) -> Result<(), Refusal> {
        let FlowLimits {
            replies,
            amplification,
            ..
        } = self.limits;
        let Some(flow) = self.slots.get_mut(id) else {
            return Ok(());
        };
        let times = |count: u64, most: u32| count.saturating_mul(u64::from(most));
        let mut after = flow.down;
        after.add(moved);
        if replies.is_some_and(|most| after.datagrams > times(flow.up.datagrams, most)) {
            return Err(Refusal::Replies);
        }
        if amplification.is_some_and(|most| after.bytes > times(flow.up.bytes, most)) {
            return Err(Refusal::Amplification);
        }
        flow.down = after;
        self.touch(now, id);
        Ok(())
    }

    /// Ends a flow; `None` if it is over.
    pub fn close(&mut self, id: FlowId) -> Option<Closed> {
        self.order.remove(&mut self.slots, id);
        let flow = self.slots.remove(id)?;
        self.by_key.remove(&flow.key);
        let source = source(flow.key.client.ip());
        if let Some(count) = self.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
        Some(Closed {
            key: flow.key,
            active_at: flow.active_at,
            up: flow.up,
            down: flow.down,
        })
    }

    /// When the next flow will have been idle for too long.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let oldest = self.slots.get(self.order.oldest()?)?;
        oldest.active_at.checked_add(self.limits.idle)
    }

    /// A flow that has been idle for too long, and is to be [closed](Self::close).
    #[must_use]
    pub fn expired(&self, now: Instant) -> Option<FlowId> {
        let due = self.poll_timeout()?;
        self.order.oldest().filter(|_| due <= now)
    }

    /// All flows, from the one that is idle longest.
    #[must_use]
    pub fn ids(&self) -> Vec<FlowId> {
        self.order.iter(&self.slots).collect()
    }

    fn touch(&mut self, now: Instant, id: FlowId) {
        if let Some(flow) = self.slots.get_mut(id) {
            flow.active_at = now;
            self.order.remove(&mut self.slots, id);
            self.order.push(&mut self.slots, id);
        }
    }

    /// What must hold after every call.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        let ids = self.ids();
        assert_eq!(ids.len(), self.by_key.len(), "every flow has its place");
        let total: usize = self.by_source.values().sum();
        assert_eq!(total, ids.len(), "every flow counts for its source");
        assert!(
            self.by_source.values().all(|count| *count > 0),
            "a source without flows is forgotten"
        );
        let mut before = None;
        for id in ids {
            let flow = self.slots.get(id);
            assert!(flow.is_some(), "the order names flows that are there");
            let Some(flow) = flow else { return };
            assert!(before <= Some(flow.active_at), "the order is that of time");
            before = Some(flow.active_at);
            assert_eq!(self.find(&flow.key), Some(id), "a flow is found by its key");
        }
    }
}

/// Whose flows are counted together as those of one source: a customer of IPv6 has 64 bits of addresses at least.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(network.into())
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// The hash of a client that its flows are spread over endpoints by, the same in every process: all that one IP address
/// sends leads to one endpoint, or with `port` all of one socket.
#[must_use]
pub fn source_hash(client: SocketAddr, port: bool) -> u64 {
    let hasher = foldhash::quality::FixedState::with_seed(0x0075_6470);
    let ip = client.ip().to_canonical();
    if port {
        hasher.hash_one((ip, client.port()))
    } else {
        hasher.hash_one(ip)
    }
}
