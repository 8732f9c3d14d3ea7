//! ATTACKS.md P15: ten thousand clients at ten servers' worth of connections, a failover in between, and many pools that
//! come back after one.
//!
//! Events on a virtual clock. Start at [`Crowd`]. `PORTCULLIS_SEED=` replays.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use portcullis_testkit::{Random, VirtualClock};

use super::super::*;

const CLIENTS: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask(usize),
    /// The transaction of this client ends.
    End(usize),
    /// An opening that began is over.
    Opened(u64),
    Leave(usize),
    Sweep,
    Fail,
    Recover,
}

struct Crowd {
    pool: PoolCore<u64, usize>,
    clock: VirtualClock,
    random: Random,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    sequence: u64,
    waiting: HashMap<usize, (Ticket, Duration)>,
    holding: HashMap<usize, (u64, Lease)>,
    openings: HashMap<u64, OpenTicket>,
    server_is_up: bool,
    connections: u64,
    done: Vec<u32>,
    /// Serial of who was served last.
    last_served: Option<u64>,
    longest: Duration,
    attempts_while_down: u32,
    refused: u32,
    swept: Option<Duration>,
    transaction: Duration,
    leaves: bool,
}

impl Crowd {
    fn new(limits: PoolLimits, random: Random) -> Self {
        Self {
            pool: PoolCore::new(limits),
            clock: VirtualClock::new(),
            random,
            events: BinaryHeap::new(),
            sequence: 0,
            waiting: HashMap::new(),
            holding: HashMap::new(),
            openings: HashMap::new(),
            server_is_up: true,
            connections: 0,
            done: vec![0; CLIENTS],
            last_served: None,
            longest: Duration::ZERO,
            attempts_while_down: 0,
            refused: 0,
            swept: None,
            transaction: Duration::from_millis(2),
            leaves: false,
        }
    }

    fn after(&mut self, by: Duration, event: Event) {
        self.sequence += 1;
        self.events
            .push(Reverse((self.clock.elapsed() + by, self.sequence, event)));
    }

    /// Up to `most`, at random.
    fn some(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.random.below(most.as_nanos() as usize) as u64)
    }

    fn run(&mut self, until: Duration) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > until {
                self.events.push(Reverse((at, 0, event)));
                break;
            }
            self.clock.advance(at - self.clock.elapsed());
            self.handle(event);
            self.settle();
        }
        self.clock.advance(until - self.clock.elapsed());
    }

    fn handle(&mut self, event: Event) {
        let now = self.clock.now();
        let affinity = Affinity {
            worker: self.random.below(2) as u32,
            shape: 0,
        };
        match event {
            Event::Ask(client) => match self.pool.checkout(now, affinity, Patience::Stays) {
                Checkout::Ready(leased) => self.begin(client, leased),
                Checkout::Wait(ticket) => {
                    self.waiting.insert(client, (ticket, self.clock.elapsed()));
                    self.fetch(client);
                    if self.leaves && self.random.below(10) == 0 {
                        let by = self.some(Duration::from_secs(4));
                        self.after(by, Event::Leave(client));
                    }
                }
                Checkout::Refused(_) => self.refuse(client),
            },
            Event::End(client) => {
                let Some((connection, lease)) = self.holding.remove(&client) else {
                    return;
                };
                self.done[client] += 1;
                self.pool.checkin(now, connection, lease, affinity);
                self.again(client);
            }
            Event::Leave(client) => {
                if let Some((ticket, _)) = self.waiting.remove(&client) {
                    drop(self.pool.cancel(now, ticket));
                    self.again(client);
                }
            }
            Event::Opened(number) => {
                let open = self.openings.remove(&number).unwrap();
                let random = self.random.next_u64();
                if self.server_is_up {
                    self.connections += 1;
                    self.pool
                        .opened_ready(now, open, random, self.connections, affinity);
                } else {
                    self.attempts_while_down += 1;
                    self.pool
                        .open_failed(now, open, OpenFailure::Connect, random);
                }
            }
            Event::Sweep => {
                if self.swept.is_none_or(|due| due <= self.clock.elapsed()) {
                    self.swept = None;
                    let swept = self.pool.sweep(now);
                    swept.open.into_iter().for_each(|open| self.open(open));
                }
            }
            Event::Fail => {
                self.server_is_up = false;
                let holding = std::mem::take(&mut self.holding);
                for (client, (_, lease)) in holding {
                    self.pool.discard(now, lease, CloseReason::ServerGone);
                    self.again(client);
                }
                drop(self.pool.retain_idle(now, |_, _| false));
            }
            Event::Recover => self.server_is_up = true,
        }
    }

    fn settle(&mut self) {
        while let Some(client) = self.pool.poll_woken() {
            self.fetch(client);
        }
        let Some(next) = self.pool.next_deadline() else {
            return;
        };
        let due = next.saturating_duration_since(self.clock.at(Duration::ZERO));
        if self.swept.is_none_or(|swept| due < swept) {
            self.swept = Some(due);
            self.sequence += 1;
            self.events.push(Reverse((
                due.max(self.clock.elapsed()),
                self.sequence,
                Event::Sweep,
            )));
        }
    }

    fn fetch(&mut self, client: usize) {
        let Some((ticket, since)) = self.waiting.get(&client).copied() else {
            return;
        };
        loop {
            match self.pool.take(self.clock.now(), ticket) {
                None => {
                    *self.pool.waker_mut(ticket).unwrap() = Some(client);
                    return;
                }
                Some(Grant::Open(open)) => self.open(open),
                Some(Grant::Ready(leased)) => {
                    self.waiting.remove(&client);
                    assert!(
                        self.last_served.is_none_or(|last| last < ticket.serial()),
                        "first come, first served"
                    );
                    self.last_served = Some(ticket.serial());
                    self.longest = self.longest.max(self.clock.elapsed() - since);
                    self.begin(client, leased);
                    return;
                }
                Some(Grant::Refused(_)) => {
                    self.waiting.remove(&client);
                    self.refuse(client);
                    return;
                }
            }
        }
    }

    fn begin(&mut self, client: usize, leased: Leased<u64>) {
        self.holding
            .insert(client, (leased.connection, leased.lease));
        let by = self.transaction / 2 + self.some(self.transaction);
        self.after(by, Event::End(client));
    }

    fn open(&mut self, open: OpenTicket) {
        self.sequence += 1;
        let number = self.sequence;
        self.openings.insert(number, open);
        let by = Duration::from_millis(5) + self.some(Duration::from_millis(5));
        self.after(by, Event::Opened(number));
    }

    fn refuse(&mut self, client: usize) {
        self.refused += 1;
        self.again(client);
    }

    fn again(&mut self, client: usize) {
        let by = self.some(Duration::from_millis(500));
        self.after(by, Event::Ask(client));
    }
}

