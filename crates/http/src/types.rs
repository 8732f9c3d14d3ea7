//! Heads and trailers between the types of the `http` crate and ours, checked on the way: for the versions whose frames
//! other crates read and write.
//!
//! What comes in may go out as HTTP/1, so everything that could mean something else there is refused here, whether or
//! not those crates would have refused it first (RFC 9113 section 8.2, RFC 9114 section 4.2). Not a judge of targets and
//! hosts: [`normalize`](crate::normalize) settles those for every version. Start at [`request_head`] and [`response`].

mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;

use crate::{KnownField, Status};
use portcullis_codec::{Severity, WireError};

pub use incoming::{Came, HeadBounds, refused_head, request_head, response_head, trailers};
pub use outgoing::{header_map, request, response};

/// Why a head or trailers cannot be passed between the forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A field that speaks of one connection (RFC 9113 section 8.2.2).
    #[error("connection-specific field")]
    Connection,
    /// TE with more than `trailers` in it (RFC 9113 section 8.2.2).
    #[error("te is not trailers")]
    Te,
    /// A control byte in a value, or white space around it (RFC 9113 section 8.2.1).
    #[error("invalid field value")]
    Value,
    /// A name that is not a lower-case token (RFC 9113 section 8.2.1).
    #[error("invalid field name")]
    Name,
    /// No `:path`, or something that is none, where there must be one (RFC 9113 section 8.3.1).
    #[error("invalid pseudo-header")]
    Pseudo,
    /// Content-Length that is no number, repeated, or contradicts the end of the stream (RFC 9113 section 8.1.1).
    #[error("invalid content-length")]
    Length,
    /// A field that trailers must not have (RFC 9110 section 6.5.1).
    #[error("field that is not allowed in trailers")]
    Trailer,
    /// A protocol of extended CONNECT that is not offered (RFC 8441 section 4).
    #[error("unknown protocol in extended CONNECT")]
    Protocol,
    /// More fields than allowed, each cookie crumb counted.
    #[error("too many fields")]
    TooMany,
    /// More bytes than allowed, 32 added for each field (RFC 9113 section 6.5.2).
    #[error("head too large")]
    TooLarge,
    /// A path longer than allowed.
    #[error("path too long")]
    PathTooLong,
    /// Something of ours that HTTP/2 and HTTP/3 cannot carry.
    #[error("a head without a form in this version")]
    Unsendable,
}

impl FieldError {
    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connection => "connection_field",
            Self::Te => "invalid_te",
            Self::Value => "invalid_field_value",
            Self::Name => "invalid_field_name",
            Self::Pseudo => "invalid_pseudo_header",
            Self::Length => "invalid_content_length",
            Self::Trailer => "forbidden_trailer",
            Self::Protocol => "unknown_connect_protocol",
            Self::TooMany => "too_many_fields",
            Self::TooLarge => "head_too_large",
            Self::PathTooLong => "uri_too_long",
            Self::Unsendable => "unsendable_head",
        }
    }

    /// The status to answer a request with; `None` where it is malformed, and the stream is reset instead (RFC 9113
    /// section 8.1.1).
    #[must_use]
    pub const fn status(self) -> Option<Status> {
        match self {
            Self::TooMany | Self::TooLarge => Some(Status::HEADER_FIELDS_TOO_LARGE),
            Self::PathTooLong => Some(Status::URI_TOO_LONG),
            Self::Protocol => Some(Status::NOT_IMPLEMENTED),
            _ => None,
        }
    }
}

impl WireError for FieldError {
    fn severity(&self) -> Severity {
        Severity::Message
    }

    fn label(&self) -> &'static str {
        (*self).label()
    }
}

/// RFC 9113 section 8.2.2, RFC 9114 section 4.2: what must not be there, in either direction.
const fn is_connection_specific(field: KnownField) -> bool {
    matches!(
        field,
        KnownField::Connection
            | KnownField::KeepAlive
            | KnownField::ProxyConnection
            | KnownField::TransferEncoding
            | KnownField::Upgrade
    )
}

/// Fields that say how a message is framed, where it goes, or who sends it: nobody may change their mind about those
/// behind the body (RFC 9110 section 6.5.1). The same that HTTP/1's trailers must not have.
fn is_forbidden_trailer(name: &[u8], known: Option<KnownField>) -> bool {
    use KnownField as K;
    match known {
        Some(
            K::AltSvc
            | K::GrpcStatus
            | K::RateLimit
            | K::RateLimitPolicy
            | K::Referer
            | K::Server
            | K::UserAgent
            | K::XPortcullisReason,
        ) => false,
        Some(_) => true,
        None => FORBIDDEN_TRAILERS.contains(&name),
    }
}

/// Names that the gateway has no other use for.
const FORBIDDEN_TRAILERS: [&[u8]; 11] = [
    b"age",
    b"content-range",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"pragma",
    b"range",
    b"www-authenticate",
];
