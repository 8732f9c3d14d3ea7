//! One worker: its clusters, its listeners, and what it does when it is told something.
//!
//! It serves nothing itself: connections go to their protocol's server, which was built here. Nothing here is shared
//! with other workers. Start at [`Worker::run`].

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_cluster::Cluster;
use portcullis_config::BuildError;
use portcullis_filter::Random;
use portcullis_net::TlsStart;
use portcullis_net::accept::{
    AcceptHandle, Accepted, Acceptor, Gate, GateOptions, ListenerStats, WorkerLoads,
};
use portcullis_net::listen::BoundAddress;
use portcullis_net::preface::ProxyPolicy;
use portcullis_net::sessions::Sessions;
use portcullis_net::tls::server::ServerTls;
use portcullis_net::worker::{CommandSender, Commands, WorkerId};
use portcullis_net::{Datagrams, Downstream, DrainSignal, TlsSlot, clock, spawn_local};
use portcullis_proxy::{Clusters, DynServer, ListenerContext, WorkerContext};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::listening::Place;
use super::workers::{Change, Command, ListenerChange, Shared};
use crate::model::AcceptBalance;

/// How often clusters without traffic look at what has changed.
const REFRESH: Duration = Duration::from_millis(500);

/// Everything of one worker.
pub(super) struct Worker {
    id: WorkerId,
    context: Rc<WorkerContext>,
    /// Where other workers, and this one, are told something.
    peers: Rc<[CommandSender<Command>]>,
    drain: DrainSignal,
    listeners: HashMap<Arc<str>, Listener>,
    /// Gates of listeners that are gone, while connections for them may still come from other workers.
    leaving: Vec<(Arc<str>, Rc<Gate>)>,
    prepared: Option<Prepared>,
}

/// A listener on this worker.
struct Listener {
    server: Rc<dyn DynServer>,
    stats: Rc<ListenerStats>,
    drain: DrainSignal,
    /// `None` if there are only datagrams.
    accepting: Option<AcceptHandle>,
    datagrams: Option<DatagramSide>,
    tls: TlsSlot,
    delivery: Rc<Delivery>,
}

/// The task that has the socket of a listener's datagrams.
struct DatagramSide {
    address: BoundAddress,
    /// Tells it to begin nothing new.
    stop: DrainSignal,
    /// Ends it.
    cut: DrainSignal,
}

/// Where accepted connections go.
struct Delivery {
    name: Arc<str>,
    gate: Rc<Gate>,
    worker: WorkerId,
    peers: Rc<[CommandSender<Command>]>,
    loads: WorkerLoads,
    balance: Cell<AcceptBalance>,
    turn: Cell<usize>,
}

/// A change that is built and waits for the word.
struct Prepared {
    change: Change,
    listeners: Vec<PreparedListener>,
}

struct PreparedListener {
    name: Arc<str>,
    server: Rc<dyn DynServer>,
    drain: DrainSignal,
    proxy: Option<ProxyPolicy>,
    tls: Option<Arc<ServerTls>>,
    tls_start: TlsStart,
    balance: AcceptBalance,
    /// The gate and what is behind sockets that are new to this worker.
    new: Option<NewSockets>,
}

struct NewSockets {
    acceptor: Option<Acceptor>,
    datagrams: Option<NewDatagrams>,
    tls: TlsSlot,
    delivery: Rc<Delivery>,
    stats: Rc<ListenerStats>,
}

struct NewDatagrams {
    datagrams: Datagrams,
    side: DatagramSide,
}

impl Worker {
    /// A worker without clusters and listeners.
    pub(super) fn new(id: WorkerId, shared: &Shared, peers: Vec<CommandSender<Command>>) -> Self {
        let context = WorkerContext {
            id: id.0,
            stats: shared.stats.shard(id.0),
            clusters: Clusters::default(),
            shared: Arc::clone(&shared.store),
            seed: shared.seed.clone(),
            random: Rc::new(Random::new(super::start::random_number())),
        };
        Self {
            id,
            context: Rc::new(context),
            peers: peers.into(),
            drain: DrainSignal::new(),
            listeners: HashMap::new(),
            leaving: Vec::new(),
            prepared: None,
        }
    }

