//! Connection ids: the names that the ends of a connection give it, each its own.
//!
//! Held in place, without an allocation. Not the ids of unknown versions that are longer than those of versions 1 and 2:
//! such stay slices of their datagram. Start at [`ConnectionId`].

use std::fmt;
use std::hash::{Hash, Hasher};

/// The longest that versions 1 and 2 allow (RFC 9000 section 17.2).
pub const CONNECTION_ID_BYTES: usize = 20;

/// A connection id of at most [`CONNECTION_ID_BYTES`]; none at all is one too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Zeros behind the id, so that equal ids are equal here.
    bytes: [u8; CONNECTION_ID_BYTES],
    length: u8,
}

impl ConnectionId {
    /// The id without bytes.
    pub const EMPTY: Self = Self {
        bytes: [0; CONNECTION_ID_BYTES],
        length: 0,
    };

    /// A copy of these bytes: `None` if they are too many.
    #[must_use]
    #[inline]
    pub fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; CONNECTION_ID_BYTES];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self {
            bytes,
            length: id.len() as u8,
        })
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // `new` has seen that they fit.
        self.bytes.get(..self.len()).unwrap_or_default()
    }

    /// How many bytes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length as usize
    }

    /// Whether there are none: the connection is known by its addresses alone (RFC 9000 section 5.1).
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Hash for ConnectionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.as_slice());
        state.write_u8(self.length);
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("0x")?;
        let mut digits = self.as_slice().iter();
        digits.try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_their_bytes() {
        let longest = [7; CONNECTION_ID_BYTES];
        for bytes in [&b""[..], b"\0", b"\0\0", b"abc", &longest] {
            let id = ConnectionId::new(bytes).unwrap();
            assert_eq!(id.as_slice(), bytes);
            assert_eq!(id.is_empty(), bytes.is_empty());
        }
        assert_ne!(ConnectionId::new(b"\0"), ConnectionId::new(b"\0\0"));
        assert_eq!(ConnectionId::new(&[7; CONNECTION_ID_BYTES + 1]), None);
        assert_eq!(
            format!("{:?}", ConnectionId::new(b"\x01\xfe").unwrap()),
            "0x01fe"
        );
    }
}
