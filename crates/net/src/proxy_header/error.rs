//! What can be wrong with a PROXY header.
//!
//! All of it ends the connection: bytes that were to be a header never reach a protocol.

use portcullis_codec::{Severity, WireError};

/// Why bytes are no PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProxyHeaderError {
    /// They begin like neither version.
    #[error("no PROXY header")]
    Missing,
    /// They end inside a header.
    #[error("the PROXY header is cut off")]
    Truncated,
    /// A version 1 line longer than 107 bytes.
    #[error("the PROXY line is longer than 107 bytes")]
    LineTooLong,
    /// A version 1 line with a CR or an LF on its own.
    #[error("the PROXY line does not end in CR LF")]
    LineEnd,
    /// A version 1 line that is not what section 2.1 says.
    #[error("the PROXY line is malformed")]
    Line,
    /// An address or a port of a version 1 line that is none.
    #[error("an address in the PROXY line is malformed")]
    Address,
    /// A version 2 header of a version that is not 2.
    #[error("unknown version of the PROXY header")]
    Version,
    /// Neither `LOCAL` nor `PROXY`.
    #[error("unknown command in the PROXY header")]
    Command,
    /// A combination of address family and transport that does not exist.
    #[error("unknown address family in the PROXY header")]
    Family,
    /// A version 2 header longer than [`V2_BYTES`](super::V2_BYTES).
    #[error("the PROXY header is longer than 4 KiB")]
    TooLong,
    /// A version 2 header too short for its addresses.
    #[error("the PROXY header is too short for its addresses")]
    TooShort,
    /// A value that does not fit into the header, or has a length that its type does not allow.
    #[error("a value in the PROXY header has a wrong length")]
    ValueLength,
    /// More values than [`V2_VALUES`](super::V2_VALUES).
    #[error("the PROXY header has too many values")]
    TooManyValues,
    /// The checksum is not that of the header, or there are two.
    #[error("the PROXY header's checksum is wrong")]
    Checksum,
}

impl WireError for ProxyHeaderError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Missing => "proxy_header_missing",
            Self::Truncated => "proxy_header_truncated",
            Self::LineTooLong => "proxy_line_too_long",
            Self::LineEnd => "proxy_line_end",
            Self::Line => "proxy_line",
            Self::Address => "proxy_address",
            Self::Version => "proxy_version",
            Self::Command => "proxy_command",
            Self::Family => "proxy_family",
            Self::TooLong => "proxy_header_too_long",
            Self::TooShort => "proxy_header_too_short",
            Self::ValueLength => "proxy_value_length",
            Self::TooManyValues => "proxy_values",
            Self::Checksum => "proxy_checksum",
        }
    }
}
