//! How a cluster's endpoints are checked.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::sync::Arc;

use portcullis_config::{Duration, OneOrMany, Percent};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// Active health checks of each endpoint, made once for the whole process.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenHealthCheck")]
pub struct HealthCheckConfig {
    /// What is asked.
    pub probe: HealthProbe,
    /// How often, from the end of one check to the start of the next.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// The interval varies by this much either way.
    pub jitter: Percent,
    /// Passes in a row that make an unhealthy endpoint healthy.
    pub healthy_threshold: NonZeroU32,
    /// Failures in a row that make a healthy endpoint unhealthy.
    pub unhealthy_threshold: NonZeroU32,
    /// What an endpoint is until its checks have said something.
    pub initial: InitialHealth,
}

impl JsonSchema for HealthCheckConfig {
    fn schema_name() -> Cow<'static, str> {
        "HealthCheckConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        WrittenHealthCheck::json_schema(generator)
    }
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthProbe {
    /// A GET whose status is expected.
    Http {
        /// The target, with a `/` in front; only visible ASCII.
        path: String,
        /// The `host` field; the endpoint's name where there is none. Only visible ASCII.
        host: Option<String>,
        /// Statuses that pass.
        expected_status: Vec<StatusRange>,
    },
    /// A call of `grpc.health.v1.Health/Check`, over HTTP/2, that is answered with SERVING.
    Grpc {
        /// The service that is asked about; empty for the endpoint as a whole. Visible ASCII, at most 256 bytes.
        service: String,
        /// The authority of the call, `host` or `host:port`; the endpoint's name where there is none.
        host: Option<String>,
    },
    /// A connection that opens.
    Tcp,
    /// What a protocol makes of it.
    Protocol(ProtocolProbe),
}

impl HealthProbe {
    /// Whether a GET that is answered with this status passes; never for other checks.
    pub fn expects(&self, status: u16) -> bool {
        match self {
            Self::Http {
                expected_status, ..
            } => expected_status.iter().any(|range| range.contains(status)),
            Self::Grpc { .. } | Self::Tcp | Self::Protocol(_) => false,
        }
    }
}

/// A check that a protocol makes, with its settings. Read by the protocol and understood by whoever checks; nothing here
/// looks into it.
#[derive(Clone)]
pub struct ProtocolProbe {
    name: &'static str,
    settings: Arc<dyn Settings>,
}

trait Settings: Any + fmt::Debug + Send + Sync {
    fn equals(&self, other: &dyn Any) -> bool;
}

impl<T: Any + PartialEq + fmt::Debug + Send + Sync> Settings for T {
    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref().is_some_and(|other| self == other)
    }
}

impl ProtocolProbe {
    /// Something to find again with [`get`](Self::get). `name` is the protocol's.
    pub fn new<T: Any + PartialEq + fmt::Debug + Send + Sync>(
        name: &'static str,
        settings: T,
    ) -> Self {
        Self {
            name,
            settings: Arc::new(settings),
        }
    }

    /// The protocol.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it was made of, if it was a `T`.
    pub fn get<T: Any>(&self) -> Option<&T> {
        let settings: &dyn Any = &*self.settings;
        settings.downcast_ref()
    }
}

impl PartialEq for ProtocolProbe {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.settings.equals(&*other.settings as &dyn Any)
    }
}

impl Eq for ProtocolProbe {}

impl fmt::Debug for ProtocolProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

/// What an endpoint is until its checks have said something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitialHealth {
    /// It may be picked. The default: otherwise a start, a reload or a new address would refuse traffic until checks
    /// have come back, and an endpoint that is really down shows at once by failing, which retries cover.
    #[default]
    Healthy,
    /// It is picked only after a check has passed.
    Unhealthy,
}

/// Active health checks: `http`, `grpc` or `tcp` says what is asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenHealthCheck {
    /// Check with a GET for this path.
    http: Option<String>,
    /// Check by calling `grpc.health.v1.Health/Check`, which must be answered with SERVING: `grpc: {}`, or with a service.
    /// It is called over HTTP/2 whatever version requests go by.
    grpc: Option<GrpcProbe>,
    /// Check by opening a connection: `tcp: {}`.
    tcp: Option<TcpProbe>,
    /// How often, from the end of one check to the start of the next. Default 5s: with three failures to fall, an
    /// endpoint is out after some 15s even when nobody sends it requests.
    #[serde(default = "default_interval")]
    interval: Duration,
    /// How long a check may take. Default 2s: an endpoint that needs longer for this is no use for requests either.
    #[serde(default = "default_timeout")]
    timeout: Duration,
    /// The interval varies by this much either way. Default 10%, so that many gateways do not check in step.
    #[serde(default = "default_jitter")]
    jitter: Percent,
    /// Passes in a row that make an unhealthy endpoint healthy. Default 2. The first check of all needs only one.
    #[serde(default = "default_healthy_threshold")]
    healthy_threshold: NonZeroU32,
    /// Failures in a row that make a healthy endpoint unhealthy. Default 3, so that one lost packet changes nothing.
    #[serde(default = "default_unhealthy_threshold")]
    unhealthy_threshold: NonZeroU32,
    /// Statuses that pass: a number, a range such as 200-299, or a list of them. Default 200-299.
    expected_status: Option<OneOrMany<StatusRange>>,
    /// The `host` field of the GET, or the authority of the gRPC call. Default: the endpoint's name.
    host: Option<String>,
    /// What an endpoint is until its checks have said something: healthy (the default, since a start should not
    /// refuse traffic until checks have come back) or unhealthy.
    #[serde(default)]
    initial: InitialHealth,
}

