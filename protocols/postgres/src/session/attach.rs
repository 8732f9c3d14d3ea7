//! Getting a server connection for a client, and giving it back so that the next finds nothing of this one.
//!
//! Start at [`Session::attach`] and [`Session::on_quiet`].

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use portcullis_cluster::{Cluster, Endpoint, EndpointId, LocalEndpoint, Outcome, PickContext};
use portcullis_net::{clock, spawn_local};

use super::connection::{Lost, Pooled};
use super::pools::{PoolHandle, PoolKey, Served};
use super::run::{Ended, Lease, Session};
use super::search::{Found, ROLE_WAITS, Search};
use crate::encoder;
use crate::machine::{Mode, Pins, Target};
use crate::message::backend::TransactionStatus;
use crate::pool::{Acquired, Affinity, After, CloseReason, Held, Offer, Refusal};
use crate::sqlstate::SqlState;

/// How long a server may take to reset a session, or to set a client's parameters. Longer than any `DISCARD ALL` takes, and
/// then it is cheaper to open another.
const RESET: Duration = Duration::from_secs(5);

/// How many connections that turn out to be dead are taken out of the pool for one client.
const DEAD: usize = 8;

/// The label of [`Refusal::Unreachable`].
const UNREACHABLE: &str = "unreachable";

/// How long it is waited for an endpoint with the role that is asked for, each time.
const ROLE_WAIT: Duration = Duration::from_millis(100);

/// The label of [`Refusal::Killed`].
const KILLED: &str = "killed";

/// Why there is no server connection.
#[derive(Debug)]
pub(super) enum NotAttached {
    /// The client has left.
    ClientGone,
    /// It gets this error, and goes on.
    Error(Bytes, &'static str),
}

impl Session {
    /// Gets a server connection for what the client wants to say next. If there is none, the client hears why and stays.
    pub(super) async fn attach(&mut self, target: Target) -> Result<(), Ended> {
        if self.lease.is_some() {
            self.release();
        }
        match self.try_attach(target).await {
            Ok(()) => Ok(()),
            Err(NotAttached::ClientGone) => Err(Ended::ClientGone),
            Err(NotAttached::Error(error, reason)) => {
                self.server.stats.on_rejected(reason);
                self.relay
                    .fail_front(&error, &mut self.input, &mut self.output);
                self.let_go();
                Ok(())
            }
        }
    }

