//! A long random run: clients that put their own name into everything, on few server connections, while backends and servers
//! are killed, statements cancelled and connections cut. Nobody may ever read a name but their own.
//!
//! Choices come from a seed, which a failure prints: `PORTCULLIS_SEED=` makes the same ones again, though threads run in an order
//! of their own (the simulator of the machine repeats that, too). `PORTCULLIS_STEPS=` makes the run longer. Start at [`run`].

mod actor;
mod acts;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use harness::Gateway;
use harness::postgres::Postgres;
use portcullis_testkit::random::Random;

use self::actor::Actor;
use super::{document, gateway};

const CLIENTS: usize = 8;
/// What each client does unless the environment says otherwise.
const STEPS: usize = 120;

/// What all clients of a run share.
struct Stage {
    gateway: Gateway,
    servers: Mutex<Servers>,
    /// The key that cancels each client's statements, while it has one.
    keys: Mutex<Vec<Vec<u8>>>,
    /// Rows that must be there at the end, and rows that must not.
    committed: Mutex<Vec<String>>,
    never: Mutex<Vec<String>>,
    /// Answers that were what they had to be.
    checked: AtomicUsize,
    /// Conversations that ended with an error that somebody caused.
    broken: AtomicUsize,
    seed: u64,
}

/// The servers behind the gateway. The last one is the primary, or becomes it.
struct Servers {
    all: Vec<Postgres>,
    /// How often the whole server may still be killed.
    crashes: usize,
}

impl Servers {
    fn primary(&self) -> &Postgres {
        let dead = self.crashes == 0 && self.all.len() > 1;
        if dead { &self.all[1] } else { &self.all[0] }
    }

    /// Kills the primary as a crash would; it comes again, or its replica takes its place.
    fn crash(&mut self) {
        if self.crashes == 0 {
            return;
        }
        self.crashes -= 1;
        self.all[0].kill();
        match self.all.get(1) {
            Some(replica) => replica.promote(),
            None => self.all[0].restart(),
        }
    }
}

impl Stage {
    fn new(keys: &str, servers: Vec<Postgres>, crashes: usize, seed: u64) -> Self {
        servers[0].sql("CREATE TABLE t (tag text)");
        let gateway = match &*servers {
            [one] => gateway(keys, one.address()),
            several => {
                let addresses: Vec<String> = several
                    .iter()
                    .map(|server| format!("\"{}\"", server.address()))
                    .collect();
                Gateway::start(&document(
                    keys,
                    &format!("endpoints: [{}]", addresses.join(", ")),
                ))
            }
        };
        Self {
            gateway,
            servers: Mutex::new(Servers {
                all: servers,
                crashes,
            }),
            keys: Mutex::new(vec![Vec::new(); CLIENTS]),
            committed: Mutex::default(),
            never: Mutex::default(),
            checked: AtomicUsize::new(0),
            broken: AtomicUsize::new(0),
            seed,
        }
    }

    /// Rows of transactions that ended are there or not, as they ended. A replica may have missed the last ones.
    fn check_rows(&self) {
        let servers = self.servers.lock().unwrap();
        let there = servers.primary().sql("SELECT tag FROM t");
        let there: Vec<&str> = there.lines().collect();
        let count = |tag: &String| there.iter().filter(|row| **row == tag).count();
        for tag in &*self.never.lock().unwrap() {
            assert_eq!(
                count(tag),
                0,
                "seed {}: {tag} was never committed",
                self.seed
            );
        }
        if servers.all.len() == 1 {
            for tag in &*self.committed.lock().unwrap() {
                assert_eq!(count(tag), 1, "seed {}: {tag} was committed", self.seed);
            }
        }
    }
}

/// Lets all clients act at the same time, and judges what is left behind.
fn run(keys: &str, servers: Vec<Postgres>, crashes: usize) {
    let (mut random, seed) = Random::from_environment(0x1501_a7e5);
    let steps = std::env::var("PORTCULLIS_STEPS");
    let steps = steps.map_or(STEPS, |steps| steps.parse().expect("a number of steps"));
    let stage = Arc::new(Stage::new(keys, servers, crashes, seed));
    let threads: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let stage = Arc::clone(&stage);
            let random = Random::from_seed(random.next_u64());
            thread::spawn(move || Actor::new(number, stage, random).act(steps))
        })
        .collect();
    // All of them, so that nobody holds the gateway any more when the test ends, however it does.
    let ends: Vec<_> = threads.into_iter().map(thread::JoinHandle::join).collect();
    let failed = ends.iter().filter(|end| end.is_err()).count();
    assert_eq!(failed, 0, "clients whose checks failed, each said above");
    stage.check_rows();
    let checked = stage.checked.load(Ordering::Relaxed);
    let broken = stage.broken.load(Ordering::Relaxed);
    assert!(checked > broken, "seed {seed}: {checked} {broken}");
}

#[test]
fn everybody_reads_their_own_in_transaction_mode() {
    let Some(server) = Postgres::start() else {
        return;
    };
    run("pool: { mode: transaction, size: 3 }", vec![server], 2);
}

#[test]
fn everybody_reads_their_own_where_settings_are_replayed() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let keys = "pool: { mode: transaction, size: 3, state: replay, prepared_statements: 4 }";
    run(keys, vec![server], 1);
}

#[test]
fn everybody_reads_their_own_in_session_mode() {
    let Some(server) = Postgres::start() else {
        return;
    };
    run("pool: { mode: session, size: 4 }", vec![server], 1);
}

#[test]
fn everybody_reads_their_own_over_a_failover() {
    let Some(primary) = Postgres::start() else {
        return;
    };
    let replica = primary.replica();
    let keys = "\
pool: { mode: transaction, size: 3 }
routes:
  - { name: reads, match: { statement: read }, cluster: main, role: prefer_replica }
  - { name: writes, cluster: main, role: primary }";
    run(keys, vec![primary, replica], 1);
}
