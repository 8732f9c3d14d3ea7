//! The pools of a listener: one for each endpoint, database and user, common to all workers.
//!
//! The bookkeeping is [`crate::pool`]'s; here are the map of pools, the task that keeps each in shape, and what opening a
//! connection takes. Start at [`Pools::find`].

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;

use bytes::Bytes;
use foldhash::fast::RandomState;
use portcullis_cluster::{ClusterShared, Endpoint, EndpointId};
use portcullis_filter::Random;
use portcullis_net::{Timer, clock, spawn_local};

use super::attach::{NotAttached, refusal_message};
use super::cancel::Server;
use super::connection::{Parameters, Pooled, ServerConnection};
use super::open::{self, Credentials, OpenError};
use super::release::checkin;
use super::served::{AllServed, Served};
use crate::auth::Strength;
use crate::config::{AuthMinimum, PostgresConfig, TlsStart};
use crate::machine::Shape;
use crate::pool::{CloseReason, Opening, PoolLimits, PoolState, Refusal, SharedPool};

/// How many welcomes are remembered for one pool: as many different sets of parameters as its clients begin with.
const WELCOMES: usize = 64;

/// What tells one pool from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) cluster: Arc<str>,
    pub(super) endpoint: EndpointId,
    pub(super) database: Arc<str>,
    pub(super) user: Arc<str>,
}

/// All pools of a listener.
#[derive(Debug, Default)]
pub(super) struct Pools {
    map: Mutex<HashMap<PoolKey, PoolHandle, RandomState>>,
    /// Raised when pools go: who remembers one looks for it again.
    version: AtomicU64,
}

/// One pool, with all that it takes to fill it.
#[derive(Debug, Clone)]
pub(super) struct PoolHandle(Arc<Entry>);

#[derive(Debug)]
struct Entry {
    key: PoolKey,
    pool: SharedPool<Pooled>,
    cluster: Arc<ClusterShared>,
    endpoint: Arc<Endpoint>,
    credentials: Mutex<Arc<Credentials>>,
    options: OpenOptions,
    /// Why the last attempt failed, in the server's words.
    last_error: Mutex<Option<Bytes>>,
    welcomes: Mutex<Vec<(Arc<Shape>, Arc<Parameters>)>>,
    opened: AtomicU64,
    /// The connections that are open, and some that were.
    servers: Mutex<Vec<Weak<Server>>>,
    served: Mutex<AllServed>,
    /// Why it was killed last: its server must not be written to any more.
    demoted: AtomicBool,
}

/// How connections of a listener are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenOptions {
    /// TLS begins with the first byte, not with an SSLRequest.
    pub(super) direct_tls: bool,
    /// The weakest method by which credentials are given to a server.
    pub(super) minimum: AuthMinimum,
}

impl OpenOptions {
    /// As a listener is configured.
    pub(super) fn of(config: &PostgresConfig) -> Self {
        Self {
            direct_tls: config.upstream.tls_start == TlsStart::Direct,
            minimum: config.upstream.auth_minimum,
        }
    }
}

impl AuthMinimum {
    /// As the exchange with a server has it.
    pub(super) const fn strength(self) -> Strength {
        match self {
            Self::Trust => Strength::None,
            Self::Cleartext => Strength::Cleartext,
            Self::Md5 => Strength::Md5,
            Self::ScramSha256 => Strength::Scram,
        }
    }
}

impl Pools {
    /// The pool with this key, made now if there is none. `credentials` are used from now on.
    pub(super) fn find(
        &self,
        key: PoolKey,
        place: (&Arc<ClusterShared>, &Arc<Endpoint>),
        credentials: &Arc<Credentials>,
        limits: PoolLimits,
        options: OpenOptions,
        worker: usize,
    ) -> PoolHandle {
        let mut map = self.lock();
        if let Some(known) = map.get(&key) {
            known.on_login(credentials);
            return known.clone();
        }
        let handle = PoolHandle(Arc::new(Entry {
            pool: SharedPool::new(limits),
            cluster: Arc::clone(place.0),
            endpoint: Arc::clone(place.1),
            credentials: Mutex::new(Arc::clone(credentials)),
            options,
            last_error: Mutex::default(),
            welcomes: Mutex::default(),
            opened: AtomicU64::new(0),
            servers: Mutex::default(),
            served: Mutex::default(),
            demoted: AtomicBool::new(false),
            key: key.clone(),
        }));
        map.insert(key, handle.clone());
        drop(map);
        handle.keep_up(worker);
        handle
    }