fn ten_servers() -> PoolLimits {
    PoolLimits {
        size: 10,
        max_opening: 4,
        ..PoolLimits::default()
    }
}

#[test]
fn ten_thousand_clients_at_ten_connections() {
    let (random, seed) = Random::from_environment(15);
    println!("PORTCULLIS_SEED={seed}");
    let mut crowd = Crowd::new(ten_servers(), random);
    for client in 0..CLIENTS {
        let by = crowd.some(Duration::from_secs(1));
        crowd.after(by, Event::Ask(client));
    }
    crowd.run(Duration::from_secs(10));

    // Ten connections at 2 ms each: about 5,000 transactions a second, and 10,000 clients ahead of me at most.
    let fewest = *crowd.done.iter().min().unwrap();
    let most = *crowd.done.iter().max().unwrap();
    println!(
        "transactions {fewest} to {most}, longest wait {:?}",
        crowd.longest
    );
    assert_eq!(crowd.refused, 0);
    assert!(fewest >= 3, "nobody starves");
    assert!(
        most <= 2 * fewest,
        "all get much the same, but that some came while the queue was short"
    );
    assert!(
        crowd.longest <= Duration::from_millis(2_500),
        "the wait is what the queue is long"
    );
    let snapshot = crowd.pool.snapshot(crowd.clock.now());
    assert_eq!(
        (
            snapshot.totals.opened,
            snapshot.totals.closed.iter().sum::<u64>()
        ),
        (10, 0)
    );
}

#[test]
fn a_failover_under_ten_thousand_clients() {
    let (random, seed) = Random::from_environment(16);
    println!("PORTCULLIS_SEED={seed}");
    let limits = PoolLimits {
        wait_timeout: Duration::from_secs(8),
        ..ten_servers()
    };
    let mut crowd = Crowd::new(limits, random);
    crowd.leaves = true;
    for client in 0..CLIENTS {
        let by = crowd.some(Duration::from_secs(1));
        crowd.after(by, Event::Ask(client));
    }
    crowd.after(Duration::from_secs(3), Event::Fail);
    crowd.after(Duration::from_secs(6), Event::Recover);
    crowd.run(Duration::from_secs(6));

    // At most four at once find out; then 50 to 100 ms, 100 to 200 ms, and so on.
    println!("{} attempts while down", crowd.attempts_while_down);
    assert!(
        (4..=13).contains(&crowd.attempts_while_down),
        "{} attempts",
        crowd.attempts_while_down
    );
    let before: u32 = crowd.done.iter().sum();

    crowd.run(Duration::from_secs(15));
    let after: u32 = crowd.done.iter().sum();
    println!(
        "{before} transactions until then, {after} in the end; longest wait {:?}",
        crowd.longest
    );
    assert_eq!(crowd.refused, 0, "all could wait for it");
    assert!(
        after - before > 25_000,
        "it serves again at full rate after a pause of a second or two"
    );
    assert!(crowd.done.iter().all(|done| *done > 0));
    assert!(crowd.longest <= Duration::from_secs(8));
    assert_eq!(crowd.pool.snapshot(crowd.clock.now()).totals.opened, 20);
}

#[test]
fn pools_do_not_come_back_all_at_once() {
    const POOLS: usize = 1_000;
    let (mut random, seed) = Random::from_environment(17);
    println!("PORTCULLIS_SEED={seed}");
    let clock = VirtualClock::new();
    let mut attempts = vec![0_u32; 100];
    for _ in 0..POOLS {
        let mut pool = PoolCore::<u32>::new(ten_servers());
        let Checkout::Wait(ticket) =
            pool.checkout(clock.now(), Affinity::default(), Patience::Stays)
        else {
            panic!("nothing is open");
        };
        // Everybody finds the server away at the same moment, three times in a row.
        let mut now = clock.now();
        loop {
            if let Some(Grant::Open(open)) = pool.take(now, ticket) {
                pool.open_failed(now, open, OpenFailure::Connect, random.next_u64());
            }
            now = pool.next_deadline().unwrap();
            let swept = pool.sweep(now);
            assert!(swept.open.is_empty());
            let slot = ((now - clock.now()).as_millis() / 10) as usize;
            match attempts.get_mut(slot) {
                Some(count) => *count += 1,
                None => break,
            }
        }
    }
    println!("{attempts:?}");
    let busiest = *attempts.iter().max().unwrap();
    assert!(
        busiest < POOLS as u32 / 4,
        "{busiest} of {POOLS} pools in the same 10 ms"
    );
}
