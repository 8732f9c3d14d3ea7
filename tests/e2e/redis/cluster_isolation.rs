//! Tagged clients over a real Redis Cluster whose slots move and whose nodes fail over: each reads its own replies, in order.
//!
//! What is done is chosen by a seed: `PORTCULLIS_SEED` repeats a run, `PORTCULLIS_STEPS` makes it longer. When it happens is the
//! machine's to say. Start at [`Tagged`].

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use harness::redis::{RedisClient, RedisReply};
use harness::redis_cluster::RedisCluster;
use harness::{Gateway, eventually};
use portcullis_testkit::random::Random;

use super::isolation::from_environment;
use super::{Site, bulk, document, is_error, ok};

/// What each client does unless the environment says otherwise.
const STEPS: usize = 60;

/// Hash tags that all clients share: their slots move.
const TAGS: [&str; 6] = ["{a}", "{b}", "{c}", "{d}", "{e}", "{f}"];

/// A client whose keys and values have its name in them.
struct Tagged {
    name: String,
    seed: u64,
    dice: Random,
    client: RedisClient,
    /// What its next replies must be.
    expected: VecDeque<Expected>,
    count: u64,
    /// What was confirmed of its keys: nobody else writes them. Where nodes fail, that may be lost.
    known: HashMap<String, String>,
    /// Whether errors of servers that are gone are to be expected.
    nodes_fail: bool,
}

/// What a reply may be, besides an error.
#[derive(Debug)]
enum Expected {
    Is(RedisReply),
    Set(String, String),
    Get(String),
    Many([String; 3]),
    Queued,
    /// The results of a transaction that writes a value and reads it.
    Results(String, String),
    /// A number that grows.
    Counted(String),
}

impl Tagged {
    fn new(name: String, seed: u64, dice: Random, site: &Site, nodes_fail: bool) -> Self {
        Self {
            name,
            seed,
            dice,
            client: site.client(),
            expected: VecDeque::new(),
            count: 0,
            known: HashMap::new(),
            nodes_fail,
        }
    }

    fn value(&mut self) -> String {
        self.count += 1;
        format!("{}:{}", self.name, self.count)
    }

    fn key(&mut self) -> String {
        let tag = TAGS[self.dice.below(TAGS.len())];
        format!("{tag}{}:{}", self.name, self.dice.below(4))
    }

    fn say(&mut self, call: &[&str], expected: Expected, wire: &mut Vec<u8>) {
        RedisClient::write(call, wire);
        self.expected.push_back(expected);
    }

    /// Appends a command or several.
    fn step(&mut self, wire: &mut Vec<u8>) {
        let (key, value) = (self.key(), self.value());
        match self.dice.below(8) {
            0 | 1 => {
                let expected = Expected::Set(key.clone(), value.clone());
                self.say(&["SET", &key, &value], expected, wire);
            }
            2 | 3 => self.say(&["GET", &key], Expected::Get(key.clone()), wire),
            4 => self.say(&["ECHO", &value], Expected::Is(bulk(&value)), wire),
            5 => {
                let keys = [self.key(), self.key(), self.key()];
                let call = ["MGET", &keys[0], &keys[1], &keys[2]];
                self.say(&call, Expected::Many(keys.clone()), wire);
            }
            6 => {
                self.say(&["MULTI"], Expected::Is(ok()), wire);
                self.say(&["SET", &key, &value], Expected::Queued, wire);
                self.say(&["GET", &key], Expected::Queued, wire);
                self.say(
                    &["EXEC"],
                    Expected::Results(key.clone(), value.clone()),
                    wire,
                );
            }
            _ => {
                let tag = TAGS[self.dice.below(TAGS.len())];
                let counter = format!("{tag}count:{}", self.name);
                self.say(
                    &["INCR", &counter],
                    Expected::Counted(counter.clone()),
                    wire,
                );
            }
        }
    }

