//! How much a steering machine keeps, and for how long.
//!
//! Values only; each says why. Start at [`SteeringLimits`].

use std::time::Duration;

use crate::hello::HelloLimits;

/// Bounds on one [`Steering`](super::Steering). Where a table is full, what was not used for longest leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SteeringLimits {
    /// Connection ids by which clients were heard. Default 65536, one for each open connection, at about 200 bytes: 13 MiB.
    pub connections: usize,
    /// How long such an id is kept without a datagram to it. Default 5 minutes: ends give up a silent connection after 30 s, most of
    /// them, and those that keep it open longer send something to hold their NAT.
    pub connection_idle: Duration,
    /// Connection ids that nobody has proved to know: those that clients chose, those that servers have just told. Default 16384.
    /// Spoofed packets can fill this table, and push out nothing but each other and handshakes.
    pub openings: usize,
    /// How long such an id is kept. Default 30 s: a handshake with losses takes less, or will not succeed.
    pub opening_idle: Duration,
    /// Addresses that were validated. Default 65536, as connections.
    pub addresses: usize,
    /// Addresses that were not, for each of which bytes are counted. Default 16384, as openings. An address that had to leave is
    /// sent nothing until it says something again.
    pub unvalidated: usize,
    /// Connections in their handshake from one address, port included. Default 16: clients take a port for each, as a rule.
    pub handshakes: usize,
    /// Ids of servers, where connection ids name them. Default 4096.
    pub server_ids: usize,
    /// How long an id of a server is kept without a datagram to it. Default 1 hour; an endpoint that is gone is forgotten by
    /// [`forget`](super::Steering::forget).
    pub server_id_idle: Duration,
    /// ClientHellos that are not whole, or not yet routed. Default 4096.
    pub holds: usize,
    /// Bytes of all of them: datagrams, pieces, and 2 KiB for each. Default 16 MiB. The oldest has to leave when it is full;
    /// the datagrams of one ClientHello come within milliseconds, so that even under a flood most get through.
    pub held_bytes: usize,
    /// Datagrams for one of them. Default 16: a ClientHello takes two or three, early data may follow, and what got lost is sent
    /// again. More are dropped.
    pub held_datagrams: usize,
    /// How long one may take. Default 5 s: a client that heard nothing sends again after 1 s, and then 2 s later.
    pub hold_time: Duration,
    /// Version Negotiation packets in one second. Default 1000: they answer anyone, and a client needs one.
    pub negotiations: u32,
    /// What a ClientHello may be.
    pub hello: HelloLimits,
}

impl Default for SteeringLimits {
    fn default() -> Self {
        Self {
            connections: 1 << 16,
            connection_idle: Duration::from_mins(5),
            openings: 1 << 14,
            opening_idle: Duration::from_secs(30),
            addresses: 1 << 16,
            unvalidated: 1 << 14,
            handshakes: 16,
            server_ids: 4096,
            server_id_idle: Duration::from_hours(1),
            holds: 4096,
            held_bytes: 16 * 1024 * 1024,
            held_datagrams: 16,
            hold_time: Duration::from_secs(5),
            negotiations: 1000,
            hello: HelloLimits::default(),
        }
    }
}
