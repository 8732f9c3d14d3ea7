//! How sessions learn that they should finish.
//!
//! Signals form a tree on each worker: the process's, below it one per listener. A signal tells nobody *how* to
//! finish and ends nothing itself; that is each session's. Start at [`DrainSignal::drain`] and [`DrainSignal::listen`].

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A drain that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// When it began.
    pub started: Instant,
    /// Over how long idle connections are closed, so that their clients do not all come back in one moment.
    pub spread: Duration,
}

impl Drain {
    /// When a connection that has nothing to do should close: a point of the spread that `random` chooses.
    #[must_use]
    pub fn close_at(&self, random: u64) -> Instant {
        let nanos = u128::from(u64::try_from(self.spread.as_nanos()).unwrap_or(u64::MAX));
        let after = (nanos * u128::from(random)) >> 64;
        self.started + Duration::from_nanos(u64::try_from(after).unwrap_or(u64::MAX))
    }
}

/// Tells the sessions of a listener, or of the whole process, to finish. Of one worker; cloning is cheap and gives the
/// same signal.
#[derive(Debug, Clone, Default)]
pub struct DrainSignal {
    node: Rc<Node>,
}

#[derive(Debug, Default)]
struct Node {
    drain: Cell<Option<Drain>>,
    children: RefCell<Vec<Weak<Self>>>,
    waiters: RefCell<Waiters>,
}

/// Wakers in slots, so that a session keeps its place and costs nothing while it moves on.
#[derive(Debug, Default)]
struct Waiters {
    slots: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl DrainSignal {
    /// A signal that has not been given.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A signal below this one: given when this one is, or on its own.
    #[must_use]
    pub fn child(&self) -> Self {
        let child = Self::default();
        child.node.drain.set(self.node.drain.get());
        let mut children = self.node.children.borrow_mut();
        children.retain(|child| child.strong_count() > 0);
        children.push(Rc::downgrade(&child.node));
        child
    }

    /// Gives the signal, here and below. The first time counts.
    pub fn drain(&self, now: Instant, spread: Duration) {
        self.node.drain(Drain {
            started: now,
            spread,
        });
    }

    /// Whether the signal was given.
    #[inline]
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.node.drain.get().is_some()
    }

    /// The drain, if it has begun.
    #[must_use]
    pub fn current(&self) -> Option<Drain> {
        self.node.drain.get()
    }

    /// When an idle connection should close, if the signal was given: see [`Drain::close_at`].
    #[must_use]
    pub fn close_at(&self, random: u64) -> Option<Instant> {
        Some(self.current()?.close_at(random))
    }

    /// For a session that waits and wants to be woken by the signal.
    #[must_use]
    pub fn listen(&self) -> DrainListener {
        DrainListener {
            node: Rc::clone(&self.node),
            slot: None,
        }
    }
}

impl Node {
    fn drain(&self, drain: Drain) {
        if self.drain.get().is_some() {
            return;
        }
        self.drain.set(Some(drain));
        for child in self.children.take() {
            if let Some(child) = child.upgrade() {
                child.drain(drain);
            }
        }
        // The slots stay: their owners will come to give them back.
        let wakers: Vec<Waker> = self
            .waiters
            .borrow_mut()
            .slots
            .iter_mut()
            .filter_map(Option::take)
            .collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Wakes one task when a [`DrainSignal`] is given.
#[derive(Debug)]
pub struct DrainListener {
    node: Rc<Node>,
    slot: Option<usize>,
}

impl DrainListener {
    /// Ready once the signal was given; wakes the task then.
    pub fn poll_draining(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.node.drain.get().is_some() {
            return Poll::Ready(());
        }
        let mut waiters = self.node.waiters.borrow_mut();
        let slot = *self.slot.get_or_insert_with(|| waiters.reserve());
        if let Some(place) = waiters.slots.get_mut(slot)
            && !place
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *place = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits for the signal.
    pub async fn draining(&mut self) {
        std::future::poll_fn(|cx| self.poll_draining(cx)).await;
    }
}

impl Drop for DrainListener {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let mut waiters = self.node.waiters.borrow_mut();
        if let Some(place) = waiters.slots.get_mut(slot) {
            *place = None;
            waiters.free.push(slot);
        }
    }
}

impl Waiters {
    fn reserve(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::clock;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn reaches_below_but_not_beside_or_above() {
        let process = DrainSignal::new();
        let [web, database] = [process.child(), process.child()];
        web.drain(clock::now(), Duration::ZERO);
        assert!(web.is_draining());
        assert!(!database.is_draining());
        assert!(!process.is_draining());
        process.drain(clock::now(), Duration::ZERO);
        assert!(database.is_draining());
        assert!(process.child().is_draining(), "born late");
    }

    #[test]
    fn wakes_every_listener_once_and_only_live_ones() {
        let process = DrainSignal::new();
        let signal = process.child();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let mut listeners = [signal.listen(), signal.listen(), process.listen()];
        for listener in &mut listeners {
            assert!(listener.poll_draining(&mut cx).is_pending());
            assert!(listener.poll_draining(&mut cx).is_pending());
        }
        let mut gone = signal.listen();
        assert!(gone.poll_draining(&mut cx).is_pending());
        drop(gone);
        process.drain(clock::now(), Duration::ZERO);
        process.drain(clock::now(), Duration::ZERO);
        assert_eq!(count.0.load(Ordering::Relaxed), 3);
        for listener in &mut listeners {
            assert!(listener.poll_draining(&mut cx).is_ready());
        }
    }

    #[test]
    fn slots_are_used_again() {
        let signal = DrainSignal::new();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            assert!(signal.listen().poll_draining(&mut cx).is_pending());
        }
        assert_eq!(signal.node.waiters.borrow().slots.len(), 1);
    }

    #[test]
    fn idle_connections_close_over_the_whole_spread() {
        let started = clock::now();
        let drain = Drain {
            started,
            spread: Duration::from_secs(8),
        };
        let rows = [
            (0, Duration::ZERO),
            (u64::MAX / 4 + 1, Duration::from_secs(2)),
            (u64::MAX / 2 + 1, Duration::from_secs(4)),
        ];
        for (random, after) in rows {
            assert_eq!(drain.close_at(random), started + after);
        }
        assert!(drain.close_at(u64::MAX) < started + drain.spread);
    }
}
