//! What may be sent to an address that nobody has proved to be at (RFC 9000 section 8.1).
//!
//! For each address, the connections in their handshake have an account each; the rest shares one. Not who is at an address:
//! the machine says when that is proved. Start at [`Addresses`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::Target;
use super::idle::{Bounds, Class, IdleTable};
use super::limits::SteeringLimits;
use crate::connection_id::ConnectionId;

/// RFC 9000 section 8.1: three times what was received.
const FACTOR: u64 = 3;

/// Bytes both ways, until the address is proved for this connection.
#[derive(Debug, Clone, Copy)]
struct Account {
    /// The id that the client chose for itself; `None` for whatever belongs to no connection that is known.
    client: Option<ConnectionId>,
    received: u64,
    sent: u64,
    heard: Instant,
}

impl Account {
    fn receive(&mut self, now: Instant, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
        self.heard = now;
    }

    fn send(&mut self, bytes: usize) -> bool {
        let sent = self.sent.saturating_add(bytes as u64);
        let allowed = sent <= self.received.saturating_mul(FACTOR);
        if allowed {
            self.sent = sent;
        }
        allowed
    }
}

#[derive(Debug, Default)]
struct Address {
    validated: bool,
    accounts: SmallVec<[Account; 1]>,
    /// The server here whose connection ids are empty, so that the address is all that its connections are known by.
    unnamed: Option<Target>,
}

impl Address {
    fn account(
        &mut self,
        mut is: impl FnMut(Option<&ConnectionId>) -> bool,
    ) -> Option<&mut Account> {
        let mut accounts = self.accounts.iter_mut();
        accounts.find(|account| is(account.client.as_ref()))
    }
}

/// Whose account a datagram to a client is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner<'a> {
    /// The connection of the client with this id.
    Client(&'a [u8]),
    /// The connection of the client whose id these bytes begin with; how long it is, only the ends know.
    Behind(&'a [u8]),
    /// No connection.
    Nobody,
}

impl Owner<'_> {
    fn is(&self, client: Option<&ConnectionId>) -> bool {
        match (self, client) {
            (Self::Client(bytes), Some(id)) => id.as_slice() == *bytes,
            (Self::Behind(bytes), Some(id)) => bytes.starts_with(id.as_slice()),
            _ => false,
        }
    }
}

/// All addresses that have sent something.
#[derive(Debug)]
pub(super) struct Addresses {
    table: IdleTable<SocketAddr, Address>,
    handshakes: usize,
    handshake_time: Duration,
    evicted: u64,
}

impl Addresses {
    pub(super) fn new(seed: u64, limits: &SteeringLimits) -> Self {
        let unproven = Bounds {
            entries: limits.unvalidated,
            idle: limits.opening_idle,
        };
        let proven = Bounds {
            entries: limits.addresses,
            idle: limits.connection_idle,
        };
        Self {
            table: IdleTable::new(seed, unproven, proven),
            handshakes: limits.handshakes,
            handshake_time: limits.opening_idle,
            evicted: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Addresses that had to leave before their time.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Counts bytes that came from an address for the connection of the client with this id, or for none: false if that would be one
    /// connection too many.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        client: Option<ConnectionId>,
        bytes: usize,
    ) -> bool {
        let (handshakes, time) = (self.handshakes, self.handshake_time);
        let Some(address) = self.address(now, from) else {
            return false;
        };
        // What belongs to no handshake is free where the address is validated.
        if address.validated && client.is_none() {
            return true;
        }
        if let Some(account) = address.account(|id| id == client.as_ref()) {
            account.receive(now, bytes);
            return true;
        }
        // One place more, so that what belongs to no connection finds one too.
        let most = handshakes + usize::from(client.is_none());
        if address.accounts.len() >= most {
            // Not the oldest: whoever spoofs an address could so get rid of the account of his last connection.
            let recent = |account: &mut Account| now.duration_since(account.heard) < time;
            address.accounts.retain(recent);
        }
        if address.accounts.len() >= most {
            return false;
        }
        address.accounts.push(Account {
            client,
            received: bytes as u64,
            sent: 0,
            heard: now,
        });
        true
    }

    /// The address is proved; the connection of the client with this id, if one is given, needs no account any more.
    pub(super) fn validate(
        &mut self,
        now: Instant,
        from: SocketAddr,
        client: Option<&ConnectionId>,
    ) {
        let Some(address) = self.address(now, from) else {
            return;
        };
        address
            .accounts
            .retain(|account| account.client.is_some() && account.client.as_ref() != client);
        address.validated = true;
        let evicted = self.table.prove(&from, now);
        self.evicted += u64::from(evicted.is_some());
    }

    /// Somebody is taken to be at the address, on the word of a server. That pushes out no address that is proved.
    pub(super) fn trust(&mut self, now: Instant, from: SocketAddr) {
        if let Some(address) = self.address(now, from)
            && !std::mem::replace(&mut address.validated, true)
        {
            address.accounts.retain(|account| account.client.is_some());
        }
    }

    /// The address, new if it has to be; `None` if there is no room for any.
    fn address(&mut self, now: Instant, from: SocketAddr) -> Option<&mut Address> {
        if self.table.use_entry(&from, now).is_none() {
            let fresh = Address::default();
            let evicted = self.table.insert(from, fresh, Class::Unproven, now);
            self.evicted += u64::from(evicted.is_some());
        }
        self.table.entry(&from)
    }

    /// Takes bytes off what may be sent to an address: false if that is not enough.
    #[inline]
    pub(super) fn send(
        &mut self,
        now: Instant,
        to: SocketAddr,
        owner: Owner<'_>,
        bytes: usize,
    ) -> bool {
        let Some(address) = self.table.use_entry(&to, now) else {
            return false;
        };
        if address.accounts.is_empty() {
            return address.validated;
        }
        let validated = address.validated;
        match address.account(|client| owner.is(client)) {
            Some(account) => account.send(bytes),
            None if validated => true,
            None => {
                let shared = address.account(|client| client.is_none());
                shared.is_some_and(|account| account.send(bytes))
            }
        }
    }

    /// Whether somebody has proved to be at an address.
    pub(super) fn is_validated(&mut self, address: &SocketAddr) -> bool {
        let address = self.table.entry(address);
        address.is_some_and(|address| address.validated)
    }

    /// The server without connection ids that has spoken to an address.
    pub(super) fn unnamed(&mut self, now: Instant, from: &SocketAddr) -> Option<Target> {
        self.table.use_entry(from, now)?.unnamed
    }

    /// A server without connection ids speaks to an address.
    pub(super) fn tell_unnamed(&mut self, to: &SocketAddr, target: Target) {
        if let Some(address) = self.table.entry(to) {
            address.unnamed = Some(target);
        }
    }

    /// There is no such server any more.
    pub(super) fn forget(&mut self, target: Target) {
        self.table.retain(|_, address| {
            address.unnamed = address.unnamed.filter(|unnamed| *unnamed != target);
            true
        });
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while self.table.expire(now).is_some() {}
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.table.next_due()
    }

    /// Panics if anything contradicts itself: for tests and fuzzing.
    pub(super) fn check_invariants(&self) {
        self.table.check_invariants();
        for (_, address) in self.table.iter() {
            assert!(address.accounts.len() <= self.handshakes + 1);
            for account in &address.accounts {
                assert!(account.sent <= account.received.saturating_mul(FACTOR));
            }
        }
    }
}
