//! What is known of one connection id, and what its use proves.
//!
//! Rules and no table. Start at [`Known::proves`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::verdict::Target;
use crate::connection_id::ConnectionId;

/// RFC 9000 section 7.2: what a client's first destination has at least. Also what is too much to guess (section 8.1).
pub(super) const UNGUESSABLE_BYTES: usize = 8;
/// How long a client is taken to be where it was heard without looking at what is known of its address. Also how long it
/// has to stay there: who moves faster spoofs, and would validate any number of addresses.
pub(super) const TRUST: Duration = Duration::from_secs(1);

/// Who uses a connection id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A client that chose it for its first packets: it proves nothing.
    Client,
    /// A server.
    Server,
}

/// What is known of a connection id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) target: Target,
    pub(super) origin: Origin,
    /// The id that the client chose for itself.
    pub(super) client: Option<ConnectionId>,
    /// Where a server has told it, unless that was no news there.
    pub(super) told: Option<SocketAddr>,
    /// Where it was last heard from.
    home: SocketAddr,
    /// Until when that need not be looked up again.
    trusted_until: Option<Instant>,
    moved: Option<Instant>,
}

impl Known {
    /// A client at `from` chose it.
    pub(super) const fn of_client(
        target: Target,
        client: Option<ConnectionId>,
        from: SocketAddr,
    ) -> Self {
        Self {
            target,
            origin: Origin::Client,
            client,
            told: None,
            home: from,
            trusted_until: None,
            moved: None,
        }
    }

    /// A server told it to `to`.
    pub(super) const fn of_server(
        target: Target,
        client: Option<ConnectionId>,
        to: SocketAddr,
    ) -> Self {
        Self {
            target,
            origin: Origin::Server,
            client,
            told: Some(to),
            home: to,
            trusted_until: None,
            moved: None,
        }
    }

    /// Whether it was proved a moment ago that its user is there.
    #[inline]
    pub(super) fn is_trusted(&self, now: Instant, from: SocketAddr) -> bool {
        self.home == from && self.trusted_until.is_some_and(|until| now < until)
    }

    /// Whether a packet to it from this address proves that its user is there.
    pub(super) fn proves(
        &self,
        now: Instant,
        from: SocketAddr,
        id: &ConnectionId,
        is_short: bool,
    ) -> bool {
        if is_short {
            let may_move = self.moved.is_none_or(|moved| now >= moved + TRUST);
            self.origin == Origin::Server && (self.home == from || may_move)
        } else {
            self.told == Some(from) && id.len() >= UNGUESSABLE_BYTES
        }
    }

    /// Its user is there.
    pub(super) fn prove(&mut self, now: Instant, from: SocketAddr) {
        if self.home != from {
            self.moved = Some(now);
        }
        self.home = from;
        self.trusted_until = Some(now + TRUST);
    }
}

/// Where a connection id leads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Followed {
    pub(super) target: Target,
    /// Whether it proved that its sender is where it came from.
    pub(super) is_proved: bool,
}
