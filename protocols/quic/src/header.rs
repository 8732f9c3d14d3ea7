//! Packets as their headers tell of them: what is in the clear, by version.
//!
//! Everything borrows from the datagram; nothing is decrypted. Not where one packet ends and the next begins: that is
//! [`crate::datagram`]. Start at [`Packet`].

use crate::connection_id::ConnectionId;
use crate::error::HeaderError;
use crate::version::Version;

/// The bit that says: long header (RFC 8999 section 5).
pub(crate) const LONG: u8 = 0x80;
/// The bit that versions 1 and 2 set, unless their ends agreed to vary it (RFC 9287).
pub(crate) const FIXED: u8 = 0x40;

/// How much of a header is taken before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderLimits {
    /// Bytes of a token. Default 1024: what servers hand out is below 200, and a client has to fit its ClientHello beside it.
    pub token: usize,
}

impl Default for HeaderLimits {
    fn default() -> Self {
        Self { token: 1024 }
    }
}

/// One packet of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A server's list of versions.
    VersionNegotiation(VersionNegotiation<'a>),
    /// A long header of a version that is not read: nobody knows where its packet ends.
    Unknown(Invariants<'a>),
    /// Initial, 0-RTT or Handshake.
    Long(LongPacket<'a>),
    /// A server's demand to prove the client's address.
    Retry(RetryPacket<'a>),
    /// A packet with a short header: all the rest of the datagram.
    Short(ShortPacket<'a>),
}

impl<'a> Packet<'a> {
    /// The connection id that the receiver is known by.
    #[must_use]
    pub fn destination(&self) -> &[u8] {
        match self {
            Self::VersionNegotiation(packet) => packet.destination,
            Self::Unknown(packet) => packet.destination,
            Self::Long(packet) => packet.destination.as_slice(),
            Self::Retry(packet) => packet.destination.as_slice(),
            Self::Short(packet) => packet.destination.as_slice(),
        }
    }

    /// All its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        match self {
            Self::VersionNegotiation(packet) => packet.bytes,
            Self::Unknown(packet) => packet.bytes,
            Self::Long(packet) => packet.bytes,
            Self::Retry(packet) => packet.bytes,
            Self::Short(packet) => packet.bytes,
        }
    }
}

/// What a long header says in every version (RFC 8999 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invariants<'a> {
    /// The first byte, whose lower seven bits belong to the version.
    pub first: u8,
    /// The version; [`Version::NEGOTIATION`] has a meaning of its own.
    pub version: Version,
    /// The id of the receiver, at most 255 bytes.
    pub destination: &'a [u8],
    /// The id of the sender, at most 255 bytes.
    pub source: &'a [u8],
    /// What follows the ids.
    pub rest: &'a [u8],
    /// All of the datagram from the first byte on.
    pub bytes: &'a [u8],
}

impl<'a> Invariants<'a> {
    /// Reads them off a datagram. `None` if it begins with a short header.
    ///
    /// # Errors
    /// There is no byte, or it ends inside.
    pub fn of(datagram: &'a [u8]) -> Result<Option<Self>, HeaderError> {
        crate::grammar::invariants(datagram)
    }
}

/// The kinds of packet with a long header in versions 1 and 2 (RFC 9000 section 17.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LongKind {
    /// The first packets of both ends; anyone can read them.
    Initial,
    /// What a client sends before it is answered.
    ZeroRtt,
    /// The rest of the handshake.
    Handshake,
    /// A server's demand to come again with a token.
    Retry,
}

impl LongKind {
    /// The name, in lower case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::ZeroRtt => "0rtt",
            Self::Handshake => "handshake",
            Self::Retry => "retry",
        }
    }
}

/// Initial, 0-RTT or Handshake of version 1 or 2. Its number and payload are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongPacket<'a> {
    /// The version, which is one that is [read](Version::is_read).
    pub version: Version,
    /// The kind; never [`LongKind::Retry`].
    pub kind: LongKind,
    /// The fixed bit. Without it the packet is valid only for ends that agreed on that before (RFC 9287).
    pub fixed: bool,
    /// The id of the receiver.
    pub destination: ConnectionId,
    /// The id of the sender.
    pub source: ConnectionId,
    /// The token of an Initial, often empty; of other kinds, always.
    pub token: &'a [u8],
    /// Where the number of the packet begins.
    pub number_at: usize,
    /// All of the packet and nothing else.
    pub bytes: &'a [u8],
}

/// Retry (RFC 9000 section 17.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPacket<'a> {
    /// The version, which is one that is [read](Version::is_read).
    pub version: Version,
    /// The four lower bits of the first byte, which mean nothing.
    pub unused: u8,
    /// The fixed bit.
    pub fixed: bool,
    /// The id of the client.
    pub destination: ConnectionId,
    /// The id that the client is to use for the server from now on.
    pub source: ConnectionId,
    /// What the client is to bring along. A client ignores a Retry without one.
    pub token: &'a [u8],
    /// The tag that only someone who saw the client's first packet can make; not checked.
    pub tag: &'a [u8; RETRY_TAG_BYTES],
    /// All of the packet.
    pub bytes: &'a [u8],
}

/// Bytes of the tag behind a Retry.
pub const RETRY_TAG_BYTES: usize = 16;

/// Version Negotiation (RFC 8999 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionNegotiation<'a> {
    /// The lower seven bits of the first byte, which mean nothing.
    pub unused: u8,
    /// The client's id, as it was its source.
    pub destination: &'a [u8],
    /// The id that the client had sent to.
    pub source: &'a [u8],
    /// Four bytes for each version, at least one.
    list: &'a [u8],
    /// All of the packet.
    pub bytes: &'a [u8],
}

impl<'a> VersionNegotiation<'a> {
    pub(crate) const fn new(invariants: Invariants<'a>) -> Result<Self, HeaderError> {
        let list = invariants.rest;
        if list.is_empty() || !list.len().is_multiple_of(4) {
            return Err(HeaderError::Versions);
        }
        Ok(Self {
            unused: invariants.first & !LONG,
            destination: invariants.destination,
            source: invariants.source,
            list,
            bytes: invariants.bytes,
        })
    }

    /// What the server offers, in its order.
    pub fn versions(&self) -> impl Iterator<Item = Version> + 'a {
        let (list, _) = self.list.as_chunks::<4>();
        list.iter().map(|bytes| Version(u32::from_be_bytes(*bytes)))
    }
}

/// A packet with a short header (RFC 8999 section 5.2). How long its id is must be known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortPacket<'a> {
    /// The fixed bit.
    pub fixed: bool,
    /// The id of the receiver, of the length that was asked for.
    pub destination: ConnectionId,
    /// All the rest of the datagram.
    pub bytes: &'a [u8],
}
