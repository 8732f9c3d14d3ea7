//! What goes along with a connection while it is out, and with the permission to open one.
//!
//! Neither can be copied: each is given back exactly once. Start at [`Lease`].

use std::time::Instant;

use super::Ticket;

/// Where a connection is at home, or where somebody asks from. It decides which idle connection is taken, never who is
/// served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Affinity {
    /// The worker at which the socket is registered.
    pub worker: u32,
    /// A hash of the session's parameters as the server has them; equal ones need no replay.
    pub shape: u64,
}

/// How long one stays who asks a pool whose server is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patience {
    /// Until [`PoolLimits::unreachable_after`](super::PoolLimits::unreachable_after): there is no other server.
    #[default]
    Stays,
    /// No longer than until that is known, since another server will do as well.
    Leaves,
}

/// The pool's knowledge of a connection that is out. It goes back with [`PoolCore::checkin`](super::PoolCore::checkin) or
/// [`PoolCore::discard`](super::PoolCore::discard); dropped instead, its place in the pool is lost for good.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a lease that is not given back takes up a place for ever"]
pub struct Lease {
    pub(super) serial: u64,
    pub(super) generation: u64,
    pub(super) opened: Instant,
    pub(super) expires: Option<Instant>,
}

impl Lease {
    /// The connection's number, unlike that of any other in this pool, ever.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// When it was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// How many times the pool had been told to reconnect when opening began.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// Permission to open one connection. Its place in the pool is taken until it goes back with
/// [`PoolCore::opened`](super::PoolCore::opened), [`PoolCore::open_failed`](super::PoolCore::open_failed) or
/// [`PoolCore::open_abandoned`](super::PoolCore::open_abandoned).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permission that is not given back takes up a place for ever"]
pub struct OpenTicket {
    /// Who was told to open. The connection goes to whoever is first when it is there.
    pub(super) waiter: Option<Ticket>,
    pub(super) generation: u64,
    /// The round of attempts that this one belongs to, see `backoff`.
    pub(super) round: u64,
}
