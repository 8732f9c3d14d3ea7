//! Places within the cluster's limits, given back when dropped.

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
        let Some(admission) = core.shared.breaker(kind).admit() else {
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
