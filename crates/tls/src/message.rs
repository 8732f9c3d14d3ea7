//! What a ClientHello says, as places in its bytes.
//!
//! Nothing is copied out of the message and no list is built: protocols and versions are walked where they stand.
//! Not the bytes on the wire: those are replayed by whoever read them. Start at [`ClientHello`].

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;

use bytes::Bytes;

use crate::grammar::Spans;

/// A version of TLS by its number on the wire. Unknown numbers, which clients send on purpose (RFC 8701), stay as
/// they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolVersion(pub u16);

impl ProtocolVersion {
    /// TLS 1.0.
    pub const TLS_1_0: Self = Self(0x0301);
    /// TLS 1.1.
    pub const TLS_1_1: Self = Self(0x0302);
    /// TLS 1.2.
    pub const TLS_1_2: Self = Self(0x0303);
    /// TLS 1.3.
    pub const TLS_1_3: Self = Self(0x0304);
}

impl fmt::Debug for ProtocolVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#06x}", self.0)
    }
}

/// What a client says before it is answered (RFC 8446 section 4.1.2).
#[derive(Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The body of the message, without record and message headers.
    message: Bytes,
    spans: Spans,
}

impl ClientHello {
    pub(crate) const fn new(message: Bytes, spans: Spans) -> Self {
        Self { message, spans }
    }

    /// The server that the client wants: a DNS name in lower case and without a final dot, at most 253 bytes
    /// (RFC 6066 section 3). `None` if it named none, or an address, which is no name.
    ///
    /// If [`is_encrypted`](Self::is_encrypted), this is the public name of whoever can decrypt the real one.
    pub fn server_name(&self) -> Option<&str> {
        let name = self.slice(self.spans.server_name.as_ref()?);
        std::str::from_utf8(name).ok()
    }

    /// The application protocols that the client would speak, in its order (RFC 7301).
    pub fn alpn(&self) -> Alpn<'_> {
        Alpn(self.optional(self.spans.alpn.as_ref()))
    }

    /// The versions that the client would speak, in its order (RFC 8446 section 4.2.1); without a list, the
    /// [legacy version](Self::legacy_version) alone.
    pub fn versions(&self) -> Versions<'_> {
        Versions {
            list: self.optional(self.spans.versions.as_ref()),
            legacy: self
                .spans
                .versions
                .is_none()
                .then_some(self.spans.legacy_version),
        }
    }

    /// The version in the field that newer clients keep at TLS 1.2.
    pub const fn legacy_version(&self) -> ProtocolVersion {
        self.spans.legacy_version
    }

    /// How many cipher suites the client offers.
    pub const fn cipher_suites(&self) -> usize {
        self.spans.cipher_suites
    }

    /// Whether the client's real ClientHello, or a decoy of one, is encrypted inside (RFC 9849).
    pub const fn is_encrypted(&self) -> bool {
        self.spans.encrypted
    }

    fn optional(&self, span: Option<&Range<usize>>) -> &[u8] {
        span.map_or(&[], |span| self.slice(span))
    }

    // Spans are made from this message.
    fn slice(&self, span: &Range<usize>) -> &[u8] {
        self.message.get(span.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for ClientHello {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alpn: Vec<_> = self.alpn().map(<[u8]>::escape_ascii).collect();
        formatter
            .debug_struct("ClientHello")
            .field("server_name", &self.server_name())
            .field("alpn", &alpn)
            .field("versions", &self.versions().collect::<Vec<_>>())
            .field("legacy_version", &self.legacy_version())
            .field("cipher_suites", &self.cipher_suites())
            .field("is_encrypted", &self.is_encrypted())
            .finish_non_exhaustive()
    }
}

/// Names of protocols, none of them empty.
#[derive(Debug, Clone)]
pub struct Alpn<'a>(&'a [u8]);

impl<'a> Iterator for Alpn<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.0.split_first()?;
        // The grammar has checked the lengths.
        let (name, rest) = rest.split_at_checked(length.into())?;
        self.0 = rest;
        Some(name)
    }
}

impl FusedIterator for Alpn<'_> {}

/// Versions in the client's order.
#[derive(Debug, Clone)]
pub struct Versions<'a> {
    list: &'a [u8],
    legacy: Option<ProtocolVersion>,
}

impl Iterator for Versions<'_> {
    type Item = ProtocolVersion;

    fn next(&mut self) -> Option<ProtocolVersion> {
        if let Some((&version, rest)) = self.list.split_first_chunk() {
            self.list = rest;
            return Some(ProtocolVersion(u16::from_be_bytes(version)));
        }
        self.legacy.take()
    }
}

impl FusedIterator for Versions<'_> {}
