//! What must hold after every call, looked at in debug builds only.
//!
//! Release builds carry none of it. Start at [`PoolCore::check_invariants`].

use super::super::limits::PoolLimits;
use super::PoolCore;

/// What the checks remember: nothing, in release builds.
#[derive(Debug)]
pub(super) struct Checked {
    /// The numbers of the connections that are open.
    #[cfg(debug_assertions)]
    open: std::collections::HashSet<u64>,
    /// How many may be: more than the limits allow only for as long as those in use when they shrank have not come back.
    #[cfg(debug_assertions)]
    ceiling: u32,
    #[cfg(debug_assertions)]
    calls: u64,
}

#[cfg(not(debug_assertions))]
impl Checked {
    pub(super) fn new(_limits: &PoolLimits) -> Self {
        Self {}
    }
    #[allow(clippy::unused_self)] // as in debug builds
    pub(super) fn note_opened(&mut self, _serial: u64) {}
    #[allow(clippy::unused_self)] // as in debug builds
    pub(super) fn note_closed(&mut self, _serial: u64) {}
}

#[cfg(not(debug_assertions))]
impl<C, W> PoolCore<C, W> {
    #[allow(clippy::unused_self)] // as in debug builds
    pub(super) fn check_invariants(&mut self) {}
}

#[cfg(debug_assertions)]
impl Checked {
    pub(super) fn new(limits: &PoolLimits) -> Self {
        Self {
            open: std::collections::HashSet::new(),
            ceiling: limits.ceiling(),
            calls: 0,
        }
    }

    pub(super) fn note_opened(&mut self, serial: u64) {
        assert!(
            self.open.insert(serial),
            "connection {serial} is opened twice"
        );
    }

    pub(super) fn note_closed(&mut self, serial: u64) {
        assert!(
            self.open.remove(&serial),
            "connection {serial} is closed twice"
        );
    }
}

#[cfg(debug_assertions)]
impl<C, W> PoolCore<C, W> {
    /// Panics where the book does not add up. A long queue is walked now and then only.
    pub(super) fn check_invariants(&mut self) {
        use super::PoolState;

        let live = self.live();
        self.checked.ceiling = self.limits.ceiling().max(self.checked.ceiling.min(live));
        assert!(
            live <= self.checked.ceiling,
            "{live} connections, of {} at most",
            self.checked.ceiling
        );
        let counted = self.idle.len() + self.in_use as usize;
        assert_eq!(
            counted,
            self.checked.open.len(),
            "a connection is lost or doubled"
        );
        assert!(
            self.queue.is_empty() || self.idle.is_empty(),
            "somebody waits while a connection is idle"
        );
        if self.state != PoolState::Open {
            assert!(
                self.idle.is_empty(),
                "a pool that is not open keeps nothing"
            );
        }
        if self.state == PoolState::Closed {
            assert!(self.queue.is_empty(), "nobody waits at a closed pool");
        }
        self.checked.calls += 1;
        if (self.queue.len() + self.idle.len()) as u64 <= 32
            || self.checked.calls.is_multiple_of(64)
        {
            self.check_everything();
        }
    }

    fn check_everything(&self) {
        let (offered, set_aside) = self.queue.check();
        assert!(
            offered <= self.opening as usize,
            "an offer is a permission that is out"
        );
        assert!(
            set_aside <= self.in_use as usize,
            "what is set aside counts as in use"
        );
        assert_eq!(
            self.idle.stored(),
            self.idle.len() + set_aside,
            "what is stored is idle or set aside"
        );
        let serials: std::collections::HashSet<u64> = self
            .idle
            .entries()
            .iter()
            .map(|entry| entry.lease.serial)
            .collect();
        assert_eq!(serials.len(), self.idle.len(), "a connection is idle twice");
        assert!(
            serials.is_subset(&self.checked.open),
            "a closed connection is idle"
        );
        assert!(
            self.idle.entries().is_sorted_by_key(|entry| entry.since),
            "who is idle for longest is in front"
        );
    }
}
