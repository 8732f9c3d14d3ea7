//! Which version of HTTP a cluster's endpoints are spoken to in, and how their connections of HTTP/2 and HTTP/3 are used.
//!
//! Not the endpoints' limits for HTTP/1 connections: those are in `pool`. Start at [`UpstreamVersion`].

use std::num::NonZeroU32;

use portcullis_config::{ByteSize, Diagnostics, Duration, Rate, TargetAddress};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ClusterConfig, HealthProbe};

/// The version of HTTP spoken to the endpoints, and how connections of HTTP/2 and HTTP/3 are used. Other protocols do not
/// look at it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamHttp {
    /// The version. Default: `http1` without TLS, `auto` with it.
    pub version: Option<UpstreamVersion>,
    /// HTTP/2 and HTTP/3: how many requests one connection carries at once, at most; fewer if the endpoint wants fewer. Default
    /// 100, which is what most servers allow, and bounds what the loss of one connection can hurt.
    pub max_streams: NonZeroU32,
    /// HTTP/2 and HTTP/3: how many connections one worker opens to one endpoint. A request that finds all of them full waits for
    /// a place, at most for `connect_timeout`. Default: as many as the cluster's `limits.connections` allows.
    pub max_connections_per_endpoint: Option<NonZeroU32>,
    /// HTTP/2 and HTTP/3: how much of one response an endpoint may send before it was passed on. Default 256KiB: a full gigabit
    /// at 2 ms. The connection's own window is this times `max_streams`, so that a client that reads slowly holds up nobody
    /// else's response; that product is also the most that a connection can make the gateway keep.
    pub initial_window: ByteSize,
    /// HTTP/2 and HTTP/3: after how long a connection takes no more requests. Default: never. For endpoints behind a balancer that looks at
    /// new connections only.
    pub max_connection_age: Option<Duration>,
    /// HTTP/2 and HTTP/3: when an endpoint has to prove that it is there.
    pub keep_alive: UpstreamKeepAlive,
    /// HTTP/2: what an endpoint may send before its connection is cut. HTTP/3 has bounds of its own, which cannot be set.
    pub guard: UpstreamGuard,
}

/// A choice of the version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: chosen by ALPN over TLS, by prior knowledge without.
    Http2,
    /// HTTP/3, over QUIC: needs `tls`, and speaks TLS 1.3 whatever its `min_version` is. Always spoken, never looked for: an
    /// endpoint that does not listen on UDP is unreachable. WebSockets and CONNECT have no way through it.
    Http3,
    /// What the endpoint chooses by ALPN, HTTP/2 or HTTP/1.1; needs TLS.
    Auto,
}

/// When a peer has to prove that it is there, by answering a PING.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamKeepAlive {
    /// After how long a silence. Default for HTTP/2: never by the clock, since some servers (those of gRPC) take regular PINGs
    /// for abuse; a connection on which a request was given up unanswered is asked in any case. Default for HTTP/3: 10s, since
    /// both sides forget a QUIC connection that is silent for longer than either allows, with all that runs on it.
    pub interval: Option<Duration>,
    /// How long the answer may take before the connection is closed. Default 10s. HTTP/3 counts `interval` and this together,
    /// from the last that came.
    pub timeout: Duration,
}

/// Bounds on the frames that an endpoint may send on one connection, in the words of a listener's `guard`. What is not
/// said is as there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamGuard {
    /// Bytes of a frame's payload.
    pub max_frame: Option<ByteSize>,
    /// Bytes of a compressed header block.
    pub header_block: Option<ByteSize>,
    /// Fields in a header block.
    pub header_fields: Option<u32>,
    /// CONTINUATION frames in a header block.
    pub continuations: Option<u32>,
    /// RST_STREAM from the endpoint; one for every request is free.
    pub resets_received: Option<FrameBudget>,
    /// RST_STREAM from the gateway for what the endpoint did wrong.
    pub resets_sent: Option<FrameBudget>,
    /// SETTINGS.
    pub settings: Option<FrameBudget>,
    /// PING.
    pub ping: Option<FrameBudget>,
    /// WINDOW_UPDATE.
    pub window_update: Option<FrameBudget>,
    /// DATA without content that does not end a response.
    pub empty_data: Option<FrameBudget>,
    /// DATA with little content that does not end a response, as long as nobody has read it.
    pub tiny_data: Option<FrameBudget>,
    /// Frames of unknown kinds.
    pub unknown: Option<FrameBudget>,
}

/// How many frames of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrameBudget {
    /// Frames in the long run.
    pub rate: Rate,
    /// Frames at once, before that counts.
    pub burst: u32,
}

impl UpstreamHttp {
    /// The version, given whether there is TLS.
    pub fn version(&self, has_tls: bool) -> UpstreamVersion {
        let unsaid = if has_tls {
            UpstreamVersion::Auto
        } else {
            UpstreamVersion::Http1
        };
        self.version.unwrap_or(unsaid)
    }

    /// The window of a stream, in bytes.
    pub fn stream_window(&self) -> u32 {
        u32::try_from(self.initial_window.get())
            .unwrap_or(MOST_WINDOW)
            .clamp(LEAST_WINDOW, MOST_WINDOW)
    }

