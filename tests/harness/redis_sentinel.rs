//! A real primary with replicas for one test, and sentinels that watch over them.
//!
//! Start at [`Watched::start`].

use std::net::SocketAddr;

use crate::eventually;
use crate::origin::ClosedPort;
use crate::redis::{Redis, RedisClient, RedisReply};
use crate::scratch::Scratch;
use crate::tls::Authority;

/// The name that the sentinels know the primary by.
pub const MASTER: &str = "main";

/// Servers of which one is the primary, and sentinels that decide which.
#[derive(Debug)]
pub struct Watched {
    /// `None` of those that were killed. At first the first is the primary.
    servers: Vec<Option<Redis>>,
    addresses: Vec<SocketAddr>,
    /// `None` of those that were killed.
    sentinels: Vec<Option<Redis>>,
    /// Where sentinels listen for TLS, if they do: then all speak it with each other.
    encrypted: Vec<SocketAddr>,
}

impl Watched {
    /// A primary, so many replicas, and three sentinels of which two must agree; they are quick to think that a server is
    /// gone. `None` is to skip the test.
    #[must_use]
    pub fn start(replicas: usize) -> Option<Self> {
        let primary = Redis::with(&["repl-diskless-sync-delay 0"])?;
        let at = primary.address();
        let mut servers = vec![primary];
        for _ in 0..replicas {
            servers.push(Redis::replica(at, &[])?);
        }
        let sentinels: Option<Vec<Redis>> = (0..3).map(|_| sentinel(at, &[])).collect();
        Some(Self::of(servers, sentinels?, Vec::new()))
    }

    /// As [`start`](Self::start), of servers and sentinels that are encrypted towards clients and each other, all with a
    /// certificate for this name. They listen unencrypted too, for the test.
    #[must_use]
    pub fn encrypted(replicas: usize, authority: &Authority, name: &str) -> Option<Self> {
        let scratch = Scratch::new();
        let issued = authority.issue(&[name]);
        let file = |kind: &str, text: &str| scratch.write(kind, text).display().to_string();
        let common = [
            format!("tls-cert-file {}", file("pem", &issued.cert)),
            format!("tls-key-file {}", file("key", &issued.key)),
            format!("tls-ca-cert-file {}", file("ca", &authority.pem())),
            "tls-auth-clients no".to_owned(),
            "tls-replication yes".to_owned(),
        ];
        let settings = |port: SocketAddr| {
            let mut all = common.to_vec();
            all.push(format!("tls-port {}", port.port()));
            all
        };
        fn borrowed(all: &[String]) -> Vec<&str> {
            all.iter().map(String::as_str).collect()
        }
        let at = ClosedPort::new().address();
        let mut primary = settings(at);
        primary.push("repl-diskless-sync-delay 0".to_owned());
        let mut servers = vec![Redis::with(&borrowed(&primary))?];
        for _ in 0..replicas {
            let own = settings(ClosedPort::new().address());
            servers.push(Redis::replica(at, &borrowed(&own))?);
        }
        let (mut sentinels, mut encrypted) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let address = ClosedPort::new().address();
            sentinels.push(sentinel(at, &settings(address))?);
            encrypted.push(address);
        }
        Some(Self::of(servers, sentinels, encrypted))
    }

    fn of(servers: Vec<Redis>, sentinels: Vec<Redis>, encrypted: Vec<SocketAddr>) -> Self {
        let watched = Self {
            addresses: servers.iter().map(Redis::address).collect(),
            servers: servers.into_iter().map(Some).collect(),
            sentinels: sentinels.into_iter().map(Some).collect(),
            encrypted,
        };
        watched.settle();
        watched
    }

    /// Waits until each sentinel knows the others and all replicas.
    fn settle(&self) {
        let replicas = self.addresses.len() - 1;
        for sentinel in self.sentinels.iter().flatten() {
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
        let sentinels = self.sentinels.iter().flatten();
        sentinels.map(Redis::address).collect()
    }

    /// Where the sentinels listen for TLS.
    #[must_use]
    pub fn encrypted_sentinels(&self) -> &[SocketAddr] {
        &self.encrypted
    }

    /// A connection to a server.
    #[must_use]
    #[track_caller]
    pub fn client(&self, server: usize) -> RedisClient {
        RedisClient::connect(self.addresses[server])
    }

    /// The server that this sentinel takes for the primary.
    #[track_caller]
    fn primary(&self, sentinel: &Redis) -> Option<usize> {
        let mut client = sentinel.client();
        let address = client.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        let port = address.array()[1].clone().text();
        let is_it = |address: &SocketAddr| address.port().to_string() == port;
        self.addresses.iter().position(is_it)
    }

    /// The server that took the place of the first as the primary, once all sentinels say so. The gateway may know earlier.
    #[must_use]
    #[track_caller]
    pub fn successor(&self) -> usize {
        for sentinel in self.sentinels.iter().flatten() {
            eventually("the sentinels agree on a new primary", || {
                self.primary(sentinel) != Some(0)
            });
        }
        let mut sentinels = self.sentinels.iter().flatten();
        let first = sentinels.next().and_then(|first| self.primary(first));
        first.expect("the sentinels know a primary")
    }

    /// Tells a sentinel to make another server the primary. It may have to be told again.
    pub fn fail_over(&self) {
        let sentinel = self.sentinels.iter().flatten().next();
        let mut client = sentinel.expect("a sentinel is there").client();
        eventually("a replica can be promoted", || {
            let told = client.call(&["SENTINEL", "FAILOVER", MASTER]);
            told == RedisReply::Simple("OK".to_owned())
        });
    }

    /// Ends a server's process.
    pub fn kill(&mut self, server: usize) {
        self.servers[server] = None;
    }

    /// Ends a sentinel's process.
    pub fn kill_sentinel(&mut self, sentinel: usize) {
        self.sentinels[sentinel] = None;
    }
}

fn sentinel(primary: SocketAddr, settings: &[String]) -> Option<Redis> {
    let (ip, port) = (primary.ip(), primary.port());
    let mut all = settings.to_vec();
    all.push(format!("sentinel monitor {MASTER} {ip} {port} 2"));
    all.push(format!("sentinel down-after-milliseconds {MASTER} 1000"));
    all.push(format!("sentinel failover-timeout {MASTER} 3000"));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Redis::sentinel(&all)
}
