//! An accepted connection as a session gets it.
//!
//! The preface is over: a PROXY header is read and away, bytes that were looked at stand in `prefix`. Start at
//! [`Downstream`].

use std::cell::{Cell, OnceCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::BytesMut;
use portcullis_filter::{Connection, TlsInfo};
use portcullis_stats::GaugeGuard;

use crate::accept::{LoadGuard, TlsOffer};
use crate::limits::ConnectionPermits;
use crate::{ClientAddr, LocalAddr, ProxyHeader, SocketAddress, Stream};

/// An accepted connection.
#[derive(Debug)]
pub struct Downstream {
    /// The socket.
    pub stream: Stream,
    /// The socket's far end. Behind a proxy this is the proxy; see [`client`](Self::client).
    pub peer: ClientAddr,
    /// What a trusted proxy said about the connection.
    pub proxied: Option<Box<ProxyHeader>>,
    /// What the TLS handshake said, if TLS ends here.
    pub tls: Option<Arc<TlsInfo>>,
    /// TLS that the session may begin itself: where the listener has it and the protocol chooses when.
    pub starttls: Option<TlsOffer>,
    /// Bytes that were read already and belong before what comes next from the socket.
    pub prefix: BytesMut,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// Unlike any other connection of this process.
    pub id: ConnectionId,
    /// Keeps the connection counted; to be dropped when it closes.
    pub guard: ConnectionGuard,
    pub(crate) local: OnceCell<LocalAddr>,
}

impl Downstream {
    /// Our end of the socket.
    pub fn local(&self) -> LocalAddr {
        *self.local.get_or_init(|| {
            let address = self.stream.local_addr();
            LocalAddr(address.unwrap_or(SocketAddress::Unix))
        })
    }

    /// The client: whom a trusted PROXY header names, else the peer. `None` for a Unix socket.
    pub fn client(&self) -> Option<SocketAddr> {
        let named = self.proxied.as_ref().and_then(|header| header.source());
        named.map_or(self.peer.0, SocketAddress::canonical).ip()
    }

    /// The client's address, for limits and rules.
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.client().map(|address| address.ip())
    }

    /// Where the client has connected to: what a trusted PROXY header names, else our end of the socket. `None` for a Unix
    /// socket.
    fn target(&self) -> Option<SocketAddr> {
        let named = self
            .proxied
            .as_ref()
            .and_then(|header| header.destination());
        named
            .map_or_else(|| self.local().0, SocketAddress::canonical)
            .ip()
    }

    /// What filters may know about the connection.
    pub fn facts(&self, listener: &Arc<str>) -> Connection {
        Connection {
            listener: Arc::clone(listener),
            peer: self.peer.0.ip(),
            local: self.target(),
            client: self.client(),
            secure: self.tls.is_some(),
            tls: self.tls.clone(),
            accepted_at: self.accepted_at,
            id: self.id.0,
        }
    }
}

/// A connection's number, unlike any other of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// The next number of this thread. Threads count in ranges of their own and share nothing.
    #[must_use]
    #[allow(clippy::should_implement_trait)] // it is no iterator
    pub fn next() -> Self {
        static RANGES: AtomicU64 = AtomicU64::new(1);
        const RANGE_BITS: u32 = 40;
        thread_local! {
            static NEXT: Cell<u64> =
                Cell::new(RANGES.fetch_add(1, Ordering::Relaxed) << RANGE_BITS);
        }
        NEXT.with(|next| Self(next.replace(next.get() + 1)))
    }
}

/// Keeps a connection counted: against the limits, in the listener's gauge, in the worker's load.
#[derive(Debug)]
pub struct ConnectionGuard {
    pub(crate) _permits: ConnectionPermits,
    pub(crate) _load: Option<LoadGuard>,
    pub(crate) _active: GaugeGuard,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_over_threads() {
        let take = || (0..100).map(|_| ConnectionId::next().0).collect::<Vec<_>>();
        let mut all: Vec<_> = (0..3)
            .map(|_| std::thread::spawn(take))
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 300);
    }
}
