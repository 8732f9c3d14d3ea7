//! Cancel requests: whose they are, and whether the server connection is still that client's.
//!
//! Clients of the whole process share one table, since a cancel request comes on a connection of its own and to any worker. A key
//! is compared in constant time. A server connection that a cancel is on its way to is not given to anybody else: the signal
//! could come late and hit another's statement. Start at [`CancelKeys`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Instant, SystemTime};

use bytes::{BufMut as _, Bytes, BytesMut};
use foldhash::fast::RandomState;
use portcullis_cluster::{ClusterShared, Endpoint};
use portcullis_filter::TlsInfo;
use portcullis_net::{Downstream, clock, connect};

use super::open;
use super::pools::OpenOptions;
use crate::machine::Opening;
use crate::request::StatementRequest;

/// How many cancel requests are carried out at once; more are dropped, as a server under load may.
const AT_ONCE: u32 = 64;

/// A secret of the widest kind: protocol 3.2 allows 256 bytes, and this many cannot be guessed.
const SECRET: usize = 32;

/// The keys of all clients of a listener.
#[derive(Debug, Default)]
pub(super) struct CancelKeys {
    clients: Mutex<HashMap<i32, Vec<Arc<Client>>, RandomState>>,
    running: AtomicU32,
}

/// One client that may be cancelled.
#[derive(Debug)]
pub(super) struct Client {
    process: i32,
    secret: Box<[u8]>,
    who: Arc<Who>,
    on: Mutex<On>,
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
    /// Since when it waits for one.
    pub(super) waiting: Option<Instant>,
    /// When it got one last.
    pub(super) asked: Option<SystemTime>,
}

/// The server connection that a client has.
#[derive(Debug, Default)]
struct On {
    server: Option<Arc<Server>>,
    /// Cancels that are on their way to it.
    under_way: u32,
    waiting: Option<Instant>,
    asked: Option<SystemTime>,
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
            on: Mutex::default(),
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

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Vec<Arc<Client>>, RandomState>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Client>> {
        self.lock().values().flatten().map(Arc::clone).collect()
    }

    /// Wakes those who have a server connection, so that they see that it was killed.
    pub(super) fn wake_attached(&self) {
        for client in self.all() {
            let attached = client.lock().server.is_some();
            if attached && let Some(waker) = client.waker.get() {
                waker.wake_by_ref();
            }
        }
    }

    /// All clients, as they are at the moment.
    pub(super) fn clients(&self) -> Vec<Seen> {
        let seen = |client: Arc<Client>| {
            let on = client.lock();
            Seen {
                who: Arc::clone(&client.who),
                server: on.server.clone(),
                waiting: on.waiting,
                asked: on.asked,
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
        let outcome = client.cancel().await;
        self.running.fetch_sub(1, Ordering::Relaxed);
        outcome
    }
}

impl Client {
    fn lock(&self) -> MutexGuard<'_, On> {
        self.on.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn cancel(self: &Arc<Self>) -> &'static str {
        let server = {
            let mut on = self.lock();
            let Some(server) = on.server.clone() else {
                return "idle";
            };
            on.under_way += 1;
            server
        };
        let under_way = Cancelling(Arc::clone(self));
        let sent = server.cancel().await;
        drop(under_way);
        if sent { "sent" } else { "server_unreachable" }
    }
}

/// A cancel is on its way while this lives.
#[derive(Debug)]
pub(super) struct Cancelling(Arc<Client>);

impl Drop for Cancelling {
    fn drop(&mut self) {
        let mut on = self.0.lock();
        on.under_way = on.under_way.saturating_sub(1);
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

    /// The client has a server connection.
    pub(super) fn on_attach(&self, server: Arc<Server>) {
        let now = clock::wall();
        let mut on = self.client.lock();
        on.server = Some(server);
        on.waiting = None;
        on.asked = Some(now);
    }

    /// The client waits for one, or does no longer.
    pub(super) fn on_wait(&self, since: Option<Instant>) {
        self.client.lock().waiting = since;
    }

    /// This is its session, to be woken when its server connection is killed. One task serves a client for all its life.
    pub(super) fn on_session(&self, waker: &Waker) {
        self.client.waker.get_or_init(|| waker.clone());
    }

    /// Who the client is.
    pub(super) fn who(&self) -> &Arc<Who> {
        &self.client.who
    }

    /// A cancel of the gateway's own is on its way there while the guard lives.
    pub(super) fn cancelling(&self) -> Cancelling {
        self.client.lock().under_way += 1;
        Cancelling(Arc::clone(&self.client))
    }

    /// The client gives its server connection back. `false` if a cancel is on its way there, so that nobody else must get it.
    #[must_use]
    pub(super) fn on_detach(&self) -> bool {
        let mut on = self.client.lock();
        on.server = None;
        on.under_way == 0
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
