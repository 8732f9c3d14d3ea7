//! A pool that all workers share: the book behind one lock, with wakers, and guards that cannot lose anything.
//!
//! Nothing here awaits, and no runtime is needed; wakers are called, and connections dropped, outside the lock, which is held for
//! a moment. A connection may come from another worker than it is taken at: registering its socket anew is the
//! taker's business. Start at [`SharedPool::checkout`].
//!
//! One worker looks after a pool: it calls [`SharedPool::sweep`], opens and closes what comes out, and sleeps until `next` or
//! until it is woken.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::book::{After, Checkout, Grant, Leased, PoolCore, PoolSnapshot, PoolState};
use super::lease::{Affinity, Lease, OpenTicket, Patience};
use super::limits::PoolLimits;
use super::queue::Ticket;
use super::reason::{CloseReason, OpenFailure, Refusal};

/// The pool of one (cluster, endpoint, database, user). Clones share it.
#[derive(Debug)]
pub struct SharedPool<C>(Arc<Shared<C>>);

#[derive(Debug)]
struct Shared<C> {
    core: Mutex<PoolCore<C, Waker>>,
    /// A copy of the book's, so that sessions look without the lock.
    killed_before: AtomicU64,
}

/// The answer to one who asks.
#[derive(Debug)]
pub enum Acquired<C> {
    /// Here it is.
    Ready(Held<C>),
    /// Poll this.
    Waiting(Waiting<C>),
    /// No.
    Refused(Refusal),
}

/// A place in the queue, given up when dropped; what was granted to it then goes to the next.
#[derive(Debug)]
#[must_use = "the place is given up when dropped"]
pub struct Waiting<C> {
    /// Until the wait is over.
    place: Option<(SharedPool<C>, Ticket)>,
    /// The task is known that asked, and there was nothing then.
    is_told: bool,
}

/// What a waiter is offered.
#[derive(Debug)]
pub enum Offer<C> {
    /// A connection: the wait is over.
    Ready(Held<C>),
    /// A permission to open one. The wait goes on: open it, in the same task or in another, and poll again. The connection
    /// goes to whoever is first, which is this waiter unless another connection came sooner.
    Open(Opening<C>),
    /// The wait was in vain.
    Refused(Refusal),
}

/// A connection that is out. Dropped, it counts as closed, since nobody knows its state; [`Self::checkin`] keeps it.
#[derive(Debug)]
#[must_use = "a connection that is dropped is closed"]
pub struct Held<C> {
    /// The connection. It may be moved out; its place is then free when the rest is dropped.
    pub connection: C,
    /// How long it was idle before. From `check_after` on, look whether it still works.
    pub idle: Duration,
    lease: HeldLease<C>,
}

#[derive(Debug)]
struct HeldLease<C> {
    pool: SharedPool<C>,
    lease: Option<Lease>,
}

/// A permission to open one connection, given up when dropped.
#[derive(Debug)]
#[must_use = "the permission is given up when dropped"]
pub struct Opening<C> {
    pool: SharedPool<C>,
    open: Option<OpenTicket>,
}

/// What there is to do for a pool.
#[derive(Debug)]
#[must_use]
pub struct Upkeep<C> {
    /// Connections to close; they no longer count.
    pub close: Vec<(C, CloseReason)>,
    /// Connections to open, so that there are `min`.
    pub open: Vec<Opening<C>>,
    /// When to sweep next, unless woken before.
    pub next: Option<Instant>,
}

impl<C> SharedPool<C> {
    /// An empty pool.
    pub fn new(limits: PoolLimits) -> Self {
        Self(Arc::new(Shared {
            core: Mutex::new(PoolCore::new(limits)),
            killed_before: AtomicU64::new(0),
        }))
    }

    /// Asks for a connection, preferably one at home where `affinity` says. Whoever waits already is not overtaken.
    pub fn checkout(&self, now: Instant, affinity: Affinity, patience: Patience) -> Acquired<C> {
        self.checkout_for(None, now, affinity, patience)
    }

    /// As [`checkout`](Self::checkout), for a task: where it has to wait it is to be woken, so that the first
    /// [poll](Waiting::poll) need not say so.
    pub fn checkout_for(
        &self,
        task: Option<&Waker>,
        now: Instant,
        affinity: Affinity,
        patience: Patience,
    ) -> Acquired<C> {
        let mut is_told = false;
        let answer = self.with(|core| {
            let answer = core.checkout(now, affinity, patience);
            if let (Checkout::Wait(ticket), Some(task)) = (&answer, task)
                && let Some(kept) = core.idle_waker_mut(*ticket)
            {
                *kept = Some(task.clone());
                is_told = true;
            }
            answer
        });
        match answer {
            Checkout::Ready(leased) => Acquired::Ready(held(self.clone(), leased)),
            Checkout::Wait(ticket) => Acquired::Waiting(Waiting {
                place: Some((self.clone(), ticket)),
                is_told,
            }),
            Checkout::Refused(refusal) => Acquired::Refused(refusal),
        }
    }

