//! Tagged clients over shared connections: whatever happens to others, each reads its own replies, in order.
//!
//! Seeded: `PORTCULLIS_SEED` repeats a run, `PORTCULLIS_STEPS` makes it longer. Start at [`Tagged`].

use std::collections::VecDeque;
use std::thread;

use harness::redis::{Redis, RedisClient, RedisReply};
use portcullis_testkit::random::Random;

use super::Site;
/// What each client does unless the environment says otherwise.
const STEPS: usize = 120;

/// A number from the environment.
pub(super) fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A client whose keys and values have its name in them.
struct Tagged {
    name: String,
    dice: Random,
    client: RedisClient,
    /// What its next replies must be.
    expected: VecDeque<Expected>,
    count: u64,
    seed: u64,
    /// Bytes of its large values. Replies above 64 KiB are passed on in pieces: one that breaks off ends its client.
    largest: usize,
}

/// What a reply may be. An error of the gateway is always possible where servers die.
#[derive(Debug)]
enum Expected {
    Is(RedisReply),
    /// Its own value, or none.
    Own,
    OwnOf(usize),
    Queued,
    /// The results of a transaction with so many commands.
    Results(usize),
}

impl Tagged {
    fn value(&mut self) -> String {
        self.count += 1;
        format!("{}:{}", self.name, self.count)
    }

    fn key(&mut self) -> String {
        format!("{}:key:{}", self.name, self.dice.below(20))
    }

    /// Appends a command or several.
    fn step(&mut self, wire: &mut Vec<u8>) {
        let (key, value) = (self.key(), self.value());
        match self.dice.below(9) {
            0 | 1 => self.say(&["SET", &key, &value], Expected::Is(super::ok()), wire),
            2 | 3 => self.say(&["GET", &key], Expected::Own, wire),
            4 => self.say(&["ECHO", &value], Expected::Is(super::bulk(&value)), wire),
            5 => {
                let keys = [self.key(), self.key(), self.key()];
                let call = ["MGET", &keys[0], &keys[1], &keys[2]];
                self.say(&call, Expected::OwnOf(3), wire);
            }
            6 => {
                let tagged = format!("{{{}}}", self.name);
                self.say(&["MULTI"], Expected::Is(super::ok()), wire);
                self.say(&["SET", &tagged, &value], Expected::Queued, wire);
                self.say(&["GET", &tagged], Expected::Queued, wire);
                self.say(&["EXEC"], Expected::Results(2), wire);
            }
            7 => {
                let large = format!("{}:{}", self.name, "x".repeat(self.largest));
                self.say(&["SET", &key, &large], Expected::Is(super::ok()), wire);
            }
            _ => {
                let database = self.dice.below(3).to_string();
                self.say(&["SELECT", &database], Expected::Is(super::ok()), wire);
            }
        }
    }

    fn say(&mut self, call: &[&str], expected: Expected, wire: &mut Vec<u8>) {
        RedisClient::write(call, wire);
        self.expected.push_back(expected);
    }

    /// Reads what is owed.
    fn check(&mut self, servers_die: bool) {
        while let Some(expected) = self.expected.pop_front() {
            let reply = self.client.read();
            let own = |reply: &RedisReply| match reply {
                RedisReply::Bulk(bytes) => bytes.starts_with(format!("{}:", self.name).as_bytes()),
                RedisReply::Nil => true,
                RedisReply::Error(_) => servers_die,
                _ => false,
            };
            let is_right = match (&expected, &reply) {
                (_, RedisReply::Error(text)) => servers_die && !text.contains("Protocol"),
                (Expected::Is(wanted), reply) => wanted == reply,
                (Expected::Own, reply) => own(reply),
                (Expected::OwnOf(count), RedisReply::Array(all)) => {
                    all.len() == *count && all.iter().all(own)
                }
                (Expected::Queued, reply) => *reply == RedisReply::Simple("QUEUED".to_owned()),
                (Expected::Results(count), RedisReply::Array(all)) => {
                    all.len() == *count && all[0] == super::ok() && own(&all[1])
                }
                _ => false,
            };
            assert!(
                is_right,
                "seed {}, {}: {expected:?} is not {reply:?}",
                self.seed, self.name
            );
        }
    }

    fn run(&mut self, steps: usize, site: &Site, servers_die: bool) {
        for _ in 0..steps {
            let mut wire = Vec::new();
            for _ in 0..=self.dice.below(12) {
                self.step(&mut wire);
            }
            let cut = self.dice.below(10) == 0;
            if cut {
                // Gone in the middle of anything, its replies unread.
                let end = self.dice.below(wire.len());
                self.client.send_raw(&wire[..end]);
                self.client = site.client();
                self.expected.clear();
                continue;
            }
            self.client.send_raw(&wire);
            self.check(servers_die);
        }
    }
}

fn run(site: &Site, servers_die: bool) {
    let seed = from_environment("PORTCULLIS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let steps = from_environment("PORTCULLIS_STEPS").map_or(STEPS, |steps| steps as usize);
    thread::scope(|scope| {
        for number in 0..12_u64 {
            scope.spawn(move || {
                let mut tagged = Tagged {
                    name: format!("client{number}"),
                    dice: Random::from_seed(seed ^ (number << 32)),
                    client: site.client(),
                    expected: VecDeque::new(),
                    count: 0,
                    seed,
                    largest: if servers_die { 60_000 } else { 100_000 },
                };
                tagged.run(steps, site, servers_die);
            });
        }
        if servers_die {
            let mut dice = Random::from_seed(seed);
            scope.spawn(move || {
                for _ in 0..10 {
                    // Every connection of the gateway, and of nobody else.
                    let server = &site.servers[dice.below(site.servers.len())];
                    let killed = server.client().call(&["CLIENT", "KILL", "TYPE", "normal"]);
                    let _ = killed;
                    thread::park_timeout(std::time::Duration::from_millis(dice.below(50) as u64));
                }
            });
        }
    });
    site.neighbour_is_well();
}

#[test]
fn each_client_reads_its_own_replies_from_one_server() {
    let Some(site) = Site::start("") else { return };
    run(&site, false);
}

#[test]
fn each_client_reads_its_own_replies_from_shards() {
    let Some(site) = Site::shards(3, "") else {
        return;
    };
    run(&site, false);
}

#[test]
fn each_client_reads_its_own_replies_by_other_names_shared_and_copied() {
    let servers: Option<Vec<Redis>> = (0..3).map(|_| Redis::start()).collect();
    let Some(mut servers) = servers else { return };
    let mirror = servers.pop().unwrap();
    let keys = "routes:\n  - { cluster: main, collapse: true, key: { add_prefix: \"p:\" }, \
                mirror: { cluster: mirror, commands: all } }";
    let cluster = "redis: { topology: shards, connections: 2 }";
    let endpoints: Vec<_> = servers.iter().map(Redis::address).collect();
    let document = super::document(keys, cluster, &endpoints)
        + &format!("  mirror: {{ endpoints: [\"{}\"] }}\n", mirror.address());
    let gateway = harness::Gateway::start(&document);
    let site = Site { servers, gateway };
    run(&site, false);
}

#[test]
fn each_client_reads_its_own_replies_while_connections_are_killed() {
    let servers: Option<Vec<Redis>> = (0..2).map(|_| Redis::start()).collect();
    let Some(servers) = servers else { return };
    let keys = "redis: { topology: shards, connections: 2 }";
    let site = Site::over(servers, "", keys);
    run(&site, true);
}
