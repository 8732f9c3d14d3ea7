//! A real primary with replicas for one test, and sentinels that watch over them.
//!
//! Start at [`Watched::start`].

use std::net::SocketAddr;

use crate::eventually;
use crate::redis::{Redis, RedisClient, RedisReply};

/// The name that the sentinels know the primary by.
pub const MASTER: &str = "main";

/// Servers of which one is the primary, and sentinels that decide which.
#[derive(Debug)]
pub struct Watched {
    /// `None` of those that were killed. At first the first is the primary.
    servers: Vec<Option<Redis>>,
    addresses: Vec<SocketAddr>,
    sentinels: Vec<Redis>,
}

impl Watched {
    /// A primary, so many replicas, and three sentinels of which two must agree; they are quick to think that a server is
    /// gone. `None` is to skip the test.
    #[must_use]
    pub fn start(replicas: usize) -> Option<Self> {
        let primary = Redis::with(&["repl-diskless-sync-delay 0"])?;
        let (ip, port) = (primary.address().ip(), primary.address().port());
        let mut servers = vec![primary];
        for _ in 0..replicas {
            servers.push(Redis::replica(servers[0].address(), &[])?);
        }
        let settings = [
            format!("sentinel monitor {MASTER} {ip} {port} 2"),
            format!("sentinel down-after-milliseconds {MASTER} 1000"),
            format!("sentinel failover-timeout {MASTER} 3000"),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let sentinels: Option<Vec<Redis>> = (0..3).map(|_| Redis::sentinel(&settings)).collect();
        let watched = Self {
            addresses: servers.iter().map(Redis::address).collect(),
            servers: servers.into_iter().map(Some).collect(),
            sentinels: sentinels?,
        };
        watched.settle();
        Some(watched)
    }

    /// Waits until each sentinel knows the others and all replicas.
    fn settle(&self) {
        let replicas = self.addresses.len() - 1;
        for sentinel in &self.sentinels {
            let mut client = sentinel.client();
            eventually("the sentinels know each other", || {
                let agreed = client.call(&["SENTINEL", "CKQUORUM", MASTER]);
                let found = client.call(&["SENTINEL", "REPLICAS", MASTER]);
                let is_usable =
                    matches!(&agreed, RedisReply::Simple(text) if text.starts_with("OK 3 "));
                is_usable && found.array().len() == replicas
            });
        }
    }

    /// Where the sentinels listen.
    #[must_use]
    pub fn sentinels(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(Redis::address).collect()
    }

    /// A connection to a server.
    #[must_use]
    #[track_caller]
    pub fn client(&self, server: usize) -> RedisClient {
        RedisClient::connect(self.addresses[server])
    }

    /// The server that this sentinel takes for the primary.
    #[must_use]
    #[track_caller]
    pub fn primary(&self, sentinel: usize) -> usize {
        let mut client = self.sentinels[sentinel].client();
        let address = client.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        let port = address.array()[1].clone().text();
        let is_it = |address: &SocketAddr| address.port().to_string() == port;
        self.addresses.iter().position(is_it).unwrap()
    }

    /// The server that took the place of the first as the primary, once all sentinels say so. The gateway may know earlier.
    #[must_use]
    #[track_caller]
    pub fn successor(&self) -> usize {
        for sentinel in 0..self.sentinels.len() {
            eventually("the sentinels agree on a new primary", || {
                self.primary(sentinel) != 0
            });
        }
        self.primary(0)
    }

    /// Tells a sentinel to make another server the primary. It may have to be told again.
    pub fn fail_over(&self) {
        let mut client = self.sentinels[0].client();
        eventually("a replica can be promoted", || {
            let told = client.call(&["SENTINEL", "FAILOVER", MASTER]);
            told == RedisReply::Simple("OK".to_owned())
        });
    }

    /// Ends a server's process.
    pub fn kill(&mut self, server: usize) {
        self.servers[server] = None;
    }
}
