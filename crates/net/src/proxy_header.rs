//! The PROXY header, versions 1 and 2: what a proxy in front says about the connection it passes on.
//!
//! Pure: bytes to header and back. Whether a peer may send one is decided where connections are accepted
//! (`preface`). Written to "The PROXY protocol", sections 2.1 and 2.2 of the HAProxy document. Start at [`ProxyHeaderDecoder`].

mod checksum;
mod decoder;
mod encoder;
mod error;
mod v1;
mod v2;

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use bytes::Bytes;
use smallvec::SmallVec;

pub use decoder::{ProxyHeaderDecoder, sniff};
pub use encoder::{EncodeError, ProxyHeaderEncoder, Version};
pub use error::ProxyHeaderError;

/// The most bytes of a version 1 header, its line end included (section 2.1).
pub const V1_BYTES: usize = 107;

/// The most bytes of a version 2 header. The wire could say 64 KiB; nothing that a proxy has to tell needs more than
/// a certificate's names, and the peer may be hostile although its network is trusted.
pub const V2_BYTES: usize = 4096;

/// The most values a version 2 header may carry besides the addresses. Proxies send fewer than ten.
pub const V2_VALUES: usize = 64;

/// The bytes that every version 2 header begins with: no other protocol does.
pub(crate) const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes that every version 1 header begins with.
pub(crate) const V1_SIGNATURE: &[u8; 6] = b"PROXY ";

/// What a proxy says about a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Both ends of the connection as the proxy sees it.
    pub addresses: Addresses,
    /// What else it says; version 2 only.
    pub values: SmallVec<[ProxyValue; 2]>,
}

/// Both ends of the proxied connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addresses {
    /// The proxy speaks for itself, as in health checks: the socket's own addresses count (`LOCAL`).
    Local,
    /// The proxy speaks for somebody whom it cannot name: the socket's own addresses count (`UNKNOWN`, `UNSPEC`).
    Unknown,
    /// IPv4.
    V4 {
        /// The client.
        source: SocketAddrV4,
        /// What the client connected to.
        destination: SocketAddrV4,
        /// Connection or datagrams.
        transport: Transport,
    },
    /// IPv6.
    V6 {
        /// The client.
        source: SocketAddrV6,
        /// What the client connected to.
        destination: SocketAddrV6,
        /// Connection or datagrams.
        transport: Transport,
    },
    /// Unix sockets; version 2 only. Paths as on the wire, without what follows the first zero byte; 108 bytes at most.
    Unix {
        /// The client.
        source: Bytes,
        /// What the client connected to.
        destination: Bytes,
        /// Connection or datagrams.
        transport: Transport,
    },
}

/// What carries the proxied conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP, or a Unix stream.
    Stream,
    /// UDP, or Unix datagrams.
    Datagram,
}

/// A type-length-value of a version 2 header (section 2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyValue {
    /// What it is.
    pub kind: ValueKind,
    /// The bytes, uninterpreted; of [`ValueKind::SSL`] too.
    pub value: Bytes,
}

/// The type of a [`ProxyValue`]. Unknown types are kept as the numbers they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueKind(pub u8);

impl ValueKind {
    /// The protocol chosen by ALPN.
    pub const ALPN: Self = Self(0x01);
    /// The host name that the client asked for, as by SNI.
    pub const AUTHORITY: Self = Self(0x02);
    /// A checksum of the header. Checked and not kept.
    pub const CRC32C: Self = Self(0x03);
    /// Padding. Not kept.
    pub const NOOP: Self = Self(0x04);
    /// An identifier of the connection, 128 bytes at most.
    pub const UNIQUE_ID: Self = Self(0x05);
    /// Facts about TLS, with values inside.
    pub const SSL: Self = Self(0x20);
    /// The network namespace.
    pub const NETNS: Self = Self(0x30);
}

impl ProxyHeader {
    /// A header without values.
    #[must_use]
    pub fn new(addresses: Addresses) -> Self {
        Self {
            addresses,
            values: SmallVec::new(),
        }
    }

    /// The header for a connection between two IP addresses. If they are of two families, both are written as
    /// IPv6; if either is missing, as for a Unix socket, the header says that it does not know.
    #[must_use]
    pub fn of_connection(source: Option<SocketAddr>, destination: Option<SocketAddr>) -> Self {
        let transport = Transport::Stream;
        Self::new(match (source, destination) {
            (Some(SocketAddr::V4(source)), Some(SocketAddr::V4(destination))) => Addresses::V4 {
                source,
                destination,
                transport,
            },
            (Some(source), Some(destination)) => Addresses::V6 {
                source: to_v6(source),
                destination: to_v6(destination),
                transport,
            },
            _ => Addresses::Unknown,
        })
    }

    /// The client, if the header names one by IP address.
    #[must_use]
    pub const fn source(&self) -> Option<SocketAddr> {
        match self.addresses {
            Addresses::V4 { source, .. } => Some(SocketAddr::V4(source)),
            Addresses::V6 { source, .. } => Some(SocketAddr::V6(source)),
            _ => None,
        }
    }

    /// What the client connected to, if the header names it by IP address.
    #[must_use]
    pub const fn destination(&self) -> Option<SocketAddr> {
        match self.addresses {
            Addresses::V4 { destination, .. } => Some(SocketAddr::V4(destination)),
            Addresses::V6 { destination, .. } => Some(SocketAddr::V6(destination)),
            _ => None,
        }
    }

    /// The first value of a kind.
    #[must_use]
    pub fn value(&self, kind: ValueKind) -> Option<&Bytes> {
        let found = self.values.iter().find(|value| value.kind == kind)?;
        Some(&found.value)
    }
}

fn to_v6(address: SocketAddr) -> SocketAddrV6 {
    match address {
        SocketAddr::V6(address) => address,
        SocketAddr::V4(address) => {
            SocketAddrV6::new(address.ip().to_ipv6_mapped(), address.port(), 0, 0)
        }
    }
}

#[cfg(test)]
mod tests;
