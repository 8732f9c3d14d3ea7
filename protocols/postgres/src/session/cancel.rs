//! Cancel requests: whose they are, and whether the server connection is still that client's.
//!
//! Clients of the whole process share one table, since a cancel request comes on a connection of its own and to any worker. A key
//! is compared in constant time. A server connection that a cancel is on its way to is not given to anybody else: the signal
//! could come late and hit another's statement. Which connection a client has changes with each of its transactions, so that is
//! written without a lock. Start at [`CancelKeys`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use bytes::{BufMut as _, Bytes, BytesMut};
use foldhash::fast::RandomState;
use portcullis_cluster::{ClusterShared, Endpoint};
use portcullis_filter::TlsInfo;
use portcullis_net::{Downstream, clock, connect};
use smallvec::SmallVec;

use super::open;
use super::pools::OpenOptions;
use super::served::Shown;
use crate::machine::Opening;
use crate::request::StatementRequest;

/// How many cancel requests are carried out at once; more are dropped, as a server under load may.
const AT_ONCE: u32 = 64;

/// A secret of the widest kind: protocol 3.2 allows 256 bytes, and this many cannot be guessed.
const SECRET: usize = 32;

/// The keys of all clients of a listener.
#[derive(Debug)]
pub(super) struct CancelKeys {
    clients: Mutex<Clients>,
    /// The server connections that clients have or have had, by their numbers.
    servers: Mutex<HashMap<u64, Weak<Server>, RandomState>>,
    running: AtomicU32,
    /// What times are counted from.
    epoch: Instant,
}

/// By their process numbers, which several may have.
type Clients = HashMap<i32, SmallVec<[Arc<Client>; 1]>, RandomState>;

/// One client that may be cancelled. What is atomic here is written by its own session alone, but for the cancels.
#[derive(Debug)]
pub(super) struct Client {
    process: i32,
    secret: Box<[u8]>,
    who: Arc<Who>,
    /// The number of the server connection that it has; 0 for none.
    server: AtomicU64,
    /// Since when it waits for one, in nanoseconds; 0 if it does not.
    waiting: AtomicU64,
    /// When it got one last, in nanoseconds; 0 for never.
    asked: AtomicU64,
    /// Cancels that are on their way to the server connection. Raised before it is looked at which one that is, and looked at when
    /// that is given back: in the one order that all threads see, a cancel comes before that or finds nothing.
    under_way: AtomicU32,
    /// Statements that it has prepared under names.
    prepared: Shown,
    /// Wakes its session.
    waker: OnceLock<Waker>,
}

/// Who a client is, for those who list them.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) id: u64,
    pub(super) user: Arc<str>,
    pub(super) database: Arc<str>,
    pub(super) application: Arc<str>,
    pub(super) address: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    pub(super) tls: Option<Arc<TlsInfo>>,
    pub(super) connected: SystemTime,
}

/// A client as it is at the moment.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) who: Arc<Who>,
    /// The server connection that it has.
    pub(super) server: Option<Arc<Server>>,
    /// How long it has waited for one.
    pub(super) waits: Option<Duration>,
    /// When it got one last.
    pub(super) asked: Option<SystemTime>,
    /// Statements that it has prepared under names.
    pub(super) prepared: u64,
}

/// A server connection, as far as others than its client need to know it: where to cancel, and what it is.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) id: u64,
    pub(super) user: Arc<str>,
    pub(super) database: Arc<str>,
    pub(super) opened: SystemTime,
    pub(super) address: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    pub(super) cluster: Arc<ClusterShared>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) process: i32,
    pub(super) key: Bytes,
    pub(super) options: OpenOptions,
    /// It can be found by its number.
    pub(super) listed: OnceLock<()>,
    /// Statements that are prepared on it under names.
    pub(super) prepared: Shown,
}

/// Keeps a client's key known while it lives.
#[derive(Debug)]
pub(super) struct Registered {
    keys: Arc<CancelKeys>,
    client: Arc<Client>,
}

