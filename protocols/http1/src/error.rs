//! Why bytes from a peer are not HTTP/1.
//!
//! Small `Copy` enums with a label for the counter and the status to answer with; they hold no bytes of the
//! peer. Not the framing refusals: those are `portcullis_http::FramingError`. Start at [`HeadError`] and
//! [`BodyError`].

use nom::error::{ErrorKind, ParseError};
use portcullis_codec::{Severity, WireError};
use portcullis_http::Status;

/// Why bytes are not the head of a request or response. The connection cannot go on after any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeadError {
    /// More empty lines before the request line than are skipped (RFC 9112 section 2.2).
    #[error("too many empty lines before the request line")]
    EmptyLines,
    /// The method is not a token (RFC 9110 section 9.1).
    #[error("invalid method")]
    Method,
    /// The method is longer than any that is known (RFC 9112 section 3: 501).
    #[error("method too long")]
    MethodTooLong,
    /// The request line is not `method SP target SP version` (RFC 9112 section 3).
    #[error("invalid request line")]
    RequestLine,
    /// The target has none of the four forms, or not one that its method may use (RFC 9112 section 3.2).
    #[error("invalid request target")]
    Target,
    /// The target holds a `#`: fragments are never sent (RFC 9112 section 3.2).
    #[error("fragment in the request target")]
    Fragment,
    /// The target exceeds [`crate::HeadLimits::target_bytes`].
    #[error("request target too long")]
    TargetTooLong,
    /// A version that is not 1.0 or 1.1.
    #[error("unsupported version")]
    Version,
    /// A request line without a version: HTTP/0.9.
    #[error("HTTP/0.9 request")]
    Http09,
    /// The connection preface of HTTP/2 (RFC 9113 section 3.4).
    #[error("HTTP/2 preface")]
    Http2Preface,
    /// The status line does not begin with a version and a space (RFC 9112 section 4).
    #[error("invalid status line")]
    StatusLine,
    /// The status code is not three digits from 100 up.
    #[error("invalid status code")]
    StatusCode,
    /// The reason phrase is longer than anybody would read.
    #[error("reason phrase too long")]
    ReasonTooLong,
    /// A line feed without a carriage return before it (RFC 9112 section 2.2).
    #[error("bare line feed")]
    BareLineFeed,
    /// A carriage return without a line feed behind it (RFC 9112 section 2.2).
    #[error("bare carriage return")]
    BareCarriageReturn,
    /// A NUL byte.
    #[error("NUL byte")]
    Nul,
    /// A field line without a name (RFC 9112 section 5).
    #[error("empty field name")]
    EmptyFieldName,
    /// A field name that is not a token (RFC 9110 section 5.1).
    #[error("invalid field name")]
    FieldName,
    /// White space between field name and colon (RFC 9112 section 5.1).
    #[error("white space before the colon")]
    SpaceBeforeColon,
    /// A field line without a colon.
    #[error("field line without a colon")]
    MissingColon,
    /// A line that begins with white space (RFC 9112 sections 2.2 and 5.2).
    #[error("folded field line")]
    ObsFold,
    /// A control byte in a field value or reason phrase (RFC 9110 section 5.5).
    #[error("control byte in a field value")]
    FieldValue,
    /// The head exceeds [`crate::HeadLimits::head_bytes`].
    #[error("head too large")]
    HeadTooLarge,
    /// More field lines than [`crate::HeadLimits::fields`].
    #[error("too many fields")]
    TooManyFields,
    /// The connection ended inside the head.
    #[error("truncated head")]
    Truncated,
}

impl HeadError {
    /// The status to answer a request with. A response that fails is a 502 whatever the reason.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::TargetTooLong => Status::URI_TOO_LONG,
            Self::HeadTooLarge | Self::TooManyFields => Status::HEADER_FIELDS_TOO_LARGE,
            Self::MethodTooLong => Status::NOT_IMPLEMENTED,
            Self::Version | Self::Http09 | Self::Http2Preface => Status::VERSION_NOT_SUPPORTED,
            _ => Status::BAD_REQUEST,
        }
    }
}

