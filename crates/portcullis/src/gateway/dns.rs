//! Endpoints whose addresses are in DNS: asked for, asked for again, and given to their cluster.
//!
//! When to ask again and what an answer changes is decided by `portcullis_cluster::Resolution`; here are the asking
//! and the waiting, one task for each cluster that has names. Start at [`Names::follow`].

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_cluster::{ClusterShared, Lookup, Resolution};
use portcullis_net::clock;
use portcullis_net::resolve::{ResolveError, Resolved, Resolver};
use portcullis_stats::{Counter, Shard};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep_until, timeout};

use super::task::Task;

/// How long a start or reload waits for the first answers. A name server that is down must not keep the gateway
/// down: clusters whose names are unknown have no endpoints until an answer comes.
const FIRST_ANSWERS: Duration = Duration::from_secs(5);

/// Asks for the names of all clusters.
pub(super) struct Names {
    resolver: Resolver,
    shard: Shard,
    /// Told of each cluster whose endpoints have changed.
    changed: mpsc::UnboundedSender<Arc<str>>,
}

/// The names of one cluster; they are asked for until this is dropped.
pub(super) struct ClusterNames {
    resolution: Rc<RefCell<Resolution>>,
    /// Turns true when every name was asked for once.
    asked: watch::Receiver<bool>,
    /// Ends when this is dropped.
    _task: Option<Task>,
}

impl Names {
    /// Asks `resolver` and tells `changed` of clusters whose endpoints are not what they were.
    pub(super) const fn new(
        resolver: Resolver,
        shard: Shard,
        changed: mpsc::UnboundedSender<Arc<str>>,
    ) -> Self {
        Self {
            resolver,
            shard,
            changed,
        }
    }

    /// Gives the cluster the endpoints that are known now, and the others as answers come in. `before` knows what
    /// the names stood for under the cluster's earlier configuration.
    pub(super) fn follow(
        &self,
        cluster: &Arc<ClusterShared>,
        before: Option<&ClusterNames>,
    ) -> ClusterNames {
        let mut resolution = Resolution::new(&cluster.config(), clock::now());
        if let Some(before) = before {
            resolution = resolution.keeping(&before.resolution.borrow());
        }
        cluster.publish_endpoints(resolution.endpoints());
        let has_names = resolution.has_names();
        let resolution = Rc::new(RefCell::new(resolution));
        let (sender, asked) = watch::channel(!has_names);
        if !has_names {
            return ClusterNames {
                resolution,
                asked,
                _task: None,
            };
        }
        let follower = Follower {
            resolver: Rc::new(self.resolver.clone()),
            resolution: Rc::clone(&resolution),
            counters: Counters::new(&self.shard, cluster.name()),
            cluster: Arc::clone(cluster),
            changed: self.changed.clone(),
            asked: sender,
        };
        ClusterNames {
            resolution,
            asked,
            _task: Some(Task::new(spawn_local(follower.run()))),
        }
    }

    /// Waits for the first answer to every name, for a short time.
    pub(super) async fn first_answers(clusters: impl Iterator<Item = &ClusterNames>) {
        let waiting: Vec<_> = clusters.map(|names| names.asked.clone()).collect();
        let all = async {
            for mut asked in waiting {
                // The sender is gone when the task is; then there is nothing to wait for.
                let _ = asked.wait_for(|asked| *asked).await;
            }
        };
        if timeout(FIRST_ANSWERS, all).await.is_err() {
            tracing::warn!("not all names of endpoints are known yet, going on without");
        }
    }
}

struct Counters {
    resolved: Counter,
    failed: Vec<(ResolveError, Counter)>,
    shard: Shard,
}

impl Counters {
    fn new(shard: &Shard, cluster: &str) -> Self {
        let shard = shard.scoped(&[("cluster", cluster)]);
        Self {
            resolved: lookups(&shard, "resolved"),
            failed: Vec::new(),
            shard,
        }
    }

    fn on_failed(&mut self, error: ResolveError) {
        if !self.failed.iter().any(|(known, _)| *known == error) {
            self.failed
                .push((error, lookups(&self.shard, error.label())));
        }
        if let Some((_, counter)) = self.failed.iter().find(|(known, _)| *known == error) {
            counter.inc();
        }
    }
}

fn lookups(shard: &Shard, result: &str) -> Counter {
    shard.counter(
        "portcullis_dns_lookups_total",
        "Lookups of endpoint names, by result.",
        &[("result", result)],
    )
}

/// The task of one cluster.
struct Follower {
    resolver: Rc<Resolver>,
    resolution: Rc<RefCell<Resolution>>,
    counters: Counters,
    cluster: Arc<ClusterShared>,
    changed: mpsc::UnboundedSender<Arc<str>>,
    asked: watch::Sender<bool>,
}

type Answer = (Lookup, Result<Resolved, ResolveError>);

impl Follower {
    async fn run(mut self) {
        let mut asking: JoinSet<Answer> = JoinSet::new();
        loop {
            while let Some(lookup) = self.poll_lookup() {
                let resolver = Rc::clone(&self.resolver);
                asking.spawn_local(async move {
                    let answer = resolver.lookup(&lookup.host, lookup.family).await;
                    (lookup, answer)
                });
            }
            let next = self.resolution.borrow().next_lookup();
            tokio::select! {
                Some(Ok(answer)) = asking.join_next() => {
                    self.on_answer(answer);
                    if asking.is_empty() {
                        self.asked.send_replace(true);
                    }
                }
                () = wait_until(next) => {}
            }
        }
    }

    fn poll_lookup(&self) -> Option<Lookup> {
        self.resolution.borrow_mut().poll_lookup(clock::now())
    }

    fn on_answer(&mut self, (lookup, answer): Answer) {
        let now = clock::now();
        let (cluster, host) = (&**self.cluster.name(), &*lookup.host);
        match answer {
            Ok(Resolved { addresses, ttl }) => {
                self.counters.resolved.inc();
                let mut resolution = self.resolution.borrow_mut();
                if resolution.on_resolved(lookup.target, &addresses, ttl, now)
                    && self.cluster.publish_endpoints(resolution.endpoints())
                {
                    tracing::info!(cluster, host, count = addresses.len(), "addresses changed");
                    // The control loop has gone when the process ends.
                    let _ = self.changed.send(Arc::clone(self.cluster.name()));
                }
            }
            Err(error) => {
                tracing::warn!(cluster, host, %error, "cannot resolve, keeping what is known");
                self.counters.on_failed(error);
                self.resolution.borrow_mut().on_failed(lookup.target, now);
            }
        }
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
