//! Where a node says that it, or another, can be reached.
//!
//! Not resolved and not connected. Start at [`NodeAddress::new`].

use std::fmt;

/// The longest name that DNS has.
const LONGEST_HOST: usize = 253;

/// A node's host, which is an address or a name, and its port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeAddress {
    host: Box<str>,
    port: u16,
}

impl NodeAddress {
    /// Of what a node said. `None` if it is no host and port: they go into logs and labels, and to the resolver.
    #[must_use]
    pub fn new(host: &[u8], port: i64) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
        let is_fine = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:".contains(byte);
        let is_host = (1..=LONGEST_HOST).contains(&host.len()) && host.iter().all(is_fine);
        let host = std::str::from_utf8(host).ok().filter(|_| is_host)?;
        Some(Self {
            host: host.into(),
            port,
        })
    }

    /// The address or name, IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the host is a name, which is to be resolved and can be proved, and no address.
    #[must_use]
    pub fn is_name(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_err()
    }

    /// The port; never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        let cases: [(&[u8], i64, Option<&str>); 11] = [
            (b"127.0.0.1", 6379, Some("127.0.0.1:6379")),
            (b"2001:db8::1", 1, Some("[2001:db8::1]:1")),
            (b"node-1.example", 65_535, Some("node-1.example:65535")),
            (b"", 6379, None),
            (b"?", 6379, None),
            (b"a b", 6379, None),
            (b"a\r\nb", 6379, None),
            (b"n\xc3\xb6", 6379, None),
            (b"a", 0, None),
            (b"a", -1, None),
            (b"a", 65_536, None),
        ];
        for (host, port, expected) in cases {
            let address = NodeAddress::new(host, port).map(|address| address.to_string());
            assert_eq!(address.as_deref(), expected, "{}", host.escape_ascii());
        }
        assert_eq!(NodeAddress::new(&[b'a'; 254], 1), None);
    }
}
