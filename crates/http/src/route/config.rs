//! What people write in `routes`, and what is left of it once it is checked.
//!
//! Reading one from the other, with all mistakes at their places, is in [`super::read`]. Start at [`RouteRule`] for
//! the keys, [`RouteConfig`] for what a worker builds from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use portcullis_config::{ByteSize, Duration, Located, Node, OneOrMany, Timeout};
use portcullis_filter::FilterList;
use portcullis_route::{
    AllOf, AnyOf, HostPattern, MethodSet, NamedValue, PathPattern, ValuePattern,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::condition::{Condition, ConnectPattern, FieldMatch, Predicate};
use super::reply::ReplyAction;
use super::retry::{Retry, RetryCause};
use super::rewrite::Rewrite;
use crate::edit::{EditConfig, FieldName, FieldValue};
use crate::grpc::{GrpcMatch, GrpcPattern};
use crate::head::Scheme;
use crate::message::Http;

/// One rule, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// The name: as written, else `routes[<position>]`.
    pub name: Arc<str>,
    /// The hosts; empty for any.
    pub hosts: Vec<HostPattern>,
    /// What else a request must be.
    pub condition: Condition,
    /// What is done with it.
    pub action: ActionConfig,
    /// What changes about its target.
    pub rewrite: Rewrite,
    /// See [`RouteRule::timeout`].
    pub timeout: Option<Option<std::time::Duration>>,
    /// See [`RouteRule::idle_timeout`].
    pub idle_timeout: Option<std::time::Duration>,
    /// When it is sent again.
    pub retry: Retry,
    /// Edits of requests.
    pub request_edits: EditConfig,
    /// Edits of responses.
    pub response_edits: EditConfig,
    /// Filters behind the listener's.
    pub filters: FilterList<Http>,
    /// Filters of the listener that are switched off.
    pub without: Vec<Box<str>>,
    /// See [`RouteRule::max_body`].
    pub max_body: Option<u64>,
    /// Protocols that requests may switch to, in lower case.
    pub upgrades: Vec<Box<str>>,
}

/// What a rule does with requests.
#[derive(Debug, Clone, PartialEq)]
pub enum ActionConfig {
    /// They go to one of these clusters, by weight.
    Forward(Vec<(Arc<str>, u32)>),
    /// They are answered here.
    Reply(ReplyAction),
}

impl RouteConfig {
    /// The rule that takes everything to one cluster.
    #[must_use]
    pub fn catch_all(cluster: &str) -> Self {
        Self {
            action: ActionConfig::Forward(vec![(cluster.into(), 1)]),
            name: "default".into(),
            ..Self::no_route()
        }
    }

    /// What stands behind all rules.
    pub(super) fn no_route() -> Self {
        Self {
            name: "no_route".into(),
            hosts: Vec::new(),
            condition: Condition::default(),
            action: ActionConfig::Reply(ReplyAction::NoRoute),
            rewrite: Rewrite::default(),
            timeout: None,
            idle_timeout: None,
            retry: Retry::default(),
            request_edits: EditConfig::default(),
            response_edits: EditConfig::default(),
            filters: FilterList::default(),
            without: Vec::new(),
            max_body: None,
            upgrades: default_upgrades(),
        }
    }
}

pub(super) fn default_upgrades() -> Vec<Box<str>> {
    vec!["websocket".into()]
}

