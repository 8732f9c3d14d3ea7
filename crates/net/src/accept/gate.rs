//! From an accepted socket to a session.
//!
//! Reads the PROXY header where there is to be one and hands over to the listener's server, whatever that is at the time. Start at
//! [`Gate::admit`].

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use bytes::BytesMut;

use super::{Accepted, ListenerStats};
use crate::downstream::{ConnectionGuard, ConnectionId};
use crate::listen::BoundAddress;
use crate::preface::{self, ProxyPolicy};
use crate::sessions::Sessions;
use crate::{ClientAddr, Downstream, LocalAddr, SocketAddress};

/// What turns the connections of one listener into sessions, on one worker.
pub struct Gate {
    stats: Rc<ListenerStats>,
    sessions: Sessions,
    local: Option<LocalAddr>,
    proxy: RefCell<Option<Rc<ProxyPolicy>>>,
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
    /// A gate in front of `server`, which is called with each connection and starts its session with
    /// [`crate::spawn_session`].
    pub fn new(options: GateOptions, server: impl Fn(Downstream) + 'static) -> Rc<Self> {
        let local = match options.address {
            // Each connection has one of the machine's addresses.
            BoundAddress::Tcp(address) if address.ip().is_unspecified() => None,
            BoundAddress::Tcp(address) => Some(SocketAddress::canonical(address)),
            BoundAddress::Unix(_) => Some(SocketAddress::Unix),
        };
        Rc::new(Self {
            stats: options.stats,
            sessions: options.sessions,
            local: local.map(LocalAddr),
            proxy: RefCell::new(options.proxy.map(Rc::new)),
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
            prefix: BytesMut::new(),
            accepted_at: accepted.accepted_at,
            id: ConnectionId::next(),
            guard,
            local: self.local.map_or_else(OnceCell::new, OnceCell::from),
        };
        match self.proxy.borrow().clone() {
            Some(policy) => self.read_proxy_header(downstream, policy),
            None => self.hand_over(downstream),
        }
    }

    fn read_proxy_header(self: &Rc<Self>, mut downstream: Downstream, policy: Rc<ProxyPolicy>) {
        let gate = Rc::clone(self);
        self.sessions.spawn(async move {
            let Downstream {
                stream,
                prefix,
                peer,
                ..
            } = &mut downstream;
            match preface::read_proxy_header(stream, prefix, *peer, &policy).await {
                Ok(header) => {
                    downstream.proxied = header;
                    gate.hand_over(downstream);
                }
                Err(error) => gate.stats.on_refused(error.label()),
            }
        });
    }

    fn hand_over(&self, downstream: Downstream) {
        self.stats.accepted.inc();
        let server = Rc::clone(&self.server.borrow());
        self.sessions.enter(|| server(downstream));
    }
}
