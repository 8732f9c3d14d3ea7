//! An endpoint as one worker sees it: with its own count of requests in flight and its own counters.
//!
//! Nothing here is shared between workers. Start at [`LocalEndpoint`].

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_stats::{ByLabel, Counter, Gauge, Shard};

use crate::Endpoint;

/// An [`Endpoint`] with what this worker counts for it.
#[derive(Debug)]
pub struct LocalEndpoint {
    endpoint: Arc<Endpoint>,
    /// The endpoint's label, for what stays on this worker.
    name: Rc<str>,
    /// Shared with its successor when the endpoint's weight changes.
    tally: Rc<Tally>,
}

#[derive(Debug)]
struct Tally {
    active: Cell<u32>,
    active_gauge: Gauge,
    requests: Counter,
    /// By reason, each made when it first happens: most endpoints never fail in most ways.
    failures: ByLabel,
    ejections: Counter,
    shard: Shard,
}

impl LocalEndpoint {
    /// Resolves the counters; `shard` carries the `cluster` label.
    pub fn new(endpoint: Arc<Endpoint>, shard: &Shard) -> Self {
        let shard = shard.scoped(&[("endpoint", endpoint.label())]);
        let tally = Tally {
            active: Cell::new(0),
            active_gauge: shard.gauge(
                "portcullis_endpoint_requests_active",
                "Requests in flight on the endpoint.",
                &[],
            ),
            requests: shard.counter(
                "portcullis_endpoint_requests_total",
                "Requests sent to the endpoint, retries included.",
                &[],
            ),
            failures: ByLabel::default(),
            ejections: shard.counter(
                "portcullis_endpoint_ejections_total",
                "Times the endpoint was ejected after consecutive failures.",
                &[],
            ),
            shard,
        };
        Self {
            name: Rc::from(&**endpoint.label()),
            endpoint,
            tally: Rc::new(tally),
        }
    }

    /// The same counters for the endpoint's successor.
    pub(crate) fn with_endpoint(&self, endpoint: Arc<Endpoint>) -> Self {
        Self {
            name: Rc::from(&**endpoint.label()),
            endpoint,
            tally: Rc::clone(&self.tally),
        }
    }

    /// This worker's requests in flight.
    pub fn active(&self) -> u32 {
        self.tally.active.get()
    }

    /// Its [label](Endpoint::label), to keep on this worker: counting who has it takes no atomic operation.
    pub fn local_name(&self) -> &Rc<str> {
        &self.name
    }

    /// The endpoint itself.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    pub(crate) fn on_start(&self) {
        self.tally.active.set(self.active() + 1);
        self.tally.active_gauge.inc();
        self.tally.requests.inc();
    }

    pub(crate) fn on_end(&self) {
        self.tally.active.set(self.active().saturating_sub(1));
        self.tally.active_gauge.dec();
    }

    pub(crate) fn on_failure(&self, reason: &'static str) {
        self.tally.failures.inc(reason, || {
            self.tally.shard.counter(
                "portcullis_endpoint_failures_total",
                "Requests on the endpoint that failed, by reason.",
                &[("reason", reason)],
            )
        });
    }

    pub(crate) fn on_ejected(&self) {
        self.tally.ejections.inc();
    }
}

impl Deref for LocalEndpoint {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}