    pub(super) async fn try_attach(&mut self, target: Target) -> Result<(), NotAttached> {
        let started = clock::now();
        let mut search = Search::default();
        for _ in 0..DEAD + ROLE_WAITS {
            let found = match self.pick(target, &search.tried) {
                Ok(found) => found,
                Err(error) => {
                    if search.on_none(error)? {
                        portcullis_net::sleep(ROLE_WAIT).await;
                    }
                    continue;
                }
            };
            let acquired = self.acquire(&found, &mut search).await;
            let now = clock::now();
            let Found { picked, pool, .. } = found;
            let held = match acquired {
                Ok(held) => held,
                Err(NotAttached::Error(error, reason)) if reason == UNREACHABLE => {
                    if search.takes_the_blame()
                        && let Some(cluster) = self.way.cluster(target)
                    {
                        let took = now.saturating_duration_since(started);
                        cluster.on_done(&picked, Outcome::Failure(reason), took, now);
                    }
                    search.on_unreachable(picked.id(), NotAttached::Error(error, reason))?;
                    continue;
                }
                // The endpoint has changed its role: look again.
                Err(NotAttached::Error(_, KILLED)) if pool.is_demoted() => continue,
                Err(error) => return Err(error),
            };
            let Some(mut held) = self.usable(held, now) else {
                continue;
            };
            held.connection.link.target = target;
            held.connection.waits = false;
            let took = now.saturating_duration_since(started);
            if let Some(cluster) = self.way.cluster(target) {
                cluster.on_done(&picked, Outcome::Success, took, now);
            }
            self.server.stats.on_attached(took);
            let server = Arc::clone(&held.connection.server);
            self.lease = Some(Lease {
                held,
                upstream: bytes::BytesMut::new(),
                _picked: picked,
                since: now,
                pool,
                served: Served::default(),
            });
            self.cancel.on_attach(server);
            match self.fit().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    self.release();
                    return Err(error);
                }
            }
        }
        Err(unavailable("no working server connection was found"))
    }

    /// An endpoint for this target that was not tried, and the pool of connections to it.
    fn pick(&mut self, target: Target, tried: &[EndpointId]) -> Result<Found, NotAttached> {
        let cluster = self.way.cluster(target).ok_or_else(nowhere)?;
        let now = clock::now();
        let choice = self.way.choice(target, tried, now);
        let accept = |endpoint: &Endpoint| choice.accepts(endpoint);
        let cx = PickContext {
            now,
            random: self.server.random.next(),
            hash: None,
            tried,
            accept: Some(&accept),
        };
        let picked = cluster.pick(&cx).map_err(|error| {
            NotAttached::Error(
                encoder::error_message(SqlState::CANNOT_CONNECT_NOW, &error.to_string()),
                error.label(),
            )
        })?;
        let endpoints = cluster.endpoints();
        let mut others = endpoints.iter();
        let has_others = choice.has_more()
            || others.any(|endpoint| endpoint.id() != picked.id() && accept(endpoint));
        let pool = self.pool_at(cluster, &picked, target);
        Ok(Found {
            picked,
            pool,
            has_others,
        })
    }

    /// The pool of connections to an endpoint.
    fn pool_at(
        &self,
        cluster: &Cluster,
        endpoint: &LocalEndpoint,
        target: Target,
    ) -> Rc<PoolHandle> {
        let version = self.server.common.pools.version();
        self.way.pool(target, endpoint.id(), version, || {
            self.find_pool(cluster, endpoint, target)
        })
    }

    fn find_pool(&self, cluster: &Cluster, endpoint: &LocalEndpoint, target: Target) -> PoolHandle {
        let server = &self.server;
        let user = &self.way.user;
        let own = server.config.auth.users.get(&*self.cancel.who().user);
        let size = own.and_then(|own| own.pool_size.as_ref().map(|size| size.value));
        let key = PoolKey {
            cluster: Arc::clone(cluster.shared().name()),
            endpoint: endpoint.id(),
            database: Arc::clone(self.way.database(target)),
            user: Arc::clone(user),
        };
        server.common.pools.find(
            key,
            (cluster.shared(), endpoint.endpoint()),
            &self.way.credentials,
            server.config.pool.limits(size),
            server.open_options(),
            server.worker,
        )
    }

    /// The pool of any endpoint of a target, without counting it as picked.
    pub(super) fn pool_of(&self, target: Target) -> Option<Rc<PoolHandle>> {
        let cluster = self.way.cluster(target)?;
        let endpoints = cluster.endpoints();
        let endpoint = endpoints.first()?;
        Some(self.pool_at(cluster, endpoint, target))
    }

    /// Waits for a connection of the pool, as long as the client does.
    async fn acquire(
        &mut self,
        found: &Found,
        search: &mut Search,
    ) -> Result<Held<Pooled>, NotAttached> {
        let pool = &found.pool;
        let affinity = Affinity {
            worker: self.server.worker as u32,
            shape: self.relay.shape().hash(),
        };
        let patience = search.patience(found.has_others);
        let mut waiting = match pool.pool().checkout(clock::now(), affinity, patience) {
            Acquired::Ready(held) => return Ok(held),
            Acquired::Refused(refusal) => return Err(pool.refused(refusal)),
            Acquired::Waiting(waiting) => waiting,
        };
        let worker = self.server.worker;
        let counted = self.server.stats.begin_waiting();
        self.cancel.on_wait(Some(clock::now()));
        let offered = poll_fn(|task| {
            loop {
                match waiting.poll(task, clock::now()) {
                    Poll::Ready(Offer::Ready(held)) => return Poll::Ready(Ok(held)),
                    Poll::Ready(Offer::Open(opening)) => {
                        let pool = PoolHandle::clone(pool);
                        let attempt = Rc::clone(search.attempt.get_or_insert_default());
                        spawn_local(async move {
                            attempt.set(!pool.open(opening, worker).await);
                        });
                    }
                    Poll::Ready(Offer::Refused(refusal)) => {
                        return Poll::Ready(Err(pool.refused(refusal)));
                    }
                    Poll::Pending => break,
                }
            }
            // Whoever leaves makes room in the queue.
            if let Poll::Ready(false) = self.poll_presence(task) {
                return Poll::Ready(Err(NotAttached::ClientGone));
            }
            // Who has waited too long is told so by the pool's upkeep.
            Poll::Pending
        })
        .await;
        self.cancel.on_wait(None);
        drop(counted);
        offered
    }

    /// Whether the client is still there, as far as its socket tells: what it sends meanwhile is kept, up to a bound.
    fn poll_presence(&mut self, task: &mut std::task::Context<'_>) -> Poll<bool> {
        const MOST: usize = 16 * 1024;
        if self.input.len() >= MOST {
            return Poll::Pending;
        }
        let waits = &mut self.waits;
        match self
            .stream
            .poll_read_again(task, &mut self.input, MOST, waits)
        {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(false),
            Poll::Ready(Ok(_)) => {
                // Asked again, so that the next bytes wake the task.
                task.waker().wake_by_ref();
                Poll::Ready(true)
            }
        }
    }

    /// The connection, if it still works and can be used from this worker.
    fn usable(&self, held: Held<Pooled>, now: std::time::Instant) -> Option<Held<Pooled>> {
        let mut held = held;
        if !held.connection.is_good() {
            self.server.stats.on_server_lost("idle_closed");
            drop(held.discard(now, CloseReason::ServerGone));
            return None;
        }
        if held.connection.home == self.server.worker {
            return Some(held);
        }
        let moved = held.connection.move_to(self.server.worker).ok()?;
        held.connection = moved;
        Some(held)
    }

    /// Gives the connection the client's parameters. `false` if it has turned out to be lost.
    async fn fit(&mut self) -> Result<bool, NotAttached> {
        let shape = self.relay.shape();
        if let Some(lease) = &mut self.lease
            && !Arc::ptr_eq(shape, &lease.held.connection.link.shape)
        {
            let shape = Arc::clone(shape);
            let connection = &mut lease.held.connection;
            // Equal ones become the same, so that the next time nothing is compared.
            match shape.changes(&connection.link.shape) {
                None => connection.link.shape = shape,
                Some(sql) => match super::within(RESET, connection.execute(&sql))
                    .await
                    .unwrap_or(Err(Lost::Gone))
                {
                    Ok(Ok(())) => connection.link.shape = shape,
                    Ok(Err(error)) => return Err(NotAttached::Error(error, "parameters")),
                    Err(lost) => {
                        self.server.stats.on_server_lost(lost.label());
                        self.drop_lease(&lost);
                        return Ok(false);
                    }
                },
            }
        }
        self.tell_parameters();
        Ok(true)
    }

    /// Nothing is under way: the connection goes back, unless the client keeps it.
    pub(super) fn on_quiet(&mut self) {
        self.cancelled = None;
        if self.relay.take_shape_changed()
            && let Some(lease) = &mut self.lease
        {
            lease.held.connection.link.shape = Arc::clone(self.relay.shape());
        }
        if self.relay.is_free() {
            self.release();
        }
    }

    /// Gives the connection back. One that another client must not have as it is, is reset first or closed.
    pub(super) fn release(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        self.way.on_released();
        let proved = self.cancel.on_detach();
        let now = clock::now();
        self.count_served(&lease, now);
        let mut held = lease.held;
        let clean = self.relay.is_quiet() && lease.upstream.is_empty();
        if !proved {
            self.server.stats.on_server_lost("cancel_under_way");
            held.discard(now, CloseReason::OutOfSync).goodbye();
            return;
        }
        if !clean || held.connection.link.leaving || held.is_killed() {
            held.discard(now, CloseReason::Unclean).goodbye();
            return;
        }
        let pinned = self.relay.pins().without(Pins::SESSION);
        if pinned.contains(Pins::LOADED) {
            held.discard(now, CloseReason::Unclean).goodbye();
            return;
        }
        let session_over = self.server.setup.mode == Mode::Session;
        if held.connection.link.tainted || !pinned.is_empty() || session_over {
            let stats = Rc::clone(&self.server.stats);
            let worker = self.server.worker;
            spawn_local(async move { reset(held, worker, &stats).await });
            return;
        }
        held.connection.shrink();
        checkin(held, self.server.worker);
    }

    /// Counts what a client has had on a connection.
    fn count_served(&self, lease: &Lease, now: std::time::Instant) {
        let held = now.saturating_duration_since(lease.since);
        self.server.stats.on_released(held);
        self.server.stats.on_transaction();
        let mut served = lease.served;
        served.transactions += 1;
        served.transaction_micros += u64::try_from(held.as_micros()).unwrap_or(u64::MAX);
        lease.pool.on_served(&served);
    }

    /// The connection is lost.
    pub(super) fn drop_lease(&mut self, lost: &Lost) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let _ = self.cancel.on_detach();
        let reason = match lost {
            Lost::Gone | Lost::Said(_) => CloseReason::ServerGone,
            Lost::Protocol(_) => CloseReason::ServerProtocol,
        };
        drop(lease.held.discard(clock::now(), reason));
    }

    /// The client is gone. What it had begun is ended too, so that no statement runs on for nobody.
    pub(super) fn abandon(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let _ = self.cancel.on_detach();
        let now = clock::now();
        let quiet =
            self.relay.owes_nothing() && lease.upstream.is_empty() && !self.relay.is_waiting();
        if quiet && !lease.held.connection.link.leaving {
            let open = self.relay.status() != TransactionStatus::Idle;
            let stats = Rc::clone(&self.server.stats);
            let worker = self.server.worker;
            let mut held = lease.held;
            let pinned = !self.relay.pins().is_empty();
            if pinned || open {
                held.connection.link.tainted = true;
            }
            spawn_local(async move {
                if open && !roll_back(&mut held).await {
                    drop(held.discard(clock::now(), CloseReason::Unclean));
                    return;
                }
                if held.connection.link.tainted {
                    reset(held, worker, &stats).await;
                } else {
                    checkin(held, worker);
                }
            });
            return;
        }
        self.server.stats.on_server_lost("client_gone");
        let connection = lease.held.discard(now, CloseReason::OutOfSync);
        let server = Arc::clone(&connection.server);
        // Closing alone would be noticed only when rows are written.
        spawn_local(async move {
            server.cancel().await;
            drop(connection);
        });
    }
}

