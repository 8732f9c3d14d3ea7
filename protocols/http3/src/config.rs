//! The `http3` key of an `http` listener: whether it is served, and what one client may use of a connection.
//!
//! What a request may be, and how long things may take, is the same for every version of HTTP and stands in the
//! listener's `limits` and `timeouts`. Equality decides whether a reload changes anything. Start at [`Http3Config`].

use std::num::{NonZeroU32, NonZeroU64};

use portcullis_config::schema::inlined;
use portcullis_config::{ByteSize, Diagnostics, Duration, Located, Node, Rate, Timeout, Value};
use portcullis_http::pace::StallConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How connections of HTTP/3 from clients are used. A reload changes it for new connections.
///
/// What one connection can make the gateway keep is bounded by `connection_window`, `send_window`, `heads`, and for each
/// stream `send_buffer` and one piece of an upstream's response (80KiB).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http3Config {
    /// Requests at once on a connection; clients know and wait. Default 100, which RFC 9114 section 6.1 asks for at least.
    pub max_streams: NonZeroU32,
    /// How much of one request's body a client may send before it was passed on. Default 256KiB: 20 Mbit/s at 100 ms.
    pub stream_window: ByteSize,
    /// The same for all requests of a connection together. Default 1MiB: four uploads at full speed, and the most that
    /// a connection's bodies can take of our memory.
    pub connection_window: ByteSize,
    /// How much of one response waits for a slow client before its upstream is read no further. Default 64KiB, as for
    /// HTTP/2.
    pub send_buffer: ByteSize,
    /// Bytes of all responses of a connection that were sent and not acknowledged, and are kept to be sent again. Default
    /// 1MiB: 80 Mbit/s at 100 ms.
    pub send_window: ByteSize,
    /// Bytes of the heads of all requests that are open on a connection; past it a new one is refused, which tells the client
    /// to send it again later. Default 1MiB: 10KiB for each of a hundred, when `limits.head` allows more for one.
    pub heads: ByteSize,
    /// Requests that one connection carries in its life; then it drains. Default: no bound.
    pub max_requests: Option<NonZeroU64>,
    /// How long a client may be silent, whatever it waits for, before its connection is forgotten without a word. Default 60s:
    /// clients that wait for slow answers send something meanwhile, browsers every 15 seconds.
    pub silence: Duration,
    /// How slowly a client may read what it asked for.
    pub stall: StallConfig,
    /// Take requests that come before the handshake is over (0-RTT). They can be sent twice by whoever recorded them, so only
    /// safe methods are served, others are answered 425, and upstreams are told by `early-data: 1` (RFC 8470). Sessions are then
    /// remembered here, to be taken up again once each, in place of tickets. Default off.
    pub early_data: bool,
    /// Whether clients must show first that they receive at the address that they send from, which takes them one more
    /// round trip. Default `auto`: while more handshakes than `retry_above` are in progress.
    pub retry: RetryMode,
    /// Handshakes in progress, over all workers, from which on `auto` asks. Default 100: what real clients rarely have open
    /// at once, and senders with false addresses soon.
    pub retry_above: u32,
    /// For how long the responses of HTTP/1 and HTTP/2 tell clients that they may come by HTTP/3 (`alt-svc`, RFC 7838), at the
    /// port that they came to. Default 24h; `off` tells nobody.
    pub alt_svc: Timeout,
    /// What a client may send before its connection is ended.
    pub guard: GuardLimits,
}

/// When clients must show that they receive at their address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryMode {
    /// While there is much to do.
    #[default]
    Auto,
    /// Each one that does not bring a token from before.
    Always,
    /// None. What is sent to an address that was not shown stays below three times what came from it.
    Never,
}

/// How many things of one kind: so many per time, and so many at once before that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetConfig {
    /// In the long run.
    pub rate: Rate,
    /// At once.
    pub burst: u32,
}

/// Bounds on what one client does on one connection. Past any of them it ends with H3_EXCESSIVE_LOAD and a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardLimits {
    /// Bytes of a compressed field section. Default 64KiB: twice the head that is allowed uncompressed, so that a head
    /// too large is answered 431 and only abuse ends the connection.
    pub field_section: ByteSize,
    /// Bytes of a frame that has no meaning here, or on the control stream. Default 4KiB: nobody needs more, and it is held as
    /// a whole.
    pub control_frame: ByteSize,
    /// Requests that the client gives up before they are answered; every tenth request is free. Default 100/s, 500 at once: a
    /// browser that leaves a page cancels what that page was loading.
    pub resets: BudgetConfig,
    /// Frames on the control stream, and frames without a meaning; one for each request is free. Default 10/s, 200 at
    /// once: browsers send a priority for each request, and some to keep extensions possible.
    pub control: BudgetConfig,
    /// DATA frames without content; one for each request is free. Default 50/s, 200 at once.
    pub empty_data: BudgetConfig,
    /// DATA frames of at most 64 bytes. Default 1000/s, 10000 at once: each costs some 300 bytes however small it is.
    pub tiny_data: BudgetConfig,
    /// Unidirectional streams, of which there are three with a meaning. Default 1/s, 20 at once.
    pub streams: BudgetConfig,
}

