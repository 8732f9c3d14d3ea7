//! The keys of a listener with `protocol: tcp`.
//!
//! What is common to all listeners is not here. Start at [`TcpConfig::read`].

use std::num::NonZeroU32;

use portcullis_config::{Located, Node, Timeout};
use portcullis_filter::{FilterList, ReadContext};
use portcullis_route::Weighted;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::Value;

use crate::filters::registry;
use crate::message::TcpMessages;

/// The configuration of a TCP listener.
#[derive(Debug, Clone, PartialEq)]
pub struct TcpConfig {
    /// Where connections go: names of clusters with their shares, at least one above 0.
    pub clusters: Vec<(String, u32)>,
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
    /// The cluster that connections go to. Either this or `clusters`.
    cluster: Option<Located<String>>,
    /// Clusters that share the connections by weight.
    clusters: Option<Located<Vec<WeightedCluster>>>,
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

/// A cluster and its share of the connections.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WeightedCluster {
    /// The cluster.
    cluster: Located<String>,
    /// Its share, relative to the others. Default 1.
    #[serde(default = "one")]
    weight: u32,
}

const fn default_idle_timeout() -> Timeout {
    Timeout::from_secs(3600)
}

const fn one() -> u32 {
    1
}

impl TcpConfig {
    /// Reads the keys of a listener that are TCP's own. Mistakes go to the diagnostics, all of them; `None` if there
    /// is nothing usable.
    pub fn read(raw: &Node, cx: &mut ReadContext<'_>) -> Option<Self> {
        let keys: TcpKeys = raw.read(cx.diagnostics)?;
        let mut filters = keys
            .filters
            .as_ref()
            .map_or_else(FilterList::default, |list| {
                registry().read_list(list, &format!("{}.filters", cx.path), cx.diagnostics)
            });
        // A log wants to see what other filters refuse, wherever it is listed.
        filters.0.sort_by_key(|filter| filter.name != "access_log");
        Some(Self {
            clusters: read_clusters(raw, &keys, cx)?,
            idle_timeout: keys.idle_timeout,
            max_duration: keys.max_duration,
            connect: keys.connect,
            filters,
        })
    }

    /// JSON Schema of those keys: an object schema with `properties`, without references to other places.
    #[must_use]
    pub fn schema() -> Value {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
        let keys = settings.into_generator().into_root_schema_for::<TcpKeys>();
        let mut schema = keys.to_value();
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.insert("filters".to_owned(), registry().schema());
        }
        schema
    }
}

fn read_clusters(
    raw: &Node,
    keys: &TcpKeys,
    cx: &mut ReadContext<'_>,
) -> Option<Vec<(String, u32)>> {
    let (list, span) = match (&keys.cluster, &keys.clusters) {
        (Some(cluster), None) => {
            let only = WeightedCluster {
                cluster: cluster.clone(),
                weight: 1,
            };
            (vec![only], cluster.span)
        }
        (None, Some(list)) => (list.value.clone(), list.span),
        (Some(cluster), Some(list)) => {
            cx.diagnostics
                .error(cluster.span, "a listener has either a cluster or clusters")
                .also(list.span, "the clusters");
            return None;
        }
        (None, None) => {
            cx.diagnostics
                .error_at(raw, "the listener does not say where connections go")
                .expected("`cluster`, or `clusters` with weights");
            return None;
        }
    };
    for item in &list {
        cx.check_cluster(&item.cluster);
    }
    let item = |item: WeightedCluster| (item.cluster.into_inner(), item.weight);
    let shares: Vec<_> = list.into_iter().map(item).collect();
    if let Err(error) = Weighted::new(shares.iter().cloned()) {
        cx.diagnostics.error(span, error.to_string());
        return None;
    }
    Some(shares)
}

#[cfg(test)]
mod tests;
