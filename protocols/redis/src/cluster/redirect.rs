//! The errors by which a node of a Redis Cluster says that it is not the one to ask.
//!
//! Start at [`ClusterError::read`].

use super::NodeAddress;
use crate::grammar::integer;
use crate::hash::SLOTS;

/// An error that only a node of a cluster answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterError {
    /// `MOVED` and `ASK`.
    Redirect(Redirect),
    /// `TRYAGAIN`: some of the keys have moved already and some have not.
    TryAgain,
    /// `CLUSTERDOWN`: the cluster, or the slot, is not served.
    Down,
}

/// Where a command is to go instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// For how long.
    pub kind: RedirectKind,
    /// The slot of the command's keys, below [`SLOTS`].
    pub slot: u16,
    /// `None`: the host of the node that said so, with this port, as of nodes that do not know how others see them.
    pub host: Option<Box<str>>,
    /// The port; never 0.
    pub port: u16,
}

/// For how long a redirection counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RedirectKind {
    /// From now on.
    Moved,
    /// For this command alone, which has to follow `ASKING` there.
    Ask,
}

impl RedirectKind {
    /// The `kind` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Ask => "ask",
        }
    }
}

impl ClusterError {
    /// What an error reply says, with its type in front and its line end or without. `None` if it is another error, or
    /// one of these that is not written as it should be.
    #[must_use]
    pub fn read(reply: &[u8]) -> Option<Self> {
        let text = reply.strip_prefix(b"-")?.trim_ascii_end();
        let mut words = text.split(|byte| *byte == b' ');
        let kind = match words.next()? {
            b"MOVED" => RedirectKind::Moved,
            b"ASK" => RedirectKind::Ask,
            b"TRYAGAIN" => return Some(Self::TryAgain),
            b"CLUSTERDOWN" => return Some(Self::Down),
            _ => return None,
        };
        let (slot, address) = (words.next()?, words.next()?);
        let redirect = Redirect::read(kind, slot, address)?;
        words.next().is_none().then_some(Self::Redirect(redirect))
    }
}

impl Redirect {
    fn read(kind: RedirectKind, slot: &[u8], address: &[u8]) -> Option<Self> {
        let slot = u16::try_from(integer(slot)?).ok()?;
        // IPv6 has no brackets here: the port is what is behind the last colon.
        let colon = memchr::memrchr(b':', address)?;
        let (host, port) = address.split_at_checked(colon)?;
        let port = integer(port.get(1..)?)?;
        let has_host = !host.is_empty();
        let known = NodeAddress::new(if has_host { host } else { b"-" }, port)?;
        (slot < SLOTS).then(|| Self {
            kind,
            slot,
            host: has_host.then(|| known.host().into()),
            port: known.port(),
        })
    }

    /// The node, if the one that said so is at `host`.
    #[must_use]
    pub fn node(&self, host: &str) -> Option<NodeAddress> {
        let host = self.host.as_deref().unwrap_or(host);
        NodeAddress::new(host.as_bytes(), self.port.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_nodes() {
        let cases = [
            (
                "moved",
                "-MOVED 3999 127.0.0.1:6381\r\n",
                "Moved 3999 127.0.0.1:6381",
            ),
            ("ask", "-ASK 0 127.0.0.1:1\r\n", "Ask 0 127.0.0.1:1"),
            (
                "a name",
                "-MOVED 1 a-b.example:6379\r\n",
                "Moved 1 a-b.example:6379",
            ),
            (
                "IPv6",
                "-MOVED 16383 2001:db8::1:6379",
                "Moved 16383 [2001:db8::1]:6379",
            ),
            ("no host", "-MOVED 1 :6379\r\n", "Moved 1 here:6379"),
            ("try again", "-TRYAGAIN Multiple keys\r\n", "again"),
            ("down", "-CLUSTERDOWN Hash slot not served\r\n", "down"),
            ("an unknown host", "-MOVED 1 ?:6379\r\n", ""),
            ("a slot too large", "-MOVED 16384 a:1\r\n", ""),
            ("a negative slot", "-MOVED -1 a:1\r\n", ""),
            ("no slot", "-MOVED a:1\r\n", ""),
            ("no port", "-MOVED 1 a\r\n", ""),
            ("port 0", "-ASK 1 a:0\r\n", ""),
            ("a port too large", "-ASK 1 a:65536\r\n", ""),
            ("more behind", "-ASK 1 a:1 b\r\n", ""),
            ("nothing", "-", ""),
            ("lower case", "-moved 1 a:1\r\n", ""),
            ("another error", "-ERR MOVED 1 a:1\r\n", ""),
            ("no error", "+MOVED 1 a:1\r\n", ""),
        ];
        for (name, reply, expected) in cases {
            let said = match ClusterError::read(reply.as_bytes()) {
                Some(ClusterError::Redirect(redirect)) => {
                    let node = redirect.node("here").unwrap();
                    format!("{:?} {} {node}", redirect.kind, redirect.slot)
                }
                Some(ClusterError::TryAgain) => "again".to_owned(),
                Some(ClusterError::Down) => "down".to_owned(),
                None => String::new(),
            };
            assert_eq!(said, expected, "{name}");
        }
    }

    #[test]
    fn any_bytes_do_no_harm() {
        let reply = b"-MOVED 3999 127.0.0.1:6381\r\n";
        for index in 0..reply.len() {
            let _ = ClusterError::read(&reply[..index]);
            for byte in 0..=255 {
                let mut other = reply.to_vec();
                other[index] = byte;
                if let Some(ClusterError::Redirect(redirect)) = ClusterError::read(&other) {
                    assert!(redirect.slot < SLOTS && redirect.port != 0);
                }
            }
        }
    }
}
