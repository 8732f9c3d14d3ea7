//! What a pool costs: a connection taken and given back, with one thread and with two, and with a long queue.
//!
//! Not a measurement of a pooler: of that nearly everything is the kernel's. Wall clock on shared machines wanders; it is good
//! for comparing within one run. It also counts allocations, of which there must be none. Start at [`main`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)] // a bench may fail loudly, and measures real time

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_postgres::pool::{
    Acquired, Affinity, After, Held, Offer, Patience, PoolLimits, SharedPool, Waiting,
};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

#[allow(unsafe_code)] // counting allocations has no other way
// SAFETY: everything is passed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise is the system's condition.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: likewise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Behind a pointer, as it should be: by value every move on the way copies it, about ten times a round.
type Connection = Box<[u64; 32]>;

const HERE: Affinity = Affinity {
    worker: 0,
    shape: 0,
};
const ELSEWHERE: Affinity = Affinity {
    worker: 1,
    shape: 1,
};
const THREAD_ROUNDS: u64 = 2_000_000;

fn filled(size: u32, affinity: Affinity) -> SharedPool<Connection> {
    let limits = PoolLimits {
        size,
        max_opening: size,
        max_waiting: 100_000,
        ..PoolLimits::default()
    };
    let pool = SharedPool::new(limits);
    let now = Instant::now();
    let mut held = Vec::new();
    for _ in 0..size {
        let mut waiting = wait(&pool, now);
        let Poll::Ready(Offer::Open(opening)) = poll(&mut waiting, now) else {
            panic!("there is room")
        };
        held.push(opening.opened_held(now, 0, Box::new([0; 32])));
    }
    for one in held {
        assert_eq!(one.checkin(now, affinity), After::Kept);
    }
    pool
}

fn take(pool: &SharedPool<Connection>, now: Instant) -> Held<Connection> {
    match pool.checkout(now, HERE, Patience::Stays) {
        Acquired::Ready(held) => held,
        other => panic!("{other:?}"),
    }
}

fn wait(pool: &SharedPool<Connection>, now: Instant) -> Waiting<Connection> {
    match pool.checkout(now, HERE, Patience::Stays) {
        Acquired::Waiting(waiting) => waiting,
        other => panic!("{other:?}"),
    }
}

fn poll(waiting: &mut Waiting<Connection>, now: Instant) -> Poll<Offer<Connection>> {
    waiting.poll(&Context::from_waker(Waker::noop()), now)
}

#[inline(never)]
fn round(pool: &SharedPool<Connection>, now: Instant, affinity: Affinity) {
    if let Acquired::Ready(held) = pool.checkout(now, HERE, Patience::Stays) {
        black_box(&held.connection);
        black_box(held.checkin(now, affinity));
    }
}

/// A connection goes to the first of a queue, and another joins its end.
#[inline(never)]
fn pass_on(
    pool: &SharedPool<Connection>,
    now: Instant,
    queue: &mut VecDeque<Waiting<Connection>>,
    held: Held<Connection>,
) -> Held<Connection> {
    held.checkin(now, HERE);
    let mut first = queue.pop_front().expect("somebody waits");
    let Poll::Ready(Offer::Ready(held)) = poll(&mut first, now) else {
        panic!("it was served")
    };
    join(pool, now, queue);
    held
}

fn join(pool: &SharedPool<Connection>, now: Instant, queue: &mut VecDeque<Waiting<Connection>>) {
    let mut waiting = wait(pool, now);
    assert!(poll(&mut waiting, now).is_pending());
    queue.push_back(waiting);
}

fn measure(name: &str, rounds: u64, mut work: impl FnMut()) {
    let rounds = if is_once() { 100 } else { rounds };
    (0..rounds / 10).for_each(|_| work());
    let (before, allocations) = (Instant::now(), ALLOCATIONS.load(Relaxed));
    (0..rounds).for_each(|_| work());
    let (elapsed, allocations) = (before.elapsed(), ALLOCATIONS.load(Relaxed) - allocations);
    println!(
        "{name:<44} {:>7.1} ns  {allocations} allocations",
        per(elapsed, rounds)
    );
}

fn is_once() -> bool {
    std::env::args().any(|argument| argument == "--once")
}

fn per(elapsed: Duration, rounds: u64) -> f64 {
    elapsed.as_nanos() as f64 / rounds as f64
}

fn main() {
    let now = Instant::now();
    for (name, size, affinity) in [
        ("taken and given back, 1 idle", 1, HERE),
        ("taken and given back, 20 idle", 20, HERE),
        ("taken and given back, 20 idle, none suits", 20, ELSEWHERE),
        ("taken and given back, 200 idle, none suits", 200, ELSEWHERE),
    ] {
        let pool = filled(size, affinity);
        measure(name, 5_000_000, || round(&pool, now, affinity));
    }

    for waiting in [10, 10_000] {
        let pool = filled(1, HERE);
        let mut held = Some(take(&pool, now));
        let mut queue = VecDeque::new();
        (0..waiting).for_each(|_| join(&pool, now, &mut queue));
        measure(&format!("passed on, {waiting} waiting"), 2_000_000, || {
            held = held
                .take()
                .map(|held| pass_on(&pool, now, &mut queue, held));
        });
    }

    if is_once() {
        return;
    }
    let pool = filled(20, HERE);
    let before = Instant::now();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..THREAD_ROUNDS).for_each(|_| round(&pool, now, HERE)));
        }
    });
    let each = per(before.elapsed(), 2 * THREAD_ROUNDS);
    println!(
        "{:<44} {each:>7.1} ns",
        "two threads that do nothing else, 20 idle"
    );
}
