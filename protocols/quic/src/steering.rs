//! Which endpoint a datagram belongs to: the machine behind routing without termination.
//!
//! A client's first packets are opened to read its ClientHello, and held until somebody has routed it. From then on connection
//! ids decide: those that servers choose are learned from their long headers, so that a client that changes its address stays
//! with its endpoint. The machine sends nothing and knows no socket; time and seed come in. It routes nothing: a [`Target`] is a
//! number to it. Start at [`Steering::on_client`].
//!
//! # What validates an address
//!
//! Until somebody has proved to be at an address, it is sent at most three times the bytes that came from it (RFC 9000
//! section 8.1), whatever the server does: servers see the gateway's address in place of the client's, and a token that one
//! client earned would prove any other. Bytes are counted for each connection in its handshake, which is known by the id that the
//! client chose for itself, and otherwise for each address. An address is validated by
//!
//! - a packet with a long header from it, to a server's connection id of at least 8 bytes that was told to this very address
//!   (an Initial or Handshake that answers the server's first flight, or an Initial that answers a Retry); or
//! - a packet with a short header from it, to a connection id or server id that was learned. A client that moves cannot
//!   prove more than that to anyone on the path. Its server sees a new path, which it has to validate itself (section 8.2),
//!   and spends no more than three times what came until it has. One connection id validates one address in a second.
//!
//! It stays validated for as long as something goes either way, but for a new connection's handshake, which has to prove itself
//! again.

mod account;
mod config;
mod first;
mod hold;
mod idle;
mod known;
mod lengths;
mod limits;
mod negotiation;
mod verdict;

use std::net::SocketAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use account::{Addresses, Owner};
use hold::{HoldKey, Holds};
use idle::{Bounds, Class, IdleTable};
use known::{Followed, Known, Origin, TRUST};
use lengths::Lengths;
use negotiation::Negotiation;

use crate::connection_id::ConnectionId;
use crate::error::HeaderError;
use crate::header::{Invariants, LONG};
use crate::version::Version;

pub use config::{ServerIdPlace, SteeringConfig, SteeringCounts, UnknownVersion};
pub use limits::SteeringLimits;
pub use verdict::{DropReason, HelloId, Opening, Reply, Target, UnknownReason, Verdict};

/// RFC 9000 section 14.1: what a datagram with a client's Initial has at least.
pub const INITIAL_DATAGRAM_BYTES: usize = 1200;

/// Steers the datagrams of one listener. It must see all of them: what one machine learned, another does not know. Where several
/// workers share it, their clocks may differ by moments; `now` need not be in order then.
#[derive(Debug)]
pub struct Steering {
    config: SteeringConfig,
    ids: IdleTable<ConnectionId, Known>,
    servers: IdleTable<ConnectionId, Target>,
    addresses: Addresses,
    holds: Holds,
    lengths: Lengths,
    negotiation: Negotiation,
    evicted_ids: u64,
    /// Where packets are opened.
    scratch: Vec<u8>,
}

impl Steering {
    /// A machine that knows nothing yet. The seed makes it unpredictable which keys of peers meet in its tables: it should be random
    /// and secret.
    #[must_use]
    pub fn new(config: SteeringConfig, seed: u64) -> Self {
        let limits = &config.limits;
        let bounds = |entries, idle| Bounds { entries, idle };
        let openings = bounds(limits.openings, limits.opening_idle);
        let connections = bounds(limits.connections, limits.connection_idle);
        let servers = bounds(limits.server_ids, limits.server_id_idle);
        Self {
            ids: IdleTable::new(seed, openings, connections),
            servers: IdleTable::new(seed.rotate_left(16), bounds(0, TRUST), servers),
            addresses: Addresses::new(seed.rotate_left(32), limits),
            holds: Holds::new(seed.rotate_left(48), limits),
            lengths: Lengths::default(),
            negotiation: Negotiation::new(seed, limits.negotiations),
            evicted_ids: 0,
            scratch: Vec::new(),
            config,
        }
    }

