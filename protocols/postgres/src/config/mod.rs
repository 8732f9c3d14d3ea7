//! The keys of a listener with `protocol: postgres`.
//!
//! What is common to all listeners is not here, TLS among it. One file for each block of keys: `auth`, `upstream`, `pool`,
//! `limits` (with the timeouts), `routes`. Passwords are [`Secret`]s, which print as dots. Start at
//! [`PostgresConfig::read`].

mod auth;
mod certificate;
mod limits;
mod pool;
mod replicas;
mod routes;
mod secret;
mod text;
mod upstream;

pub use portcullis_config::Secret;
use portcullis_config::{Diagnostics, Duration, Located, Node};
use portcullis_filter::{FilterList, ReadContext};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

pub use self::auth::{AuthConfig, AuthMethod, AuthQueryConfig, DEFAULT_AUTH_QUERY, UserConfig};
pub use self::certificate::{CertificateConfig, CertificateName};
pub use self::limits::{
    ConsoleConfig, LimitsConfig, OnUnparsable, StatementsConfig, TimeoutsConfig,
};
pub use self::pool::{PoolConfig, PoolMode, StatePolicy};
pub use self::replicas::{MaxLag, ReadYourWrites};
pub use self::routes::{MatchConfig, Role, RouteConfig};
pub use self::secret::Password;
pub use self::text::{StatementKind, TablePattern, TablePatternError};
pub use self::upstream::{AuthMinimum, TlsStart, UpstreamConfig};

use self::auth::{AuthKeys, read_auth};
use self::routes::{RouteRule, read_targets};
use crate::filters::{ClientRules, registry};
use crate::request::PostgresMessages;
use crate::sql::FunctionSet;

/// The configuration of a Postgres listener.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresConfig {
    /// How clients prove who they are.
    pub auth: AuthConfig,
    /// How the gateway proves who it is to servers.
    pub upstream: UpstreamConfig,
    /// How server connections are shared.
    pub pool: PoolConfig,
    /// How long things may take.
    pub timeouts: TimeoutsConfig,
    /// How much a client may send or keep.
    pub limits: LimitsConfig,
    /// Where statements go: rules in order, at least one.
    pub routes: Vec<RouteConfig>,
    /// Where a client reads that has written.
    pub read_your_writes: ReadYourWrites,
    /// How far behind a replica may be.
    pub max_lag: MaxLag,
    /// Whether a comment at the start of a text may say where it goes.
    pub hints: bool,
    /// Functions of the operator's own that change nothing, for a [`FunctionSet`].
    pub safe_functions: Vec<String>,
    /// What becomes of a text that cannot be read to its end, where no filter says otherwise.
    pub on_unparsable: OnUnparsable,
    /// The administrators' console.
    pub console: ConsoleConfig,
    /// The table of statements.
    pub statements: StatementsConfig,
    /// The filters, in order.
    pub filters: FilterList<PostgresMessages>,
    /// What the filters say about clients, whatever these ask: to refuse them when they start.
    pub client_rules: ClientRules,
}

/// The keys as they are written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PostgresKeys {
    /// How clients prove who they are. Required, since no default fits: who lets everybody in says so.
    auth: Option<Located<AuthKeys>>,
    /// How the gateway proves who it is to servers. Default: as the client's user, with the credentials that `auth` knows.
    #[serde(default)]
    upstream: Located<UpstreamConfig>,
    /// How server connections are shared.
    #[serde(default)]
    pool: Located<PoolConfig>,
    /// How long things may take.
    #[serde(default)]
    timeouts: TimeoutsConfig,
    /// How much a client may send or keep.
    #[serde(default)]
    limits: Located<LimitsConfig>,
    /// The cluster that everything goes to. Either this or `routes`.
    cluster: Option<Located<String>>,
    /// Rules that say where connections and statements go.
    routes: Option<Located<Vec<Located<RouteRule>>>>,
    /// Where a client reads that has just written. Default `off`: where the rules say.
    #[serde(default)]
    read_your_writes: Located<ReadYourWrites>,
    /// How far a replica may be behind the primary. Default: any distance.
    max_lag: Option<Located<MaxLag>>,
    /// Whether a comment at the very start of a text, `/* portcullis: primary */` or `replica`, says where it goes. Default
    /// false: who can inject a comment could choose a server.
    #[serde(default)]
    hints: bool,
    /// Functions of your own that change nothing, such as `[shop.price_of]`: a SELECT that calls any other unknown function
    /// counts as a write. Default: none.
    #[serde(default)]
    safe_functions: Vec<Located<String>>,
    /// What becomes of a text that cannot be read to its end: too long, unterminated, no SQL. Default `allow`: the server
    /// says what is wrong with it, and the primary is where it goes. Filters with rules about statements deny by default.
    #[serde(default = "allow")]
    on_unparsable: OnUnparsable,
    /// The administrators' console.
    #[serde(default)]
    console: ConsoleConfig,
    /// The table of statements at `/postgres/statements`.
    #[serde(default)]
    statements: StatementsConfig,
    /// Filters that every statement passes, in order.
    filters: Option<Node>,
}

