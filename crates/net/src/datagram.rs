//! The datagram side of a listener: what a server that speaks over UDP is given, on each worker.
//!
//! Nothing is accepted here: whoever speaks over datagrams tells its conversations apart by itself. Sockets are bound in
//! [`crate::listen`]. Start at [`Datagrams`], and at [`DatagramSocket`] for how they move.

mod socket;

use std::cell::RefCell;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis_filter::Connection;

use crate::accept::ListenerStats;
use crate::downstream::ConnectionId;
use crate::limits::ConnectionLimits;
use crate::tls::server::ServerTls;
use crate::{DrainSignal, SocketAddress};

pub use socket::{BATCH, DatagramSocket, Inbox, Route, Run, TOO_LARGE};

/// The datagrams of one listener on one worker.
#[derive(Debug)]
pub struct Datagrams {
    /// Bound and non-blocking. Every worker has one on the same port; the kernel gives all that comes from one address to the same
    /// one, as long as there are as many.
    pub socket: UdpSocket,
    /// Where it is bound.
    pub address: SocketAddr,
    /// What conversations count against: the bounds on connections of the listener and of the process.
    pub limits: ConnectionLimits,
    /// The listener's counters on this worker.
    pub stats: Rc<ListenerStats>,
    /// How TLS is ended, now.
    pub tls: TlsSlot,
    /// Given when the listener drains, and when it lets go of this socket for another: there is nothing new to begin, and what is
    /// under way is to come to its end.
    pub stop: DrainSignal,
}

impl Datagrams {
    /// What filters may know of a conversation that is told apart among them: the client's address, and which of the
    /// listener's it speaks with, if that is known.
    #[must_use]
    pub fn facts(
        listener: &Arc<str>,
        client: SocketAddr,
        local: Option<SocketAddr>,
        now: Instant,
    ) -> Connection {
        let client = SocketAddress::canonical(client).ip();
        Connection {
            listener: Arc::clone(listener),
            peer: client,
            local: local.and_then(|local| SocketAddress::canonical(local).ip()),
            client,
            secure: false,
            tls: None,
            accepted_at: now,
            id: ConnectionId::next().0,
        }
    }
}

/// How TLS is ended on a listener, as reloads change it. Cloning gives the same slot.
#[derive(Debug, Clone, Default)]
pub struct TlsSlot(Rc<RefCell<Option<Arc<ServerTls>>>>);

impl TlsSlot {
    /// What is in place for the next handshake; `None` if the listener has no TLS.
    #[must_use]
    pub fn current(&self) -> Option<Arc<ServerTls>> {
        self.0.borrow().clone()
    }

    /// Puts something else in place.
    pub fn set(&self, tls: Option<Arc<ServerTls>>) {
        self.0.replace(tls);
    }
}
