//! Bounds on time.

use std::time::Duration as Span;

use portcullis_config::{Duration, Timeout};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bounds on how long things may take. `off` switches off those that may be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// From a connection's first byte, or a request's, to the end of the head; past it 408. Default 10s: a head fits into one
    /// packet or a few, and whoever takes longer is broken or an attacker.
    head: Duration,
    /// Without a byte of a body moved in either direction. Default 30s: longer than any retransmission that
    /// still succeeds.
    body_progress: Duration,
    /// A whole exchange, from its head to the last byte; past it 504, or a cut. Default 1h: however slowly somebody drips, it
    /// ends; tunnels are not counted. `off`: no bound.
    request: Timeout,
    /// From a request sent to the head of its response; past it 504. Default 60s: people have gone away by then.
    /// Routes may say otherwise. `off`: no bound.
    response: Timeout,
    /// Between two requests on a connection. Default 60s: as long as browsers keep connections for.
    idle: Duration,
    /// Without a byte in a tunnel (WebSocket, CONNECT). Default 10m: more than the keep-alive of any library that has one.
    tunnel_idle: Duration,
    /// The age at which a connection is closed after the request being served. Default `off`: clients come back as
    /// they like, and drains close connections anyway. Set it where a load balancer in front should spread anew.
    max_connection_age: Timeout,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body_progress: Duration::from_secs(30),
            request: Timeout::from_secs(3600),
            response: Timeout::from_secs(60),
            idle: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(600),
            max_connection_age: Timeout::Off,
        }
    }
}

impl Timeouts {
    /// For a head.
    #[must_use]
    pub const fn head(&self) -> Span {
        self.head.get()
    }

    /// Without a byte of a body moved.
    #[must_use]
    pub const fn body_progress(&self) -> Span {
        self.body_progress.get()
    }

    /// For a whole exchange.
    #[must_use]
    pub const fn request(&self) -> Option<Span> {
        self.request.get()
    }

    /// For the head of a response.
    #[must_use]
    pub const fn response(&self) -> Option<Span> {
        self.response.get()
    }

    /// Between two requests.
    #[must_use]
    pub const fn idle(&self) -> Span {
        self.idle.get()
    }

    /// Without a byte in a tunnel.
    #[must_use]
    pub const fn tunnel_idle(&self) -> Span {
        self.tunnel_idle.get()
    }

    /// For a connection.
    #[must_use]
    pub const fn max_connection_age(&self) -> Option<Span> {
        self.max_connection_age.get()
    }
}
