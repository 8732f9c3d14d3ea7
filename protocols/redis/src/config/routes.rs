//! The rules of a Redis listener as they are written, and what is left of them once they are checked.
//!
//! When a rule takes a command is in [`crate::route`]. Start at [`RouteRule`] for the keys, [`RouteConfig`] for what a
//! worker builds from.

use std::sync::Arc;

use portcullis_config::{Located, Network, Node, OneOrMany, Span};
use portcullis_filter::{ReadContext, Targets};
use portcullis_route::{AnyOf, NamedRule, RuleWords, ValuePattern, check_rules};
use schemars::JsonSchema;
use serde::Deserialize;

use super::way::{KeyRule, MirrorRule, Prefixed, WayConfig, WayKeys, check_prefixes};
use crate::route::{CommandPattern, Condition, InNetwork, KeyPattern};

/// One rule, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// The name: as written, else `routes[<position>]`. `None` where a listener has a cluster and no rules.
    pub name: Option<Arc<str>>,
    /// What a client and its command must be.
    pub condition: Condition,
    /// The cluster.
    pub cluster: String,
    /// The cluster for commands that only read, where that is another.
    pub read_cluster: Option<String>,
    /// What is done with commands on their way.
    pub way: WayConfig,
}

/// One rule: when it takes a command, and where that goes. Rules are tried in order, for each key of a command; the first
/// that fits decides, and what fits none is refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteRule {
    /// A name for limits and logs. Default `routes[<position>]`, which moves when rules are inserted.
    name: Option<Located<String>>,
    /// What a client and its command must be. Default: anything.
    #[serde(rename = "match", default)]
    condition: MatchConfig,
    /// The cluster.
    cluster: Located<String>,
    /// What keys are called upstream. Default: as clients call them.
    key: Option<Located<KeyRule>>,
    /// The cluster for commands that only read, outside of transactions, of WATCH and of scripts. Default: that of all others.
    read_cluster: Option<Located<String>>,
    /// Another cluster that is sent copies of commands.
    mirror: Option<MirrorRule>,
    /// Whether clients of one worker that GET the same key at the same time share one request. Default false: what they read
    /// may be as old as the first of them asked.
    #[serde(default)]
    collapse: bool,
}

impl RouteRule {
    const fn way(&self) -> WayKeys<'_> {
        WayKeys {
            key: self.key.as_ref(),
            read_cluster: self.read_cluster.as_ref(),
            mirror: self.mirror.as_ref(),
            collapse: self.collapse,
        }
    }
}

/// What a client and its command must be: everything that is named must hold; of a list, one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MatchConfig {
    /// The key, as Redis matches it: `session:*`, `user:[0-9]*`. Commands without keys are taken only by rules that do not
    /// ask for one.
    pub key: OneOrMany<KeyPattern>,
    /// The command, `get` or `config|get`; or a category of them, `@read`.
    pub command: OneOrMany<CommandPattern>,
    /// The database that the client selected.
    pub database: OneOrMany<u32>,
    /// The client's user: `app`, `app_*`, `~^app[0-9]$`.
    pub user: OneOrMany<ValuePattern>,
    /// Its network.
    pub network: OneOrMany<Network>,
}

impl MatchConfig {
    fn condition(&self) -> Condition {
        fn list<T: Clone>(items: &OneOrMany<T>) -> Option<AnyOf<T>> {
            (!items.is_empty()).then(|| AnyOf(items.to_vec()))
        }
        let networks: Vec<_> = self.network.iter().copied().map(InNetwork).collect();
        Condition {
            keys: list(&self.key),
            commands: list(&self.command),
            databases: (!self.database.is_empty()).then(|| self.database.to_vec()),
            users: list(&self.user),
            networks: (!networks.is_empty()).then_some(AnyOf(networks)),
        }
    }
}

/// Checks where commands go. `None` if that is not said.
pub(super) fn read_targets(
    raw: &Node,
    cluster: Option<&Located<String>>,
    routes: Option<&Located<Vec<Located<RouteRule>>>>,
    cx: &mut ReadContext<'_>,
) -> Option<Vec<RouteConfig>> {
    Some(match cx.targets(raw, cluster, routes, "commands")? {
        Targets::Routes(routes) => read_routes(routes, cx),
        Targets::Cluster(cluster) => vec![RouteConfig {
            name: None,
            condition: Condition::default(),
            cluster: cluster.value.clone(),
            read_cluster: None,
            way: WayConfig::default(),
        }],
    })
}

/// What rules take, in the words of the checks.
const WORDS: RuleWords = RuleWords {
    all: "everything that it could",
    them: "it",
};

fn read_routes(
    rules: &Located<Vec<Located<RouteRule>>>,
    cx: &mut ReadContext<'_>,
) -> Vec<RouteConfig> {
    if rules.value.is_empty() {
        cx.diagnostics
            .error(rules.span, "there are no routes")
            .help("every command would be refused");
    }
    if rules.value.len() > usize::from(u16::MAX) {
        cx.diagnostics
            .error(rules.span, "there are more than 65535 routes");
    }
    let mut routes: Vec<(Span, RouteConfig)> = Vec::new();
    for (index, rule) in rules.value.iter().enumerate() {
        cx.check_cluster(&rule.cluster);
        let name = match &rule.name {
            Some(name) => name.value.clone(),
            None => format!("routes[{index}]"),
        };
        let (way, read_cluster) = rule.way().read(&rule.cluster.value, cx);
        let route = RouteConfig {
            name: Some(name.into()),
            condition: rule.condition.condition(),
            cluster: rule.cluster.value.clone(),
            read_cluster,
            way,
        };
        routes.push((rule.span, route));
    }
    let named = routes.iter().map(|(span, route)| NamedRule {
        span: *span,
        name: route.name.as_deref().unwrap_or_default(),
        condition: &route.condition,
    });
    check_rules(named, WORDS, cx.diagnostics);
    let prefixed = routes.iter().filter_map(|(span, route)| {
        let reads = route.read_cluster.as_deref().unwrap_or(&route.cluster);
        Some(Prefixed {
            span: *span,
            clusters: [&route.cluster, reads],
            renaming: route.way.renaming.as_deref()?,
        })
    });
    check_prefixes(&prefixed.collect::<Vec<_>>(), cx);
    routes.into_iter().map(|(_, route)| route).collect()
}