const fn allow() -> OnUnparsable {
    OnUnparsable::Allow
}

impl PostgresConfig {
    /// Reads the keys of a listener that are Postgres's own. Mistakes go to the diagnostics, all of them; `None` if there
    /// is nothing usable.
    pub fn read(raw: &Node, cx: &mut ReadContext<'_>) -> Option<Self> {
        let keys: PostgresKeys = raw.read(cx.diagnostics)?;
        let filters = registry().read_listener(keys.filters.as_ref(), cx);
        let auth = read_auth(keys.auth, raw, cx);
        keys.upstream
            .value
            .check(keys.upstream.span, cx.diagnostics);
        keys.pool.value.check(keys.pool.span, cx.diagnostics);
        keys.limits.value.check(cx.diagnostics);
        keys.console.check(cx.diagnostics);
        keys.statements.check(cx.diagnostics);
        let routes = read_targets(raw, keys.cluster.as_ref(), keys.routes.as_ref(), cx);
        let routes = routes.map(|routes| {
            check_statement_routes(&routes, &keys.pool, cx.diagnostics);
            let can_ask = auth
                .as_ref()
                .is_none_or(|auth| replicas::asks_as(&keys.upstream.value, auth).is_some());
            replicas::check(
                &routes,
                &keys.read_your_writes,
                keys.max_lag.as_ref(),
                can_ask,
                cx.diagnostics,
            );
            routes.into_iter().map(|(_, route)| route).collect()
        });
        let safe_functions = read_functions(&keys.safe_functions, cx.diagnostics);
        Some(Self {
            auth: auth?,
            upstream: keys.upstream.into_inner(),
            pool: keys.pool.into_inner(),
            timeouts: keys.timeouts,
            limits: keys.limits.into_inner(),
            routes: routes?,
            read_your_writes: keys.read_your_writes.into_inner(),
            max_lag: keys.max_lag.map(Located::into_inner).unwrap_or_default(),
            hints: keys.hints,
            safe_functions,
            on_unparsable: keys.on_unparsable,
            console: keys.console,
            statements: keys.statements,
            filters,
            client_rules: keys
                .filters
                .as_ref()
                .map(ClientRules::read)
                .unwrap_or_default(),
        })
    }

    /// As whom servers are asked for their roles, with which password. `None` if nobody can be.
    #[must_use]
    pub fn asks_as(&self) -> Option<(String, Option<&Password>)> {
        replicas::asks_as(&self.upstream, &self.auth)
    }

    /// JSON Schema of those keys: an object schema with `properties`, without references to other places.
    #[must_use]
    pub fn schema() -> Value {
        registry().listener_schema::<PostgresKeys>()
    }
}

/// In session mode a server connection is the client's until it leaves, so its first statement would decide for all.
fn check_statement_routes(
    routes: &[(portcullis_config::Span, RouteConfig)],
    pool: &Located<PoolConfig>,
    diagnostics: &mut Diagnostics,
) {
    if pool.mode != PoolMode::Session {
        return;
    }
    for (span, route) in routes {
        if route.condition.asks_statement() {
            diagnostics
                .error(*span, "a rule about statements needs `pool: { mode: transaction }`")
                .help("in session mode a client keeps one server connection, whatever its statements do");
        }
    }
}

/// Names as SQL has them: `name` or `schema.name`, in double quotes where case matters.
fn read_functions(names: &[Located<String>], diagnostics: &mut Diagnostics) -> Vec<String> {
    let mut known = FunctionSet::default();
    for name in names {
        if !known.insert(name) {
            diagnostics
                .error(name.span, format!("'{}' is no function", name.value))
                .expected("a name such as `price_of` or `shop.price_of`, without parentheses");
        }
    }
    names.iter().map(|name| name.value.clone()).collect()
}

/// For defaults.
const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[cfg(test)]
mod tests;