impl WireError for HeadError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }

    fn label(&self) -> &'static str {
        match self {
            Self::EmptyLines => "too_many_empty_lines",
            Self::Method => "invalid_method",
            Self::MethodTooLong => "method_too_long",
            Self::RequestLine => "invalid_request_line",
            Self::Target => "invalid_target",
            Self::Fragment => "fragment_in_target",
            Self::TargetTooLong => "uri_too_long",
            Self::Version => "unsupported_version",
            Self::Http09 => "http09",
            Self::Http2Preface => "http2_preface",
            Self::StatusLine => "invalid_status_line",
            Self::StatusCode => "invalid_status_code",
            Self::ReasonTooLong => "reason_too_long",
            Self::BareLineFeed => "bare_line_feed",
            Self::BareCarriageReturn => "bare_carriage_return",
            Self::Nul => "nul_byte",
            Self::EmptyFieldName => "empty_field_name",
            Self::FieldName => "invalid_field_name",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::MissingColon => "missing_colon",
            Self::ObsFold => "obs_fold",
            Self::FieldValue => "invalid_field_value",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::Truncated => "truncated_head",
        }
    }
}

/// nom asks for a way to build errors of its own; our parsers always name theirs, so these are never seen.
impl ParseError<&[u8]> for HeadError {
    fn from_error_kind(_: &[u8], _: ErrorKind) -> Self {
        Self::RequestLine
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// Why bytes are not the body that its framing promised. The connection cannot go on after any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BodyError {
    /// The content exceeds [`crate::BodyLimits::total_bytes`].
    #[error("body too large")]
    TooLarge,
    /// A chunk size that is not hexadecimal digits (RFC 9112 section 7.1).
    #[error("invalid chunk size")]
    ChunkSize,
    /// A chunk size of more than 16 digits, or past 2^63.
    #[error("chunk size overflow")]
    ChunkSizeOverflow,
    /// Bytes behind a chunk size that are not an extension (RFC 9112 section 7.1.1).
    #[error("invalid chunk extension")]
    ChunkExtension,
    /// More extension bytes than [`crate::BodyLimits`] allows for a chunk or for the body.
    #[error("chunk extensions too long")]
    ChunkExtensionTooLong,
    /// Chunk data is not followed by CRLF.
    #[error("missing line end after chunk data")]
    ChunkEnd,
    /// A line feed without a carriage return before it.
    #[error("bare line feed in chunked coding")]
    BareLineFeed,
    /// A carriage return without a line feed behind it.
    #[error("bare carriage return in chunked coding")]
    BareCarriageReturn,
    /// A NUL byte in a chunk extension.
    #[error("NUL byte in chunked coding")]
    Nul,
    /// The trailer section is malformed.
    #[error("malformed trailer section: {0}")]
    Trailer(HeadError),
    /// More trailers than [`crate::BodyLimits`] allows, in bytes or in lines.
    #[error("trailers too large")]
    TrailersTooLarge,
    /// A trailer that would change framing or routing (RFC 9110 section 6.5.1).
    #[error("forbidden trailer")]
    ForbiddenTrailer,
    /// The connection ended inside the body (RFC 9112 section 8).
    #[error("truncated body")]
    Truncated,
}

impl BodyError {
    /// The status to answer a request with, if its response has not begun. From an upstream it is a 502.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::TooLarge => Status::CONTENT_TOO_LARGE,
            Self::TrailersTooLarge => Status::HEADER_FIELDS_TOO_LARGE,
            _ => Status::BAD_REQUEST,
        }
    }
}

impl WireError for BodyError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }

    fn label(&self) -> &'static str {
        match self {
            Self::TooLarge => "body_too_large",
            Self::ChunkSize => "invalid_chunk_size",
            Self::ChunkSizeOverflow => "chunk_size_overflow",
            Self::ChunkExtension => "invalid_chunk_extension",
            Self::ChunkExtensionTooLong => "chunk_extensions_too_long",
            Self::ChunkEnd => "missing_chunk_end",
            Self::BareLineFeed => "bare_line_feed",
            Self::BareCarriageReturn => "bare_carriage_return",
            Self::Nul => "nul_byte",
            Self::Trailer(error) => error.label(),
            Self::TrailersTooLarge => "trailers_too_large",
            Self::ForbiddenTrailer => "forbidden_trailer",
            Self::Truncated => "truncated_body",
        }
    }
}

impl ParseError<&[u8]> for BodyError {
    fn from_error_kind(_: &[u8], _: ErrorKind) -> Self {
        Self::ChunkSize
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}