/// One rule: when it matches, and what happens then. Rules are tried in order, and the first that matches decides.
/// Exactly one of `cluster`, `clusters`, `redirect` and `respond` says what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteRule {
    /// A name for statistics and logs. Default `routes[<position>]`, which moves when rules are inserted.
    pub name: Option<Located<String>>,
    /// What a request must be. Default: anything but CONNECT.
    #[serde(rename = "match", default)]
    pub condition: MatchRule,
    /// The cluster that requests go to.
    pub cluster: Option<Located<String>>,
    /// Clusters that requests go to by weight.
    pub clusters: Option<Located<Vec<WeightedCluster>>>,
    /// Sends the client somewhere else.
    pub redirect: Option<Located<RedirectRule>>,
    /// Answers with a fixed response.
    pub respond: Option<Located<RespondRule>>,
    /// Makes the rule take CONNECT requests to these places (`host:port`, `*.example.com:443`, `host:*`) and nothing else;
    /// they become tunnels to the cluster. Default none: a gateway that connects anywhere is an open door to the inside.
    pub connect: Option<OneOrMany<ConnectPattern>>,
    /// Changes the target before a request goes upstream.
    pub rewrite: Option<Located<RewriteRule>>,
    /// The longest wait for the response's head once the request is sent, over `timeouts.response` of the listener; `off` for none.
    pub timeout: Option<Timeout>,
    /// The longest time without a byte of a body moved, over `timeouts.body_progress` of the listener.
    pub idle_timeout: Option<Duration>,
    /// When requests are sent again. Default: twice, and only if no connection could be made.
    pub retry: Option<RetryRule>,
    /// Edits of requests on their way upstream.
    #[serde(default)]
    pub request_headers: EditConfig,
    /// Edits of responses on their way downstream, the gateway's own answers to requests of this rule among them.
    #[serde(default)]
    pub response_headers: EditConfig,
    /// Filters behind the listener's.
    pub filters: Option<Node>,
    /// Names of the listener's filters that are switched off for this rule.
    #[serde(default)]
    pub without: Vec<Located<String>>,
    /// The longest request body, over `limits.body` of the listener.
    pub max_body: Option<ByteSize>,
    /// Protocols that requests may switch to (RFC 9110 section 7.8). Default `websocket`. Never `h2c`: what is inside could
    /// not be seen.
    pub upgrade: Option<OneOrMany<Located<String>>>,
}

/// What a request must be: everything that is named must hold; of a list, one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MatchRule {
    /// Hosts: `example.com`, `*.example.com` (anything below), `*`. Without a port.
    pub host: OneOrMany<HostPattern>,
    /// Paths, without query: `/a`, `/a/*` (it and everything below), globs, `~` and a regular expression. They are compared
    /// with the normal form of a path, so write unreserved characters plainly and escapes in upper case.
    pub path: OneOrMany<PathPattern>,
    /// Methods. `GET` does not include `HEAD`.
    pub method: OneOrMany<MethodSet>,
    /// Fields: one of the values of each must fit: exact, `abc*`, `~regex`, `*` present, `!` absent.
    pub headers: BTreeMap<MatchName, ValuePattern>,
    /// Parameters of the query, decoded; patterns as for fields.
    pub query: BTreeMap<String, ValuePattern>,
    /// gRPC and gRPC-Web calls: `package.Service/Method`, `package.Service/*` or `package.Service`. Implies POST and a
    /// content type of gRPC; the CORS preflight for such a call matches too.
    pub grpc: OneOrMany<GrpcPattern>,
}

impl MatchRule {
    /// The paths; `None` for any.
    pub(crate) fn paths(&self) -> Option<AnyOf<PathPattern>> {
        (!self.path.is_empty()).then(|| AnyOf(self.path.0.clone()))
    }

    /// Everything but the host.
    pub(crate) fn predicate(&self) -> Predicate {
        let fields = self.headers.iter().map(|(name, pattern)| FieldMatch {
            name: name.0.clone(),
            pattern: pattern.clone(),
        });
        let query = self.query.iter().map(|(name, pattern)| NamedValue {
            name: name.as_str().into(),
            pattern: pattern.clone(),
        });
        Predicate {
            paths: self.paths(),
            methods: self.methods(),
            fields: AllOf(fields.collect()),
            query: AllOf(query.collect()),
            grpc: (!self.grpc.is_empty()).then(|| GrpcMatch(AnyOf(self.grpc.0.clone()))),
        }
    }

    fn methods(&self) -> Option<MethodSet> {
        let mut methods = MethodSet::default();
        for method in self.method.iter().flat_map(MethodSet::iter) {
            // Each was checked when its set was read.
            let _ = methods.insert(method);
        }
        (!methods.is_empty()).then_some(methods)
    }
}

