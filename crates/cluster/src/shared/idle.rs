//! Idle connections that keep a place within the cluster's limit which another worker needs.
//!
//! Pools belong to workers, the limit to the process: without this, connections that wait on one worker would refuse requests on
//! another one while nothing is in flight. A worker that needs a place takes that of an idle connection at once and leaves a
//! debt; the worker that keeps the connection closes it when it next looks. Until then there is one connection more than the
//! limit. No connection is touched here. Start at [`IdleShare`].

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};

use super::ClusterShared;

/// The idle connections of one pool on one worker, as the other workers know them.
#[derive(Debug, Default)]
pub struct IdleShare {
    /// Written by the pool's worker only.
    idle: AtomicU64,
    /// Connections whose places were taken and that are still open.
    owed: AtomicU64,
}

impl IdleShare {
    /// Says how many connections are idle now.
    #[inline]
    pub fn set(&self, idle: usize) {
        self.idle.store(idle as u64, Relaxed);
    }

    /// Whether a connection is to be closed for a place that was taken. The answer is for one connection: ask again for the next.
    #[inline]
    #[must_use]
    pub fn owes(&self) -> bool {
        // Only this worker pays, so what is owed cannot become less meanwhile.
        let owes = self.owed.load(Relaxed) > 0;
        if owes {
            self.owed.fetch_sub(1, Relaxed);
        }
        owes
    }

    /// Takes the place of an idle connection, if there is one whose place was not taken.
    fn take_place(&self) -> bool {
        let idle = self.idle.load(Relaxed);
        let taken = self
            .owed
            .fetch_update(Relaxed, Relaxed, |owed| (owed < idle).then_some(owed + 1));
        taken.is_ok()
    }
}

/// The same for a pool whose connections are not taken out of it to be used: it counts those that are idle. Each connection
/// remembers whether it was counted.
#[derive(Debug)]
pub struct IdleCount {
    share: Arc<IdleShare>,
    idle: Cell<usize>,
}

impl IdleCount {
    pub(crate) fn new(share: Arc<IdleShare>) -> Self {
        Self {
            share,
            idle: Cell::new(0),
        }
    }

    /// Notes whether a connection is idle and might be given up, to be said whenever that may have changed. `counted` is the
    /// connection's; it begins with `false`.
    #[inline]
    pub fn note(&self, counted: &Cell<bool>, is_idle: bool) {
        if counted.replace(is_idle) == is_idle {
            return;
        }
        let idle = self.idle.get();
        let idle = if is_idle {
            idle.saturating_add(1)
        } else {
            idle.saturating_sub(1)
        };
        self.idle.set(idle);
        self.share.set(idle);
    }

    /// Takes the place of one of this pool's own, if one is idle whose place was not taken. It is then owed.
    #[must_use]
    pub fn take_place(&self) -> bool {
        self.share.take_place()
    }

    /// Whether one is to be closed for a place that was taken; there is one then. The answer is for one connection: ask again
    /// for the next.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.idle.get() > 0 && self.share.owes()
    }
}

impl ClusterShared {
    /// Makes a pool's idle connections known. It is forgotten when it is dropped.
    pub(crate) fn share_idle(&self) -> Arc<IdleShare> {
        let share = Arc::default();
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&share));
        share
    }

    /// Takes the place of an idle connection on any worker.
    pub(crate) fn take_idle_place(&self) -> bool {
        let all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter_map(std::sync::Weak::upgrade)
            .any(|share| share.take_place())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_taken_once_and_paid_once() {
        let share = IdleShare::default();
        assert!(!share.take_place(), "nothing is idle");
        share.set(2);
        assert!(share.take_place() && share.take_place());
        assert!(!share.take_place(), "both are taken");
        assert!(share.owes() && share.owes());
        assert!(!share.owes(), "both are paid");
    }

    #[test]
    fn connections_are_counted_while_they_are_idle() {
        let share: Arc<IdleShare> = Arc::default();
        let count = IdleCount::new(Arc::clone(&share));
        let (one, two) = (Cell::new(false), Cell::new(false));
        for _ in 0..2 {
            count.note(&one, true);
        }
        assert!(share.take_place() && !share.take_place(), "one is idle");
        count.note(&one, false);
        assert!(!count.owes(), "there is none to be closed");
        count.note(&two, true);
        assert!(
            count.owes() && !count.owes(),
            "the first that is idle again"
        );
        count.note(&two, false);
        count.note(&two, false);
        count.note(&one, true);
        assert!(count.take_place() && !count.take_place(), "one is idle");
    }
}
