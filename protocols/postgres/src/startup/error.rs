//! Why bytes are not a start-up packet.
//!
//! Start at [`StartupError`].

use portcullis_codec::{Severity, WireError};

use super::ProtocolVersion;

/// What came instead, as far as its first byte says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hint {
    /// An upper-case letter: a method of HTTP.
    Http,
    /// A TLS record that holds a handshake, on a connection where none was expected.
    Tls,
    /// An array in the protocol of Redis.
    Redis,
    /// Anything else.
    Other,
}

impl Hint {
    pub(super) const fn of(first: u8) -> Self {
        match first {
            b'A'..=b'Z' => Self::Http,
            0x16 => Self::Tls,
            b'*' => Self::Redis,
            _ => Self::Other,
        }
    }
}

/// Why bytes are not a packet that may stand first. The connection cannot go on after any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StartupError {
    /// The first byte is that of something else.
    #[error("not the PostgreSQL protocol")]
    NotPostgres(Hint),
    /// A length that no packet of its kind has.
    #[error("invalid length of startup packet")]
    Length,
    /// Longer than [`crate::limits::StartupLimits::bytes`].
    #[error("startup packet too long")]
    TooLong,
    /// A major version that is not 3, or a request that is not known.
    #[error("unsupported frontend protocol {0}: server supports 3.0 to 3.2")]
    Version(ProtocolVersion),
    /// The parameters are not pairs of strings with one NUL behind them.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// More than [`crate::limits::StartupLimits::parameters`].
    #[error("too many parameters in startup packet")]
    TooManyParameters,
    /// The connection ended inside of a packet.
    #[error("incomplete startup packet")]
    Truncated,
    /// A server answered a request for encryption with a byte that is no answer.
    #[error("unexpected reply to a request for encryption")]
    Reply,
    /// Bytes came between a server's consent and the handshake.
    #[error("received unencrypted data after encryption was agreed on")]
    Injected,
}

impl StartupError {
    /// Whether the peer may understand an ErrorResponse.
    #[must_use]
    pub const fn is_postgres(self) -> bool {
        !matches!(self, Self::NotPostgres(_))
    }
}

impl WireError for StartupError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }

    fn label(&self) -> &'static str {
        match self {
            Self::NotPostgres(Hint::Http) => "not_postgres_http",
            Self::NotPostgres(Hint::Tls) => "not_postgres_tls",
            Self::NotPostgres(Hint::Redis) => "not_postgres_redis",
            Self::NotPostgres(Hint::Other) => "not_postgres",
            Self::Length => "startup_length",
            Self::TooLong => "startup_too_long",
            Self::Version(_) => "startup_version",
            Self::Layout => "startup_layout",
            Self::TooManyParameters => "startup_too_many_parameters",
            Self::Truncated => "startup_truncated",
            Self::Reply => "encryption_reply",
            Self::Injected => "encryption_injected",
        }
    }
}
