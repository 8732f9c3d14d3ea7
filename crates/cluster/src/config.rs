//! The configuration of a cluster, typed, with its defaults and their reasons.
//!
//! Free of the format it is written in: errors that only the whole shows are found by
//! [`ClusterConfig::check`]. Start at [`ClusterConfig`].

mod endpoint;
mod health;
mod http;
mod limits;
mod redis;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::HashSet;
use std::num::NonZeroU32;

use portcullis_config::{Diagnostics, Duration, Located, Percent};
use schemars::JsonSchema;
use serde::Deserialize;

pub use self::endpoint::{EndpointConfig, EndpointRole};
pub use self::health::{HealthCheckConfig, HealthProbe, InitialHealth, ProtocolProbe, StatusRange};
pub use self::http::{
    FrameBudget, UpstreamGuard, UpstreamHttp, UpstreamKeepAlive, UpstreamVersion,
};
pub use self::limits::{CountLimit, LimitsConfig, PoolConfig};
pub use self::redis::{HashTag, KeyDistribution, KeyHash, ReadFrom, RedisTopology, UpstreamRedis};
pub use self::tls::{ClientCertificate, TrustedRoots, UpstreamTls, UpstreamTlsVersion};

/// A named set of endpoints and how they are used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// Where its requests go: `host:port`, `unix:/path`, or `{ address: host:port, weight: 3, role: replica }`. At least one. Names
    /// are resolved again when their time is over.
    pub endpoints: Located<Vec<Located<EndpointConfig>>>,
    /// How requests are spread. Default: in turn; flows of UDP by their source.
    #[serde(default)]
    pub balance: Option<BalanceConfig>,
    /// How long a connection may take to open, TLS included. Default 5s: long enough for two lost SYNs, which are sent
    /// again after 1s and 3s, and short enough to try elsewhere before a client gives up.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Duration,
    /// How much it takes at once.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// How idle connections are kept.
    #[serde(default)]
    pub pool: PoolConfig,
    /// How its endpoints are checked. Default: not at all; failing requests still eject an endpoint.
    pub health_check: Option<HealthCheckConfig>,
    /// When failing requests take an endpoint out of the choice.
    #[serde(default)]
    pub ejection: Located<EjectionConfig>,
    /// When a smaller share of endpoints than this is available, all of them are used: if most seem to be down, the
    /// checks are likelier wrong than the endpoints, and the few that are left would be overrun. `0%` switches it
    /// off. Default 50%.
    #[serde(default = "default_panic_threshold")]
    pub panic_threshold: Percent,
    /// How names are resolved.
    #[serde(default)]
    pub dns: Located<DnsConfig>,
    /// Encrypt connections to the endpoints. Default: they are not.
    pub tls: Option<UpstreamTls>,
    /// Begin each connection with a PROXY header of this version. Default: none.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// The version of HTTP spoken to its endpoints, and how HTTP/2 and HTTP/3 are used. Only HTTP looks at it.
    #[serde(default)]
    pub http: Located<UpstreamHttp>,
    /// What the endpoints are to each other where they are Redis servers. Only Redis looks at it.
    #[serde(default)]
    pub redis: Located<UpstreamRedis>,
}

/// How requests are spread over endpoints, always by weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalanceConfig {
    /// In turn. The default where a protocol has none of its own, since it suits every one and surprises nobody.
    #[default]
    RoundRobin,
    /// The one of two random endpoints with fewer requests in flight from this worker. The better choice when
    /// requests differ much in cost, or endpoints in speed.
    LeastRequest,
    /// At random.
    Random,
}

/// When failing requests take an endpoint out of the choice. Failures are counted over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EjectionConfig {
    /// After how many failures in a row. Default 5: fewer would eject for a restart that a retry covers.
    pub consecutive_failures: NonZeroU32,
    /// For how long the first time; the second ejection in a row lasts twice as long, the third three times. Default
    /// 30s, about what a process takes to start again.
    pub base_time: Duration,
    /// For how long at most; an endpoint that stays for longer than this begins again with `base_time`. Default 300s.
    pub max_time: Duration,
    /// The largest share of endpoints that may be out at once, rounded down, exact for the process. `0%` ejects nobody;
    /// a single endpoint is never ejected below `100%`. Default 50%, so ejection alone does not overrun the rest.
    pub max_ejected: Percent,
}

