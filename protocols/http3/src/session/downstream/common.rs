//! What the workers of a listener have in common for HTTP/3: keys, sessions to take up again, and the ways between them.
//!
//! It outlives reloads. Locks are held for a moment, and none is taken for a datagram that came to the right worker. Start at
//! [`Common`].

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use quinn::udp::EcnCodepoint;
use quinn::{EndpointConfig, ServerConfig};
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use tokio::sync::mpsc;

use super::identity::{Identities, WorkerNumber};
use super::tokens::SpentTokens;

/// Datagrams that wait for a worker that they are passed on to; more are lost, as on a full socket.
const MOST_WAITING: usize = 256;

/// Sessions that clients may take up again with early data.
const MOST_SESSIONS: usize = 16 * 1024;

/// What the workers of one listener share.
pub struct Common {
    pub(super) identities: Arc<Identities>,
    /// With the key of stateless resets, so that any worker can make those of another.
    pub(super) endpoint: EndpointConfig,
    pub(super) spent: Arc<SpentTokens>,
    /// With the key of tokens: which worker gave one makes no difference.
    template: OnceLock<ServerConfig>,
    sessions: Mutex<Option<Sessions>>,
    desks: Mutex<Vec<Option<mpsc::Sender<Stray>>>>,
}

struct Sessions {
    /// Whose rules about client certificates they were made by.
    tickets: Arc<dyn ProducesTickets>,
    store: Arc<dyn StoresServerSessions>,
}

/// A datagram that came to another worker than its connection lives on.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) from: SocketAddr,
    pub(super) to: Option<IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) bytes: Bytes,
}

impl std::fmt::Debug for Common {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Common").finish_non_exhaustive()
    }
}

impl Default for Common {
    /// New keys, and nothing else yet.
    fn default() -> Self {
        Self {
            identities: Arc::default(),
            endpoint: EndpointConfig::default(),
            spent: Arc::default(),
            template: OnceLock::new(),
            sessions: Mutex::default(),
            desks: Mutex::default(),
        }
    }
}

impl Common {
    /// A QUIC configuration with the listener's keys, for this TLS.
    pub(super) fn server_config(
        &self,
        crypto: Arc<dyn quinn::crypto::ServerConfig>,
    ) -> ServerConfig {
        let template = self
            .template
            .get_or_init(|| ServerConfig::with_crypto(Arc::clone(&crypto)));
        let mut config = template.clone();
        config.crypto = crypto;
        config
    }

    /// The sessions that go with these tickets: new ones when clients must prove something else.
    pub(super) fn sessions(
        &self,
        tickets: &Arc<dyn ProducesTickets>,
    ) -> Arc<dyn StoresServerSessions> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sessions) = &*sessions
            && Arc::ptr_eq(&sessions.tickets, tickets)
        {
            return Arc::clone(&sessions.store);
        }
        let store: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(MOST_SESSIONS);
        *sessions = Some(Sessions {
            tickets: Arc::clone(tickets),
            store: Arc::clone(&store),
        });
        store
    }

    /// Takes what is passed on to a worker from now on.
    pub(super) fn open_desk(&self, worker: WorkerNumber) -> mpsc::Receiver<Stray> {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        let place = usize::from(worker);
        if desks.len() <= place {
            desks.resize_with(place + 1, || None);
        }
        if let Some(desk) = desks.get_mut(place) {
            *desk = Some(sender);
        }
        receiver
    }

    /// Passes a datagram on. The answer is whether it will get there.
    pub(super) fn pass_on(&self, worker: WorkerNumber, stray: Stray) -> bool {
        let desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        let desk = desks.get(usize::from(worker)).and_then(Option::as_ref);
        desk.is_some_and(|desk| desk.try_send(stray).is_ok())
    }
}
