//! What can be wrong with a packet, its protection, its frames, or the ClientHello in them.
//!
//! Small `Copy` enums with a label for the counter; they hold no bytes of the peer. Not why a datagram is not steered:
//! that is [`crate::steering::DropReason`] and [`crate::steering::UnknownReason`]. Start at [`HeaderError`].

use nom::error::{ErrorKind, ParseError};
use portcullis_codec::{Severity, WireError};
use portcullis_tls::ClientHelloError;

/// Why bytes are not the header of a packet. What follows in the datagram is lost with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeaderError {
    /// A datagram without a byte.
    #[error("empty datagram")]
    Empty,
    /// It ends inside the header, or the length that it declares is more than there is.
    #[error("truncated packet")]
    Truncated,
    /// A connection id of more than 20 bytes in a version that forbids it (RFC 9000 section 17.2).
    #[error("connection id too long")]
    ConnectionIdTooLong,
    /// A token past the limit.
    #[error("token too long")]
    TokenTooLong,
    /// A Version Negotiation packet without versions, or with part of one (RFC 8999 section 6).
    #[error("invalid list of versions")]
    Versions,
}

/// Why a packet cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProtectionError {
    /// Not the kind or the version of packet that has such a protection.
    #[error("not a packet with known keys")]
    Kind,
    /// Too few bytes for a sample of them (RFC 9001 section 5.4.2).
    #[error("packet too short")]
    TooShort,
    /// It was changed, or protected with other keys.
    #[error("packet cannot be authenticated")]
    Authentication,
    /// A reserved bit that is set (RFC 9000 section 17.2).
    #[error("reserved bit set")]
    ReservedBits,
}

/// Why the payload of an Initial packet is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FrameError {
    /// No frame at all (RFC 9000 section 12.4).
    #[error("packet without frames")]
    NoFrames,
    /// A frame that no Initial packet may have (RFC 9000 section 12.5), or a type in another than its shortest form.
    #[error("unexpected frame")]
    Unexpected,
    /// A frame that ends behind the packet.
    #[error("truncated frame")]
    Truncated,
    /// Acknowledged packets with numbers below zero (RFC 9000 section 19.3.1).
    #[error("invalid ranges of an ACK")]
    AckRanges,
    /// A stream longer than it may ever be (RFC 9000 section 19.6).
    #[error("offset too large")]
    Offset,
}

/// Why a ClientHello cannot be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CryptoError {
    /// It goes past the limit on its bytes.
    #[error("the ClientHello is too long")]
    TooLong,
    /// It lies in more separate pieces than the limit.
    #[error("the ClientHello is in too many pieces")]
    TooManyPieces,
    /// It came in more frames than the limit.
    #[error("the ClientHello comes in too many frames")]
    TooManyFrames,
    /// Two frames say different things of one place: whoever reads on would choose.
    #[error("frames contradict each other")]
    Contradiction,
}

/// Why there is no ClientHello to be read in a client's Initial packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HelloError {
    /// The frames of a packet.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// What they carry cannot be put together.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// What was put together is no ClientHello.
    #[error(transparent)]
    ClientHello(#[from] ClientHelloError),
    /// The client ends the connection instead.
    #[error("the client closes the connection")]
    Closed,
}

impl HeaderError {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Empty => "quic_empty",
            Self::Truncated => "quic_truncated",
            Self::ConnectionIdTooLong => "quic_connection_id_too_long",
            Self::TokenTooLong => "quic_token_too_long",
            Self::Versions => "quic_invalid_versions",
        }
    }
}

impl ProtectionError {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kind => "quic_not_initial",
            Self::TooShort => "quic_packet_too_short",
            Self::Authentication => "quic_undecryptable",
            Self::ReservedBits => "quic_reserved_bits",
        }
    }
}

impl FrameError {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoFrames => "quic_no_frames",
            Self::Unexpected => "quic_unexpected_frame",
            Self::Truncated => "quic_truncated_frame",
            Self::AckRanges => "quic_invalid_ack",
            Self::Offset => "quic_invalid_offset",
        }
    }
}

impl CryptoError {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooLong => "quic_hello_too_long",
            Self::TooManyPieces => "quic_hello_too_many_pieces",
            Self::TooManyFrames => "quic_hello_too_many_frames",
            Self::Contradiction => "quic_hello_contradiction",
        }
    }
}

impl HelloError {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Frame(error) => error.label(),
            Self::Crypto(error) => error.label(),
            Self::ClientHello(error) => error.label(),
            Self::Closed => "quic_closed_by_client",
        }
    }
}

impl WireError for HeaderError {
    fn severity(&self) -> Severity {
        Severity::Message
    }
    fn label(&self) -> &'static str {
        (*self).label()
    }
}

impl WireError for ProtectionError {
    fn severity(&self) -> Severity {
        Severity::Message
    }
    fn label(&self) -> &'static str {
        (*self).label()
    }
}

impl WireError for FrameError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }
    fn label(&self) -> &'static str {
        (*self).label()
    }
}

impl WireError for CryptoError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }
    fn label(&self) -> &'static str {
        (*self).label()
    }
}

impl WireError for HelloError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }
    fn label(&self) -> &'static str {
        (*self).label()
    }
}

/// nom's own errors come from input that is too short.
impl ParseError<&[u8]> for HeaderError {
    fn from_error_kind(_: &[u8], _: ErrorKind) -> Self {
        Self::Truncated
    }
    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// As for headers.
impl ParseError<&[u8]> for FrameError {
    fn from_error_kind(_: &[u8], _: ErrorKind) -> Self {
        Self::Truncated
    }
    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}