    /// Does what it is told until it is told to stop.
    pub(super) async fn run(mut self, mut commands: Commands<Command>) {
        let mut turns = interval(REFRESH);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let command = tokio::select! {
                command = commands.next() => command,
                _ = turns.tick() => {
                    self.refresh_clusters();
                    continue;
                }
            };
            let Some(command) = command else { return };
            match command {
                Command::Prepare(change, answer) => {
                    // The control side waits for the answer; if it has gone, so has everything.
                    let _ = answer.send(self.prepare(change));
                }
                Command::Commit(answer) => {
                    self.commit();
                    let _ = answer.send(());
                }
                Command::Abort => self.abort(),
                Command::Serve(listener, accepted) => self.serve(&listener, accepted),
                Command::Drain(spread) => self.drain_all(spread),
                Command::Stop => return,
            }
        }
    }

    /// Clusters follow what the control side publishes when they are asked for an endpoint; those that nobody asks
    /// hear of it here, so that what is shown about them is true.
    fn refresh_clusters(&self) {
        let now = clock::now();
        self.context
            .clusters
            .for_each(|cluster| cluster.refresh(now));
    }

    /// Builds everything that is new. Clusters that come are findable at once: nobody else asks for them.
    fn prepare(&mut self, mut change: Change) -> Vec<BuildError> {
        let now = clock::now();
        for shared in &change.clusters {
            let cluster = Cluster::new(Arc::clone(shared), &self.context.stats, now);
            self.context
                .clusters
                .insert(Arc::clone(shared.name()), Rc::new(cluster));
        }
        let mut listeners = Vec::new();
        let mut errors = Vec::new();
        for listener in change.listeners.drain(..) {
            match self.prepare_listener(listener) {
                Ok(prepared) => listeners.push(prepared),
                Err(error) => errors.push(error),
            }
        }
        self.prepared = Some(Prepared { change, listeners });
        errors
    }

    fn prepare_listener(&self, change: ListenerChange) -> Result<PreparedListener, BuildError> {
        let existing = self.listeners.get(&change.name);
        let drain = existing.map_or_else(|| self.drain.child(), |listener| listener.drain.clone());
        let context = ListenerContext {
            worker: Rc::clone(&self.context),
            listener: Arc::clone(&change.name),
            stats: self.context.stats.scoped(&[("listener", &change.name)]),
            drain: drain.clone(),
        };
        let server = change.model.protocol.build(&context)?;
        let new = self.prepare_sockets(change.place, &server, &context)?;
        Ok(PreparedListener {
            server,
            drain,
            proxy: change.model.proxy_protocol.as_ref().map(ProxyPolicy::from),
            tls: change.tls,
            // A configuration whose protocols do not agree has no TLS.
            tls_start: change.model.protocol.tls_start().unwrap_or_default(),
            balance: change.model.balance,
            new,
            name: change.name,
        })
    }

    /// Swaps in what was prepared, then lets go of what is gone.
    fn commit(&mut self) {
        let Some(prepared) = self.prepared.take() else {
            return;
        };
        self.cut_datagrams(&prepared.listeners);
        for listener in prepared.listeners {
            self.commit_listener(listener);
        }
        self.leaving.retain(|(_, gate)| gate.sessions().count() > 0);
        for name in &prepared.change.listeners_gone {
            if let Some(listener) = self.listeners.remove(name) {
                self.leaving
                    .push((Arc::clone(name), Rc::clone(listener.gate())));
                listener.leave(prepared.change.drain_timeout, prepared.change.drain_spread);
            }
        }
        for name in &prepared.change.clusters_gone {
            self.context.clusters.remove(name);
        }
    }
}