    /// The window of a connection, in bytes: room for a full window of every stream.
    pub fn connection_window(&self) -> u32 {
        self.stream_window()
            .saturating_mul(self.max_streams.get())
            .min(MOST_WINDOW)
    }
}

/// Reports what is wrong although it is well-formed.
pub(super) fn check(cluster: &ClusterConfig, diagnostics: &mut Diagnostics) {
    let (http, has_tls) = (&cluster.http, cluster.has_tls());
    if http.version == Some(UpstreamVersion::Auto) && !has_tls {
        diagnostics
            .error(
                http.span,
                "version: auto is chosen during the TLS handshake, and the cluster has no tls",
            )
            .help("say http1 or http2, or add a tls block");
    }
    match http.version(has_tls) {
        UpstreamVersion::Http1 => check_http1(cluster, diagnostics),
        UpstreamVersion::Http3 => check_http3(cluster, diagnostics),
        UpstreamVersion::Http2 | UpstreamVersion::Auto => {}
    }
    let guard = &http.guard;
    for (key, is_zero) in [
        (
            "header_block",
            guard.header_block.is_some_and(|size| size.get() == 0),
        ),
        ("header_fields", guard.header_fields == Some(0)),
    ] {
        if is_zero {
            diagnostics
                .error(
                    http.span,
                    format!("guard.{key}: a limit of 0 refuses every response"),
                )
                .expected("at least 1");
        }
    }
    let window = http.initial_window.get();
    if !(u64::from(LEAST_WINDOW)..=u64::from(MOST_WINDOW)).contains(&window) {
        diagnostics
            .error(http.span, "initial_window is out of range")
            .expected("64KiB to 1GiB");
    }
}

/// HTTP/1 has one request at a time on a connection: its connections are looked after in `pool`.
fn check_http1(cluster: &ClusterConfig, diagnostics: &mut Diagnostics) {
    let http = &cluster.http;
    let plain = UpstreamHttp {
        version: http.version,
        ..UpstreamHttp::default()
    };
    if http.value != plain {
        diagnostics
            .error(
                http.span,
                "all of `http` but `version` is for HTTP/2 and HTTP/3, and this cluster is spoken to in HTTP/1",
            )
            .help("say `version: http2`; connections of HTTP/1 are looked after in `pool`");
    }
}

/// What HTTP/3, over QUIC, cannot do.
fn check_http3(cluster: &ClusterConfig, diagnostics: &mut Diagnostics) {
    let http = &cluster.http;
    if !cluster.has_tls() {
        diagnostics
            .error(
                http.span,
                "version: http3 is always encrypted, and the cluster has no tls",
            )
            .help("add a tls block; an empty one trusts what the system trusts");
    }
    for endpoint in cluster.endpoints.iter() {
        if matches!(endpoint.address, TargetAddress::Unix(_)) {
            diagnostics
                .error(endpoint.span, "a Unix socket cannot carry HTTP/3")
                .also(http.span, "HTTP/3 is asked for here");
        }
    }
    if cluster.proxy_protocol.is_some() {
        diagnostics
            .error(http.span, "HTTP/3 has no place for a PROXY header")
            .help("leave `proxy_protocol` out; endpoints can trust the field x-forwarded-for");
    }
    if http.guard != UpstreamGuard::default() {
        diagnostics
            .error(
                http.span,
                "`guard` counts frames of HTTP/2, and this is HTTP/3",
            )
            .help("leave `guard` out; what an endpoint may send in HTTP/3 is bounded without it");
    }
    let alpn = cluster.tls.as_ref().and_then(|tls| tls.alpn.as_ref());
    if let Some(alpn) = alpn
        && !alpn.iter().any(|name| name.value == "h3")
    {
        diagnostics
            .error(
                alpn.span,
                "HTTP/3 is agreed on as h3, which is not offered here",
            )
            .help("leave `alpn` out");
    }
    match cluster.health_check.as_ref().map(|check| &check.probe) {
        Some(HealthProbe::Tcp) => diagnostics
            .error(http.span, "a health check by TCP says nothing about HTTP/3")
            .help("check by `http`, which is asked over HTTP/3"),
        Some(HealthProbe::Grpc { .. }) => diagnostics
            .error(
                http.span,
                "a health check by gRPC is asked over HTTP/2, and this is HTTP/3",
            )
            .help("check by `http`, which is asked over HTTP/3"),
        _ => return,
    };
}

/// RFC 9113 section 6.9.2: what every peer begins with; with less, a response could be refused that was sent in time.
const LEAST_WINDOW: u32 = 64 * 1024;

/// Half of what the protocol allows (RFC 9113 section 6.9.1), so that no sum overflows.
const MOST_WINDOW: u32 = 1 << 30;

impl Default for UpstreamHttp {
    fn default() -> Self {
        Self {
            version: None,
            max_streams: const { NonZeroU32::new(100).unwrap() },
            max_connections_per_endpoint: None,
            initial_window: ByteSize::kib(256),
            max_connection_age: None,
            keep_alive: UpstreamKeepAlive::default(),
            guard: UpstreamGuard::default(),
        }
    }
}

impl Default for UpstreamKeepAlive {
    fn default() -> Self {
        Self {
            interval: None,
            timeout: Duration::from_secs(10),
        }
    }
}
