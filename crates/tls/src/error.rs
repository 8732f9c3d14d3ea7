//! What can be wrong with a ClientHello.
//!
//! All of it ends the connection: what cannot be read cannot be routed. Labels carry `client_hello_` because they
//! stand beside a protocol's own reasons.

use portcullis_codec::{Severity, WireError};

/// Why bytes are no ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClientHelloError {
    /// They begin like another protocol.
    #[error("not TLS")]
    NotTls,
    /// They end inside a ClientHello.
    #[error("the ClientHello is cut off")]
    Truncated,
    /// More bytes than the limit, or a declared length that makes it more.
    #[error("the ClientHello is too long")]
    TooLong,
    /// More records than the limit.
    #[error("the ClientHello comes in too many records")]
    TooManyRecords,
    /// A record of another kind or version between the records of one message (RFC 8446 section 5.1).
    #[error("a record that is no handshake inside the ClientHello")]
    UnexpectedRecord,
    /// An empty record, or one longer than 2^14 bytes (RFC 8446 section 5.1).
    #[error("a record of the ClientHello has a forbidden length")]
    BadRecord,
    /// The first handshake message is another.
    #[error("the handshake does not begin with a ClientHello")]
    NotClientHello,
    /// Handshake bytes behind the message in its last record: nothing may follow before an answer.
    #[error("bytes behind the ClientHello in its record")]
    TrailingData,
    /// A length inside that does not fit, is not allowed, or leaves bytes over (RFC 8446 section 4.1.2).
    #[error("a length in the ClientHello is wrong")]
    BadLength,
    /// More extensions than the limit.
    #[error("the ClientHello has too many extensions")]
    TooManyExtensions,
    /// An extension that does not fit into the block of extensions.
    #[error("an extension of the ClientHello is malformed")]
    BadExtension,
    /// Two extensions of one type (RFC 8446 section 4.2).
    #[error("the ClientHello has an extension twice")]
    DuplicateExtension,
    /// A `server_name` that is not exactly one DNS name (RFC 6066 section 3).
    #[error("the server name in the ClientHello is malformed")]
    BadServerName,
    /// A list of protocols that is empty, has an empty name or does not fit (RFC 7301 section 3.1).
    #[error("the list of protocols in the ClientHello is malformed")]
    BadAlpn,
    /// A list of versions that is empty or does not fit (RFC 8446 section 4.2.1).
    #[error("the list of versions in the ClientHello is malformed")]
    BadVersions,
}

impl ClientHelloError {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::Truncated => "client_hello_truncated",
            Self::TooLong => "client_hello_too_long",
            Self::TooManyRecords => "client_hello_too_many_records",
            Self::UnexpectedRecord => "client_hello_unexpected_record",
            Self::BadRecord => "client_hello_bad_record",
            Self::NotClientHello => "client_hello_missing",
            Self::TrailingData => "client_hello_trailing_data",
            Self::BadLength => "client_hello_bad_length",
            Self::TooManyExtensions => "client_hello_too_many_extensions",
            Self::BadExtension => "client_hello_bad_extension",
            Self::DuplicateExtension => "client_hello_duplicate_extension",
            Self::BadServerName => "client_hello_bad_server_name",
            Self::BadAlpn => "client_hello_bad_alpn",
            Self::BadVersions => "client_hello_bad_versions",
        }
    }
}

impl WireError for ClientHelloError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }

    fn label(&self) -> &'static str {
        (*self).label()
    }
}
