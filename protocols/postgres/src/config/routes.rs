//! The rules of a Postgres listener as they are written, and what is left of them once they are checked.
//!
//! When a rule takes a statement is in [`crate::route`]. Start at [`RouteRule`] for the keys, [`RouteConfig`] for what a
//! worker builds from.

use std::sync::Arc;

use portcullis_config::{Located, Network, Node, OneOrMany, Span};
use portcullis_filter::{ReadContext, Targets};
use portcullis_route::{AnyOf, HostPattern, NamedRule, RuleWords, ValuePattern, check_rules};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{StatementKind, TablePattern};
use crate::route::{Condition, InNetwork};

/// One rule, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// The name: as written, else `routes[<position>]`. `None` where a listener has a cluster and no rules.
    pub name: Option<Arc<str>>,
    /// What a client and its statement must be.
    pub condition: Condition,
    /// The cluster.
    pub cluster: String,
    /// Which of its servers.
    pub role: Role,
    /// The database's name there. `None`: the one that the client asked for.
    pub database: Option<Arc<str>>,
}

/// Which servers of a cluster are meant. In a cluster that knows no roles every server counts as the primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The one that takes writes.
    #[default]
    Primary,
    /// One that follows it, and nothing else.
    Replica,
    /// Any that is healthy.
    Any,
    /// A replica while one is healthy and not too far behind, else the primary.
    PreferReplica,
}

impl Role {
    /// The word in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Any => "any",
            Self::PreferReplica => "prefer_replica",
        }
    }
}

/// One rule: when it takes a client's statement, and where that goes. Rules are tried in order; the first that fits
/// decides, and what fits none is refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteRule {
    /// A name for limits and logs. Default `routes[<position>]`, which moves when rules are inserted.
    name: Option<Located<String>>,
    /// What a client and its statement must be. Default: anything.
    #[serde(rename = "match", default)]
    condition: MatchConfig,
    /// The cluster.
    cluster: Located<String>,
    /// Which of its servers. Default `primary`: the only one that takes everything.
    #[serde(default)]
    role: Role,
    /// The database's name there. Default: the one that the client asked for.
    database: Option<Located<String>>,
}

/// What a client and its statement must be: everything that is named must hold; of a list, one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MatchConfig {
    /// The database that the client asked for: `shop`, `shop_*`, `~^shop[0-9]$`.
    pub database: OneOrMany<ValuePattern>,
    /// The client's user, likewise.
    pub user: OneOrMany<ValuePattern>,
    /// Its `application_name` when it started, likewise.
    pub application: OneOrMany<ValuePattern>,
    /// The server name that it asked for in TLS: `db.example.com`, `*.example.com`, `*` (any name).
    pub sni: OneOrMany<HostPattern>,
    /// Its network.
    pub network: OneOrMany<Network>,
    /// What the statement does: `read`, `write`, `ddl`, or a verb. Each statement of the text must be one of these, and
    /// `read` must be proved. A text that cannot be read is a `write`.
    pub statement: OneOrMany<StatementKind>,
    /// The tables that it names: it must name one, and none but these.
    pub tables: OneOrMany<TablePattern>,
}

impl MatchConfig {
    fn condition(&self) -> Condition {
        fn list<T: Clone>(items: &OneOrMany<T>) -> Option<AnyOf<T>> {
            (!items.is_empty()).then(|| AnyOf(items.to_vec()))
        }
        let networks = self
            .network
            .iter()
            .copied()
            .map(InNetwork)
            .collect::<Vec<_>>();
        Condition {
            databases: list(&self.database),
            users: list(&self.user),
            applications: list(&self.application),
            server_names: list(&self.sni),
            networks: (!networks.is_empty()).then_some(AnyOf(networks)),
            statements: list(&self.statement),
            tables: list(&self.tables),
        }
    }
}

type Found = (Span, RouteConfig);

/// Checks where statements go. `None` if that is not said.
pub(super) fn read_targets(
    raw: &Node,
    cluster: Option<&Located<String>>,
    routes: Option<&Located<Vec<Located<RouteRule>>>>,
    cx: &mut ReadContext<'_>,
) -> Option<Vec<Found>> {
    Some(match cx.targets(raw, cluster, routes, "statements")? {
        Targets::Routes(routes) => read_routes(routes, cx),
        Targets::Cluster(cluster) => {
            let everything = RouteConfig {
                name: None,
                condition: Condition::default(),
                cluster: cluster.value.clone(),
                role: Role::Primary,
                database: None,
            };
            vec![(cluster.span, everything)]
        }
    })
}

fn read_routes(rules: &Located<Vec<Located<RouteRule>>>, cx: &mut ReadContext<'_>) -> Vec<Found> {
    if rules.value.is_empty() {
        cx.diagnostics
            .error(rules.span, "there are no routes")
            .help("every client would be refused");
    }
    let routes: Vec<Found> = (0..)
        .zip(&rules.value)
        .map(|(index, rule)| (rule.span, read_rule(rule, index, cx)))
        .collect();
    let named = routes.iter().map(|(span, route)| NamedRule {
        span: *span,
        name: route.name.as_deref().unwrap_or_default(),
        condition: &route.condition,
    });
    check_rules(named, WORDS, cx.diagnostics);
    routes
}

/// What rules take, in the words of the checks.
const WORDS: RuleWords = RuleWords {
    all: "everything that it could",
    them: "it",
};

fn read_rule(rule: &Located<RouteRule>, index: usize, cx: &mut ReadContext<'_>) -> RouteConfig {
    cx.check_cluster(&rule.cluster);
    if let Some(database) = &rule.database
        && (database.is_empty() || database.contains('\0'))
    {
        cx.diagnostics
            .error(database.span, "the database has no name")
            .expected("its name on the servers");
    }
    let name = match &rule.name {
        Some(name) => name.value.clone(),
        None => format!("routes[{index}]"),
    };
    RouteConfig {
        name: Some(name.into()),
        condition: rule.condition.condition(),
        cluster: rule.cluster.value.clone(),
        role: rule.role,
        database: rule.database.as_ref().map(|name| name.as_str().into()),
    }
}
