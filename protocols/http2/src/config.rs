//! The `http2` block of an `http` listener: what one client may use of a connection.
//!
//! What a request may be, and how long things may take, is the same for every version of HTTP and stands in the
//! listener's `limits` and `timeouts`. Equality decides whether a reload changes anything. Start at [`Http2Config`].

use std::num::{NonZeroU32, NonZeroU64};

use portcullis_config::{ByteSize, Diagnostics, Duration, Located, Timeout};
pub use portcullis_http::pace::StallConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::guard::GuardLimits;

/// How connections of HTTP/2 from clients are used. A reload changes it for new connections.
///
/// What one connection can make the gateway keep is bounded by `connection_window`, `heads`, and for each stream
/// `send_buffer` twice and one piece of an upstream's response (80KiB).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http2Config {
    /// Requests at once on a connection; the client is told, and more are refused. Default 100, which RFC 9113 section 6.5.2
    /// asks for at least, and which browsers rarely reach.
    pub max_streams: NonZeroU32,
    /// How much of one request's body a client may send before it was passed on. Default 256KiB: 20 Mbit/s at 100 ms.
    pub initial_window: ByteSize,
    /// The same for all requests of a connection together. Default 1MiB: four uploads at full speed, and the most that
    /// a connection's bodies can take of our memory.
    pub connection_window: ByteSize,
    /// How much of one response waits for a slow client before its upstream is read no further. Default 64KiB: with
    /// less, large responses would wait for every turn of a distant client.
    pub send_buffer: ByteSize,
    /// Bytes of the heads of all requests that are open on a connection; past it a new one is refused, which tells the client
    /// to send it again later. Default 1MiB: 10KiB for each of a hundred, when `limits.head` allows more for one.
    pub heads: ByteSize,
    /// Requests that one connection carries in its life; then it drains. Default: no bound. For a balancer in front
    /// that looks at new connections only.
    pub max_requests: Option<NonZeroU64>,
    /// When a client has to prove that it is there.
    pub keep_alive: KeepAliveConfig,
    /// How slowly a client may read what it asked for.
    pub stall: StallConfig,
    /// What a client may send before its connection is ended.
    pub guard: GuardLimits,
}

/// When a client has to prove that it is there, by answering a PING.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeepAliveConfig {
    /// After how long a silence while requests are open. Default 60s: a client that has vanished without a word should
    /// not keep its upstreams busy until their time is over. `off`: never.
    pub interval: Timeout,
    /// How long the answer may take before the connection is closed. Default 20s: telephones wake up late.
    pub timeout: Duration,
}

impl Http2Config {
    /// Reports what is wrong although it is well-formed.
    pub fn check(config: &Located<Self>, diagnostics: &mut Diagnostics) {
        for (name, size) in [
            ("initial_window", config.initial_window),
            ("connection_window", config.connection_window),
        ] {
            if !(LEAST_WINDOW..=MOST_WINDOW).contains(&size.get()) {
                diagnostics
                    .error(config.span, format!("http2.{name} is out of range"))
                    .expected("64KiB to 1GiB");
            }
        }
        if u64::from(config.guard.max_frame_bytes()) != config.guard.max_frame.get() {
            diagnostics
                .error(config.span, "http2.guard.max_frame is out of range")
                .expected("16KiB to 16777215");
        }
        for (name, limit) in [
            ("heads", config.heads.get()),
            ("guard.header_block", config.guard.header_block.get()),
            ("guard.header_fields", config.guard.header_fields.into()),
        ] {
            if limit == 0 {
                diagnostics
                    .error(
                        config.span,
                        format!("http2.{name}: a limit of 0 refuses everything"),
                    )
                    .expected("at least 1");
            }
        }
        if !(LEAST_BUFFER..=MOST_BUFFER).contains(&config.send_buffer.get()) {
            diagnostics
                .error(config.span, "http2.send_buffer is out of range")
                .expected("4KiB to 16MiB");
        }
    }

    /// The window of a stream.
    #[must_use]
    pub fn stream_window(&self) -> u32 {
        window(self.initial_window)
    }

    /// The window of a connection.
    #[must_use]
    pub fn connection_window(&self) -> u32 {
        window(self.connection_window)
    }

    /// Bytes of one response that wait.
    #[must_use]
    pub fn send_buffer(&self) -> usize {
        self.send_buffer.get().clamp(LEAST_BUFFER, MOST_BUFFER) as usize
    }
}

fn window(size: ByteSize) -> u32 {
    size.get().clamp(LEAST_WINDOW, MOST_WINDOW) as u32
}

/// What every connection begins with (RFC 9113 section 6.9.2), rounded up.
const LEAST_WINDOW: u64 = 64 * 1024;

/// Half of what the protocol allows (RFC 9113 section 6.9.1), so that no sum overflows.
const MOST_WINDOW: u64 = 1 << 30;

const LEAST_BUFFER: u64 = 4 * 1024;

const MOST_BUFFER: u64 = 16 * 1024 * 1024;

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            max_streams: const { NonZeroU32::new(100).unwrap() },
            initial_window: ByteSize::kib(256),
            connection_window: ByteSize::mib(1),
            send_buffer: ByteSize::kib(64),
            heads: ByteSize::mib(1),
            max_requests: None,
            keep_alive: KeepAliveConfig::default(),
            stall: StallConfig::default(),
            guard: GuardLimits::default(),
        }
    }
}

impl Default for KeepAliveConfig {
    fn default() -> Self {
        Self {
            interval: Timeout::from_secs(60),
            timeout: Duration::from_secs(20),
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_config::{Source, load};

    use super::*;

    #[test]
    fn bounds_that_nothing_is_within_are_mistakes() {
        for (keys, expected) in [
            ("heads: 1KiB", None),
            ("heads: 0B", Some("http2.heads: a limit of 0")),
            (
                "guard: { header_block: 0B }",
                Some("http2.guard.header_block: a limit of 0"),
            ),
            (
                "guard: { header_fields: 0 }",
                Some("http2.guard.header_fields: a limit of 0"),
            ),
            (
                "initial_window: 1KiB",
                Some("initial_window is out of range"),
            ),
            ("send_buffer: 1KiB", Some("send_buffer is out of range")),
        ] {
            let source = Source::new("test.yaml", keys);
            let mut diagnostics = Diagnostics::new(&source);
            let node = load(&source, &|_| None, &mut diagnostics).unwrap();
            let config: Located<Http2Config> = node.read(&mut diagnostics).unwrap();
            Http2Config::check(&config, &mut diagnostics);
            let found = diagnostics.render(false);
            let count = usize::from(expected.is_some());
            assert_eq!(diagnostics.count(), count, "{keys}: {found}");
            assert!(
                found.contains(expected.unwrap_or_default()),
                "{keys}: {found}"
            );
        }
    }
}
