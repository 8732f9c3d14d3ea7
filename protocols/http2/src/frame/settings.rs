//! SETTINGS: parameters of the connection (RFC 9113 section 6.5).
//!
//! The values of a frame stay bytes; [`Settings::iter`] reads them. What they may be is checked by the decoder, and
//! what they change is for a session. Start at [`Settings`].

use bytes::{Bytes, BytesMut};

/// A SETTINGS frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether this is the answer to ours. An answer has no entries.
    pub ack: bool,
    /// Six bytes for each entry.
    entries: Bytes,
}

/// Bytes of one entry.
pub(crate) const ENTRY_BYTES: usize = 6;

impl Settings {
    /// The answer to the peer's.
    #[must_use]
    pub const fn ack() -> Self {
        Self {
            ack: true,
            entries: Bytes::new(),
        }
    }

    /// Parameters, in this order.
    #[must_use]
    pub fn new(entries: &[(Setting, u32)]) -> Self {
        let mut bytes = BytesMut::with_capacity(entries.len() * ENTRY_BYTES);
        for (setting, value) in entries {
            bytes.extend_from_slice(&setting.0.to_be_bytes());
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        Self {
            ack: false,
            entries: bytes.freeze(),
        }
    }

    /// From the payload of a frame, whose length and values have been checked.
    pub(crate) const fn from_payload(ack: bool, entries: Bytes) -> Self {
        Self { ack, entries }
    }

    /// The payload of the frame.
    pub(crate) const fn payload(&self) -> &Bytes {
        &self.entries
    }

    /// The entries in the order in which they take effect; one that is repeated counts last.
    pub fn iter(&self) -> impl Iterator<Item = (Setting, u32)> {
        entries(&self.entries)
    }
}

/// Reads the entries of a payload; an incomplete one at the end is left out.
pub(crate) fn entries(payload: &[u8]) -> impl Iterator<Item = (Setting, u32)> {
    payload.chunks_exact(ENTRY_BYTES).filter_map(|entry| {
        let (setting, value) = entry.split_first_chunk()?;
        let value = value.first_chunk()?;
        Some((
            Setting(u16::from_be_bytes(*setting)),
            u32::from_be_bytes(*value),
        ))
    })
}

/// Which parameter. Unknown ones are to be ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Setting(pub u16);

impl Setting {
    /// Bytes of the table that compresses header blocks.
    pub const HEADER_TABLE_SIZE: Self = Self(0x1);
    /// Whether pushes are wanted: 0 or 1.
    pub const ENABLE_PUSH: Self = Self(0x2);
    /// Streams that the peer may have open at once.
    pub const MAX_CONCURRENT_STREAMS: Self = Self(0x3);
    /// Bytes that may be sent on a new stream: up to 2^31-1.
    pub const INITIAL_WINDOW_SIZE: Self = Self(0x4);
    /// Bytes of a payload: 2^14 to 2^24-1.
    pub const MAX_FRAME_SIZE: Self = Self(0x5);
    /// Bytes of a field section, with 32 more for each field.
    pub const MAX_HEADER_LIST_SIZE: Self = Self(0x6);
    /// Whether CONNECT may name a protocol (RFC 8441): 0 or 1.
    pub const ENABLE_CONNECT_PROTOCOL: Self = Self(0x8);
}
