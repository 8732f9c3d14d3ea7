//! Places within the cluster's limits, given back when dropped.

use std::num::NonZeroU64;
use std::rc::Rc;

use super::Core;
use crate::breaker::Admission;
use crate::{BreakerKind, Overflow};

/// The right to have one upstream connection open.
#[derive(Debug)]
#[must_use]
pub struct ConnectionPermit(#[expect(dead_code, reason = "held for its drop")] pub(super) Permit);

/// The right to have one request wait for a connection.
#[derive(Debug)]
#[must_use]
pub struct PendingPermit(#[expect(dead_code, reason = "held for its drop")] pub(super) Permit);

/// The right to have one request in flight.
#[derive(Debug)]
#[must_use]
pub struct RequestPermit(#[expect(dead_code, reason = "held for its drop")] pub(super) Permit);

/// Admission by a circuit breaker, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    core: Rc<Core>,
    kind: BreakerKind,
    admission: Admission,
}

impl Permit {
    pub(super) fn acquire(core: &Rc<Core>, kind: BreakerKind) -> Result<Self, Overflow> {
        Self::of(core, kind, core.shared.breaker(kind).admit())
    }

    /// As [`acquire`](Self::acquire), but for one of `share` places, which are left to others.
    pub(super) fn acquire_leaving(
        core: &Rc<Core>,
        kind: BreakerKind,
        share: NonZeroU64,
    ) -> Result<Self, Overflow> {
        Self::of(core, kind, core.shared.breaker(kind).admit_leaving(share))
    }

    /// One for a connection, in the place of an idle one if there is no other; `give_up` closes one of this worker's.
    pub(super) fn for_connection(
        core: &Rc<Core>,
        give_up: impl FnOnce() -> bool,
    ) -> Result<Self, Overflow> {
        let kind = BreakerKind::Connections;
        let breaker = core.shared.breaker(kind);
        // What was given up here makes room for no more than this one, whatever other workers have yet to close.
        let admission = breaker.admit().or_else(|| {
            let has_place = give_up() || core.shared.take_idle_place();
            has_place.then(|| breaker.admit_in_place())
        });
        Self::of(core, kind, admission)
    }

    /// Counts what a breaker has said.
    fn of(
        core: &Rc<Core>,
        kind: BreakerKind,
        admission: Option<Admission>,
    ) -> Result<Self, Overflow> {
        let Some(admission) = admission else {
            core.stats.of(kind).overflows.inc();
            return Err(Overflow { limit: kind });
        };
        core.stats.of(kind).active.inc();
        Ok(Self {
            core: Rc::clone(core),
            kind,
            admission,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.core.shared.breaker(self.kind).release(self.admission);
        self.core.stats.of(self.kind).active.dec();
    }
}
