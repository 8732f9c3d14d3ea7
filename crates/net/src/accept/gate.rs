//! From an accepted socket to a session.
//!
//! Reads the PROXY header where there is to be one, ends TLS where the listener does, and hands over to the listener's server, whatever that is at the time. Start at
//! [`Gate::admit`].

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;

use super::tls::{GateTls, TlsStart};
use super::{Accepted, ListenerStats};
use crate::downstream::{ConnectionGuard, ConnectionId};
use crate::listen::BoundAddress;
use crate::preface::{self, ProxyPolicy};
use crate::sessions::Sessions;
use crate::tls::TlsRefusal;
use crate::tls::server::ServerTls;
use crate::{ClientAddr, Downstream, LocalAddr, SocketAddress};

/// What turns the connections of one listener into sessions, on one worker.
pub struct Gate {
    stats: Rc<ListenerStats>,
    sessions: Sessions,
    local: Option<LocalAddr>,
    proxy: RefCell<Option<Rc<ProxyPolicy>>>,
    tls: RefCell<Option<Rc<GateTls>>>,
    server: RefCell<Rc<dyn Fn(Downstream)>>,
}

/// What a gate is made of.
pub struct GateOptions {
    /// The listener's counters on this worker.
    pub stats: Rc<ListenerStats>,
    /// The listener's sessions on this worker.
    pub sessions: Sessions,
    /// Where the listener listens.
    pub address: BoundAddress,
    /// Whether PROXY headers are read.
    pub proxy: Option<ProxyPolicy>,
}

impl Gate {
    /// A gate without TLS in front of `server`, which is called with each connection and starts its session with
    /// [`crate::spawn_session`].
    pub fn new(options: GateOptions, server: impl Fn(Downstream) + 'static) -> Rc<Self> {
        let local = match options.address {
            // Each connection has one of the machine's addresses.
            BoundAddress::Tcp(address) | BoundAddress::Udp(address)
                if address.ip().is_unspecified() =>
            {
                None
            }
            BoundAddress::Tcp(address) | BoundAddress::Udp(address) => {
                Some(SocketAddress::canonical(address))
            }
            BoundAddress::Unix(_) => Some(SocketAddress::Unix),
        };
        Rc::new(Self {
            stats: options.stats,
            sessions: options.sessions,
            local: local.map(LocalAddr),
            proxy: RefCell::new(options.proxy.map(Rc::new)),
            tls: RefCell::default(),
            server: RefCell::new(Rc::new(server)),
        })
    }

    /// Puts another server behind the gate, for connections that come from now on.
    pub fn set_server(&self, server: impl Fn(Downstream) + 'static) {
        self.server.replace(Rc::new(server));
    }

    /// Changes whether PROXY headers are read, for connections that come from now on.
    pub fn set_proxy(&self, proxy: Option<ProxyPolicy>) {
        self.proxy.replace(proxy.map(Rc::new));
    }

    /// Changes whether and how TLS is ended, and who begins it, for connections that come from now on.
    pub fn set_tls(&self, tls: Option<Arc<ServerTls>>, start: TlsStart) {
        let tls = tls.map(|shared| GateTls::new(shared, start, &self.stats));
        self.tls.replace(tls.map(Rc::new));
    }

    /// The sessions behind the gate.
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Makes a session of a connection, on this worker.
    pub fn admit(self: &Rc<Self>, accepted: Accepted) {
        let peer = ClientAddr(accepted.peer);
        let guard = ConnectionGuard {
            _permits: accepted.permits,
            _load: accepted.load,
            _active: self.stats.active.guard(),
        };
        let Ok(stream) = accepted.socket.into_stream() else {
            self.stats.on_refused("register");
            return;
        };
        let downstream = Downstream {
            stream,
            peer,
            proxied: None,
            tls: None,
            starttls: None,
            prefix: BytesMut::new(),
            accepted_at: accepted.accepted_at,
            id: ConnectionId::next(),
            guard,
            local: self.local.map_or_else(OnceCell::new, OnceCell::from),
        };
        let proxy = self.proxy.borrow().clone();
        let tls = self.tls.borrow().clone();
        if proxy.is_none() && tls.is_none() {
            self.hand_over(downstream);
            return;
        }
        let gate = Rc::clone(self);
        self.sessions.spawn(async move {
            match gate.prepare(downstream, proxy, tls).await {
                Ok(downstream) => gate.hand_over(downstream),
                Err(reason) => gate.stats.on_refused(reason),
            }
        });
    }

    /// Everything in front of the protocol that takes time, or the reason why there is no protocol.
    async fn prepare(
        &self,
        mut downstream: Downstream,
        proxy: Option<Rc<ProxyPolicy>>,
        tls: Option<Rc<GateTls>>,
    ) -> Result<Downstream, &'static str> {
        if let Some(policy) = proxy {
            let (stream, prefix) = (&mut downstream.stream, &mut downstream.prefix);
            let header = preface::read_proxy_header(stream, prefix, downstream.peer, &policy);
            downstream.proxied = header.await.map_err(preface::PrefaceError::label)?;
        }
        match tls {
            Some(tls) => tls.prepare(downstream).await.map_err(TlsRefusal::label),
            None => Ok(downstream),
        }
    }

    fn hand_over(&self, downstream: Downstream) {
        self.stats.accepted.inc();
        let server = Rc::clone(&self.server.borrow());
        self.sessions.enter(|| server(downstream));
    }
}