impl BudgetConfig {
    const fn new(per_second: u64, burst: u32) -> Self {
        Self {
            rate: Rate::per_second(per_second),
            burst,
        }
    }
}

impl Http3Config {
    /// Reads the value of the key: `true`, `false` or a block. `Some(None)` is a listener without HTTP/3, and `None` one whose
    /// mistakes are in the diagnostics.
    #[must_use]
    #[allow(clippy::option_option)] // not there, and not readable
    pub fn read(node: Option<&Node>, diagnostics: &mut Diagnostics) -> Option<Option<Self>> {
        let Some(node) = node else {
            return Some(None);
        };
        match &node.value {
            Value::Bool(true) => Some(Some(Self::default())),
            Value::Bool(false) => Some(None),
            Value::Mapping(_) => {
                let config: Located<Self> = node.read(diagnostics)?;
                Self::check(&config, diagnostics);
                Some(Some(config.into_inner()))
            }
            _ => {
                diagnostics
                    .error(node.span, format!("http3 is {}", node.describe()))
                    .expected("true, false or a block of settings");
                None
            }
        }
    }

    /// The schema of the key's value.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        serde_json::json!({
            "description": "Serve HTTP/3 as well, on the UDP port with the number of the TCP port. Needs `tls`.",
            "anyOf": [{ "type": "boolean" }, inlined::<Self>()],
        })
    }

    /// Reports what is wrong although it is well-formed.
    fn check(config: &Located<Self>, diagnostics: &mut Diagnostics) {
        let rows = [
            (
                "stream_window",
                config.stream_window,
                WINDOWS,
                "16KiB to 1GiB",
            ),
            (
                "connection_window",
                config.connection_window,
                WINDOWS,
                "16KiB to 1GiB",
            ),
            ("send_window", config.send_window, WINDOWS, "16KiB to 1GiB"),
            ("send_buffer", config.send_buffer, BUFFERS, "4KiB to 16MiB"),
            (
                "guard.field_section",
                config.guard.field_section,
                SECTIONS,
                "1KiB to 16MiB",
            ),
            (
                "guard.control_frame",
                config.guard.control_frame,
                SECTIONS,
                "1KiB to 16MiB",
            ),
        ];
        for (name, size, (least, most), expected) in rows {
            if !(least..=most).contains(&size.get()) {
                diagnostics
                    .error(config.span, format!("http3.{name} is out of range"))
                    .expected(expected);
            }
        }
        if config.heads.get() == 0 {
            diagnostics
                .error(config.span, "http3.heads: a limit of 0 refuses everything")
                .expected("at least 1");
        }
        if config.silence.get() > LONGEST_SILENCE {
            diagnostics
                .error(config.span, "http3.silence is out of range")
                .expected("at most 10m");
        }
    }

    /// Bytes of one response that wait.
    #[must_use]
    pub fn send_buffer(&self) -> usize {
        self.send_buffer
            .as_usize()
            .clamp(BUFFERS.0 as usize, BUFFERS.1 as usize)
    }
}

const WINDOWS: (u64, u64) = (16 * 1024, 1 << 30);

const BUFFERS: (u64, u64) = (4 * 1024, 16 * 1024 * 1024);

const SECTIONS: (u64, u64) = (1024, 16 * 1024 * 1024);

/// A peer that has vanished is not remembered for longer.
const LONGEST_SILENCE: std::time::Duration = std::time::Duration::from_mins(10);

impl Default for Http3Config {
    fn default() -> Self {
        Self {
            max_streams: const { NonZeroU32::new(100).unwrap() },
            stream_window: ByteSize::kib(256),
            connection_window: ByteSize::mib(1),
            send_buffer: ByteSize::kib(64),
            send_window: ByteSize::mib(1),
            heads: ByteSize::mib(1),
            max_requests: None,
            silence: Duration::from_secs(60),
            stall: StallConfig::default(),
            early_data: false,
            retry: RetryMode::Auto,
            retry_above: 100,
            alt_svc: Timeout::from_secs(24 * 60 * 60),
            guard: GuardLimits::default(),
        }
    }
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            field_section: ByteSize::kib(64),
            control_frame: ByteSize::kib(4),
            resets: BudgetConfig::new(100, 500),
            control: BudgetConfig::new(10, 200),
            empty_data: BudgetConfig::new(50, 200),
            tiny_data: BudgetConfig::new(1000, 10_000),
            streams: BudgetConfig::new(1, 20),
        }
    }
}

#[cfg(test)]
mod tests;
