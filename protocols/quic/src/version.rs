//! Versions of QUIC by their numbers, and what differs between those that we read.
//!
//! Not negotiation: which version a connection takes is between its ends. Start at [`Version`].

use std::fmt;

use crate::header::LongKind;

/// A version by its number on the wire. Unknown numbers, which are sent on purpose (RFC 9000 section 15), stay as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32);

impl Version {
    /// No version: what a Version Negotiation packet has in its place (RFC 8999 section 6).
    pub const NEGOTIATION: Self = Self(0);
    /// Version 1 (RFC 9000).
    pub const V1: Self = Self(1);
    /// Version 2 (RFC 9369).
    pub const V2: Self = Self(0x6b33_43cf);

    /// The versions whose packets we read, the commonest in front.
    pub const READ: [Self; 2] = [Self::V1, Self::V2];

    /// Whether we read its packets beyond what is the same in all versions.
    #[must_use]
    pub fn is_read(self) -> bool {
        Self::READ.contains(&self)
    }

    /// What the two bits of type in a long header mean (RFC 9000 section 17.2, RFC 9369 section 3.2): `None` if the
    /// version is not read.
    #[must_use]
    pub const fn long_kind(self, bits: u8) -> Option<LongKind> {
        // Version 2 counts from Retry on.
        let number = match self {
            Self::V1 => bits & 3,
            Self::V2 => bits.wrapping_sub(1) & 3,
            _ => return None,
        };
        Some(match number {
            0 => LongKind::Initial,
            1 => LongKind::ZeroRtt,
            2 => LongKind::Handshake,
            _ => LongKind::Retry,
        })
    }

    /// The two bits that name this kind; of a version that is not read, as in version 1.
    #[must_use]
    pub const fn long_bits(self, kind: LongKind) -> u8 {
        let number = match kind {
            LongKind::Initial => 0,
            LongKind::ZeroRtt => 1,
            LongKind::Handshake => 2,
            LongKind::Retry => 3,
        };
        match self {
            Self::V2 => (number + 1) & 3,
            _ => number,
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#010x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_type() {
        let kinds = [
            (LongKind::Initial, 0b00, 0b01),
            (LongKind::ZeroRtt, 0b01, 0b10),
            (LongKind::Handshake, 0b10, 0b11),
            (LongKind::Retry, 0b11, 0b00),
        ];
        for (kind, first, second) in kinds {
            for (version, bits) in [(Version::V1, first), (Version::V2, second)] {
                assert_eq!(version.long_bits(kind), bits, "{version:?} {kind:?}");
                assert_eq!(version.long_kind(bits), Some(kind), "{version:?} {kind:?}");
            }
        }
        assert_eq!(Version(0x0a0a_0a0a).long_kind(0), None);
    }
}
