//! Getting a server connection for a client. How it is given back is in [`super::release`].
//!
//! Start at [`Session::attach`].

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use portcullis_cluster::{Cluster, Endpoint, EndpointId, LocalEndpoint, Outcome, PickContext};
use portcullis_net::{clock, spawn_local};

use super::connection::{Lost, Pooled};
use super::pools::{PoolHandle, PoolKey};
use super::run::{Ended, Lease, Session};
use super::search::{Found, ROLE_WAITS, Search};
use super::served::Served;
use crate::encoder;
use crate::machine::Target;
use crate::pool::{Acquired, Affinity, CloseReason, Held, Offer, Refusal};
use crate::sqlstate::SqlState;

/// How long a server may take to set a client's parameters, or to reset a session. Longer than any `DISCARD ALL` takes, and
/// then it is cheaper to open another.
pub(super) const RESET: Duration = Duration::from_secs(5);

/// How many connections that turn out to be dead are taken out of the pool for one client.
const DEAD: usize = 8;

/// The label of [`Refusal::Unreachable`].
const UNREACHABLE: &str = "unreachable";

/// How long it is waited for an endpoint with the role that is asked for, each time.
const ROLE_WAIT: Duration = Duration::from_millis(100);

/// The label of [`Refusal::Killed`].
const KILLED: &str = "killed";

/// What became of one way to a server connection.
enum Tried {
    /// The client has it; it may need the client's parameters.
    Attached,
    /// It has turned out to be dead.
    Unusable,
    /// There is no endpoint.
    NotFound(NotAttached),
    /// The pool of this endpoint has none.
    Refused(Found, NotAttached),
}

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
        let mut search = Search::new(clock::now());
        let tried = self.try_once(target, &mut search).await;
        if matches!(tried, Tried::Attached) && self.fits() {
            return Ok(());
        }
        // Rare, and too much to carry along for every client.
        Box::pin(self.go_on(target, search, tried)).await
    }

    /// One way to a server connection.
    async fn try_once(&mut self, target: Target, search: &mut Search) -> Tried {
        let found = match self.pick(target, &search.tried) {
            Ok(found) => found,
            Err(error) => return Tried::NotFound(error),
        };
        match self.acquire(&found, search).await {
            Ok(held) => self.take_over(target, found, held, search.started),
            Err(error) => Tried::Refused(found, error),
        }
    }

    /// What happens when the first way was not all that it takes.
    async fn go_on(
        &mut self,
        target: Target,
        mut search: Search,
        mut tried: Tried,
    ) -> Result<(), NotAttached> {
        for _ in 0..DEAD + ROLE_WAITS {
            match tried {
                Tried::Attached => match self.fit().await {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(error) => {
                        self.release();
                        return Err(error);
                    }
                },
                Tried::NotFound(error) => {
                    if search.on_none(error)? {
                        portcullis_net::sleep(ROLE_WAIT).await;
                    }
                }
                Tried::Refused(found, error) => {
                    self.on_refused(target, &mut search, &found, error)?;
                }
                Tried::Unusable => {}
            }
            tried = self.try_once(target, &mut search).await;
        }
        Err(unavailable("no working server connection was found"))
    }

    /// The pool of this endpoint has nothing: an error if nothing else is tried.
    fn on_refused(
        &self,
        target: Target,
        search: &mut Search,
        found: &Found,
        error: NotAttached,
    ) -> Result<(), NotAttached> {
        match error {
            NotAttached::Error(error, reason) if reason == UNREACHABLE => {
                if search.takes_the_blame()
                    && let Some(cluster) = self.way.cluster(target)
                {
                    let now = clock::now();
                    let took = now.saturating_duration_since(search.started);
                    cluster.on_done(&found.picked, Outcome::Failure(reason), took, now);
                }
                search.on_unreachable(found.picked.id(), NotAttached::Error(error, reason))
            }
            // The endpoint has changed its role: look again.
            NotAttached::Error(_, KILLED) if found.pool.is_demoted() => Ok(()),
            error => Err(error),
        }
    }

    /// The client has a server connection, if it still works.
    fn take_over(
        &mut self,
        target: Target,
        found: Found,
        held: Held<Pooled>,
        started: Instant,
    ) -> Tried {
        let now = clock::now();
        let Some(mut held) = self.usable(held, now) else {
            return Tried::Unusable;
        };
        let Found { picked, pool, .. } = found;
        held.connection.link.target = target;
        held.connection.waits = false;
        let took = now.saturating_duration_since(started);
        if let Some(cluster) = self.way.cluster(target) {
            cluster.on_done(&picked, Outcome::Success, took, now);
        }
        self.server.stats.on_attached(took);
        self.cancel.on_attach(&held.connection.server, now);
        self.lease = Some(Lease {
            held,
            upstream: bytes::BytesMut::new(),
            _picked: picked,
            since: now,
            pool,
            served: Served::default(),
        });
        Tried::Attached
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
            || (endpoints.len() > 1
                && others.any(|endpoint| endpoint.id() != picked.id() && accept(endpoint)));
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
        let task = self.cancel.waker();
        let asked = clock::now();
        let mut waiting = match pool.pool().checkout_for(task, asked, affinity, patience) {
            Acquired::Ready(held) => return Ok(held),
            Acquired::Refused(refusal) => return Err(pool.refused(refusal)),
            Acquired::Waiting(waiting) => waiting,
        };
        let worker = self.server.worker;
        let counted = self.server.stats.begin_waiting();
        self.cancel.on_wait(Some(asked));
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
    fn usable(&self, held: Held<Pooled>, now: Instant) -> Option<Held<Pooled>> {
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

    /// Whether the connection has the client's parameters already.
    fn fits(&mut self) -> bool {
        let shape = self.relay.shape();
        let Some(lease) = &mut self.lease else {
            return false;
        };
        let has = &mut lease.held.connection.link.shape;
        if !Arc::ptr_eq(shape, has) {
            if shape.changes(has).is_some() {
                return false;
            }
            // Equal ones become the same, so that the next time nothing is compared.
            *has = Arc::clone(shape);
        }
        self.tell_parameters();
        true
    }

    /// Gives the connection the client's parameters. `false` if it has turned out to be lost.
    async fn fit(&mut self) -> Result<bool, NotAttached> {
        let shape = Arc::clone(self.relay.shape());
        if let Some(lease) = &mut self.lease
            && let Some(sql) = shape.changes(&lease.held.connection.link.shape)
        {
            let connection = &mut lease.held.connection;
            match super::within(RESET, connection.execute(&sql))
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
            }
        }
        Ok(self.fits())
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