impl Worker {
    /// A gate, and what is behind it, for sockets that are new to this worker.
    fn prepare_sockets(
        &self,
        place: Place,
        server: &Rc<dyn DynServer>,
        context: &ListenerContext,
    ) -> Result<Option<NewSockets>, BuildError> {
        if place.socket.is_none() && place.datagrams.is_none() {
            return Ok(None);
        }
        let existing = self.listeners.get(&context.listener);
        let stats = existing.map(|listener| Rc::clone(&listener.stats));
        let stats = stats.unwrap_or_else(|| Rc::new(ListenerStats::new(&context.stats)));
        let sessions = existing.map(|listener| listener.gate().sessions().clone());
        let options = GateOptions {
            stats: Rc::clone(&stats),
            sessions: sessions.unwrap_or_default(),
            address: place.address.clone(),
            proxy: None,
        };
        let delivery = Rc::new(Delivery {
            name: Arc::clone(&context.listener),
            gate: Gate::new(options, start(server)),
            worker: self.id,
            peers: Rc::clone(&self.peers),
            loads: place.loads,
            balance: Cell::default(),
            turn: Cell::new(self.id.0),
        });
        let to = Rc::clone(&delivery);
        let deliver = move |accepted| to.deliver(accepted);
        let limits = place.limits.clone();
        let acceptor = |socket| Acceptor::new(socket, limits, Rc::clone(&stats), deliver);
        let acceptor = place.socket.map(acceptor).transpose();
        let tls = existing.map(|listener| listener.tls.clone());
        let tls = tls.unwrap_or_default();
        let datagrams = place.datagrams.zip(place.address.ip());
        let datagrams = datagrams.map(|(socket, address)| {
            let stop = context.drain.child();
            NewDatagrams {
                side: DatagramSide {
                    address: place.address.clone(),
                    stop: stop.clone(),
                    cut: DrainSignal::new(),
                },
                datagrams: Datagrams {
                    socket,
                    address,
                    limits: place.limits,
                    stats: Rc::clone(&stats),
                    tls: tls.clone(),
                    stop,
                },
            }
        });
        Ok(Some(NewSockets {
            acceptor: acceptor
                .map_err(|error| BuildError::new(context.path(), error.to_string()))?,
            datagrams,
            tls,
            delivery,
            stats,
        }))
    }

    /// What is under way over datagrams ends where another socket takes the address: the kernel would give half of what
    /// comes to the wrong one.
    fn cut_datagrams(&self, prepared: &[PreparedListener]) {
        let taken = prepared
            .iter()
            .filter_map(|listener| listener.new.as_ref()?.datagrams.as_ref())
            .map(|new| &new.side.address);
        for address in taken {
            let sides = self.listeners.values().filter_map(|l| l.datagrams.as_ref());
            for side in sides.filter(|side| side.address.ip() == address.ip()) {
                side.cut.drain(clock::now(), Duration::ZERO);
            }
        }
    }

    fn commit_listener(&mut self, prepared: PreparedListener) {
        let existing = self.listeners.get_mut(&prepared.name);
        if let Some(existing) = &existing {
            let successor = Rc::clone(&prepared.server).into_any();
            existing.server.on_replaced(successor);
        }
        match (prepared.new, existing) {
            (Some(new), existing) => {
                if let Some(existing) = existing {
                    existing.stop(Duration::ZERO);
                }
                new.delivery.gate.set_proxy(prepared.proxy);
                new.tls.set(prepared.tls.clone());
                new.delivery.gate.set_tls(prepared.tls, prepared.tls_start);
                new.delivery.balance.set(prepared.balance);
                let sessions = new.delivery.gate.sessions().clone();
                let listener = Listener {
                    server: Rc::clone(&prepared.server),
                    stats: new.stats,
                    drain: prepared.drain,
                    accepting: new.acceptor.as_ref().map(Acceptor::handle),
                    datagrams: new
                        .datagrams
                        .map(|new| new.start(&prepared.server, &sessions)),
                    tls: new.tls,
                    delivery: new.delivery,
                };
                if let Some(acceptor) = new.acceptor {
                    spawn_local(acceptor.run());
                }
                self.listeners.insert(prepared.name, listener);
            }
            (None, Some(existing)) => {
                existing.gate().set_server(start(&prepared.server));
                existing.gate().set_proxy(prepared.proxy);
                existing.tls.set(prepared.tls.clone());
                existing.gate().set_tls(prepared.tls, prepared.tls_start);
                existing.delivery.balance.set(prepared.balance);
                existing.server = prepared.server;
            }
            // A listener without a socket is one that this worker has already.
            (None, None) => debug_assert!(false, "listener {} has no socket", prepared.name),
        }
    }