/// A check by the gRPC health protocol.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GrpcProbe {
    /// The service that is asked about, such as shop.Cart; at most 256 bytes. Default: the empty name, which stands for
    /// the endpoint as a whole.
    #[serde(default)]
    service: String,
}

/// A check that only opens a connection; it has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TcpProbe {}

impl TryFrom<WrittenHealthCheck> for HealthCheckConfig {
    type Error = String;

    fn try_from(written: WrittenHealthCheck) -> Result<Self, String> {
        Ok(Self {
            probe: probe(&written)?,
            interval: written.interval,
            timeout: written.timeout,
            jitter: written.jitter,
            healthy_threshold: written.healthy_threshold,
            unhealthy_threshold: written.unhealthy_threshold,
            initial: written.initial,
        })
    }
}

fn probe(written: &WrittenHealthCheck) -> Result<HealthProbe, String> {
    let probe = match (&written.http, &written.grpc, &written.tcp) {
        (Some(path), None, None) => http_probe(written, path)?,
        (None, Some(grpc), None) => grpc_probe(written, grpc)?,
        (None, None, Some(TcpProbe {})) => HealthProbe::Tcp,
        (None, None, None) => {
            return Err("a health check needs `http: /path`, `grpc: {}` or `tcp: {}`".to_owned());
        }
        _ => return Err("a health check is one of http, grpc and tcp, not both".to_owned()),
    };
    if written.expected_status.is_some() && written.http.is_none() {
        return Err("expected_status belongs to an http check".to_owned());
    }
    if written.host.is_some() && written.tcp.is_some() {
        return Err("host belongs to an http or grpc check".to_owned());
    }
    Ok(probe)
}

fn http_probe(written: &WrittenHealthCheck, path: &str) -> Result<HealthProbe, String> {
    if !path.starts_with('/') || !is_visible(path) {
        return Err(format!(
            "the path '{path}' must begin with / and be visible ASCII"
        ));
    }
    let expected_status = match &written.expected_status {
        Some(ranges) if ranges.is_empty() => {
            return Err("expected_status lists nothing, so that no check would pass".to_owned());
        }
        Some(ranges) => ranges.iter().copied().collect(),
        None => vec![StatusRange::SUCCESS],
    };
    Ok(HealthProbe::Http {
        path: path.to_owned(),
        host: host(written)?,
        expected_status,
    })
}

fn grpc_probe(written: &WrittenHealthCheck, grpc: &GrpcProbe) -> Result<HealthProbe, String> {
    let service = &grpc.service;
    if service.len() > MAX_SERVICE || !is_visible(service) {
        return Err(format!(
            "the service '{service}' must be visible ASCII of at most {MAX_SERVICE} bytes"
        ));
    }
    let host = host(written)?;
    if let Some(host) = host.as_ref().filter(|host| !is_authority(host)) {
        return Err(format!("the host '{host}' must be host or host:port"));
    }
    Ok(HealthProbe::Grpc {
        service: service.clone(),
        host,
    })
}

fn host(written: &WrittenHealthCheck) -> Result<Option<String>, String> {
    match &written.host {
        Some(host) if host.is_empty() || !is_visible(host) => {
            Err(format!("the host '{host}' must be visible ASCII"))
        }
        host => Ok(host.clone()),
    }
}

/// The longest name of a service: longer than any that people write, and a question stays one small frame.
const MAX_SERVICE: usize = 256;

/// `host` or `host:port`, where the host is a name, an IPv4 address or an IPv6 address in brackets.
fn is_authority(text: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let has_port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return host.parse::<Ipv6Addr>().is_ok() && has_port;
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !host.is_empty() && host.bytes().all(is_of_name) && port.is_none_or(is_port)
}

/// What goes on the wire as it stands: no space, no control byte.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Statuses from one to another, both included: `200-299`, or one status, `204`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

impl StatusRange {
    /// 200 to 299.
    pub const SUCCESS: Self = Self {
        first: 200,
        last: 299,
    };

    /// From `first` to `last`; `None` unless both are statuses in this order.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        let statuses = 100..=599;
        let valid = statuses.contains(&first) && statuses.contains(&last) && first <= last;
        valid.then_some(Self { first, last })
    }

    /// Whether `status` is within.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(first.trim().parse().ok()?, last.trim().parse().ok()?)
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StatusVisitor)
    }
}

struct StatusVisitor;

impl Visitor<'_> for StatusVisitor {
    type Value = StatusRange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status such as 204 or a range such as 200-299")
    }

    fn visit_u64<E: Error>(self, status: u64) -> Result<StatusRange, E> {
        let status = u16::try_from(status).ok();
        status
            .and_then(|status| StatusRange::new(status, status))
            .ok_or_else(|| E::custom("a status is from 100 to 599"))
    }

    fn visit_i64<E: Error>(self, status: i64) -> Result<StatusRange, E> {
        self.visit_u64(u64::try_from(status).unwrap_or(u64::MAX))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<StatusRange, E> {
        StatusRange::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl JsonSchema for StatusRange {
    fn schema_name() -> Cow<'static, str> {
        "StatusRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A status such as 204 or a range such as 200-299",
            "anyOf": [
                { "type": "integer", "minimum": 100, "maximum": 599 },
                { "type": "string", "pattern": "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$" },
            ],
        })
    }
}

fn default_interval() -> Duration {
    Duration::from_secs(5)
}

fn default_timeout() -> Duration {
    Duration::from_secs(2)
}

fn default_jitter() -> Percent {
    Percent::whole(10)
}

fn default_healthy_threshold() -> NonZeroU32 {
    const { NonZeroU32::new(2).unwrap() }
}

fn default_unhealthy_threshold() -> NonZeroU32 {
    const { NonZeroU32::new(3).unwrap() }
}
