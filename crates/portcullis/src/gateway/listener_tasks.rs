//! What protocols do on the control thread for their listeners: one task for each that wants one.
//!
//! Begun when all workers have the listener, ended when it changes or goes. What a task does is its protocol's. Start at
//! [`ListenerTasks::follow`].

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_cluster::ClusterShared;
use portcullis_filter::{Random, SharedStore};
use portcullis_proxy::ControlContext;
use portcullis_stats::Shard;
use tokio::task::spawn_local;

use super::plan::Delta;
use super::task::Task;
use crate::model::Model;

/// The tasks of all listeners.
pub(super) struct ListenerTasks {
    shard: Shard,
    shared: Arc<SharedStore>,
    random: Rc<Random>,
    running: BTreeMap<Arc<str>, Task>,
}

impl ListenerTasks {
    /// No listeners yet.
    pub(super) const fn new(shard: Shard, shared: Arc<SharedStore>, random: Rc<Random>) -> Self {
        Self {
            shard,
            shared,
            random,
            running: BTreeMap::new(),
        }
    }

    /// Begins the tasks of listeners that have come or changed, and ends those of the others.
    pub(super) fn follow(&mut self, model: &Model, delta: &Delta, clusters: &[Arc<ClusterShared>]) {
        for name in &delta.removed {
            self.running.remove(name);
        }
        let clusters: Rc<[_]> = clusters.into();
        for name in delta.to_build() {
            // The new one does not begin beside the old one.
            self.running.remove(name);
            let Some(listener) = model.listeners.get(name) else {
                continue;
            };
            let task = listener.protocol.task(ControlContext {
                listener: Arc::clone(name),
                stats: self.shard.scoped(&[("listener", name)]),
                shared: Arc::clone(&self.shared),
                clusters: Rc::clone(&clusters),
                random: Rc::clone(&self.random),
            });
            if let Some(task) = task {
                let task = Task::new(spawn_local(task));
                self.running.insert(Arc::clone(name), task);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use portcullis_cluster::ClusterShared;
    use portcullis_net::clock;
    use portcullis_proxy::Registry;
    use portcullis_stats::Registry as Stats;
    use tokio::task::{LocalSet, yield_now};

    use super::*;
    use crate::gateway::plan::plan;
    use crate::load::testing::{Late, LateCommon, read_with};

    fn model(listener: &str) -> Model {
        let registry = Registry::new().with_control::<Late>();
        let text = format!(
            "
listeners:
  web: {{ listen: ':80', protocol: late, cluster: a }}
  {listener}
clusters:
  a: {{ endpoints: [10.0.0.1:80] }}
"
        );
        let loaded = read_with(&registry, &text).into_result();
        loaded.unwrap_or_else(|report| panic!("{}", report.text(false)))
    }

    #[test]
    fn tasks_run_as_long_as_their_listener_is_as_it_is() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, async {
            let store = SharedStore::new();
            let stats = Stats::new(1).shard(0);
            let random = Rc::new(Random::new(1));
            let mut tasks = ListenerTasks::new(stats, Arc::clone(&store), random);
            let mut old = model("").without_traffic();
            let common_of = |name: &str| {
                let all = store.all::<LateCommon>();
                all.into_iter().find(|(key, _)| key.contains(name))
            };
            // As the workers' servers hold it.
            let mut held = Vec::new();
            for listener in [
                "db: { listen: ':81', protocol: late, cluster: a }",
                "db: { listen: ':82', protocol: late, cluster: a }",
                "",
            ] {
                let new = model(listener);
                let config = Arc::clone(&new.clusters["a"]);
                let clusters = [ClusterShared::new("a", config, [], clock::now())];
                tasks.follow(&new, &plan(&old, &new).listeners, &clusters);
                old = new;
                for _ in 0..3 {
                    yield_now().await;
                }
                let counts = ["listeners.web", "listeners.db"].map(|name| {
                    let (_, common) = common_of(name)?;
                    held.push(Arc::clone(&common));
                    Some((common.begun.load(Relaxed), common.running.load(Relaxed)))
                });
                let db = match listener {
                    "" => (2, 0),
                    other if other.contains("82") => (2, 1),
                    _ => (1, 1),
                };
                assert_eq!(counts, [Some((1, 1)), Some(db)], "{listener}");
            }
        });
    }
}
