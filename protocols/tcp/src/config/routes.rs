//! The rules of a TCP listener as they are written, and what is left of them once they are checked.
//!
//! When a rule takes a connection is in [`crate::route`]. Start at [`RouteRule`] for the keys, [`RouteConfig`] for
//! what a worker builds from.

use std::net::Ipv4Addr;
use std::sync::Arc;

use portcullis_config::{Diagnostics, Located, OneOrMany, Span};
use portcullis_filter::ReadContext;
use portcullis_route::{AnyOf, HostPattern, NamedRule, RuleWords, Weighted, check_rules};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::route::{Condition, ProtocolName};

/// One rule, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// The name: as written, else `routes[<position>]`. `None` where a listener has a cluster and no rules.
    pub name: Option<Arc<str>>,
    /// The server names; empty for any, or none at all.
    pub server_names: Vec<HostPattern>,
    /// What else a connection must be.
    pub condition: Condition,
    /// Where connections go: names of clusters with their shares, at least one above 0.
    pub clusters: Vec<(String, u32)>,
}

impl RouteConfig {
    /// The rule that takes every connection.
    #[must_use]
    pub fn catch_all(clusters: Vec<(String, u32)>) -> Self {
        Self {
            name: None,
            server_names: Vec::new(),
            condition: Condition::default(),
            clusters,
        }
    }

    /// All that it takes, its server names among it.
    fn covered(&self) -> (AnyOf<HostPattern>, Condition) {
        let names = match &*self.server_names {
            [] => vec![HostPattern::any()],
            names => names.to_vec(),
        };
        (AnyOf(names), self.condition.clone())
    }
}

/// One rule: when it takes a connection, and where that goes. Rules are tried in order; the first that fits decides, and
/// a connection that fits none is closed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteRule {
    /// A name for limits and logs. Default `routes[<position>]`, which moves when rules are inserted.
    name: Option<Located<String>>,
    /// What a connection must be. Default: anything, also without TLS.
    #[serde(rename = "match", default)]
    condition: MatchRule,
    /// The cluster that connections go to. Either this or `clusters`.
    cluster: Option<Located<String>>,
    /// Clusters that share the connections by weight.
    clusters: Option<Located<Vec<WeightedCluster>>>,
}

/// What a connection must be: everything that is named must hold; of a list, one. TLS is not ended for it: the client's
/// first message is read and passed on as it came.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct MatchRule {
    /// Server names (SNI): `db.example.com`, `*.example.com` (anything below), `*` (any name).
    sni: OneOrMany<Located<HostPattern>>,
    /// Application protocols (ALPN) of which the client offers one, such as `h2`.
    alpn: OneOrMany<ProtocolName>,
}

/// A cluster and its share of the connections.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedCluster {
    /// The cluster.
    cluster: Located<String>,
    /// Its share, relative to the others. Default 1.
    #[serde(default = "one")]
    weight: u32,
}

const fn one() -> u32 {
    1
}

/// Checks the rules of a listener. `None` if one of them says not where connections go.
pub(super) fn read_routes(
    rules: &Located<Vec<Located<RouteRule>>>,
    cx: &mut ReadContext<'_>,
) -> Option<Vec<RouteConfig>> {
    if rules.value.is_empty() {
        cx.diagnostics
            .error(rules.span, "there are no routes")
            .help("every connection would be closed");
    }
    let read: Vec<_> = (0..)
        .zip(&rules.value)
        .map(|(index, rule)| Some((rule.span, read_rule(rule, index, cx)?)))
        .collect();
    let routes: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    let conditions: Vec<_> = routes.iter().map(|(_, route)| route.covered()).collect();
    let named = routes.iter().zip(&conditions);
    let named = named.map(|((span, route), condition)| NamedRule {
        span: *span,
        name: route.name.as_deref().unwrap_or_default(),
        condition,
    });
    check_rules(named, WORDS, cx.diagnostics);
    Some(routes.into_iter().map(|(_, route)| route).collect())
}

/// What rules take, in the words of the checks.
const WORDS: RuleWords = RuleWords {
    all: "all its connections",
    them: "them",
};

fn read_rule(
    rule: &Located<RouteRule>,
    index: usize,
    cx: &mut ReadContext<'_>,
) -> Option<RouteConfig> {
    let RouteRule {
        name,
        condition,
        cluster,
        clusters,
    } = &rule.value;
    for pattern in &condition.sni {
        check_server_name(pattern, cx.diagnostics);
    }
    let protocols = condition.alpn.0.clone();
    let name = match name {
        Some(name) => name.value.clone(),
        None => format!("routes[{index}]"),
    };
    let clusters = read_clusters(cluster.as_ref(), clusters.as_ref(), "route", rule.span, cx)?;
    Some(RouteConfig {
        name: Some(name.into()),
        server_names: condition
            .sni
            .iter()
            .map(|name| name.value.clone())
            .collect(),
        condition: Condition {
            named: !condition.sni.is_empty(),
            protocols: (!protocols.is_empty()).then_some(AnyOf(protocols)),
        },
        clusters,
    })
}

/// Checks where connections go. `owner` is what has the two keys, and `span` its place.
pub(super) fn read_clusters(
    cluster: Option<&Located<String>>,
    clusters: Option<&Located<Vec<WeightedCluster>>>,
    owner: &str,
    span: Span,
    cx: &mut ReadContext<'_>,
) -> Option<Vec<(String, u32)>> {
    let (list, span) = match (cluster, clusters) {
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
                .error(
                    cluster.span,
                    format!("a {owner} has either a cluster or clusters"),
                )
                .also(list.span, "the clusters");
            return None;
        }
        (None, None) => {
            cx.diagnostics
                .error(
                    span,
                    format!("the {owner} does not say where connections go"),
                )
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

/// RFC 6066 section 3: a server name is no address.
fn check_server_name(pattern: &Located<HostPattern>, diagnostics: &mut Diagnostics) {
    let text = pattern.value.to_string();
    if text.starts_with('[') || text.parse::<Ipv4Addr>().is_ok() {
        diagnostics
            .error(pattern.span, format!("'{text}' can never match"))
            .help("clients that connect to an address name no server");
    }
}