    /// Goes by other settings from now on. How much is kept stays as it was. Names of servers that were learned elsewhere in their
    /// ids are forgotten.
    pub fn set_config(&mut self, config: SteeringConfig) {
        if config.server_id != self.config.server_id {
            self.servers.retain(|_, _| false);
        }
        let limits = self.config.limits;
        self.config = SteeringConfig { limits, ..config };
    }

    /// Takes a datagram that came from a client. An answer, if there is one, is appended to `out`.
    #[inline]
    pub fn on_client(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut BytesMut,
    ) -> Verdict {
        match datagram.first() {
            None => Verdict::Drop(DropReason::Header(HeaderError::Empty)),
            Some(first) if first & LONG == 0 => self.on_short(now, from, datagram),
            Some(_) => self.on_long(now, from, datagram, out),
        }
    }

    /// Takes a datagram that an endpoint sent for a client: whether it may go there, and what it says of connection ids.
    #[inline]
    pub fn on_server(
        &mut self,
        now: Instant,
        target: Target,
        to: SocketAddr,
        datagram: &[u8],
    ) -> Reply {
        let Some((first, behind)) = datagram.split_first() else {
            return Reply::Drop(DropReason::Header(HeaderError::Empty));
        };
        if first & LONG == 0 {
            let owner = Owner::Behind(behind);
            return self.reply(now, to, owner, datagram.len());
        }
        match Invariants::of(datagram) {
            Err(error) => Reply::Drop(DropReason::Header(error)),
            Ok(None) => Reply::Drop(DropReason::Header(HeaderError::Truncated)),
            Ok(Some(header)) => {
                let owner = Owner::Client(header.destination);
                let reply = self.reply(now, to, owner, datagram.len());
                // A client learns nothing from what it is not sent.
                if reply == Reply::Send && header.version != Version::NEGOTIATION {
                    self.learn(now, target, to, &header);
                }
                reply
            }
        }
    }

    /// Whether `bytes` that belong to no connection may be sent to an address, and if so takes them off what may be sent. For what the
    /// caller sends on its own account; datagrams of servers are counted by [`on_server`](Self::on_server).
    pub fn may_send(&mut self, now: Instant, to: SocketAddr, bytes: usize) -> bool {
        self.addresses.send(now, to, Owner::Nobody, bytes)
    }

    /// Whether somebody has proved to be at an address.
    pub fn is_validated(&mut self, address: SocketAddr) -> bool {
        self.addresses.is_validated(&address)
    }

    /// Says where a ClientHello goes. Gives back all datagrams that came with it and since, in their order, to be sent there; none if
    /// the hold is gone: then the client's next datagram goes to the target all the same.
    #[must_use]
    pub fn assign(&mut self, now: Instant, hello: HelloId, target: Target) -> Vec<Bytes> {
        let key = (hello.from, hello.destination);
        let hold = self.holds.take_numbered(&key, hello.number);
        let client = hold.as_ref().map(|hold| hold.client);
        self.open(now, key, client, target);
        hold.map(|hold| hold.datagrams).unwrap_or_default()
    }

    /// Says that a ClientHello goes nowhere: what was held for it is dropped.
    pub fn refuse(&mut self, hello: HelloId) {
        let key = (hello.from, hello.destination);
        drop(self.holds.take_numbered(&key, hello.number));
    }

    /// Says where a datagram went of which nobody knew ([`Verdict::Unknown`]), so that what follows it goes there too. Gives back
    /// datagrams that were held before it and have to go there first, which there are seldom.
    #[must_use]
    pub fn adopt(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        target: Target,
    ) -> Vec<Bytes> {
        // A short header does not say which part of it is the id.
        let Ok(Some(header)) = Invariants::of(datagram) else {
            return Vec::new();
        };
        let Some(destination) = ConnectionId::new(header.destination) else {
            return Vec::new();
        };
        let key = (from, destination);
        let hold = self.holds.take(&key);
        if !destination.is_empty() {
            self.open(now, key, ConnectionId::new(header.source), target);
        }
        hold.map(|hold| hold.datagrams).unwrap_or_default()
    }

