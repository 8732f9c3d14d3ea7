//! How much a cluster takes at once, and how many idle connections it keeps.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU64;

use portcullis_config::Duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{BreakerKind, IdleLimits};

/// How much a cluster takes at once: circuit breakers. Each counts over all endpoints and workers of the process, and
/// refuses at once what is beyond it. `unlimited` switches one off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Open connections, idle ones included. Default 1024: enough for most origins, and less than their own usual
    /// limits, so that the refusal is ours and quick. HTTP connections that are idle make room for new ones; one that another
    /// worker keeps may stay open for a second beyond the limit.
    pub connections: CountLimit,
    /// Requests that wait for a connection. Default 1024. Only HTTP and TCP look at it.
    pub pending: CountLimit,
    /// Requests in flight. Default 1024. Only HTTP looks at it.
    pub requests: CountLimit,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let most = CountLimit(NonZeroU64::new(1024));
        Self {
            connections: most,
            pending: most,
            requests: most,
        }
    }
}

impl LimitsConfig {
    /// The limit of one kind; `None` is unlimited.
    pub fn of(&self, kind: BreakerKind) -> Option<u64> {
        let CountLimit(limit) = match kind {
            BreakerKind::Connections => self.connections,
            BreakerKind::Pending => self.pending,
            BreakerKind::Requests => self.requests,
        };
        limit.map(NonZeroU64::get)
    }
}

/// A bound on a number of things: 1 or more, or `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountLimit(pub Option<NonZeroU64>);

impl<'de> Deserialize<'de> for CountLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = CountLimit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number from 1, or unlimited")
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<CountLimit, E> {
        let count = NonZeroU64::new(count)
            .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(count), &self))?;
        Ok(CountLimit(Some(count)))
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<CountLimit, E> {
        match u64::try_from(count) {
            Ok(count) => self.visit_u64(count),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(count), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<CountLimit, E> {
        match (text, text.parse()) {
            ("unlimited", _) => Ok(CountLimit(None)),
            (_, Ok(count)) => self.visit_u64(count),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

impl JsonSchema for CountLimit {
    fn schema_name() -> Cow<'static, str> {
        "CountLimit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number from 1, or `unlimited`",
            "anyOf": [{ "type": "integer", "minimum": 1 }, { "const": "unlimited" }],
        })
    }
}

/// How idle connections are kept. Each worker has its own. Only HTTP looks at it, and Redis at `idle_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// How many idle connections one worker keeps to one endpoint. Default 128: more than a worker that keeps up has
    /// in flight to one endpoint. 0 keeps none.
    pub max_idle: usize,
    /// How long one is kept. Default 60s, less than the 65s to 75s after which common origins close theirs, so that
    /// a request rarely meets a connection that is just being closed.
    pub idle_timeout: Duration,
    /// After how many requests one is closed instead of kept. Default: never. For origins behind a balancer that
    /// looks at new connections only.
    pub max_requests: Option<NonZeroU64>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_idle: 128,
            idle_timeout: Duration::from_secs(60),
            max_requests: None,
        }
    }
}

impl From<&PoolConfig> for IdleLimits {
    /// No bound on the total: endpoints are bounded by the configuration, connections by the cluster's limits.
    fn from(config: &PoolConfig) -> Self {
        Self {
            per_key: config.max_idle,
            total: usize::MAX,
            timeout: config.idle_timeout.into(),
        }
    }
}
