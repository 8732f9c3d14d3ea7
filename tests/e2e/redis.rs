//! Redis through the gateway, with real servers behind it.
//!
//! Start at [`Site`]: servers, a gateway in front of them, and raw clients.

mod acknowledge;
mod attacks;
mod basics;
mod clients;
mod cluster;
mod cluster_hostile;
mod cluster_isolation;
mod cluster_tls;
mod faults;
mod filters;
mod foreign;
mod isolation;
mod prefixes;
mod replicas;
mod rights;
mod scripted;
mod scripts;
mod sentinel;
mod sentinel_fake;
mod shards;
mod state;
mod tracking;
mod ways;

use std::net::SocketAddr;

use harness::Gateway;
use harness::redis::{Redis, RedisClient, RedisReply};

/// Servers and a gateway in front of them, with the listener `cache`.
pub(crate) struct Site {
    pub(crate) servers: Vec<Redis>,
    pub(crate) gateway: Gateway,
}

/// A configuration with the listener `cache`, which has these keys besides its address, protocol and cluster, and the
/// cluster `main` with these.
pub(crate) fn document(keys: &str, cluster: &str, endpoints: &[SocketAddr]) -> String {
    let indent = |text: &str| {
        let lines = text.trim_matches('\n').lines();
        lines.fold(String::new(), |all, line| all + "    " + line + "\n")
    };
    let has_target = keys.lines().any(|line| line.starts_with("routes:"));
    let target = if has_target { "" } else { "cluster: main" };
    let endpoints: Vec<String> = endpoints.iter().map(|at| format!("\"{at}\"")).collect();
    format!(
        "listeners:\n  cache:\n    listen: 127.0.0.1:0\n    protocol: redis\n{}{}\
         drain: {{ timeout: 20s, spread: 1ms }}\n\
         clusters:\n  main:\n    endpoints: [{}]\n{}",
        indent(target),
        indent(keys),
        endpoints.join(", "),
        indent(cluster),
    )
}

impl Site {
    /// One fresh server behind a listener with these keys. `None` is to skip the test.
    #[track_caller]
    pub(crate) fn start(keys: &str) -> Option<Self> {
        Some(Self::over(vec![Redis::start()?], keys, ""))
    }

    /// So many fresh servers as shards.
    #[track_caller]
    pub(crate) fn shards(count: usize, keys: &str) -> Option<Self> {
        let servers: Option<Vec<Redis>> = (0..count).map(|_| Redis::start()).collect();
        Some(Self::over(servers?, keys, "redis: { topology: shards }"))
    }

    /// These servers behind a listener and a cluster with these keys.
    #[track_caller]
    pub(crate) fn over(servers: Vec<Redis>, keys: &str, cluster: &str) -> Self {
        let endpoints: Vec<SocketAddr> = servers.iter().map(Redis::address).collect();
        let gateway = Gateway::start(&document(keys, cluster, &endpoints));
        Self { servers, gateway }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.addr("cache")
    }

    /// A new client of the gateway.
    #[track_caller]
    pub(crate) fn client(&self) -> RedisClient {
        RedisClient::connect(self.address())
    }

    /// Waits until a rejection was counted.
    #[track_caller]
    pub(crate) fn rejected(&self, reason: &str) {
        self.gateway.wait_stat(
            "portcullis_redis_rejections_total",
            &[("listener", "cache"), ("reason", reason)],
            |count| count > 0,
        );
    }

    /// A counter or gauge of the listener.
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let mut all = vec![("listener", "cache")];
        all.extend_from_slice(labels);
        self.gateway.stats().counter(name, &all)
    }

    /// Another client is served as if nothing were.
    #[track_caller]
    pub(crate) fn neighbour_is_well(&self) {
        let mut neighbour = self.client();
        assert_eq!(neighbour.call(&["SET", "neighbour", "well"]), ok());
        assert_eq!(neighbour.call(&["GET", "neighbour"]), bulk("well"));
    }
}

/// `+OK`
pub(crate) fn ok() -> RedisReply {
    RedisReply::Simple("OK".to_owned())
}

/// A string.
pub(crate) fn bulk(text: &str) -> RedisReply {
    RedisReply::Bulk(text.as_bytes().to_vec())
}

/// Whether it is an error that begins so.
pub(crate) fn is_error(reply: &RedisReply, start: &str) -> bool {
    matches!(reply, RedisReply::Error(text) if text.starts_with(start))
}
