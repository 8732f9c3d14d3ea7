//! What a listener's configuration says about sockets, workers and PROXY headers.
//!
//! Typed and pure; how the values are applied is in `listen`, `connect` and `preface`. Start at [`SocketOptions`] and
//! [`ProxyProtocolConfig`].

use portcullis_config::{ByteSize, Duration, Network, Timeout};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How TCP sockets behave. Unix sockets have none of this but the backlog, and sockets for datagrams nothing but the buffers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SocketOptions {
    /// Send small pieces at once. Default true: whoever speaks through a gateway waits for answers, and the gateway
    /// itself joins what belongs together.
    pub nodelay: bool,
    /// How long a connection may be silent before the system asks whether the peer is still there; it asks every 15 seconds
    /// and gives up after four. Default 60s: shorter than the time after which firewalls forget a connection. `off`
    /// never asks.
    pub keepalive: Timeout,
    /// How long sent data may stay unacknowledged, or unread by a peer whose window is full, before the connection is
    /// cut. Default `off`: it would cut clients that pause a download; the protocols' own timeouts find peers that have
    /// vanished.
    pub user_timeout: Timeout,
    /// How many connections may wait to be accepted. Default 4096, so that a burst of clients is not told to retry; the system
    /// may lower it (`net.core.somaxconn`).
    pub backlog: u32,
    /// The kernel's receive buffer of each connection. Default: the system sizes it as needed.
    pub receive_buffer: Option<ByteSize>,
    /// The kernel's send buffer of each connection. Default: the system sizes it as needed.
    pub send_buffer: Option<ByteSize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: Timeout::from_secs(60),
            user_timeout: Timeout::Off,
            backlog: 4096,
            receive_buffer: None,
            send_buffer: None,
        }
    }
}

/// How accepted connections find their worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcceptBalance {
    /// The kernel spreads them over the workers by a hash. Cheapest; good for many connections.
    #[default]
    ReusePort,
    /// Each goes to the worker with the fewest. For few, long connections, which a hash spreads badly.
    Exact,
}

/// Who may say, by a PROXY header, that they speak for somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocolConfig {
    /// The networks of the proxies in front. No default: a header from anybody would let anybody choose the address that
    /// rules and limits see. Peers of a Unix socket count as trusted; its file's permissions say who they are.
    pub trusted: Vec<Network>,
    /// Whether every connection must begin with a header. Default true: then a connection that comes around the proxy is
    /// refused instead of taken for the proxy's. If false, connections whose client waits for the server to speak first
    /// are held up until the deadline.
    #[serde(default = "default_required")]
    pub required: bool,
    /// How long the header may take. Default 5s: proxies send it at once, so this is several lost packets.
    #[serde(default = "default_deadline")]
    pub deadline: Duration,
}

const fn default_required() -> bool {
    true
}

const fn default_deadline() -> Duration {
    Duration::from_secs(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults() {
        let options: SocketOptions = serde_json::from_str("{}").unwrap();
        assert_eq!(options, SocketOptions::default());
        let proxy: ProxyProtocolConfig =
            serde_json::from_str(r#"{"trusted": ["10.0.0.0/8"]}"#).unwrap();
        assert!(proxy.required);
        assert_eq!(proxy.deadline, Duration::from_secs(5));
    }

    #[test]
    fn refusals() {
        let rows = [
            ("nobody is trusted by default", "{}"),
            ("unknown key", r#"{"trusted": [], "require": true}"#),
            ("zero", r#"{"trusted": [], "deadline": "0s"}"#),
        ];
        for (name, text) in rows {
            assert!(
                serde_json::from_str::<ProxyProtocolConfig>(text).is_err(),
                "{name}"
            );
        }
        assert!(serde_json::from_str::<SocketOptions>(r#"{"no_delay": true}"#).is_err());
    }
}
