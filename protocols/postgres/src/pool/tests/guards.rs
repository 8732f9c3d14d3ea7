//! The shared pool's guards: whatever is dropped, nothing is lost, and wakers run outside the lock.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use portcullis_testkit::VirtualClock;

use super::super::*;

/// Counts, and looks into the pool each time, which would hang if the lock were held.
struct Alarm {
    rung: AtomicU32,
    pool: Mutex<Option<SharedPool<u32>>>,
    now: Instant,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rung.fetch_add(1, SeqCst);
        if let Some(pool) = self.pool.lock().unwrap().as_ref() {
            pool.snapshot(self.now);
        }
    }
}

struct Scene {
    pool: SharedPool<u32>,
    now: Instant,
    alarm: Arc<Alarm>,
    waker: Waker,
}

impl Scene {
    fn new(size: u32) -> Self {
        let now = VirtualClock::new().now();
        let pool = SharedPool::new(PoolLimits {
            size,
            ..PoolLimits::default()
        });
        let alarm = Arc::new(Alarm {
            rung: AtomicU32::new(0),
            pool: Mutex::new(Some(pool.clone())),
            now,
        });
        let waker = Waker::from(Arc::clone(&alarm));
        Self {
            pool,
            now,
            alarm,
            waker,
        }
    }

    fn ask(&self) -> Acquired<u32> {
        self.pool
            .checkout(self.now, Affinity::default(), Patience::Stays)
    }

    fn wait(&self) -> Waiting<u32> {
        match self.ask() {
            Acquired::Waiting(waiting) => waiting,
            other => panic!("{other:?}"),
        }
    }

    fn poll(&self, waiting: &mut Waiting<u32>) -> Poll<Offer<u32>> {
        waiting.poll(&Context::from_waker(&self.waker), self.now)
    }

    fn opening(&self, waiting: &mut Waiting<u32>) -> Opening<u32> {
        match self.poll(waiting) {
            Poll::Ready(Offer::Open(opening)) => opening,
            other => panic!("{other:?}"),
        }
    }

    fn held(&self, waiting: &mut Waiting<u32>) -> Held<u32> {
        match self.poll(waiting) {
            Poll::Ready(Offer::Ready(held)) => held,
            other => panic!("{other:?}"),
        }
    }

    fn open(&self, connection: u32) -> Held<u32> {
        let mut waiting = self.wait();
        let opening = self.opening(&mut waiting);
        opening.opened(self.now, 0, connection, Affinity::default());
        self.held(&mut waiting)
    }

    fn rung(&self) -> u32 {
        self.alarm.rung.swap(0, SeqCst)
    }

    fn counts(&self) -> (u32, u32, u32, usize) {
        let snapshot = self.pool.snapshot(self.now);
        (
            snapshot.active,
            snapshot.idle,
            snapshot.opening,
            snapshot.waiting,
        )
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.alarm.pool.lock().unwrap().take();
    }
}

#[test]
fn a_round() {
    let scene = Scene::new(1);
    let held = scene.open(7);
    assert_eq!(
        (held.connection, held.serial(), scene.counts()),
        (7, 0, (1, 0, 0, 0))
    );
    assert_eq!(held.checkin(scene.now, Affinity::default()), After::Kept);
    let Acquired::Ready(held) = scene.ask() else {
        panic!("it is idle");
    };
    let mut waiting = scene.wait();
    assert!(scene.poll(&mut waiting).is_pending());
    assert_eq!(scene.rung(), 0);
    assert!(matches!(
        held.checkin(scene.now, Affinity::default()),
        After::Handed { .. }
    ));
    assert_eq!(scene.rung(), 1);
    let held = scene.held(&mut waiting);
    assert!(matches!(
        scene.poll(&mut waiting),
        Poll::Ready(Offer::Refused(Refusal::Closed))
    ));
    assert_eq!(held.discard(scene.now, CloseReason::ServerGone), 7);
    assert_eq!(scene.counts(), (0, 0, 0, 0));
}

#[test]
fn what_is_dropped_is_not_lost() {
    let scene = Scene::new(1);

    let mut first = scene.wait();
    let opening = scene.opening(&mut first);
    let mut second = scene.wait();
    assert!(scene.poll(&mut second).is_pending());
    drop(first);
    assert_eq!(scene.rung(), 0, "the opening goes on");
    drop(opening);
    assert_eq!(
        scene.rung(),
        1,
        "an opening that is dropped goes to the next"
    );
    let opening = scene.opening(&mut second);
    let held = opening.opened_held(scene.now, 0, 1);
    held.checkin(scene.now, Affinity::default());
    let held = scene.held(&mut second);

    let mut third = scene.wait();
    let mut fourth = scene.wait();
    assert!(scene.poll(&mut third).is_pending());
    assert!(scene.poll(&mut fourth).is_pending());
    held.checkin(scene.now, Affinity::default());
    assert_eq!(scene.rung(), 1);
    drop(third);
    assert_eq!(
        scene.rung(),
        1,
        "a connection for one who is gone goes to the next"
    );
    let held = scene.held(&mut fourth);

    let mut fifth = scene.wait();
    assert!(scene.poll(&mut fifth).is_pending());
    drop(held);
    assert_eq!(
        scene.rung(),
        1,
        "the place of a connection that is dropped goes to the next"
    );
    let totals = scene.pool.snapshot(scene.now).totals;
    assert_eq!(totals.closed[CloseReason::Dropped as usize], 1);
    drop(fifth);
    assert_eq!(scene.counts(), (0, 0, 0, 0));
}

#[test]
fn moving_the_connection_out_frees_its_place() {
    let scene = Scene::new(1);
    let Held { connection, .. } = scene.open(3);
    assert_eq!((connection, scene.counts()), (3, (0, 0, 0, 0)));
}

#[test]
fn another_waker_replaces_the_first() {
    let scene = Scene::new(1);
    let held = scene.open(1);
    let mut waiting = scene.wait();
    assert!(
        waiting
            .poll(&Context::from_waker(Waker::noop()), scene.now)
            .is_pending()
    );
    assert!(scene.poll(&mut waiting).is_pending());
    assert!(waiting.deadline().is_some());
    held.checkin(scene.now, Affinity::default());
    assert_eq!(scene.rung(), 1);
}

#[test]
fn kill_is_seen_and_quiet_is_told() {
    let scene = Scene::new(2);
    let held = scene.open(1);
    assert!(!held.is_killed());
    assert!(scene.pool.kill(scene.now).is_empty());
    assert!(held.is_killed());
    let context = Context::from_waker(&scene.waker);
    assert!(scene.pool.poll_quiet(&context).is_pending());
    assert_eq!(
        held.checkin(scene.now, Affinity::default()),
        After::Close(1, CloseReason::Killed)
    );
    assert_eq!(scene.rung(), 1);
    assert!(scene.pool.poll_quiet(&context).is_ready());
    assert_eq!(scene.pool.state(), PoolState::Paused);
}

#[test]
fn upkeep_opens_the_minimum_and_is_woken() {
    let scene = Scene::new(2);
    let limits = PoolLimits {
        min: 1,
        ..scene.pool.limits()
    };
    scene.pool.set_limits(scene.now, limits);
    let context = Context::from_waker(&scene.waker);
    let mut upkeep = scene.pool.sweep(&context, scene.now);
    assert_eq!((upkeep.open.len(), upkeep.next), (1, None));
    let opening = upkeep.open.remove(0);
    opening.opened(scene.now, 0, 1, Affinity::default());
    assert_eq!(scene.rung(), 1, "it will be too old one day");
    assert_eq!(scene.counts(), (0, 1, 0, 0));
}
