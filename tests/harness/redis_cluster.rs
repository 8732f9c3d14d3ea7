//! A real Redis Cluster for one test: primaries with even shares of the slots, and what moves a slot or a node.
//!
//! Nodes are [`Redis`] servers that know each other; which of them has what is told to them here, by the commands that
//! operators have. Start at [`RedisCluster::start`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::eventually;
use crate::origin::ClosedPort;
use crate::redis::{Redis, RedisClient, RedisReply};
use crate::scratch::Scratch;
use crate::tls::Authority;

/// How many slots there are.
const SLOTS: usize = 16_384;

/// Nodes that know each other.
#[derive(Debug)]
pub struct RedisCluster {
    /// `None` of those that were killed.
    nodes: Vec<Option<Redis>>,
    addresses: Vec<SocketAddr>,
    /// Where nodes listen for TLS, if they do: then that is where they say they are.
    encrypted: Vec<SocketAddr>,
    ids: Vec<String>,
}

impl RedisCluster {
    /// So many primaries, ready. `None` is to skip the test.
    #[must_use]
    pub fn start(primaries: usize) -> Option<Self> {
        Self::of(primaries, |_| node())
    }

    /// As [`start`](Self::start), of nodes that are encrypted towards clients and each other. Each has a certificate for the name
    /// `node-0.localhost`, by its number, and is known by that. They listen unencrypted too, for the test.
    #[must_use]
    pub fn encrypted(primaries: usize, authority: &Authority) -> Option<Self> {
        let scratch = Scratch::new();
        let mut encrypted = Vec::new();
        let mut cluster = Self::of(primaries, |index| {
            let name = format!("node-{index}.localhost");
            let issued = authority.issue(&[&name]);
            let file = |kind: &str, text: &str| {
                let path = scratch.write(&format!("{index}.{kind}"), text);
                path.display().to_string()
            };
            // The bus of a node is at its port and 10000.
            let mut free = std::iter::repeat_with(|| ClosedPort::new().address());
            let address = free.find(|address| address.port() < 55_000)?;
            encrypted.push(address);
            let settings = [
                format!("tls-port {}", address.port()),
                format!("tls-cert-file {}", file("pem", &issued.cert)),
                format!("tls-key-file {}", file("key", &issued.key)),
                format!("tls-ca-cert-file {}", file("ca", &authority.pem())),
                "tls-auth-clients no".to_owned(),
                "tls-cluster yes".to_owned(),
                "tls-replication yes".to_owned(),
                format!("cluster-announce-hostname {name}"),
                "cluster-preferred-endpoint-type hostname".to_owned(),
            ];
            let mut all = NODE.to_vec();
            all.extend(settings.iter().map(String::as_str));
            Redis::with(&all)
        })?;
        cluster.encrypted = encrypted;
        cluster.settle();
        Some(cluster)
    }

