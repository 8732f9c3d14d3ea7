//! Real threads at one pool: nothing is lost, nobody starves, and it all comes to an end.
//!
//! Time stands still here. The book's own checks run under the lock after every call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use portcullis_testkit::{Random, VirtualClock};

use super::super::*;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[derive(Default)]
struct Tally {
    opened: AtomicU64,
    ended: AtomicU64,
}

/// Ends with a connection's life, wherever that is.
struct Connection(Arc<Tally>);

impl Connection {
    fn new(tally: &Arc<Tally>) -> Self {
        tally.opened.fetch_add(1, SeqCst);
        Self(Arc::clone(tally))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, SeqCst);
    }
}

struct Client {
    pool: SharedPool<Connection>,
    tally: Arc<Tally>,
    now: Instant,
    random: Random,
    waker: Waker,
}

impl Client {
    fn affinity(&mut self) -> Affinity {
        Affinity {
            worker: self.random.below(2) as u32,
            shape: 0,
        }
    }

    fn round(&mut self, careless: bool) {
        let affinity = self.affinity();
        let held = match self.pool.checkout(self.now, affinity, Patience::Stays) {
            Acquired::Ready(held) => Some(held),
            Acquired::Waiting(waiting) => self.wait(waiting, careless),
            Acquired::Refused(refusal) => panic!("{refusal}"),
        };
        let Some(held) = held else { return };
        match self.random.below(16) {
            0 if careless => drop(held),
            1 if careless => drop(held.discard(self.now, CloseReason::OutOfSync)),
            _ => drop(held.checkin(self.now, affinity)),
        }
    }

    fn wait(
        &mut self,
        mut waiting: Waiting<Connection>,
        careless: bool,
    ) -> Option<Held<Connection>> {
        let serial = waiting.ticket().unwrap().serial();
        loop {
            if careless && self.random.below(16) == 0 {
                return None;
            }
            match waiting.poll(&Context::from_waker(&self.waker), self.now) {
                Poll::Pending => thread::park(),
                Poll::Ready(Offer::Open(opening)) => self.open(opening, careless),
                Poll::Ready(Offer::Refused(refusal)) => panic!("{refusal}"),
                Poll::Ready(Offer::Ready(held)) => {
                    let first = self.pool.snapshot(self.now).first;
                    assert!(
                        first.is_none_or(|first| first.serial() > serial),
                        "served while somebody waits who came before"
                    );
                    return Some(held);
                }
            }
        }
    }

    fn open(&mut self, opening: Opening<Connection>, careless: bool) {
        match self.random.below(8) {
            0 if careless => drop(opening),
            1 if careless => opening.failed(self.now, OpenFailure::Connect, self.random.next_u64()),
            _ => {
                let connection = Connection::new(&self.tally);
                let affinity = self.affinity();
                let random = self.random.next_u64();
                drop(opening.opened(self.now, random, connection, affinity));
            }
        }
    }
}

fn hammer(threads: u64, size: u32, rounds: u64, careless: bool) {
    let (mut random, seed) = Random::from_environment(11);
    println!("PORTCULLIS_SEED={seed}");
    let now = VirtualClock::new().now();
    let no_pause = ConnectBackoff {
        first: Duration::ZERO,
        max: Duration::ZERO,
    };
    let limits = PoolLimits {
        size,
        connect_backoff: no_pause,
        ..PoolLimits::default()
    };
    let pool = SharedPool::new(limits);
    let tally = Arc::new(Tally::default());
    let seeds: Vec<u64> = (0..threads).map(|_| random.next_u64()).collect();
    thread::scope(|scope| {
        for seed in seeds {
            let (pool, tally) = (pool.clone(), Arc::clone(&tally));
            scope.spawn(move || {
                let waker = Waker::from(Arc::new(Unpark(thread::current())));
                let random = Random::from_seed(seed);
                let mut client = Client {
                    pool,
                    tally,
                    now,
                    random,
                    waker,
                };
                (0..rounds).for_each(|_| client.round(careless));
            });
        }
    });

    let snapshot = pool.snapshot(now);
    assert_eq!(
        (snapshot.active, snapshot.opening, snapshot.waiting),
        (0, 0, 0),
        "all came back"
    );
    assert!(snapshot.idle <= size);
    assert_eq!(snapshot.totals.checkouts, threads * rounds);
    let (opened, ended) = (tally.opened.load(SeqCst), tally.ended.load(SeqCst));
    assert_eq!(opened, snapshot.totals.opened);
    assert_eq!(
        opened - ended,
        u64::from(snapshot.idle),
        "what is not idle has ended"
    );
    assert_eq!(ended, snapshot.totals.closed.iter().sum::<u64>());
    if !careless {
        assert_eq!(ended, 0, "nothing was closed without need");
    }

    drop(pool.close(now));
    drop(pool);
    assert_eq!(tally.opened.load(SeqCst), tally.ended.load(SeqCst));
}

#[test]
fn two_threads_at_one_connection() {
    hammer(2, 1, 20_000, false);
}

#[test]
fn many_threads_at_three_connections() {
    hammer(12, 3, 2_000, false);
}

#[test]
fn careless_threads_lose_nothing() {
    hammer(2, 1, 20_000, true);
    hammer(8, 3, 2_000, true);
}