/// Ends a transaction that its client has left open.
async fn roll_back(held: &mut Held<Pooled>) -> bool {
    let rolled = super::within(RESET, held.connection.execute(b"ROLLBACK")).await;
    matches!(rolled, Some(Ok(Ok(()))))
}

/// Makes a session as good as new, or closes the connection if that cannot be done.
async fn reset(mut held: Held<Pooled>, worker: usize, stats: &super::stats::PostgresStats) {
    let done = super::within(RESET, held.connection.execute(b"DISCARD ALL")).await;
    if let Some(Ok(Ok(()))) = done {
        held.connection.link.on_reset();
        held.connection.shrink();
        checkin(held, worker);
        return;
    }
    stats.on_server_lost("reset_failed");
    held.discard(clock::now(), CloseReason::Unclean).goodbye();
}

/// Puts a clean connection back into its pool.
pub(super) fn checkin(held: Held<Pooled>, worker: usize) {
    let affinity = Affinity {
        worker: worker as u32,
        shape: held.connection.link.shape.hash(),
    };
    if let After::Close(connection, _) = held.checkin(clock::now(), affinity) {
        connection.goodbye();
    }
}

/// No rule takes the statement.
fn nowhere() -> NotAttached {
    NotAttached::Error(
        encoder::error_message(
            SqlState::INSUFFICIENT_PRIVILEGE,
            "no route takes this statement",
        ),
        "no_route",
    )
}

pub(super) fn unavailable(text: &str) -> NotAttached {
    NotAttached::Error(
        encoder::error_message(SqlState::CANNOT_CONNECT_NOW, text),
        "unavailable",
    )
}

/// What a client is told that the pool has nothing for.
pub(super) fn refusal_message(refusal: Refusal) -> Bytes {
    let state = match refusal {
        Refusal::QueueFull => SqlState::TOO_MANY_CONNECTIONS,
        Refusal::WaitTimeout | Refusal::Paused => SqlState::QUERY_CANCELED,
        Refusal::Killed | Refusal::Closed => SqlState::ADMIN_SHUTDOWN,
        Refusal::Unreachable(failure) if failure.is_definite() => SqlState::CONNECTION_UNABLE,
        // As a server says it that is starting up: clients with several hosts try the next.
        Refusal::Unreachable(_) => SqlState::CANNOT_CONNECT_NOW,
    };
    encoder::error_message(state, &refusal.to_string())
}