    fn of(primaries: usize, mut node: impl FnMut(usize) -> Option<Redis>) -> Option<Self> {
        let mut cluster = Self {
            nodes: Vec::new(),
            addresses: Vec::new(),
            encrypted: Vec::new(),
            ids: Vec::new(),
        };
        for index in 0..primaries {
            let node = node(index)?;
            let share = |index: usize| (index * SLOTS / primaries).to_string();
            let last = ((index + 1) * SLOTS / primaries - 1).to_string();
            let mut client = node.client();
            let epoch = (index + 1).to_string();
            expect_ok(&client.call(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]));
            expect_ok(&client.call(&["CLUSTER", "ADDSLOTSRANGE", &share(index), &last]));
            cluster.join(node);
        }
        cluster.settle();
        Some(cluster)
    }

    /// One more node, without slots. Its number; `None` is to skip the test.
    pub fn add(&mut self) -> Option<usize> {
        self.join(node()?);
        self.settle();
        Some(self.nodes.len() - 1)
    }

    /// One more node, which holds what that primary holds. Its number; `None` is to skip the test.
    pub fn add_replica(&mut self, of: usize) -> Option<usize> {
        let index = self.add()?;
        let id = self.ids[of].clone();
        expect_ok(&self.client(index).call(&["CLUSTER", "REPLICATE", &id]));
        eventually("the replica follows its primary", || {
            let info = self.client(index).call(&["INFO", "replication"]).text();
            info.contains("master_link_status:up")
        });
        Some(index)
    }

    fn join(&mut self, node: Redis) {
        let mut client = node.client();
        self.ids.push(client.call(&["CLUSTER", "MYID"]).text());
        self.addresses.push(node.address());
        if let Some(first) = self.addresses.first().filter(|_| !self.nodes.is_empty()) {
            let mut first_client = RedisClient::connect(*first);
            let (ip, port) = (first.ip().to_string(), first.port().to_string());
            let own = first_client.call(&["CONFIG", "GET", "tls-port"]).array();
            let port = match own[1].clone().text() {
                none if none == "0" => port,
                port => port,
            };
            expect_ok(&client.call(&["CLUSTER", "MEET", &ip, &port]));
        }
        self.nodes.push(Some(node));
    }

    /// Waits until all know all.
    fn settle(&self) {
        let known = format!("cluster_known_nodes:{}\r", self.nodes.len());
        for index in 0..self.nodes.len() {
            eventually("the nodes know each other", || {
                let info = self.client(index).call(&["CLUSTER", "INFO"]).text();
                let facts = ["cluster_state:ok", "cluster_slots_ok:16384", &known];
                facts.iter().all(|fact| info.contains(fact))
            });
        }
    }

    /// Waits until all nodes that are there, replicas too, say the same of who has what, at which epoch.
    ///
    /// A replica that takes over claims what it knows of its primary's slots, at the epoch above those that it knows. If that is
    /// old, the primary keeps a slot that it was just given, or loses one that it gave away: then it never follows. And if two
    /// have the same epoch, one of them may raise its own above a claim that others are still to hear of.
    pub fn agree(&self) {
        eventually("the nodes agree", || {
            let live = (0..self.nodes.len()).filter(|node| self.nodes[*node].is_some());
            let mut views = live.map(|node| View::of(&mut self.client(node)));
            let first = views.next().expect("a node is there");
            first.has_distinct_epochs() && views.all(|view| view == first)
        });
    }

    /// Where a node listens.
    #[must_use]
    pub fn address(&self, node: usize) -> SocketAddr {
        self.addresses[node]
    }

    /// Where a node listens for TLS.
    #[must_use]
    pub fn encrypted_address(&self, node: usize) -> SocketAddr {
        self.encrypted[node]
    }

    /// A connection to a node.
    #[must_use]
    #[track_caller]
    pub fn client(&self, node: usize) -> RedisClient {
        RedisClient::connect(self.addresses[node])
    }

    /// The slot of a key, and the node that has it.
    #[must_use]
    pub fn place(&self, key: &str) -> (String, usize) {
        self.place_at(0, key)
    }

    /// As [`place`](Self::place), as this node says.
    #[must_use]
    pub fn place_at(&self, node: usize, key: &str) -> (String, usize) {
        let mut client = self.client(node);
        let slot = client.call(&["CLUSTER", "KEYSLOT", key]).integer();
        let ranges = client.call(&["CLUSTER", "SLOTS"]).array();
        let owner = ranges.into_iter().find_map(|range| {
            let range = range.array();
            let has = (range[0].integer()..=range[1].integer()).contains(&slot);
            has.then(|| range[2].clone().array()[1].integer())
        });
        let owner = owner.expect("somebody has the slot");
        let is_it = |at: &SocketAddr| i64::from(at.port()) == owner;
        let index = self.addresses.iter().position(is_it).unwrap();
        (slot.to_string(), index)
    }

    /// Begins to move a slot: keys that are not at the old node any more are asked for at the new one.
    pub fn begin_move(&self, slot: &str, from: usize, to: usize) {
        let set = |at: usize, state: &str, of: usize| {
            let call = ["CLUSTER", "SETSLOT", slot, state, &self.ids[of]];
            expect_ok(&self.client(at).call(&call));
        };
        set(to, "IMPORTING", from);
        set(from, "MIGRATING", to);
    }

    /// Moves the keys of the slot, a few at a time.
    pub fn move_keys(&self, slot: &str, from: usize, to: usize) {
        let (ip, port) = (self.addresses[to].ip(), self.addresses[to].port());
        let (ip, port) = (ip.to_string(), port.to_string());
        let mut client = self.client(from);
        loop {
            let keys = client
                .call(&["CLUSTER", "GETKEYSINSLOT", slot, "3"])
                .array();
            if keys.is_empty() {
                return;
            }
            // What a node kept of a slot that it lost, in a failover say, is older.
            let mut call = ["MIGRATE", &ip, &port, "", "0", "5000", "REPLACE", "KEYS"]
                .map(str::to_owned)
                .to_vec();
            call.extend(keys.into_iter().map(RedisReply::text));
            let reply = client.call(&call);
            let is_moved =
                matches!(&reply, RedisReply::Simple(text) if text == "OK" || text == "NOKEY");
            assert!(is_moved, "{reply:?}");
        }
    }

    /// Gives the slot to the new node.
    pub fn end_move(&self, slot: &str, from: usize, to: usize) {
        for at in [to, from] {
            let call = ["CLUSTER", "SETSLOT", slot, "NODE", &self.ids[to]];
            expect_ok(&self.client(at).call(&call));
        }
    }

    /// Makes a replica the primary, whether or not the old one is there. The nodes agree before.
    pub fn take_over(&self, replica: usize) {
        self.agree();
        expect_ok(
            &self
                .client(replica)
                .call(&["CLUSTER", "FAILOVER", "TAKEOVER"]),
        );
    }

    /// A node's process, for signals.
    #[must_use]
    pub fn process(&self, node: usize) -> rustix::process::Pid {
        self.nodes[node]
            .as_ref()
            .expect("a node is there")
            .process()
    }

    /// Ends a node's process.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node] = None;
    }
}

