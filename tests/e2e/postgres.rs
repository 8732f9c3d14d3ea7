//! Postgres through the gateway, with a real server behind it.
//!
//! Start at [`Site`]: a server, a gateway in front of it, and psql.

mod attacks;
mod auth;
mod basics;
mod console;
mod filters;
mod impostors;
mod in_flight;
mod isolation;
mod leaving;
mod pooling;
mod roles;
mod routing;
mod wire;

use std::net::SocketAddr;

use harness::Gateway;
use harness::postgres::{Postgres, SUPERUSER, psql};

/// A server and a gateway in front of it, with the listener `db`.
pub(crate) struct Site {
    pub(crate) server: Postgres,
    pub(crate) gateway: Gateway,
}

/// A gateway whose listener `db` has these keys besides its address and protocol. `SERVER` in the keys of the document stands for
/// the server's address.
#[track_caller]
pub(crate) fn gateway(keys: &str, server: SocketAddr) -> Gateway {
    Gateway::start(&document(keys, &format!("endpoints: [\"{server}\"]")))
}

/// A configuration with the listener `db` and the cluster `main`.
pub(crate) fn document(keys: &str, cluster: &str) -> String {
    let mut text =
        String::from("listeners:\n  db:\n    listen: 127.0.0.1:0\n    protocol: postgres\n");
    let has = |key: &str| keys.lines().any(|line| line.starts_with(key));
    if !has("cluster:") && !has("routes:") {
        text.push_str("    cluster: main\n");
    }
    if !has("upstream:") {
        text.push_str("    upstream: { auth_minimum: trust }\n");
    }
    if !has("auth:") {
        text.push_str("    auth: { method: trust }\n");
    }
    for line in keys.trim_matches('\n').lines() {
        text.push_str("    ");
        text.push_str(line);
        text.push('\n');
    }
    text.push_str("drain: { timeout: 20s, spread: 1ms }\nclusters:\n  main:\n");
    for line in cluster.trim_matches('\n').lines() {
        text.push_str("    ");
        text.push_str(line);
        text.push('\n');
    }
    text
}

impl Site {
    /// A fresh server behind a listener with these keys. `None` is to skip the test.
    #[track_caller]
    pub(crate) fn start(keys: &str) -> Option<Self> {
        let server = Postgres::start()?;
        let gateway = gateway(keys, server.address());
        Some(Self { server, gateway })
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.addr("db")
    }

    /// Carries out SQL through the gateway.
    #[track_caller]
    pub(crate) fn sql(&self, sql: &str) -> String {
        psql(self.address(), SUPERUSER, "postgres", sql).expect("psql through the gateway")
    }

    /// Carries out SQL through the gateway that must fail; what psql says.
    #[track_caller]
    pub(crate) fn error(&self, sql: &str) -> String {
        psql(self.address(), SUPERUSER, "postgres", sql).expect_err("an error")
    }

    /// A counter of the listener.
    #[track_caller]
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let mut all = vec![("listener", "db")];
        all.extend_from_slice(labels);
        self.gateway.stats().counter(name, &all)
    }
}
