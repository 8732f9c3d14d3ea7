//! The counters of one listener on one worker.
//!
//! Start at [`ListenerStats`].

use std::cell::RefCell;

use portcullis_stats::{Counter, Gauge, Shard};

/// The counters of one listener on one worker.
#[derive(Debug)]
pub struct ListenerStats {
    shard: Shard,
    pub(super) accepted: Counter,
    pub(super) active: Gauge,
    /// By reason; reasons are words of the code, so there are few.
    refused: RefCell<Vec<(&'static str, Counter)>>,
    errors: RefCell<Vec<(&'static str, Counter)>>,
}

/// Reasons that are shown from the start, because people make alerts of them.
const REFUSALS: [&str; 3] = ["listener_limit", "global_limit", "fd_limit"];

impl ListenerStats {
    /// Counters in a shard that carries the listener's label.
    #[must_use]
    pub fn new(shard: &Shard) -> Self {
        let refused = REFUSALS.map(|reason| (reason, refusal(shard, reason)));
        Self {
            accepted: shard.counter(
                "portcullis_listener_connections_total",
                "Connections that were accepted and given to the protocol.",
                &[],
            ),
            active: shard.gauge(
                "portcullis_listener_connections_active",
                "Connections that are open.",
                &[],
            ),
            refused: RefCell::new(refused.into()),
            errors: RefCell::default(),
            shard: shard.clone(),
        }
    }

    /// A connection was closed before any protocol saw it.
    pub(super) fn on_refused(&self, reason: &'static str) {
        count(&self.refused, reason, || refusal(&self.shard, reason));
    }

    /// Accepting failed.
    pub(super) fn on_accept_error(&self, reason: &'static str) {
        count(&self.errors, reason, || {
            self.shard.counter(
                "portcullis_listener_accept_errors_total",
                "Failures to accept a connection, by reason.",
                &[("reason", reason)],
            )
        });
    }
}

fn refusal(shard: &Shard, reason: &'static str) -> Counter {
    shard.counter(
        "portcullis_listener_refused_total",
        "Connections that were closed before any protocol saw them, by reason.",
        &[("reason", reason)],
    )
}

fn count(
    counters: &RefCell<Vec<(&'static str, Counter)>>,
    reason: &'static str,
    make: impl FnOnce() -> Counter,
) {
    let mut counters = counters.borrow_mut();
    if let Some((_, counter)) = counters.iter().find(|(known, _)| *known == reason) {
        counter.inc();
        return;
    }
    let counter = make();
    counter.inc();
    counters.push((reason, counter));
}
