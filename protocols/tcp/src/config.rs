//! The keys of a listener with `protocol: tcp`.
//!
//! What is common to all listeners is not here; the rules are in `routes`. Start at [`TcpConfig::read`].

mod routes;

use std::num::NonZeroU32;

use portcullis_config::{Duration, Located, Node, Timeout};
use portcullis_filter::{FilterList, ReadContext};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

pub use self::routes::{RouteConfig, RouteRule, WeightedCluster};
use self::routes::{read_clusters, read_routes};
use crate::filters::registry;
use crate::message::TcpMessages;
use crate::route::Condition;

/// The configuration of a TCP listener.
#[derive(Debug, Clone, PartialEq)]
pub struct TcpConfig {
    /// Where connections go: rules in order, at least one.
    pub routes: Vec<RouteConfig>,
    /// How long a client may take to say what rules ask for.
    pub sniff_timeout: Duration,
    /// How long nothing may move; `None` for ever.
    pub idle_timeout: Timeout,
    /// How long a connection may last in all.
    pub max_duration: Timeout,
    /// How an endpoint is connected.
    pub connect: ConnectConfig,
    /// The filters, in order.
    pub filters: FilterList<TcpMessages>,
}

/// How an endpoint is connected. How long one attempt may take is the cluster's `connect_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectConfig {
    /// How many endpoints are tried for one connection, each once. Default 3: one failed endpoint, and another at the
    /// same time, cost no connection; more would only make a client wait for a cluster that is down.
    pub attempts: NonZeroU32,
}

impl Default for ConnectConfig {
    fn default() -> Self {
        Self {
            attempts: NonZeroU32::MIN.saturating_add(2),
        }
    }
}

/// The keys as they are written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TcpKeys {
    /// The cluster that connections go to. Either this, `clusters` or `routes`.
    cluster: Option<Located<String>>,
    /// Clusters that share the connections by weight.
    clusters: Option<Located<Vec<WeightedCluster>>>,
    /// Rules that say where connections go by what a client of TLS asks for. TLS is not ended for them.
    routes: Option<Located<Vec<Located<RouteRule>>>>,
    /// How long a client may take until its first TLS message is whole, where rules ask for what is in it. Default 5s: it is
    /// sent at once, so this is several lost packets.
    sniff_timeout: Option<Located<Duration>>,
    /// A connection on which nothing moves for so long is closed. Default 1h: longer than the keep-alive of most
    /// protocols, and short enough that forgotten connections go away. `off` keeps them.
    #[serde(default = "default_idle_timeout")]
    idle_timeout: Timeout,
    /// A connection is closed after so long, whatever moves. Default `off`: a long transfer is no mistake.
    #[serde(default)]
    max_duration: Timeout,
    /// How an endpoint is connected.
    #[serde(default)]
    connect: ConnectConfig,
    /// Filters that every connection passes, in order.
    filters: Option<Node>,
}

/// As long as a PROXY header may take.
const fn default_sniff_timeout() -> Duration {
    Duration::from_secs(5)
}

const fn default_idle_timeout() -> Timeout {
    Timeout::from_secs(3600)
}

impl TcpConfig {
    /// Reads the keys of a listener that are TCP's own. Mistakes go to the diagnostics, all of them; `None` if there
    /// is nothing usable.
    pub fn read(raw: &Node, cx: &mut ReadContext<'_>) -> Option<Self> {
        let keys: TcpKeys = raw.read(cx.diagnostics)?;
        let filters = registry().read_listener(keys.filters.as_ref(), cx);
        let targets = TargetKeys {
            cluster: keys.cluster.as_ref(),
            clusters: keys.clusters.as_ref(),
            routes: keys.routes.as_ref(),
        };
        let routes = targets.read(raw, cx)?;
        let asks = |route: &RouteConfig| Condition::asks(&route.condition);
        if let Some(timeout) = &keys.sniff_timeout
            && !routes.iter().any(asks)
        {
            cx.diagnostics
                .error(timeout.span, "nothing is waited for")
                .help("`sniff_timeout` goes with routes that match `sni` or `alpn`");
        }
        Some(Self {
            routes,
            sniff_timeout: keys
                .sniff_timeout
                .map_or_else(default_sniff_timeout, Located::into_inner),
            idle_timeout: keys.idle_timeout,
            max_duration: keys.max_duration,
            connect: keys.connect,
            filters,
        })
    }

    /// JSON Schema of those keys: an object schema with `properties`, without references to other places.
    #[must_use]
    pub fn schema() -> Value {
        registry().listener_schema::<TcpKeys>()
    }
}

/// The keys that say where connections go: one of them is there.
#[derive(Debug, Clone, Copy)]
pub struct TargetKeys<'k> {
    /// All of them to one cluster.
    pub cluster: Option<&'k Located<String>>,
    /// All of them to these clusters, by weight.
    pub clusters: Option<&'k Located<Vec<WeightedCluster>>>,
    /// By rules.
    pub routes: Option<&'k Located<Vec<Located<RouteRule>>>>,
}

impl TargetKeys<'_> {
    /// The rules that they make, at least one. Mistakes go to the diagnostics; `None` if there is nothing usable.
    pub fn read(self, raw: &Node, cx: &mut ReadContext<'_>) -> Option<Vec<RouteConfig>> {
        let (cluster, clusters) = (self.cluster, self.clusters);
        let Some(routes) = self.routes else {
            let span = raw.label_span();
            let clusters = read_clusters(cluster, clusters, "listener", span, cx)?;
            return Some(vec![RouteConfig::catch_all(clusters)]);
        };
        let other = cluster
            .map(|cluster| cluster.span)
            .or_else(|| clusters.map(|clusters| clusters.span));
        if let Some(span) = other {
            cx.diagnostics
                .error(span, "a listener has either a cluster or routes")
                .also(routes.span, "the routes")
                .help("a route without `match` takes every connection");
            return None;
        }
        read_routes(routes, cx)
    }
}

#[cfg(test)]
mod tests;
