//! What a steering machine says of a datagram.
//!
//! Not what is done about it: the session sends, routes and counts. Start at [`Verdict`].

use std::net::SocketAddr;

use portcullis_tls::ClientHello;

use crate::connection_id::ConnectionId;
use crate::error::{HeaderError, HelloError, ProtectionError};
use crate::version::Version;

/// An endpoint, by a number that its owner has given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(pub u64);

/// A ClientHello that waits for a route, by whom it came from. Good for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HelloId {
    pub(super) from: SocketAddr,
    pub(super) destination: ConnectionId,
    pub(super) number: u64,
}

/// A ClientHello that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// What [`Steering::assign`](super::Steering::assign) or [`Steering::refuse`](super::Steering::refuse) is told.
    pub id: HelloId,
    /// The version of the client's packets.
    pub version: Version,
    /// What the client says: name, protocols.
    pub hello: ClientHello,
}

/// Where a datagram of a client goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// To this endpoint, as it is.
    To(Target),
    /// A new connection, whose ClientHello is whole. The datagram is held with those before it:
    /// [`Steering::assign`](super::Steering::assign) gives all of them back.
    Opening(Box<Opening>),
    /// Nowhere yet: it was copied, and waits for the rest of the ClientHello or for its route.
    Held,
    /// It is answered with the bytes that were appended to `out`, and goes nowhere.
    Answer,
    /// Nobody knows. By the listener's policy it goes to the default route, and then
    /// [`Steering::adopt`](super::Steering::adopt) is told, or it is dropped.
    Unknown(UnknownReason),
    /// Nowhere.
    Drop(DropReason),
}

/// Where a datagram of a server goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Reply {
    /// To the client, as it is.
    Send,
    /// Nowhere.
    Drop(DropReason),
}

/// Why nobody knows where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnknownReason {
    /// A version that is not read.
    Version,
    /// A short header with an id that was not learned.
    Connection,
    /// A Handshake packet of a connection whose id was not learned.
    Handshake,
    /// An Initial packet that cannot be opened.
    Protection(ProtectionError),
    /// No ClientHello can be read in the Initial packets.
    Hello(HelloError),
    /// There is no room to hold it.
    NoRoom,
}

/// Why a datagram goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Its first header.
    Header(HeaderError),
    /// Version Negotiation or Retry from a client; an answer to it could go round for ever.
    NotForServers,
    /// A version that is not read, by policy, or because it may not be answered.
    Version,
    /// An Initial in a datagram of less than 1200 bytes (RFC 9000 section 14.1).
    SmallInitial,
    /// An Initial to an id of less than 8 bytes, which was not learned (RFC 9000 section 7.2).
    ShortDestination,
    /// 0-RTT before its Initial; the client sends it again.
    EarlyData,
    /// A packet among those of a ClientHello that cannot be opened.
    Protection(ProtectionError),
    /// More datagrams for one ClientHello than may be held.
    HoldFull,
    /// More connections in their handshake from one address than the limit.
    Handshakes,
    /// More bytes to an address than it may be sent before it is validated (RFC 9000 section 8.1).
    Amplification,
}

impl UnknownReason {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Version => "quic_unknown_version",
            Self::Connection => "quic_unknown_connection",
            Self::Handshake => "quic_unknown_handshake",
            Self::Protection(error) => error.label(),
            Self::Hello(error) => error.label(),
            Self::NoRoom => "quic_no_room",
        }
    }
}

impl DropReason {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Header(error) => error.label(),
            Self::NotForServers => "quic_not_for_servers",
            Self::Version => "quic_unknown_version",
            Self::SmallInitial => "quic_small_initial",
            Self::ShortDestination => "quic_short_destination",
            Self::EarlyData => "quic_early_data",
            Self::Protection(error) => error.label(),
            Self::HoldFull => "quic_hold_full",
            Self::Handshakes => "quic_too_many_handshakes",
            Self::Amplification => "quic_amplification",
        }
    }
}