impl CancelKeys {
    /// Makes a client known. `process` is what it is told, unless it is free to choose: then something random.
    pub(super) fn register(
        self: &Arc<Self>,
        process: Option<i32>,
        long: bool,
        who: Arc<Who>,
        random: &mut impl FnMut() -> u64,
    ) -> Registered {
        let length = if long { SECRET } else { 4 };
        let mut secret = Vec::with_capacity(SECRET);
        while secret.len() < length {
            secret.extend_from_slice(&random().to_be_bytes());
        }
        secret.truncate(length);
        let process = process.unwrap_or_else(|| ((random() >> 33) as i32).max(1));
        let client = Arc::new(Client {
            process,
            secret: secret.into(),
            who,
            server: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            under_way: AtomicU32::new(0),
            prepared: Shown::default(),
            waker: OnceLock::new(),
        });
        self.lock()
            .entry(process)
            .or_default()
            .push(Arc::clone(&client));
        Registered {
            keys: Arc::clone(self),
            client,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a server connection known by its number.
    #[cold]
    fn list(&self, server: &Arc<Server>) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        // Amortised: what is closed goes when the table is full.
        if servers.len() == servers.capacity() {
            servers.retain(|_, server| server.strong_count() > 0);
        }
        servers.insert(server.id, Arc::downgrade(server));
        server.listed.get_or_init(|| ());
    }

    /// The server connection with this number, while it is open.
    fn server(&self, id: u64) -> Option<Arc<Server>> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.get(&id)?.upgrade()
    }

    /// A time as clients have it; never 0.
    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        (since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())).max(1)
    }

    fn all(&self) -> Vec<Arc<Client>> {
        self.lock().values().flatten().map(Arc::clone).collect()
    }

    /// Wakes those who have a server connection, so that they see that it was killed.
    pub(super) fn wake_attached(&self) {
        for client in self.all() {
            let attached = client.server.load(Ordering::SeqCst) != 0;
            if attached && let Some(waker) = client.waker.get() {
                waker.wake_by_ref();
            }
        }
    }

    /// All clients, as they are at the moment.
    pub(super) fn clients(&self) -> Vec<Seen> {
        let (now, wall) = (clock::now(), clock::wall());
        let ago = |nanos: u64| {
            let at = self.epoch.checked_add(Duration::from_nanos(nanos))?;
            Some(now.saturating_duration_since(at))
        };
        let seen = |client: Arc<Client>| {
            let server = client.server.load(Ordering::SeqCst);
            let waiting = client.waiting.load(Ordering::Relaxed);
            let asked = client.asked.load(Ordering::Relaxed);
            Seen {
                who: Arc::clone(&client.who),
                server: self.server(server),
                waits: (waiting > 0).then(|| ago(waiting)).flatten(),
                asked: (asked > 0).then(|| wall.checked_sub(ago(asked)?)).flatten(),
                prepared: client.prepared.number(),
            }
        };
        self.all().into_iter().map(seen).collect()
    }

    fn find(&self, process: i32, key: &[u8]) -> Option<Arc<Client>> {
        let clients = self.lock();
        let mut found = None;
        for client in clients.get(&process)? {
            if aws_lc_rs::constant_time::verify_slices_are_equal(&client.secret, key).is_ok() {
                found = Some(Arc::clone(client));
            }
        }
        found
    }

    /// Carries out a cancel request: whoever sent it hears nothing either way. The answer is the label that counts it.
    pub(super) async fn cancel(&self, process: i32, key: &[u8]) -> &'static str {
        let Some(client) = self.find(process, key) else {
            return "unknown_key";
        };
        if self.running.fetch_add(1, Ordering::Relaxed) >= AT_ONCE {
            self.running.fetch_sub(1, Ordering::Relaxed);
            return "too_many";
        }
        let outcome = client.cancel(self).await;
        self.running.fetch_sub(1, Ordering::Relaxed);
        outcome
    }
}

impl Default for CancelKeys {
    fn default() -> Self {
        Self {
            clients: Mutex::default(),
            servers: Mutex::default(),
            running: AtomicU32::new(0),
            epoch: clock::now(),
        }
    }
}

impl Client {
    async fn cancel(self: &Arc<Self>, keys: &CancelKeys) -> &'static str {
        let under_way = Cancelling::new(self);
        let Some(server) = keys.server(self.server.load(Ordering::SeqCst)) else {
            return "idle";
        };
        let sent = server.cancel().await;
        drop(under_way);
        if sent { "sent" } else { "server_unreachable" }
    }
}

