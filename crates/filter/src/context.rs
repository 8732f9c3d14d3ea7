//! What filters know besides the message: the connection, the time, the route, and what they hold.
//!
//! Not the message and not shared between requests: one [`Context`] lives as long as one request (or one
//! connection where the protocol has no requests). Start at [`Context`].

use std::any::Any;
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use crate::{ClientCertificate, TlsInfo};

/// Facts of a downstream connection that do not change while it lasts.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The peer of the socket; `None` for a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Where the client has connected to, as a trusted PROXY header names it, else the local address of the socket; `None` for a
    /// Unix socket.
    pub local: Option<SocketAddr>,
    /// The client as a trusted PROXY header names it, else the peer.
    pub client: Option<SocketAddr>,
    /// Whether the connection is encrypted.
    pub secure: bool,
    /// What its TLS handshake said, if TLS ends here.
    pub tls: Option<Arc<TlsInfo>>,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// Unlike any other connection of this process.
    pub id: u64,
}

impl Connection {
    /// The certificate that the client has proved to be its own.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.tls.as_ref()?.client.as_ref()
    }

    /// The client's address, if it has one: not over a Unix socket without a PROXY header.
    #[must_use]
    pub fn known_client_ip(&self) -> Option<IpAddr> {
        self.client.map(|client| client.ip().to_canonical())
    }

    /// The client's address; unspecified (`0.0.0.0`) for a Unix socket without a PROXY header: all clients of such a socket are one
    /// to rules and limits.
    #[must_use]
    pub fn client_ip(&self) -> IpAddr {
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        self.known_client_ip().unwrap_or(unknown)
    }
}

/// What filters know of one request besides its message.
pub struct Context {
    /// The time of the current loop turn.
    pub now: Instant,
    /// The connection that the request came on.
    pub connection: Rc<Connection>,
    /// The client's address: the connection's, or what trusted proxies say.
    pub client_ip: IpAddr,
    /// The route's name, once one was found.
    pub route: Option<Arc<str>>,
    /// How many filters of the chain have seen the request.
    pub(crate) reached: usize,
    held: SmallVec<[Box<dyn Any>; 1]>,
}

impl Context {
    /// A fresh context for a request on `connection`.
    #[must_use]
    pub fn new(connection: Rc<Connection>, now: Instant) -> Self {
        let client_ip = connection.client_ip();
        Self {
            now,
            connection,
            client_ip,
            route: None,
            reached: 0,
            held: SmallVec::new(),
        }
    }

    /// The client's address, if it has one: not over a Unix socket, unless somebody who is trusted names it.
    #[must_use]
    pub fn known_client_ip(&self) -> Option<IpAddr> {
        let is_known = self.connection.client.is_some() || !self.client_ip.is_unspecified();
        is_known.then_some(self.client_ip)
    }

    /// Keeps `value` until the request is over: a permit, a timer, what a later hook of the same filter needs.
    pub fn hold<T: 'static>(&mut self, value: T) {
        self.held.push(Box::new(value));
    }

    /// The value of this type that was held first.
    #[must_use]
    pub fn held<T: 'static>(&self) -> Option<&T> {
        self.held.iter().find_map(|value| value.downcast_ref())
    }

    /// The value of this type that was held first, to change.
    pub fn held_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.held.iter_mut().find_map(|value| value.downcast_mut())
    }

    /// Lets go of all that is held. What is said of the request after that, such as a line in a log, keeps its route.
    #[inline]
    pub fn release(&mut self) {
        if !self.held.is_empty() {
            self.held.clear();
        }
    }

    /// Ready for the next request on the same connection: nothing held, no route.
    pub fn reset(&mut self, now: Instant) {
        self.now = now;
        self.client_ip = self.connection.client_ip();
        self.route = None;
        self.reached = 0;
        self.release();
    }
}

/// A small, fast generator for balancing, jitter and percentages (SplitMix64). Not for secrets.
#[derive(Debug)]
pub struct Random(Cell<u64>);

impl Random {
    /// A generator that repeats itself for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// The next 64 bits.
    #[must_use]
    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whether an event of the given probability, in parts per million, happens now.
    #[must_use]
    pub fn happens(&self, parts_per_million: u32) -> bool {
        self.next() % 1_000_000 < u64::from(parts_per_million)
    }
}