    /// Changes whenever a pool has gone, so that a handle that was found before is still the one to use while it does not.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// All pools, for the console and for counting.
    pub(super) fn all(&self) -> Vec<PoolHandle> {
        self.lock().values().cloned().collect()
    }

    /// Gives all pools new bounds, as after a reload.
    pub(super) fn set_limits(&self, limits: impl Fn(&PoolKey) -> PoolLimits) {
        for pool in self.all() {
            let closing = pool.pool().set_limits(clock::now(), limits(pool.key()));
            close(closing);
        }
    }

    /// Closes the pools of endpoints that have left their cluster.
    pub(super) fn forget_endpoints(&self) {
        let mut map = self.lock();
        let gone: Vec<PoolKey> = map
            .iter()
            .filter(|(key, handle)| {
                let set = handle.0.cluster.set();
                !set.endpoints()
                    .iter()
                    .any(|endpoint| endpoint.id() == key.endpoint)
            })
            .map(|(key, _)| key.clone())
            .collect();
        let gone: Vec<PoolHandle> = gone.iter().filter_map(|key| map.remove(key)).collect();
        if !gone.is_empty() {
            self.version.fetch_add(1, Ordering::Release);
        }
        drop(map);
        for pool in gone {
            close(pool.pool().close(clock::now()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PoolKey, PoolHandle, RandomState>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that a pool gave out for that.
pub(super) fn close(closing: Vec<(Pooled, CloseReason)>) {
    for (connection, _) in closing {
        connection.goodbye();
    }
}

impl PoolHandle {
    pub(super) fn pool(&self) -> &SharedPool<Pooled> {
        &self.0.pool
    }

    pub(super) fn key(&self) -> &PoolKey {
        &self.0.key
    }

    /// Ends everything at once, for an administrator.
    pub(super) fn kill(&self) {
        self.0.demoted.store(false, Ordering::Relaxed);
        close(self.pool().kill(clock::now()));
    }

    /// The server is the primary no longer, or must not be used at all: whoever has a connection or waits for one looks for
    /// another server.
    pub(super) fn demote(&self) {
        self.0.demoted.store(true, Ordering::Relaxed);
        let was_open = self.pool().state() == PoolState::Open;
        close(self.pool().kill(clock::now()));
        // An administrator's pause outlasts it.
        if was_open {
            self.pool().resume(clock::now());
        }
    }

    /// Whether it was [demoted](Self::demote), and not killed by an administrator.
    pub(super) fn is_demoted(&self) -> bool {
        self.0.demoted.load(Ordering::Relaxed)
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0.endpoint
    }

    /// What clients have had in all.
    pub(super) fn served(&self) -> Served {
        self.0.all_served().sum()
    }

    /// A user has proved who it is: this is what servers are shown from now on.
    pub(super) fn on_login(&self, credentials: &Arc<Credentials>) {
        let mut own = self
            .0
            .credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&own, credentials) {
            *own = Arc::clone(credentials);
        }
    }

    /// Opens a connection in nobody's particular name; whoever waits first gets it. `false` if that has failed.
    pub(super) async fn open(&self, opening: Opening<Pooled>, worker: usize) -> bool {
        let random = self.random();
        match self.try_open(worker).await {
            Ok(connection) => {
                self.list(&connection);
                let held = opening.opened_held(clock::now(), random, Box::new(connection));
                self.0.last_error().take();
                checkin(held, worker);
                true
            }
            Err(OpenError { failure, said }) => {
                tracing::warn!(
                    endpoint = &**self.0.endpoint.label(),
                    user = &*self.0.key.user,
                    database = &*self.0.key.database,
                    reason = failure.label(),
                    "cannot open a server connection"
                );
                *self.0.last_error() = said;
                opening.failed(clock::now(), failure, random);
                false
            }
        }
    }

    fn list(&self, connection: &ServerConnection) {
        let servers = &self.0.servers;
        let mut servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|server| server.strong_count() > 0);
        servers.push(Arc::downgrade(&connection.server));
        drop(servers);
        self.0.all_served().list(&connection.served);
    }

    /// The connections that are open.
    pub(super) fn servers(&self) -> Vec<Arc<Server>> {
        let servers = &self.0.servers;
        let servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.iter().filter_map(Weak::upgrade).collect()
    }

    async fn try_open(&self, worker: usize) -> Result<ServerConnection, OpenError> {
        let credentials = {
            let own = self
                .0
                .credentials
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&own)
        };
        open::open(open::Request {
            cluster: &self.0.cluster,
            endpoint: &self.0.endpoint,
            database: &self.0.key.database,
            credentials: &credentials,
            options: self.0.options,
            parameters: &[],
            worker,
        })
        .await
    }

    /// For jitter only.
    fn random(&self) -> u64 {
        let count = self.0.opened.fetch_add(1, Ordering::Relaxed);
        Random::new(count ^ (Arc::as_ptr(&self.0) as u64)).next()
    }

    /// What a client is told that gets no connection: the server's own words where it is the server that refused.
    pub(super) fn refused(&self, refusal: Refusal) -> NotAttached {
        let said = matches!(refusal, Refusal::Unreachable(_))
            .then(|| self.0.last_error().clone())
            .flatten();
        let error = said.unwrap_or_else(|| refusal_message(refusal));
        NotAttached::Error(error, refusal.label())
    }

    /// What a server reports to a client that begins with these parameters, if that was seen before; and those parameters, for
    /// all such clients to share.
    pub(super) fn welcome(&self, shape: &Shape) -> Option<(Arc<Shape>, Arc<Parameters>)> {
        let welcomes = self
            .0
            .welcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = welcomes.iter().find(|(known, _)| **known == *shape);
        known.cloned()
    }

    /// Remembers what a server has reported.
    pub(super) fn on_welcome(&self, shape: &Arc<Shape>, parameters: &Arc<Parameters>) {
        let mut welcomes = self
            .0
            .welcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        welcomes.retain(|(known, _)| known != shape);
        if welcomes.len() >= WELCOMES {
            welcomes.remove(0);
        }
        welcomes.push((Arc::clone(shape), Arc::clone(parameters)));
    }

    /// Forgets what servers report, as after they may have been restarted with other settings.
    pub(super) fn forget_welcomes(&self) {
        let mut welcomes = self
            .0
            .welcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        welcomes.clear();
    }

    /// Does what time makes due, for as long as the pool is used.
    fn keep_up(&self, worker: usize) {
        let weak = Arc::downgrade(&self.0);
        spawn_local(async move {
            let mut timer = Timer::new();
            poll_fn(move |task| {
                let Some(entry) = weak.upgrade() else {
                    return Poll::Ready(());
                };
                let handle = Self(entry);
                loop {
                    // Exact, as the timer is: what it says is due must be so here.
                    let upkeep = handle.pool().sweep(task, clock::refresh());
                    close(upkeep.close);
                    if handle.pool().state() == PoolState::Closed {
                        return Poll::Ready(());
                    }
                    for opening in upkeep.open {
                        let handle = handle.clone();
                        spawn_local(async move {
                            handle.open(opening, worker).await;
                        });
                    }
                    if timer.poll_expired(task, upkeep.next).is_pending() {
                        return Poll::Pending;
                    }
                }
            })
            .await;
        });
    }
}

impl Entry {
    fn all_served(&self) -> MutexGuard<'_, AllServed> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_error(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