    /// Does what time has made due, and keeps the waker for when there is something to do before `next`. One task does this:
    /// of two, only the last would be woken.
    pub fn sweep(&self, context: &Context<'_>, now: Instant) -> Upkeep<C> {
        let bell = context.waker().clone();
        let (swept, _old) = self.with(|core| {
            let swept = core.sweep(now);
            let next = swept.next;
            (swept, core.arm(bell, next))
        });
        let open = |open| Opening {
            pool: self.clone(),
            open: Some(open),
        };
        Upkeep {
            close: swept.close,
            open: swept.open.into_iter().map(open).collect(),
            next: swept.next,
        }
    }

    /// See [`PoolCore::pause`]. Close what comes out; then [`Self::poll_quiet`] says when the pause is complete.
    pub fn pause(&self, now: Instant) -> Vec<(C, CloseReason)> {
        self.with(|core| core.pause(now))
    }

    /// See [`PoolCore::resume`].
    pub fn resume(&self, now: Instant) {
        self.with(|core| core.resume(now));
    }

    /// See [`PoolCore::reconnect`]. Close what comes out.
    pub fn reconnect(&self, now: Instant) -> Vec<(C, CloseReason)> {
        self.with(|core| core.reconnect(now))
    }

    /// See [`PoolCore::kill`]. Close what comes out; those in use see it in [`Held::is_killed`], once somebody wakes them.
    pub fn kill(&self, now: Instant) -> Vec<(C, CloseReason)> {
        self.with(|core| {
            let closing = core.kill(now);
            self.0.killed_before.store(core.killed_before(), Relaxed);
            closing
        })
    }

    /// See [`PoolCore::close`]. Close what comes out.
    pub fn close(&self, now: Instant) -> Vec<(C, CloseReason)> {
        self.with(|core| core.close(now))
    }

    /// See [`PoolCore::set_limits`]. Close what comes out.
    pub fn set_limits(&self, now: Instant, limits: PoolLimits) -> Vec<(C, CloseReason)> {
        self.with(|core| core.set_limits(now, limits))
    }

    /// See [`PoolCore::retain_idle`]. `is_alive` runs under the lock: it must neither block nor touch this pool.
    pub fn retain_idle(
        &self,
        now: Instant,
        is_alive: impl FnMut(&mut C, Affinity) -> bool,
    ) -> Vec<C> {
        self.with(|core| core.retain_idle(now, is_alive))
    }

    /// Ready when no connection is open or being opened.
    pub fn poll_quiet(&self, context: &Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        self.with(|core| {
            if core.is_quiet() {
                return Poll::Ready(());
            }
            core.wake_when_quiet(waker);
            Poll::Pending
        })
    }

    /// How things stand.
    pub fn snapshot(&self, now: Instant) -> PoolSnapshot {
        self.lock().snapshot(now)
    }

    /// Whether it serves.
    pub fn state(&self) -> PoolState {
        self.lock().state()
    }

    /// The limits in force.
    pub fn limits(&self) -> PoolLimits {
        *self.lock().limits()
    }

    fn lock(&self) -> MutexGuard<'_, PoolCore<C, Waker>> {
        // Nothing under the lock panics half way, but for checks in debug builds that end the test anyway.
        self.0.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the book, then wakes whom that concerns when the lock is free again: a waker may run anything.
    fn with<R>(&self, work: impl FnOnce(&mut PoolCore<C, Waker>) -> R) -> R {
        let mut core = self.lock();
        let result = work(&mut core);
        // Mostly nobody, or one.
        let Some(first) = core.poll_woken() else {
            return result;
        };
        let mut others = SmallVec::<[Waker; 4]>::new();
        while let Some(waker) = core.poll_woken() {
            others.push(waker);
        }
        drop(core);
        first.wake();
        others.into_iter().for_each(Waker::wake);
        result
    }
}

impl<C> Clone for SharedPool<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> Waiting<C> {
    /// What there is. [`Offer::Open`] may come first or more than once; the other two end the wait, and `Closed` is said
    /// ever after.
    pub fn poll(&mut self, context: &Context<'_>, now: Instant) -> Poll<Offer<C>> {
        let Some((pool, ticket)) = &self.place else {
            return Poll::Ready(Offer::Refused(Refusal::Closed));
        };
        if mem::take(&mut self.is_told) {
            // Whatever has come since has woken it.
            return Poll::Pending;
        }
        let mut waker = None;
        let grant = pool.with(|core| {
            let grant = core.take(now, *ticket);
            if grant.is_none()
                && let Some(kept) = core.waker_mut(*ticket)
                && !kept
                    .as_ref()
                    .is_some_and(|kept| kept.will_wake(context.waker()))
            {
                // The old one is dropped outside the lock.
                waker = kept.replace(context.waker().clone());
            }
            grant
        });
        match grant {
            None => return Poll::Pending,
            Some(Grant::Open(open)) => {
                return Poll::Ready(Offer::Open(Opening {
                    pool: pool.clone(),
                    open: Some(open),
                }));
            }
            Some(Grant::Ready(leased)) => {
                if let Some((pool, _)) = self.place.take() {
                    return Poll::Ready(Offer::Ready(held(pool, leased)));
                }
            }
            Some(Grant::Refused(refusal)) => {
                self.place = None;
                return Poll::Ready(Offer::Refused(refusal));
            }
        }
        Poll::Ready(Offer::Refused(Refusal::Closed))
    }

