//! What HTTP/1 adds to the heads of `portcullis_http`: pieces of a body, and whether a connection goes on.
//!
//! Heads themselves are [`RequestHead`] and [`ResponseHead`], shared by every HTTP version; nothing here parses.
//! Start at [`BodyPiece`].

use bytes::Bytes;
use portcullis_http::fields::list_members;
use portcullis_http::{Fields, KnownField, Version};

pub use portcullis_http::{Framing, Method, RequestHead, ResponseHead, Status, Target, TargetForm};

/// One piece of a body, in order: any number of `Data`, at most one `Trailers`, then exactly one `End`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyPiece {
    /// Content, never empty: a slice of the read buffer, not a copy. Its bounds carry no meaning.
    Data(Bytes),
    /// The trailer section, if one was sent and something of it may be passed on.
    Trailers(Box<Fields>),
    /// The body is complete.
    End,
}

/// What a head says about its connection in the `connection` field: the sender's decision, written by the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Connection {
    /// Say nothing: in HTTP/1.1 the connection persists.
    #[default]
    Implied,
    /// `connection: keep-alive`: what an HTTP/1.0 peer must be told when the connection persists.
    KeepAlive,
    /// `connection: close`: this is the last message.
    Close,
    /// `connection: upgrade`; only then is the `upgrade` field written (RFC 9110 section 7.8).
    Upgrade,
    /// `connection: te`, where the `te` field is written (RFC 9110 section 10.1.4).
    Te,
}

/// Whether the sender of this head lets the connection persist (RFC 9112 section 9.3).
#[must_use]
pub fn is_persistent(version: Version, fields: &Fields) -> bool {
    if !fields.contains(KnownField::Connection) {
        return version == Version::Http11;
    }
    let says = |token: &[u8]| {
        fields
            .get_all(KnownField::Connection)
            .flat_map(list_members)
            .any(|member| member.eq_ignore_ascii_case(token))
    };
    !says(b"close") && (version == Version::Http11 || says(b"keep-alive"))
}

/// Whether a field may be a trailer that is passed on (RFC 9110 section 6.5.1): not what frames or routes a
/// message, authenticates, or steers caches and content processing, and not what the gateway itself vouches for.
#[must_use]
pub fn is_trailer_allowed(name: &[u8], known: Option<KnownField>) -> bool {
    use KnownField as K;
    match known {
        Some(
            K::Accept
            | K::AcceptEncoding
            | K::AccessControlAllowCredentials
            | K::AccessControlAllowHeaders
            | K::AccessControlAllowMethods
            | K::AccessControlAllowOrigin
            | K::AccessControlExposeHeaders
            | K::AccessControlMaxAge
            | K::AccessControlRequestHeaders
            | K::AccessControlRequestMethod
            | K::Authorization
            | K::CacheControl
            | K::Connection
            | K::ContentEncoding
            | K::ContentLength
            | K::ContentType
            | K::Cookie
            | K::Date
            | K::EarlyData
            | K::Expect
            | K::Forwarded
            | K::Host
            | K::Http2Settings
            | K::KeepAlive
            | K::Location
            | K::MaxForwards
            | K::Origin
            | K::ProxyAuthenticate
            | K::ProxyAuthorization
            | K::ProxyConnection
            | K::RetryAfter
            | K::SecWebSocketKey
            | K::SecWebSocketVersion
            | K::SetCookie
            | K::Te
            | K::Trailer
            | K::TransferEncoding
            | K::Upgrade
            | K::Vary
            | K::Via
            | K::XForwardedClientCert
            | K::XForwardedFor
            | K::XForwardedHost
            | K::XForwardedProto
            | K::XRequestId,
        ) => false,
        Some(_) => true,
        None => !FORBIDDEN_TRAILERS
            .iter()
            .any(|forbidden| forbidden.eq_ignore_ascii_case(name)),
    }
}

/// Names that RFC 9110 section 6.5.1 speaks of and that the gateway has no other use for.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persistence_follows_version_and_field() {
        for (name, version, values, expected) in [
            ("1.1 default", Version::Http11, &[][..], true),
            ("1.0 default", Version::Http10, &[], false),
            ("1.1 close", Version::Http11, &["Close"], false),
            ("1.0 keep-alive", Version::Http10, &["Keep-Alive"], true),
            ("1.0 both", Version::Http10, &["keep-alive, close"], false),
            ("second line", Version::Http11, &["x", "a,close"], false),
            ("upgrade", Version::Http11, &["upgrade"], true),
        ] {
            let mut fields = Fields::new();
            for value in values {
                fields.append(KnownField::Connection, value.as_bytes());
            }
            assert_eq!(is_persistent(version, &fields), expected, "{name}");
        }
    }
}