/// What one node says of all, by id: the primary that each follows, its own epoch if it is one, its slots.
#[derive(Debug, PartialEq, Eq)]
struct View(BTreeMap<String, (String, String, Vec<String>)>);

impl View {
    fn of(client: &mut RedisClient) -> Self {
        let nodes = client.call(&["CLUSTER", "NODES"]).text();
        let nodes = nodes.lines().map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let slots = words.iter().skip(8).filter(|slots| !slots.starts_with('['));
            let epoch = if words[3] == "-" { words[6] } else { "" };
            let about = (
                words[3].to_owned(),
                epoch.to_owned(),
                slots.map(ToString::to_string).collect(),
            );
            (words[0].to_owned(), about)
        });
        Self(nodes.collect())
    }

    fn has_distinct_epochs(&self) -> bool {
        let primaries = self.0.values().filter(|(follows, ..)| follows == "-");
        let mut seen = BTreeSet::new();
        primaries
            .into_iter()
            .all(|(_, epoch, _)| seen.insert(epoch))
    }
}

/// What all nodes are set to.
const NODE: [&str; 6] = [
    "cluster-enabled yes",
    "cluster-node-timeout 5000",
    "cluster-require-full-coverage no",
    "cluster-allow-replica-migration no",
    "cluster-replica-no-failover yes",
    "repl-diskless-sync-delay 0",
];

fn node() -> Option<Redis> {
    Redis::with(&NODE)
}

#[track_caller]
fn expect_ok(reply: &RedisReply) {
    assert_eq!(*reply, RedisReply::Simple("OK".to_owned()));
}
