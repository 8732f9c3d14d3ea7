//! How a machine steers, and what it says of itself.
//!
//! Values only; how much is kept stands in [`SteeringLimits`]. Start at [`SteeringConfig`].

use super::limits::SteeringLimits;

/// What is done about versions that are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownVersion {
    /// Dropped.
    #[default]
    Drop,
    /// Said to be unknown, for the default route.
    Route,
    /// Answered with the versions that are read.
    Negotiate,
}

/// Where in a connection id the server is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerIdPlace {
    /// Bytes of the connection id in front of it.
    pub offset: usize,
    /// Its own bytes, at most 20 with those in front.
    pub length: usize,
}

/// How a machine steers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SteeringConfig {
    /// What is done about versions that are not read.
    pub unknown_version: UnknownVersion,
    /// Where servers name themselves in the ids that they choose: what is learned then leads to the server by any of its ids,
    /// also by those that it tells its clients in secret. `None`: each id is learned for itself.
    pub server_id: Option<ServerIdPlace>,
    /// How much is kept.
    pub limits: SteeringLimits,
}

/// What a machine keeps at the moment, and what it could not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SteeringCounts {
    /// Connection ids.
    pub connection_ids: usize,
    /// Ids of servers.
    pub server_ids: usize,
    /// Addresses.
    pub addresses: usize,
    /// ClientHellos that are not whole, or not yet routed.
    pub holds: usize,
    /// Bytes of those.
    pub held_bytes: usize,
    /// Connection ids that had to leave for others, since the start.
    pub evicted_connection_ids: u64,
    /// Addresses that had to leave for others, since the start.
    pub evicted_addresses: u64,
    /// ClientHellos that had to leave for others, since the start.
    pub evicted_holds: u64,
}
