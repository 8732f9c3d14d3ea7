//! The keys of a listener with `protocol: quic`.
//!
//! What is common to all listeners is not here. Start at [`QuicConfig::read`].

use portcullis_config::{Duration, Located, Node};
use portcullis_filter::{FilterList, ReadContext};
use portcullis_quic::steering::{ServerIdPlace, SteeringConfig, UnknownVersion};
use portcullis_tcp::config::{RouteConfig, RouteRule, TargetKeys, WeightedCluster};
use portcullis_udp::config::{FlowConfig, Hash, UdpLimits, default_idle_timeout};
use portcullis_udp::filters::registry_of;
use portcullis_udp::message::UdpMessages;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// The configuration of a QUIC listener.
#[derive(Debug, PartialEq)]
pub(crate) struct QuicConfig {
    /// Where connections go: rules in order, at least one.
    pub(super) routes: Vec<RouteConfig>,
    /// What becomes of packets that nobody knows the connection of.
    pub(super) unreadable: Unreadable,
    /// How connection ids are read.
    pub(super) steering: SteeringConfig,
    /// How flows are kept.
    pub(super) flows: FlowConfig,
    /// The filters, in order.
    pub(super) filters: FilterList<UdpMessages>,
}

/// What becomes of packets of a version that is not read (other than 1 and 2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum UnknownVersions {
    /// They are lost.
    #[default]
    Drop,
    /// They go where a route without `match` leads.
    Route,
    /// Their clients are told which versions are read (RFC 8999 section 6), never with more bytes than they sent.
    Negotiate,
}

/// What becomes of packets that cannot be opened, or whose connection nobody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unreadable {
    /// They are lost.
    #[default]
    Drop,
    /// They go where a route without `match` leads.
    Route,
}

/// Where in a connection id its server is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServerId {
    /// Bytes of the connection id in front of it. Default 1, which servers use for other things.
    #[serde(default = "one")]
    offset: usize,
    /// Its own bytes, 1 to 19.
    length: usize,
}

const fn one() -> usize {
    1
}

/// The keys as they are written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct QuicKeys {
    /// The cluster that connections go to. Either this, `clusters` or `routes`.
    cluster: Option<Located<String>>,
    /// Clusters that share the connections by weight.
    clusters: Option<Located<Vec<WeightedCluster>>>,
    /// Rules that say where connections go by what their clients ask for. QUIC is not ended for them.
    routes: Option<Located<Vec<Located<RouteRule>>>>,
    /// What becomes of packets of other versions than 1 and 2. Default `drop`.
    #[serde(default)]
    unknown_versions: UnknownVersions,
    /// What becomes of packets that cannot be opened, or whose connection nobody knows, as after a restart. Default `drop`.
    #[serde(default)]
    unreadable: Unreadable,
    /// Where the servers name themselves in their connection ids, if they do: then a client that changes its address stays with
    /// its server by any of its ids. Default: they do not, and ids are learned one by one, from what servers say in their
    /// handshakes.
    server_id: Option<Located<ServerId>>,
    /// A flow ends when nothing has moved in it for so long. Default 60s: twice of what most clients and servers give up after.
    #[serde(default = "default_idle_timeout")]
    idle_timeout: Duration,
    /// What connections are spread over endpoints by, unless the cluster's `balance` says how. Default `source_ip`.
    #[serde(default)]
    hash: Hash,
    /// Bounds.
    #[serde(default)]
    limits: UdpLimits,
    /// Filters that every flow passes, in order.
    filters: Option<Node>,
}

/// RFC 9000 section 17.2: the longest connection id.
const LONGEST_ID: usize = 20;

impl QuicConfig {
    /// Reads the keys of a listener that are QUIC's own. Mistakes go to the diagnostics, all of them; `None` if there
    /// is nothing usable.
    pub(super) fn read(raw: &Node, cx: &mut ReadContext<'_>) -> Option<Self> {
        let keys: QuicKeys = raw.read(cx.diagnostics)?;
        let filters = registry_of("quic").read_listener(keys.filters.as_ref(), cx);
        let targets = TargetKeys {
            cluster: keys.cluster.as_ref(),
            clusters: keys.clusters.as_ref(),
            routes: keys.routes.as_ref(),
        };
        let routes = targets.read(raw, cx);
        if let Some(id) = &keys.server_id
            && (id.length == 0 || id.offset.saturating_add(id.length) > LONGEST_ID)
        {
            cx.diagnostics
                .error(id.span, "a connection id has no such bytes")
                .expected("a length of at least 1, within 20 bytes");
        }
        Some(Self {
            routes: routes?,
            unreadable: keys.unreadable,
            steering: SteeringConfig {
                unknown_version: match keys.unknown_versions {
                    UnknownVersions::Drop => UnknownVersion::Drop,
                    UnknownVersions::Route => UnknownVersion::Route,
                    UnknownVersions::Negotiate => UnknownVersion::Negotiate,
                },
                server_id: keys.server_id.map(|id| ServerIdPlace {
                    offset: id.offset,
                    length: id.length,
                }),
                ..SteeringConfig::default()
            },
            flows: FlowConfig {
                idle_timeout: keys.idle_timeout,
                hash: keys.hash,
                limits: keys.limits,
            },
            filters,
        })
    }

    /// JSON Schema of those keys: an object schema with `properties`, without references to other places.
    pub(super) fn schema() -> Value {
        registry_of("quic").listener_schema::<QuicKeys>()
    }
}