    /// Whether it is what this key may hold.
    fn may_hold(&self, key: &str, reply: &RedisReply) -> bool {
        if let RedisReply::Error(text) = reply {
            return self.may_be(text);
        }
        if let Some(known) = self.known.get(key).filter(|_| !self.nodes_fail) {
            return *reply == bulk(known);
        }
        match reply {
            RedisReply::Bulk(bytes) => bytes.starts_with(format!("{}:", self.name).as_bytes()),
            reply => *reply == RedisReply::Nil,
        }
    }

    /// Whether a client may be told so. A slot that moves in the middle of a transaction is shown, and so is half a slot.
    fn may_be(&self, text: &str) -> bool {
        let moving = ["MOVED ", "ASK ", "TRYAGAIN ", "EXECABORT "];
        let failing = [
            "ERR upstream",
            "ERR no endpoint",
            "CLUSTERDOWN ",
            "LOADING ",
            "MASTERDOWN ",
        ];
        let is_any = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
        is_any(&moving) || (self.nodes_fail && is_any(&failing))
    }

    /// Whether the reply is one that may come, and what is known by it.
    fn accept(&mut self, expected: &Expected, reply: &RedisReply) -> bool {
        if let RedisReply::Error(text) = reply {
            if let Expected::Set(key, _) | Expected::Results(key, _) = expected {
                self.known.remove(key);
            }
            return self.may_be(text);
        }
        match (expected, reply) {
            (Expected::Is(wanted), reply) => wanted == reply,
            (Expected::Set(key, value), reply) => {
                self.known.insert(key.clone(), value.clone());
                *reply == ok()
            }
            (Expected::Get(key), reply) => self.may_hold(key, reply),
            (Expected::Many(keys), RedisReply::Array(all)) => {
                let mut pairs = keys.iter().zip(all);
                all.len() == keys.len() && pairs.all(|(key, reply)| self.may_hold(key, reply))
            }
            (Expected::Queued, RedisReply::Simple(text)) => text == "QUEUED",
            (Expected::Results(key, value), RedisReply::Array(all)) => {
                self.known.insert(key.clone(), value.clone());
                *all == [ok(), bulk(value)]
            }
            (Expected::Counted(key), RedisReply::Integer(count)) => {
                let before = self.known.insert(key.clone(), count.to_string());
                let before = before.filter(|_| !self.nodes_fail);
                before.is_none_or(|before| *count > before.parse().unwrap())
            }
            _ => false,
        }
    }

    /// Reads what is owed.
    fn check(&mut self) {
        while let Some(expected) = self.expected.pop_front() {
            let reply = self.client.read();
            let is_right = self.accept(&expected, &reply);
            let (seed, name) = (self.seed, &self.name);
            assert!(
                is_right,
                "seed {seed}, {name}: {expected:?} is not {reply:?}"
            );
        }
    }

    /// Talks for so many steps, and on until it is over.
    fn run(&mut self, steps: usize, site: &Site, is_over: &AtomicBool) {
        let mut done = 0;
        while done < steps || !is_over.load(Ordering::Relaxed) {
            done += 1;
            let mut wire = Vec::new();
            for _ in 0..=self.dice.below(12) {
                self.step(&mut wire);
            }
            if self.dice.below(12) == 0 {
                // Gone in the middle of anything, its replies unread.
                let end = self.dice.below(wire.len());
                self.client.send_raw(&wire[..end]);
                self.client = site.client();
                self.expected.clear();
                // What was sent may be done at any time from now on.
                self.known.clear();
                self.name.push('\'');
                continue;
            }
            self.client.send_raw(&wire);
            self.check();
        }
    }
}

/// A cluster in which each primary has a replica, or none has, and a gateway in front of it.
fn start(with_replicas: bool, read_from: &str) -> Option<(RedisCluster, Site)> {
    let mut cluster = RedisCluster::start(3)?;
    if with_replicas {
        cluster.add_replica(0)?;
        cluster.add_replica(1)?;
    }
    let redis =
        format!("redis: {{ topology: redis_cluster, connections: 2, read_from: {read_from} }}");
    let seeds = [cluster.address(0), cluster.address(2)];
    let site = Site {
        servers: Vec::new(),
        gateway: Gateway::start(&document("", &redis, &seeds)),
    };
    site.neighbour_is_well();
    Some((cluster, site))
}