    /// The place in the queue, while there is one.
    pub fn ticket(&self) -> Option<Ticket> {
        self.place.as_ref().map(|(_, ticket)| *ticket)
    }

    /// Until when it may wait. A sweep refuses it then, and so does [`Self::poll`].
    pub fn deadline(&self) -> Option<Instant> {
        let (pool, ticket) = self.place.as_ref()?;
        pool.lock().wait_deadline(*ticket)
    }
}

impl<C> Drop for Waiting<C> {
    fn drop(&mut self) {
        let Some((pool, ticket)) = self.place.take() else {
            return;
        };
        // What comes out, if anything, is dropped here, outside the lock.
        let _cancelled = pool.with(|core| core.latest().map(|now| core.cancel(now, ticket)));
    }
}

fn held<C>(pool: SharedPool<C>, leased: Leased<C>) -> Held<C> {
    Held {
        connection: leased.connection,
        idle: leased.idle,
        lease: HeldLease {
            pool,
            lease: Some(leased.lease),
        },
    }
}

impl<C> Held<C> {
    /// Gives it back, clean and ready; see [`PoolCore::checkin`]. What is to be closed comes out again.
    pub fn checkin(self, now: Instant, affinity: Affinity) -> After<C> {
        let Self {
            connection,
            mut lease,
            ..
        } = self;
        match lease.lease.take() {
            Some(inner) => lease
                .pool
                .with(|core| core.checkin(now, connection, inner, affinity)),
            None => After::Close(connection, CloseReason::Dropped),
        }
    }

    /// Gives its place back and keeps the connection, to be closed.
    pub fn discard(self, now: Instant, reason: CloseReason) -> C {
        let Self {
            connection,
            mut lease,
            ..
        } = self;
        if let Some(inner) = lease.lease.take() {
            lease.pool.with(|core| core.discard(now, inner, reason));
        }
        connection
    }

    /// Whether an administrator has killed it: whoever holds it ends now. Takes no lock.
    pub fn is_killed(&self) -> bool {
        let killed_before = self.lease.pool.0.killed_before.load(Relaxed);
        self.lease()
            .is_some_and(|lease| lease.generation() < killed_before)
    }

    /// Its number, unlike that of any other connection of this pool, ever.
    pub fn serial(&self) -> u64 {
        self.lease().map_or(u64::MAX, Lease::serial)
    }

    /// When it was opened.
    pub fn opened(&self) -> Option<Instant> {
        self.lease().map(Lease::opened)
    }

    /// The pool that it goes back to.
    pub fn pool(&self) -> &SharedPool<C> {
        &self.lease.pool
    }

    fn lease(&self) -> Option<&Lease> {
        self.lease.lease.as_ref()
    }
}

impl<C> Drop for HeldLease<C> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.pool.with(|core| {
                if let Some(now) = core.latest() {
                    core.discard(now, lease, CloseReason::Dropped);
                }
            });
        }
    }
}

impl<C> Opening<C> {
    /// It is open and ready: the first waiter gets it, or it is idle.
    pub fn opened(
        mut self,
        now: Instant,
        random: u64,
        connection: C,
        affinity: Affinity,
    ) -> After<C> {
        match self.open.take() {
            Some(open) => self
                .pool
                .with(|core| core.opened_ready(now, open, random, connection, affinity)),
            None => After::Close(connection, CloseReason::Dropped),
        }
    }

    /// It is open, and is held at first by whoever opened it.
    pub fn opened_held(mut self, now: Instant, random: u64, connection: C) -> Held<C> {
        let open = self.open.take();
        Held {
            connection,
            idle: Duration::ZERO,
            lease: HeldLease {
                lease: open.map(|open| self.pool.with(|core| core.opened(now, open, random))),
                pool: self.pool.clone(),
            },
        }
    }

    /// It could not be opened; see [`PoolCore::open_failed`].
    pub fn failed(mut self, now: Instant, failure: OpenFailure, random: u64) {
        if let Some(open) = self.open.take() {
            self.pool
                .with(|core| core.open_failed(now, open, failure, random));
        }
    }

    /// The pool that it is for.
    pub fn pool(&self) -> &SharedPool<C> {
        &self.pool
    }
}

impl<C> Drop for Opening<C> {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            self.pool.with(|core| {
                if let Some(now) = core.latest() {
                    core.open_abandoned(now, open);
                }
            });
        }
    }
}
