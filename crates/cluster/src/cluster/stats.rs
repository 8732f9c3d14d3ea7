//! The counters of one cluster on one worker, resolved once.

use portcullis_stats::{Counter, Gauge, Shard, SharedGauge};

use super::PickError;
use crate::BreakerKind;

const ACTIVE: &str = "portcullis_cluster_active";
const ACTIVE_HELP: &str = "What counts against the cluster's limits now.";

#[derive(Debug)]
pub(super) struct ClusterStats {
    pub(super) panic_picks: Counter,
    pub(super) ejections_refused: Counter,
    breakers: [BreakerStats; BreakerKind::ALL.len()],
    pick_errors: [Counter; PickError::ALL.len()],
    /// The worker that rebuilt last has the latest.
    pub(super) availability: AvailabilityGauges,
}

/// Facts about the whole process: whoever sees a change says so, the workers and the health checks.
#[derive(Debug)]
pub(crate) struct AvailabilityGauges {
    panic: SharedGauge,
    endpoints: SharedGauge,
    available: SharedGauge,
}

#[derive(Debug)]
pub(super) struct BreakerStats {
    pub(super) active: Gauge,
    pub(super) overflows: Counter,
}

impl ClusterStats {
    /// `shard` carries the `cluster` label.
    pub(super) fn new(shard: &Shard, cluster: &str) -> Self {
        Self {
            panic_picks: shard.counter(
                "portcullis_cluster_panic_picks_total",
                "Picks among all endpoints because too few were available.",
                &[],
            ),
            ejections_refused: shard.counter(
                "portcullis_cluster_ejections_refused_total",
                "Ejections not made because the allowed share of endpoints was out already.",
                &[],
            ),
            breakers: BreakerKind::ALL.map(|kind| BreakerStats::new(shard, kind)),
            pick_errors: PickError::ALL.map(|error| {
                shard.counter(
                    "portcullis_cluster_pick_failures_total",
                    "Requests for which there was no endpoint, by reason.",
                    &[("reason", error.label())],
                )
            }),
            availability: AvailabilityGauges::new(shard, cluster),
        }
    }

    pub(super) fn on_pick_error(&self, error: PickError) {
        if let Some(counter) = self.pick_errors.get(error as usize) {
            counter.inc();
        }
    }

    pub(super) fn of(&self, kind: BreakerKind) -> &BreakerStats {
        let [connections, pending, requests] = &self.breakers;
        match kind {
            BreakerKind::Connections => connections,
            BreakerKind::Pending => pending,
            BreakerKind::Requests => requests,
        }
    }
}

impl AvailabilityGauges {
    pub(crate) fn new(shard: &Shard, cluster: &str) -> Self {
        let shared = |name, help| {
            shard
                .registry()
                .shared_gauge(name, help, &[("cluster", cluster)])
        };
        Self {
            panic: shared(
                "portcullis_cluster_panic",
                "1 while picks are made among all endpoints because too few are available.",
            ),
            endpoints: shared("portcullis_cluster_endpoints", "Endpoints of the cluster."),
            available: shared(
                "portcullis_cluster_endpoints_available",
                "Endpoints that are healthy and not ejected.",
            ),
        }
    }

    pub(crate) fn set(&self, endpoints: usize, available: usize, panic: bool) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.endpoints.set(gauge(endpoints));
        self.available.set(gauge(available));
        self.panic.set(i64::from(panic));
    }
}

/// The connections of all threads that none of them counts. Part of the sum of what the workers count.
pub(super) fn moving_connections(shard: &Shard, cluster: &str) -> SharedGauge {
    let limit = BreakerKind::Connections.label();
    let labels = [("cluster", cluster), ("limit", limit)];
    shard.registry().shared_gauge(ACTIVE, ACTIVE_HELP, &labels)
}

impl BreakerStats {
    fn new(shard: &Shard, kind: BreakerKind) -> Self {
        let labels = [("limit", kind.label())];
        Self {
            active: shard.gauge(ACTIVE, ACTIVE_HELP, &labels),
            overflows: shard.counter(
                "portcullis_cluster_overflows_total",
                "What the cluster's limits refused.",
                &labels,
            ),
        }
    }
}