/// A cancel is on its way while this lives.
#[derive(Debug)]
pub(super) struct Cancelling(Arc<Client>);

impl Cancelling {
    fn new(client: &Arc<Client>) -> Self {
        client.under_way.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(client))
    }
}

impl Drop for Cancelling {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Who {
    /// A request of this client, with no text yet.
    pub(super) fn request(&self) -> StatementRequest {
        StatementRequest::new(&self.user, &self.database, &self.application)
    }

    /// Who has begun a session.
    pub(super) fn of(downstream: &Downstream, opening: &Opening) -> Arc<Self> {
        Arc::new(Self {
            id: downstream.id.0,
            user: Arc::clone(&opening.user),
            database: Arc::clone(&opening.database),
            application: Arc::clone(&opening.application),
            address: downstream.client(),
            local: downstream.local().0.ip(),
            tls: downstream.tls.clone(),
            connected: clock::wall(),
        })
    }
}

impl Server {
    /// Sends a CancelRequest on a connection of its own and waits until the server has closed it: by then the signal is sent.
    pub(super) async fn cancel(&self) -> bool {
        let connecting = connect::to_endpoint_plain(&*self.cluster, &self.endpoint, None);
        let Ok(stream) = connecting.await else {
            return false;
        };
        let stream = open::encrypt(stream, &self.cluster, &self.endpoint, self.options).await;
        let Ok(mut stream) = stream else {
            return false;
        };
        let mut request = BytesMut::new();
        let length = 12 + self.key.len();
        request.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        request.put_u32(80_877_102);
        request.put_i32(self.process);
        request.put_slice(&self.key);
        if stream.write_all(&request).await.is_err() {
            return false;
        }
        let mut rest = BytesMut::new();
        // A server says nothing; an end of any kind will do.
        while let Ok(1..) = stream.read(&mut rest).await {
            rest.clear();
        }
        true
    }
}

impl Registered {
    /// What the client is told: its process and secret.
    pub(super) fn key(&self) -> (i32, &[u8]) {
        (self.client.process, &self.client.secret)
    }

    /// The client has a server connection, since `now`.
    pub(super) fn on_attach(&self, server: &Arc<Server>, now: Instant) {
        if server.listed.get().is_none() {
            self.keys.list(server);
        }
        let client = &self.client;
        client.waiting.store(0, Ordering::Relaxed);
        client.asked.store(self.keys.nanos(now), Ordering::Relaxed);
        client.server.store(server.id, Ordering::Release);
    }

    /// The client waits for one since then, or does no longer.
    pub(super) fn on_wait(&self, since: Option<Instant>) {
        let since = since.map_or(0, |since| self.keys.nanos(since));
        self.client.waiting.store(since, Ordering::Relaxed);
    }

    /// So many statements has the client prepared under names.
    #[inline]
    pub(super) fn on_prepared(&self, count: usize) {
        self.client.prepared.set(count);
    }

    /// This is its session, to be woken when its server connection is killed. One task serves a client for all its life.
    pub(super) fn on_session(&self, waker: &Waker) {
        self.client.waker.get_or_init(|| waker.clone());
    }

    /// What wakes its session, once that runs.
    pub(super) fn waker(&self) -> Option<&Waker> {
        self.client.waker.get()
    }

    /// Who the client is.
    pub(super) fn who(&self) -> &Arc<Who> {
        &self.client.who
    }

    /// A cancel of the gateway's own is on its way there while the guard lives.
    pub(super) fn cancelling(&self) -> Cancelling {
        Cancelling::new(&self.client)
    }

    /// The client gives its server connection back. `false` if a cancel is on its way there, so that nobody else must get it.
    #[must_use]
    pub(super) fn on_detach(&self) -> bool {
        self.client.server.swap(0, Ordering::SeqCst);
        self.client.under_way.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut clients = self.keys.lock();
        if let Some(same) = clients.get_mut(&self.client.process) {
            same.retain(|client| !Arc::ptr_eq(client, &self.client));
            if same.is_empty() {
                clients.remove(&self.client.process);
            }
        }
    }
}
