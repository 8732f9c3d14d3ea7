//! The workers as the control side sees them: commands go out, answers come back.
//!
//! A change takes two commands, so that no worker begins before every worker could build all of it. The other end
//! is [`super::worker`]. Start at [`Workers::prepare`].

use std::sync::Arc;
use std::time::Duration;

use portcullis_cluster::ClusterShared;
use portcullis_config::BuildError;
use portcullis_filter::SharedStore;
use portcullis_limit::Seed;
use portcullis_net::accept::Accepted;
use portcullis_net::tls::server::ServerTls;
use portcullis_net::worker::{self, CommandSender, WorkerHandle, WorkerId};
use portcullis_stats::Registry;
use tokio::sync::oneshot;

use super::listening::{Listening, Opened, Place};
use super::plan::Changes;
use super::tls::StagedTls;
use super::worker::Worker;
use crate::model::{ListenerModel, Model, RuntimeConfig};

/// What a worker is told.
pub(super) enum Command {
    /// Build what is new, touch nothing that runs, and say how it went.
    Prepare(Change, oneshot::Sender<Vec<BuildError>>),
    /// Swap in what was prepared.
    Commit(oneshot::Sender<()>),
    /// Forget what was prepared.
    Abort,
    /// Serve a connection of this listener that another worker has accepted.
    Serve(Arc<str>, Accepted),
    /// Accept nothing more and tell sessions to finish, spread over this time.
    Drain(Duration),
    /// End. Sessions that still run are dropped.
    Stop,
}

/// What changes for one worker.
pub(super) struct Change {
    /// Clusters that come.
    pub clusters: Vec<Arc<ClusterShared>>,
    /// Clusters that go.
    pub clusters_gone: Vec<Arc<str>>,
    /// Listeners that come or change.
    pub listeners: Vec<ListenerChange>,
    /// Listeners that go.
    pub listeners_gone: Vec<Arc<str>>,
    /// How long the sessions of a listener that goes may take to finish.
    pub drain_timeout: Duration,
    /// Over how much of that time they are spread.
    pub drain_spread: Duration,
}

/// A listener that comes or changes.
pub(super) struct ListenerChange {
    /// Its name.
    pub name: Arc<str>,
    /// What it is to be.
    pub model: Arc<ListenerModel>,
    /// Its sockets and counts.
    pub place: Place,
    /// Its TLS.
    pub tls: Option<Arc<ServerTls>>,
}

/// What the control side has made ready for the listeners that come or change.
pub(super) struct Ready<'a> {
    /// All sockets.
    pub listening: &'a Listening,
    /// Those of these listeners.
    pub opened: &'a Opened,
    /// Their TLS.
    pub tls: &'a StagedTls,
}

/// What the workers are made with.
pub(super) struct Shared {
    /// Counters; worker `i` has shard `i`.
    pub stats: Registry,
    /// State common to all workers.
    pub store: Arc<SharedStore>,
    /// The process's seed.
    pub seed: Seed,
}

/// The running workers.
pub(super) struct Workers(Vec<WorkerHandle<Command>>);

impl Workers {
    /// How many workers a configuration asks for.
    #[must_use]
    pub(super) fn count(config: &RuntimeConfig) -> usize {
        let cores = || worker::allowed_cores().len().max(1);
        config.workers.count.map_or_else(cores, usize::from)
    }

    /// Starts the workers, which do nothing until they are told.
    ///
    /// # Errors
    /// One of them cannot start.
    pub(super) fn start(
        config: &RuntimeConfig,
        shared: &Arc<Shared>,
    ) -> Result<Self, worker::WorkerError> {
        let cores = worker::allowed_cores();
        let channels: Vec<_> = (0..Self::count(config))
            .map(|_| worker::commands())
            .collect();
        let peers: Vec<CommandSender<Command>> =
            channels.iter().map(|(sender, _)| sender.clone()).collect();
        let workers = channels.into_iter().enumerate().map(|(number, channel)| {
            let core = config
                .workers
                .pin
                .then(|| cores.get(number % cores.len().max(1)).copied())
                .flatten();
            let (peers, shared) = (peers.clone(), Arc::clone(shared));
            worker::start(
                WorkerId(number),
                core,
                channel,
                move |id, commands| async move {
                    Worker::new(id, &shared, peers).run(commands).await;
                },
            )
        });
        workers.collect::<Result<_, _>>().map(Self)
    }

