//! Addresses of both ends of a connection.
//!
//! Newtypes keep the two ends apart. Addresses to connect to are the cluster's
//! ([`portcullis_cluster::ResolvedAddress`]). Start at [`SocketAddress`].

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The address of one end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketAddress {
    /// IP address and port. IPv4 addresses that came in through an IPv6 socket are written as IPv4.
    Ip(SocketAddr),
    /// A Unix socket; its peer has no name worth keeping.
    Unix,
}

impl SocketAddress {
    /// An IP address, as IPv4 if it is an IPv4 address in IPv6 clothes: filters must not need to know which
    /// socket a connection came in on.
    #[must_use]
    pub fn canonical(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Self::Ip(SocketAddr::new(ip.into(), address.port())),
            IpAddr::V6(_) => Self::Ip(address),
        }
    }

    /// The address if it is one of IP.
    #[must_use]
    pub const fn ip(self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// The far end of a downstream connection: the socket's peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddr(pub SocketAddress);

/// Our end of a downstream connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocalAddr(pub SocketAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_ipv4() {
        let rows = [
            ("[::ffff:192.0.2.1]:80", "192.0.2.1:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ];
        for (given, expected) in rows {
            let address = SocketAddress::canonical(given.parse().unwrap());
            assert_eq!(address.to_string(), expected);
        }
    }
}