    fn abort(&mut self) {
        let Some(prepared) = self.prepared.take() else {
            return;
        };
        for cluster in &prepared.change.clusters {
            self.context.clusters.remove(cluster.name());
        }
    }

    /// Serves a connection that another worker has accepted. If the listener has gone meanwhile, and all its
    /// sessions with it, so has the connection.
    fn serve(&self, listener: &str, accepted: Accepted) {
        let running = self.listeners.get(listener).map(Listener::gate);
        let leaving = || self.leaving.iter().find(|(name, _)| **name == *listener);
        if let Some(gate) = running.or_else(|| leaving().map(|(_, gate)| gate)) {
            gate.admit(accepted);
        }
    }

    fn drain_all(&self, spread: Duration) {
        for listener in self.listeners.values() {
            listener.stop_accepting();
        }
        self.drain.drain(clock::now(), spread);
    }
}

impl Listener {
    fn gate(&self) -> &Rc<Gate> {
        &self.delivery.gate
    }

    fn stop_accepting(&self) {
        if let Some(accepting) = &self.accepting {
            accepting.stop();
        }
    }

    /// Lets go of the sockets for others, while the listener goes on.
    fn stop(&self, spread: Duration) {
        self.stop_accepting();
        if let Some(datagrams) = &self.datagrams {
            datagrams.stop.drain(clock::now(), spread);
        }
    }

    /// Accepts nothing more; sessions may finish within the time given.
    fn leave(self, time: Duration, spread: Duration) {
        self.stop_accepting();
        self.drain.drain(clock::now(), spread);
        let sessions = self.gate().sessions().clone();
        spawn_local(async move {
            if timeout(time, sessions.empty()).await.is_err() {
                sessions.abort_all();
            }
        });
    }
}

impl NewDatagrams {
    /// Gives the socket to the server, until that is done with it or is cut off.
    fn start(self, server: &Rc<dyn DynServer>, sessions: &Sessions) -> DatagramSide {
        let serving = Rc::clone(server).serve_datagrams(self.datagrams);
        let mut cut = self.side.cut.listen();
        sessions.spawn(async move {
            tokio::select! {
                () = serving => {}
                () = cut.draining() => {}
            }
        });
        self.side
    }
}

impl Delivery {
    fn deliver(&self, mut accepted: Accepted) {
        match self.balance.get() {
            AcceptBalance::ReusePort => {
                accepted.set_load(self.loads.enter(self.worker));
                self.gate.admit(accepted);
            }
            AcceptBalance::Exact => {
                let (worker, load) = self.loads.choose(self.turn.get());
                self.turn.set(self.turn.get().wrapping_add(1));
                accepted.set_load(load);
                self.hand_to(worker, accepted);
            }
        }
    }

    fn hand_to(&self, worker: WorkerId, accepted: Accepted) {
        match self.peers.get(worker.0) {
            Some(peer) if worker != self.worker => {
                // A worker that has stopped serves nobody; the connection closes with the command.
                let _ = peer.send(Command::Serve(Arc::clone(&self.name), accepted));
            }
            _ => self.gate.admit(accepted),
        }
    }
}

/// Starts each connection's session at this server.
fn start(server: &Rc<dyn DynServer>) -> impl Fn(Downstream) + 'static {
    let server = Rc::clone(server);
    move |downstream| Rc::clone(&server).start(downstream)
}
