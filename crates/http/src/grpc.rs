//! What HTTP itself must know of gRPC: which requests are calls, what they are named, how they end, until when.
//!
//! Not the message codec and not its filters: those are in `portcullis-grpc`. Here is what routes match, what facts
//! say, what local replies look like and when a call must be over, by the gRPC protocol document ("gRPC over
//! HTTP2"). Start at [`kind`] for what a request is, [`GrpcStatus`] for how a call ended.

mod pattern;
mod status;
mod timeout;

pub use pattern::{GrpcMatch, GrpcPattern, Named};
pub use status::{GrpcStatus, decode_message, encode_message};
pub use timeout::{TimeoutError, parse_timeout, write_timeout};

use crate::fields::Fields;
use crate::name::KnownField;

/// The kind of gRPC that a content type names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrpcKind {
    /// `application/grpc`, with or without a subtype: length-prefixed messages, the status in trailers.
    Grpc,
    /// `application/grpc-web`: the same messages, the trailers as a last frame of the body.
    Web,
    /// `application/grpc-web-text`: that in base64.
    WebText,
}

impl GrpcKind {
    /// The content type without a subtype.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::Web => "application/grpc-web",
            Self::WebText => "application/grpc-web-text",
        }
    }
}

/// The kind of gRPC that a head's content type names, if it names one.
#[must_use]
#[inline]
pub fn kind(fields: &Fields) -> Option<GrpcKind> {
    content_kind(fields.get(KnownField::ContentType)?)
}

/// The kind of gRPC that a content type names: `application/grpc`, then nothing, `+subtype` or `;parameters`.
#[must_use]
#[inline]
pub fn content_kind(content_type: &[u8]) -> Option<GrpcKind> {
    const PREFIX: &[u8] = b"application/grpc";
    let (start, rest) = content_type.split_at_checked(PREFIX.len())?;
    if !start.eq_ignore_ascii_case(PREFIX) {
        return None;
    }
    // Longest first: each of them begins with the next.
    [
        (&b"-web-text"[..], GrpcKind::WebText),
        (b"-web", GrpcKind::Web),
        (b"", GrpcKind::Grpc),
    ]
    .into_iter()
    .find_map(|(suffix, kind)| {
        let (found, rest) = rest.split_at_checked(suffix.len())?;
        let ends = matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'));
        (found.eq_ignore_ascii_case(suffix) && ends).then_some(kind)
    })
}

/// What follows the kind in a content type: `+proto` and the like, parameters included. Empty where there is none.
#[must_use]
pub fn subtype(content_type: &[u8]) -> &[u8] {
    match content_type.iter().position(|&byte| byte == b'+') {
        Some(at) => content_type.get(at..).unwrap_or_default(),
        None => &[],
    }
}

/// The service and method that a path names: `/package.Service/Method`, parted at the last slash.
#[must_use]
#[inline]
pub fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let path = path.strip_prefix(b"/")?;
    let at = path.iter().rposition(|&byte| byte == b'/')?;
    let (service, method) = (path.get(..at)?, path.get(at + 1..)?);
    (!service.is_empty() && !method.is_empty()).then_some((service, method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_name_a_kind() {
        use GrpcKind::{Grpc, Web, WebText};
        let rows: &[(&str, Option<GrpcKind>, &str)] = &[
            ("application/grpc", Some(Grpc), ""),
            ("application/grpc+proto", Some(Grpc), "+proto"),
            ("Application/GRPC+json", Some(Grpc), "+json"),
            ("application/grpc; charset=utf-8", Some(Grpc), ""),
            ("application/grpc-web", Some(Web), ""),
            ("application/grpc-web+proto", Some(Web), "+proto"),
            ("application/grpc-web-text", Some(WebText), ""),
            ("application/grpc-web-text+proto", Some(WebText), "+proto"),
            ("application/grpcweb", None, ""),
            ("application/grpc-other", None, ""),
            ("application/grpc-web-texts", None, ""),
            ("application/grp", None, ""),
            ("text/plain", None, ""),
            ("", None, ""),
        ];
        for (text, expected, suffix) in rows {
            assert_eq!(content_kind(text.as_bytes()), *expected, "{text}");
            assert_eq!(subtype(text.as_bytes()), suffix.as_bytes(), "{text}");
        }
    }

    #[test]
    fn paths_are_parted_at_the_last_slash() {
        type Row = (&'static str, Option<(&'static str, &'static str)>);
        let rows: &[Row] = &[
            ("/shop.Cart/Add", Some(("shop.Cart", "Add"))),
            ("/a/b/C", Some(("a/b", "C"))),
            ("/shop.Cart/", None),
            ("//Add", None),
            ("/shop.Cart", None),
            ("shop.Cart/Add", None),
            ("", None),
        ];
        for (path, expected) in rows {
            let found = split_path(path.as_bytes());
            let expected = expected.map(|(a, b)| (a.as_bytes(), b.as_bytes()));
            assert_eq!(found, expected, "{path}");
        }
    }
}