/// Lets clients talk while something is done to the cluster, eight times. The end is theirs or its, whichever is later.
fn run(site: &Site, seed: u64, nodes_fail: bool, mut disturb: impl FnMut(&mut Random)) {
    let steps = from_environment("PORTCULLIS_STEPS").map_or(STEPS, |steps| steps as usize);
    let is_over = &AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..8_u64 {
            scope.spawn(move || {
                let dice = Random::from_seed(seed ^ (number << 32));
                let name = format!("client{number}");
                Tagged::new(name, seed, dice, site, nodes_fail).run(steps, site, is_over);
            });
        }
        let over = Over(is_over);
        let mut dice = Random::from_seed(!seed);
        for _ in 0..8 {
            disturb(&mut dice);
        }
        drop(over);
    });
    let mut client = site.client();
    eventually("all is well again", || {
        let mut tags = TAGS.iter();
        tags.all(|tag| client.call(&["SET", tag, "1"]) == ok())
    });
    site.neighbour_is_well();
}

/// Tells clients that it is over, also if the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The seeds to play: the one that is asked for, or a few.
fn seeds(count: u64) -> Vec<u64> {
    match from_environment("PORTCULLIS_SEED") {
        Some(seed) => vec![seed],
        None => (1..=count).collect(),
    }
}

/// Moves the slot of a tag to another primary, keys and all.
fn move_a_slot(cluster: &RedisCluster, primaries: &[usize], dice: &mut Random) {
    let tag = TAGS[dice.below(TAGS.len())];
    let ask = primaries[0];
    let (slot, from) = cluster.place_at(ask, tag);
    let others: Vec<usize> = primaries
        .iter()
        .copied()
        .filter(|node| *node != from)
        .collect();
    let to = others[dice.below(others.len())];
    cluster.begin_move(&slot, from, to);
    cluster.move_keys(&slot, from, to);
    cluster.end_move(&slot, from, to);
    // A transaction that wrote behind the last look is told so; what it left is not in anybody's way.
    cluster.agree();
    assert_eq!(cluster.place_at(ask, tag).1, to);
}

#[test]
fn each_client_reads_its_own_replies_while_slots_move() {
    for seed in seeds(2) {
        let Some((cluster, site)) = start(false, "primary") else {
            return;
        };
        run(&site, seed, false, |dice| {
            move_a_slot(&cluster, &[0, 1, 2], dice);
        });
        let rejected = "portcullis_redis_rejections_total";
        for reason in ["redirect_refused", "upstream_closed", "upstream_protocol"] {
            assert_eq!(site.count(rejected, &[("reason", reason)]), 0, "{reason}");
        }
    }
}

#[test]
fn each_client_reads_its_own_replies_while_nodes_fail_over() {
    for seed in seeds(1) {
        let Some((cluster, site)) = start(true, "prefer_replica") else {
            return;
        };
        // The node of each pair that is the primary.
        let mut pairs = [[0, 3], [1, 4]];
        run(&site, seed, true, |dice| {
            let pair = &mut pairs[dice.below(2)];
            if dice.below(2) == 0 {
                let [primary, replica] = *pair;
                cluster.take_over(replica);
                eventually("the old primary follows the new one", || {
                    let info = cluster
                        .client(primary)
                        .call(&["INFO", "replication"])
                        .text();
                    info.contains("role:slave") && info.contains("master_link_status:up")
                });
                cluster.agree();
                *pair = [replica, primary];
            } else {
                let killed = cluster
                    .client(pair[0])
                    .call(&["CLIENT", "KILL", "TYPE", "normal"]);
                assert!(!is_error(&killed, "ERR"), "{killed:?}");
            }
            let primaries = [pairs[0][0], pairs[1][0], 2];
            move_a_slot(&cluster, &primaries, dice);
        });
    }
}
