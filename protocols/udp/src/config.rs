//! The keys of a listener with `protocol: udp`.
//!
//! What is common to all listeners is not here. Start at [`UdpConfig::read`].

use std::num::{NonZeroU32, NonZeroUsize};

use portcullis_config::{Duration, Located, Node};
use portcullis_filter::{FilterList, ReadContext};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::filters::registry;
use crate::machine::FlowLimits;
use crate::message::UdpMessages;

/// The configuration of a UDP listener.
#[derive(Debug, Clone, PartialEq)]
pub struct UdpConfig {
    /// The cluster that flows go to.
    pub cluster: String,
    /// How flows are kept.
    pub flows: FlowConfig,
    /// The filters, in order.
    pub filters: FilterList<UdpMessages>,
}

/// How flows are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowConfig {
    /// How long nothing may move.
    pub idle_timeout: Duration,
    /// What flows are spread by.
    pub hash: Hash,
    /// Bounds.
    pub limits: UdpLimits,
}

/// What flows are spread over endpoints by, where the cluster does not say how (`balance`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hash {
    /// The client's IP address: all its flows lead to one endpoint, as long as that is available.
    #[default]
    SourceIp,
    /// The client's IP address and port: its flows are spread, and one that was forgotten leads to the same endpoint again.
    SourcePort,
    /// Nothing: flows are spread in turn.
    Off,
}

/// Bounds on flows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UdpLimits {
    /// Flows at a time, over all workers. Default 10000: each takes a descriptor and a port of the machine. They count against
    /// `connections`, too.
    pub flows: NonZeroUsize,
    /// What becomes of a datagram that would begin one more. Default `refuse`: it is lost, and flows that are there go on.
    pub when_full: WhenFull,
    /// Flows at a time of one client IP address, over all workers; of IPv6 addresses the first 64 bits count. Default 1000: a
    /// network behind one address has room, and nobody takes the whole table.
    pub flows_per_source: NonZeroUsize,
    /// Datagrams that may come back for each datagram of the client. Default: any number. Set it where one question has one
    /// answer, as in DNS.
    pub replies: Option<NonZeroU32>,
    /// Bytes that may come back for each byte of the client. Default: any number. Set it where the network does not keep
    /// clients from lying about their address, so that nobody is flooded by way of this gateway.
    pub amplification: Option<NonZeroU32>,
}

/// What becomes of a datagram that would begin a flow too many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// It is lost.
    #[default]
    Refuse,
    /// The flow of the same worker that is idle longest ends, and this one takes its place.
    EvictIdle,
}

impl Default for UdpLimits {
    fn default() -> Self {
        let of = |count: usize| NonZeroUsize::MIN.saturating_add(count - 1);
        Self {
            flows: of(10_000),
            when_full: WhenFull::default(),
            flows_per_source: of(1000),
            replies: None,
            amplification: None,
        }
    }
}

impl FlowConfig {
    /// What the machine goes by.
    #[must_use]
    pub fn limits(&self) -> FlowLimits {
        FlowLimits {
            idle: self.idle_timeout.get(),
            flows: self.limits.flows.get(),
            evict: self.limits.when_full == WhenFull::EvictIdle,
            per_source: self.limits.flows_per_source.get(),
            replies: self.limits.replies.map(NonZeroU32::get),
            amplification: self.limits.amplification.map(NonZeroU32::get),
        }
    }
}

/// The keys as they are written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UdpKeys {
    /// The cluster that flows go to.
    cluster: Located<String>,
    /// A flow ends when nothing has moved in it for so long. Default 60s: most protocols over UDP ask or say something more
    /// often, and what begins again later begins a new flow.
    #[serde(default = "default_idle_timeout")]
    idle_timeout: Duration,
    /// What flows are spread over endpoints by, unless the cluster's `balance` says how. Default `source_ip`.
    #[serde(default)]
    hash: Hash,
    /// Bounds.
    #[serde(default)]
    limits: UdpLimits,
    /// Filters that every flow passes, in order.
    filters: Option<Node>,
}

/// The idle time where none is configured.
#[must_use]
pub const fn default_idle_timeout() -> Duration {
    Duration::from_secs(60)
}

impl UdpConfig {
    /// Reads the keys of a listener that are UDP's own. Mistakes go to the diagnostics, all of them; `None` if there
    /// is nothing usable.
    pub fn read(raw: &Node, cx: &mut ReadContext<'_>) -> Option<Self> {
        let keys: UdpKeys = raw.read(cx.diagnostics)?;
        cx.check_cluster(&keys.cluster);
        Some(Self {
            filters: registry().read_listener(keys.filters.as_ref(), cx),
            cluster: keys.cluster.into_inner(),
            flows: FlowConfig {
                idle_timeout: keys.idle_timeout,
                hash: keys.hash,
                limits: keys.limits,
            },
        })
    }

    /// JSON Schema of those keys: an object schema with `properties`, without references to other places.
    #[must_use]
    pub fn schema() -> Value {
        registry().listener_schema::<UdpKeys>()
    }
}