/// A field to look at: any name will do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MatchName(pub FieldName);

impl<'de> Deserialize<'de> for MatchName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        FieldName::any(&text)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for MatchName {
    fn schema_name() -> Cow<'static, str> {
        FieldName::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        FieldName::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for ConnectPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ConnectPattern {
    fn schema_name() -> Cow<'static, str> {
        "ConnectPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Where a CONNECT may go: host:port, with a host pattern, and a port or *",
            "examples": ["git.example.com:22", "*.example.com:443"]
        })
    }
}

/// A cluster and its share.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedCluster {
    /// The cluster.
    pub cluster: Located<String>,
    /// Its share of the sum of all weights. 0 sends nothing there.
    pub weight: u32,
}

/// Where a client is sent: `to`, or the request's own target with parts replaced.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedirectRule {
    /// 301, 302, 303, 307 or 308. Default 302: a permanent redirect is remembered by browsers, also when it was a mistake.
    pub status: Option<Located<u16>>,
    /// A whole URL, or a path. Goes with nothing but `status`.
    pub to: Option<Located<FieldValue>>,
    /// The scheme.
    pub scheme: Option<SchemeName>,
    /// The host, without port.
    pub host: Option<Located<String>>,
    /// The port. Default: the request's, or none when the scheme or the host changes.
    pub port: Option<NonZeroU16>,
    /// The whole path.
    pub path: Option<Located<String>>,
    /// What stands in place of the prefix that the rule's path matched.
    pub prefix: Option<Located<String>>,
    /// Whether the query is left out. Default false.
    pub strip_query: bool,
}

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // each variant is the scheme of its name
pub enum SchemeName {
    Http,
    Https,
}

impl From<SchemeName> for Scheme {
    fn from(name: SchemeName) -> Self {
        match name {
            SchemeName::Http => Self::Http,
            SchemeName::Https => Self::Https,
        }
    }
}

/// A fixed response.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RespondRule {
    /// 200 to 599.
    pub status: Located<u16>,
    /// The body. Default empty.
    #[serde(default)]
    pub body: String,
    /// What the body is. Default `text/plain; charset=utf-8` where there is one.
    pub content_type: Option<FieldValue>,
    /// Other fields.
    #[serde(default)]
    pub headers: BTreeMap<FieldName, FieldValue>,
}

/// What changes about a target: at most one of `path`, `prefix` and `regex`, and `host`.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewriteRule {
    /// The whole path.
    pub path: Option<Located<String>>,
    /// What stands in place of the prefix that the rule's path matched: with `/v1/*` and `/`, `/v1/a` becomes `/a`.
    pub prefix: Option<Located<String>>,
    /// An expression whose first match in the path is replaced by `replacement`.
    pub regex: Option<Located<String>>,
    /// The replacement; `$1` or `${name}` are groups of the expression.
    pub replacement: Option<String>,
    /// The host, with a port if need be, that upstream sees.
    pub host: Option<Located<String>>,
}

/// When requests are sent again. Only what cannot do harm twice is: methods that are not idempotent only if nothing was
/// sent, and bodies only while they are whole.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRule {
    /// How many times at most, the first time not counted. Default 2: a third endpoint seldom helps where two did not.
    #[serde(default = "default_attempts")]
    pub attempts: Located<u32>,
    /// For what: `connect_failure`, `reset` (before a byte of the response), `timeout`, `gateway_error` (502, 503, 504),
    /// `5xx`, `4xx`, statuses such as `503`; for gRPC calls `cancelled`, `deadline_exceeded`, `internal`,
    /// `resource_exhausted` and `unavailable`, where the call failed before its first message.
    pub on: OneOrMany<RetryCause>,
    /// The longest wait for a response's head in each attempt. Default: the route's timeout for every attempt.
    pub per_try_timeout: Option<Duration>,
    /// The pause before the second attempt, doubled with each further one. Default 25ms: enough for a connection that was just
    /// refused, too little to be noticed.
    pub backoff: Option<Duration>,
}

fn default_attempts() -> Located<u32> {
    Located::from(2)
}