    /// Forgets an endpoint that is gone. It looks at everything that is known.
    pub fn forget(&mut self, target: Target) {
        self.ids.retain(|_, known| known.target != target);
        self.servers.retain(|_, known| *known != target);
        self.addresses.forget(target);
    }

    /// Forgets what was idle for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.ids.expire(now).is_some() {}
        while self.servers.expire(now).is_some() {}
        self.addresses.expire(now);
        self.holds.expire(now);
    }

    /// When there is next something to forget. Nothing goes wrong when that is late.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = [
            self.ids.next_due(),
            self.servers.next_due(),
            self.addresses.next_due(),
            self.holds.next_due(),
        ];
        due.into_iter().flatten().min()
    }

    /// What is kept at the moment.
    #[must_use]
    pub fn counts(&self) -> SteeringCounts {
        SteeringCounts {
            connection_ids: self.ids.len(),
            server_ids: self.servers.len(),
            addresses: self.addresses.len(),
            holds: self.holds.len(),
            held_bytes: self.holds.bytes(),
            evicted_connection_ids: self.evicted_ids,
            evicted_addresses: self.addresses.evicted(),
            evicted_holds: self.holds.evicted(),
        }
    }

    /// Panics if anything contradicts itself: for tests and fuzzing, since it looks at everything.
    pub fn check_invariants(&self) {
        self.ids.check_invariants();
        self.servers.check_invariants();
        self.addresses.check_invariants();
        self.holds.check_invariants();
    }

    /// RFC 8999 section 5.2: nothing but the id says where it belongs, and nothing says how long that is.
    #[inline]
    fn on_short(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Verdict {
        let behind = datagram.get(1..).unwrap_or_default();
        for (at, length) in self.lengths.each() {
            let id = behind.get(..length).and_then(ConnectionId::new);
            if let Some(followed) = id.and_then(|id| self.follow(now, from, &id, true)) {
                self.lengths.found(at);
                if !followed.is_proved {
                    // Where there is no room for an account, nothing is sent.
                    let _ = self.addresses.receive(now, from, None, datagram.len());
                }
                return Verdict::To(followed.target);
            }
        }
        let named = self.by_server_id(now, behind);
        if let Some(target) = named.or_else(|| self.addresses.unnamed(now, &from)) {
            self.addresses.trust(now, from);
            return Verdict::To(target);
        }
        self.unknown(now, from, None, datagram, UnknownReason::Connection)
    }

    fn on_long(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut BytesMut,
    ) -> Verdict {
        let header = match Invariants::of(datagram) {
            Ok(Some(header)) => header,
            Ok(None) => return Verdict::Drop(DropReason::Header(HeaderError::Truncated)),
            Err(error) => return Verdict::Drop(DropReason::Header(error)),
        };
        if header.version == Version::NEGOTIATION {
            return Verdict::Drop(DropReason::NotForServers);
        }
        if let Some(followed) = self.follow_long(now, from, header.destination) {
            let source = ConnectionId::new(header.source);
            let is_counted =
                followed.is_proved || self.addresses.receive(now, from, source, datagram.len());
            return if is_counted {
                Verdict::To(followed.target)
            } else {
                Verdict::Drop(DropReason::Handshakes)
            };
        }
        if header.version.is_read() {
            self.on_first(now, from, datagram)
        } else {
            self.on_unknown_version(now, from, &header, out)
        }
    }

    fn follow_long(
        &mut self,
        now: Instant,
        from: SocketAddr,
        destination: &[u8],
    ) -> Option<Followed> {
        let id = ConnectionId::new(destination)?;
        if !id.is_empty() {
            return self.follow(now, from, &id, false);
        }
        let target = self.addresses.unnamed(now, &from)?;
        Some(Followed {
            target,
            is_proved: false,
        })
    }

    /// Where a connection id leads, and what it proves that it came from there.
    #[inline]
    fn follow(
        &mut self,
        now: Instant,
        from: SocketAddr,
        id: &ConnectionId,
        is_short: bool,
    ) -> Option<Followed> {
        let known = self.ids.use_entry(id, now)?;
        let target = known.target;
        if known.is_trusted(now, from) {
            return Some(Followed {
                target,
                is_proved: true,
            });
        }
        let is_proved = known.proves(now, from, id, is_short);
        if is_proved {
            known.prove(now, from);
            // A client that has moved proves nothing for a handshake that came from its new address.
            let client = known.client.filter(|_| known.told == Some(from));
            self.addresses.validate(now, from, client.as_ref());
            self.evicted_ids += u64::from(self.ids.prove(id, now).is_some());
        }
        Some(Followed { target, is_proved })
    }

    fn by_server_id(&mut self, now: Instant, id: &[u8]) -> Option<Target> {
        let name = self.server_id(id)?;
        self.servers.use_entry(&name, now).copied()
    }

    /// The part of a connection id that names the server.
    fn server_id(&self, id: &[u8]) -> Option<ConnectionId> {
        let place = self.config.server_id?;
        let name = id.get(place.offset..)?.get(..place.length)?;
        ConnectionId::new(name).filter(|name| !name.is_empty())
    }

    fn on_unknown_version(
        &mut self,
        now: Instant,
        from: SocketAddr,
        header: &Invariants<'_>,
        out: &mut BytesMut,
    ) -> Verdict {
        match self.config.unknown_version {
            UnknownVersion::Drop => Verdict::Drop(DropReason::Version),
            UnknownVersion::Route => {
                let source = ConnectionId::new(header.source);
                self.unknown(now, from, source, header.bytes, UnknownReason::Version)
            }
            UnknownVersion::Negotiate if self.negotiation.answer(now, header, out) => {
                Verdict::Answer
            }
            UnknownVersion::Negotiate => Verdict::Drop(DropReason::Version),
        }
    }

    /// Nobody knows, and it may be sent on: its bytes count.
    fn unknown(
        &mut self,
        now: Instant,
        from: SocketAddr,
        client: Option<ConnectionId>,
        datagram: &[u8],
        reason: UnknownReason,
    ) -> Verdict {
        if self.addresses.receive(now, from, client, datagram.len()) {
            Verdict::Unknown(reason)
        } else {
            Verdict::Drop(DropReason::Handshakes)
        }
    }

    #[inline]
    fn reply(&mut self, now: Instant, to: SocketAddr, owner: Owner<'_>, bytes: usize) -> Reply {
        if self.addresses.send(now, to, owner, bytes) {
            Reply::Send
        } else {
            Reply::Drop(DropReason::Amplification)
        }
    }

    /// A client's first destination leads to a target.
    fn open(
        &mut self,
        now: Instant,
        (from, destination): HoldKey,
        client: Option<ConnectionId>,
        target: Target,
    ) {
        // What a server has told is not for a client to change.
        if let Some(known) = self.ids.entry(&destination) {
            if known.origin == Origin::Client {
                known.target = target;
            }
            return;
        }
        let known = Known::of_client(target, client, from);
        self.remember(now, destination, known);
    }

    /// A server names itself to a client.
    fn learn(&mut self, now: Instant, target: Target, to: SocketAddr, header: &Invariants<'_>) {
        let Some(id) = ConnectionId::new(header.source) else {
            return;
        };
        if id.is_empty() {
            self.addresses.tell_unnamed(&to, target);
            return;
        }
        if let Some(name) = self.server_id(id.as_slice())
            // The first that uses a name has it, until it is forgotten.
            && self.servers.use_entry(&name, now).is_none()
        {
            self.servers.insert(name, target, Class::Proven, now);
        }
        self.lengths.learn(id.len());
        match self.ids.use_entry(&id, now) {
            // A server may go on with the id that its client chose, which proves nothing to be told.
            Some(known) if known.origin == Origin::Client && known.target == target => {
                known.origin = Origin::Server;
            }
            // The first that uses an id has it.
            Some(_) => {}
            None => {
                let client = ConnectionId::new(header.destination);
                let known = Known::of_server(target, client, to);
                self.remember(now, id, known);
            }
        }
    }

    fn remember(&mut self, now: Instant, id: ConnectionId, known: Known) {
        let evicted = self.ids.insert(id, known, Class::Unproven, now);
        self.evicted_ids += u64::from(evicted.is_some());
    }
}