/// How names are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DnsConfig {
    /// The shortest time between two lookups of a name, whatever its TTL says; also the wait after a failed one. Default
    /// 1s: a TTL of 0 must not make a loop.
    pub min_ttl: Duration,
    /// The longest time between two lookups. Default 5m: long enough to be cheap, short enough that a wrong TTL of a
    /// day does not last a day.
    pub max_ttl: Duration,
    /// How many addresses of one name are used; the lowest ones, so that all lookups agree. Default 256, which bounds
    /// memory and label values against a hostile answer.
    pub max_endpoints: NonZeroU32,
    /// Which addresses are used.
    pub family: AddressFamily,
}

/// Which addresses of a name are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AddressFamily {
    /// IPv4 and IPv6, each address an endpoint. The default.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocolVersion {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}

impl ClusterConfig {
    /// How requests are spread that have nothing to be spread by.
    pub fn balance(&self) -> BalanceConfig {
        self.balance.unwrap_or_default()
    }

    /// Reports what is wrong although it is well-formed.
    pub fn check(&self, diagnostics: &mut Diagnostics) {
        if self.endpoints.is_empty() {
            diagnostics
                .error(self.endpoints.span, "a cluster needs at least one endpoint")
                .expected("a list such as [10.0.0.1:8080, api.internal:8080]");
        }
        let mut seen = HashSet::new();
        for endpoint in self.endpoints.iter() {
            if !seen.insert(endpoint.address.to_string()) {
                diagnostics
                    .error(
                        endpoint.span,
                        format!("endpoint {} is listed twice", endpoint.address),
                    )
                    .help("give it a larger weight instead");
            }
        }
        if self.dns.min_ttl > self.dns.max_ttl {
            diagnostics.error(self.dns.span, "min_ttl is longer than max_ttl");
        }
        if self.ejection.base_time > self.ejection.max_time {
            diagnostics.error(self.ejection.span, "base_time is longer than max_time");
        }
        http::check(self, diagnostics);
        redis::check(&self.redis, &self.endpoints, diagnostics);
        if let Some(tls) = &self.tls {
            tls::check(tls, &self.endpoints, diagnostics);
        }
    }

    /// The version of HTTP that its endpoints are spoken to in.
    pub fn http_version(&self) -> UpstreamVersion {
        self.http.version(self.has_tls())
    }

    /// Whether connections to its endpoints are encrypted.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether endpoints that no check has seen yet may be picked.
    pub fn starts_healthy(&self) -> bool {
        self.health_check
            .as_ref()
            .is_none_or(|check| check.initial == InitialHealth::Healthy)
    }

    /// Whether so few of `total` are available that all are to be used.
    pub fn is_panic(&self, available: usize, total: usize) -> bool {
        // Compared in millionths: rounding the threshold down would let one endpoint of three pass for a half.
        let threshold = u64::from(self.panic_threshold.millionths());
        available as u64 * u64::from(Percent::ALL.millionths()) < total as u64 * threshold
    }
}

impl EjectionConfig {
    /// How many of `total` endpoints may be out at once.
    pub fn most_ejected(&self, total: usize) -> usize {
        self.max_ejected.of(total as u64) as usize
    }
}

impl Default for EjectionConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: const { NonZeroU32::new(5).unwrap() },
            base_time: Duration::from_secs(30),
            max_time: Duration::from_secs(300),
            max_ejected: Percent::whole(50),
        }
    }
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            max_endpoints: const { NonZeroU32::new(256).unwrap() },
            family: AddressFamily::Any,
        }
    }
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(5)
}

fn default_panic_threshold() -> Percent {
    Percent::whole(50)
}
