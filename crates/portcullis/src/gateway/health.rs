//! Active health checks: for each endpoint that has them, one task that tries it, waits, and tries again.
//!
//! What a result means is decided in `portcullis_cluster`, which also tells the workers; here are only the
//! sockets. Checks run on the control thread, once for the whole process. Start at [`HealthChecks::follow`].

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_cluster::{
    ClusterShared, Endpoint, EndpointHealth, EndpointId, HealthCheckConfig, Transition,
};
use portcullis_filter::Random;
use portcullis_net::clock;
use portcullis_stats::Shard;
use tokio::task::spawn_local;
use tokio::time::{sleep_until, timeout};

use super::probe;
use super::task::Task;

/// The checks of all clusters.
pub(super) struct HealthChecks {
    shard: Shard,
    random: Rc<Random>,
    clusters: HashMap<Arc<str>, ClusterChecks>,
}

/// The checks of one cluster; they end when this is dropped.
struct ClusterChecks {
    config: HealthCheckConfig,
    tasks: HashMap<EndpointId, Task>,
}

impl HealthChecks {
    /// No checks yet. Results are counted in `shard`.
    pub(super) fn new(shard: Shard, random: Rc<Random>) -> Self {
        Self {
            shard,
            random,
            clusters: HashMap::new(),
        }
    }

    /// Checks the endpoints that the cluster has now, as it is configured now. Those that are being checked
    /// already, in the same way, do not notice.
    pub(super) fn follow(&mut self, cluster: &Arc<ClusterShared>) {
        let Some(config) = cluster.config().health_check.clone() else {
            self.forget(cluster.name());
            return;
        };
        let checks = self
            .clusters
            .entry(Arc::clone(cluster.name()))
            .or_insert_with(|| ClusterChecks {
                config: config.clone(),
                tasks: HashMap::new(),
            });
        if checks.config != config {
            checks.config = config;
            checks.tasks.clear();
        }
        let set = cluster.set();
        checks
            .tasks
            .retain(|id, _| set.endpoints().iter().any(|endpoint| endpoint.id() == *id));
        for endpoint in set.endpoints() {
            checks.tasks.entry(endpoint.id()).or_insert_with(|| {
                let health = EndpointHealth::new(
                    Arc::clone(cluster),
                    Arc::clone(endpoint),
                    &checks.config,
                    &self.shard,
                );
                let task = check_forever(
                    health,
                    Arc::clone(cluster),
                    checks.config.clone(),
                    Rc::clone(&self.random),
                );
                Task::new(spawn_local(task))
            });
        }
    }

    /// Checks nothing of this cluster any more.
    pub(super) fn forget(&mut self, cluster: &str) {
        self.clusters.remove(cluster);
    }
}

async fn check_forever(
    mut health: EndpointHealth,
    cluster: Arc<ClusterShared>,
    config: HealthCheckConfig,
    random: Rc<Random>,
) {
    let mut due = health.machine().first_check(clock::now(), random.next());
    loop {
        sleep_until(due.into()).await;
        let endpoint = Arc::clone(health.endpoint());
        let checking = probe::check(&cluster, &endpoint, &config.probe);
        let checked = timeout(config.timeout.get(), checking).await;
        let result = checked.unwrap_or(Err(probe::Failed::Timeout));
        let now = clock::now();
        if let Some(transition) = health.on_result(result.is_ok(), now) {
            report(&endpoint, transition, result);
        }
        due = health.machine().next_check(now, random.next());
    }
}

fn report(endpoint: &Endpoint, transition: Transition, result: Result<(), probe::Failed>) {
    let endpoint = &**endpoint.label();
    if let (Transition::BecameUnhealthy, Err(why)) = (transition, result) {
        tracing::warn!(endpoint, %why, "endpoint is unhealthy");
    } else {
        tracing::info!(endpoint, "endpoint is healthy");
    }
}