    /// Has every worker build what is new.
    ///
    /// # Errors
    /// What could not be built, each reason once. No worker has changed anything.
    pub(super) async fn prepare(
        &self,
        model: &Model,
        changes: &Changes,
        clusters: &[Arc<ClusterShared>],
        ready: &Ready<'_>,
    ) -> Result<(), Vec<BuildError>> {
        let mut answers = Vec::new();
        let mut errors: Vec<BuildError> = Vec::new();
        for (number, worker) in self.0.iter().enumerate() {
            let mut change = Change::new(model, changes, clusters);
            match place_all(model, changes, ready, number) {
                Ok(listeners) => change.listeners = listeners,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            }
            let (answer, answered) = oneshot::channel();
            if worker.send(Command::Prepare(change, answer)).is_ok() {
                answers.push(answered);
            }
        }
        for answered in answers {
            let said = answered.await.unwrap_or_else(|_| vec![stopped()]);
            errors.extend(said);
        }
        errors.sort_by(|one, other| (&one.path, &one.reason).cmp(&(&other.path, &other.reason)));
        errors.dedup();
        if errors.is_empty() {
            return Ok(());
        }
        self.tell_all(|| Command::Abort);
        Err(errors)
    }

    /// Has every worker swap in what it prepared, and waits until all have.
    pub(super) async fn commit(&self) {
        let mut answers = Vec::new();
        self.tell_all(|| {
            let (answer, answered) = oneshot::channel();
            answers.push(answered);
            Command::Commit(answer)
        });
        for answered in answers {
            // A worker that has gone has nothing to swap.
            let _ = answered.await;
        }
    }

    /// Stops accepting and tells all sessions to finish.
    pub(super) fn drain(&self, spread: Duration) {
        self.tell_all(|| Command::Drain(spread));
    }

    /// Ends all workers and waits for their threads. Open connections are closed.
    pub(super) fn stop(self) {
        self.tell_all(|| Command::Stop);
        for worker in self.0 {
            let id = worker.id().0;
            if worker.join().is_err() {
                tracing::error!(worker = id, "a worker panicked");
            }
        }
    }

    fn tell_all(&self, mut command: impl FnMut() -> Command) {
        for worker in &self.0 {
            // A worker that has gone cannot be told anything; what waits for its answer sees that.
            let _ = worker.send(command());
        }
    }
}

fn stopped() -> BuildError {
    BuildError::new("", "a worker has stopped")
}

fn place_all(
    model: &Model,
    changes: &Changes,
    ready: &Ready<'_>,
    worker: usize,
) -> Result<Vec<ListenerChange>, BuildError> {
    let mut listeners = Vec::new();
    for name in changes.listeners.to_build() {
        let wanted = model.listeners.get(name);
        let place = ready.listening.place(ready.opened, name, worker)?;
        if let (Some(model), Some(place)) = (wanted, place) {
            listeners.push(ListenerChange {
                name: Arc::clone(name),
                model: Arc::clone(model),
                place,
                tls: ready.tls.shared(name),
            });
        }
    }
    Ok(listeners)
}

impl Change {
    fn new(model: &Model, changes: &Changes, clusters: &[Arc<ClusterShared>]) -> Self {
        Self {
            clusters: clusters.to_vec(),
            clusters_gone: changes.clusters.removed.clone(),
            listeners: Vec::new(),
            listeners_gone: changes.listeners.removed.clone(),
            drain_timeout: model.drain.timeout.get(),
            drain_spread: model.drain.spread.get().unwrap_or_default(),
        }
    }
}
