//! How long a body is: decided once, strictly, as a type (RFC 9112 section 6.3).
//!
//! This is where request smuggling lives, so every doubt is a refusal, and what is sent onwards is written from
//! the typed answer, never echoed. Not a body decoder: HTTP/1's chunked coding is in `http1`.
//! Start at [`Framing::of_request`] and [`Framing::of_response`].

use portcullis_codec::{Severity, WireError};

use crate::fields::{Fields, list_members};
use crate::head::{Method, RequestHead, ResponseHead, Status, Version};
use crate::name::KnownField;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// Exactly so many bytes. `Length(0)` differs from [`Framing::None`] only in that the length was stated.
    Length(u64),
    /// Chunked coding in HTTP/1; the stream's end in HTTP/2 and HTTP/3.
    Chunked,
    /// Until the connection closes: HTTP/1 responses only.
    UntilClose,
}

/// Why the length of a body cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Both Transfer-Encoding and Content-Length (RFC 9112 section 6.1).
    #[error("both transfer-encoding and content-length")]
    LengthAndCoding,
    /// Content-Length repeated, listed, empty, signed, not decimal, or past 2^63.
    #[error("invalid content-length")]
    InvalidLength,
    /// Transfer-Encoding that is not exactly one `chunked` but ends in, or begins with, it.
    #[error("invalid transfer-encoding")]
    InvalidCoding,
    /// A transfer coding that is not chunked (RFC 9112 section 6.1: 501).
    #[error("unknown transfer coding")]
    UnknownCoding,
    /// Transfer-Encoding in an HTTP/1.0 message.
    #[error("transfer-encoding in HTTP/1.0")]
    CodingInOldVersion,
    /// An HTTP/1.0 request that by its method has a body, and does not say how long it is (RFC 1945 section 7.2.2).
    #[error("no content-length in an HTTP/1.0 request with a body")]
    MissingLength,
    /// Transfer-Encoding where no body may be: a 1xx or 204 response, or a CONNECT's success.
    #[error("framing field where no body may be")]
    Unexpected,
}

impl WireError for FramingError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }

    fn label(&self) -> &'static str {
        match self {
            Self::LengthAndCoding => "length_and_coding",
            Self::InvalidLength => "invalid_content_length",
            Self::InvalidCoding => "invalid_transfer_encoding",
            Self::UnknownCoding => "unknown_transfer_coding",
            Self::CodingInOldVersion => "transfer_encoding_in_http10",
            Self::MissingLength => "missing_content_length",
            Self::Unexpected => "unexpected_framing",
        }
    }
}

impl FramingError {
    /// The status to answer a request with.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::UnknownCoding => Status::NOT_IMPLEMENTED,
            _ => Status::BAD_REQUEST,
        }
    }
}

impl Framing {
    /// The framing of an HTTP/1 request's body. Any doubt is an error: answer it and close.
    ///
    /// # Errors
    /// See [`FramingError`].
    pub fn of_request(head: &RequestHead) -> Result<Self, FramingError> {
        let stated = Self::stated(&head.fields, head.version)?;
        match stated {
            // RFC 9110 section 9.3.6: a CONNECT request has no body; bytes behind it would be the tunnel's.
            Some(Self::Chunked | Self::Length(1..)) if head.method == Method::Connect => {
                Err(FramingError::Unexpected)
            }
            Some(framing) => Ok(framing),
            None if head.version == Version::Http10 && has_body(&head.method) => {
                Err(FramingError::MissingLength)
            }
            None => Ok(Self::None),
        }
    }

    /// The framing of an HTTP/1 response's body, given the method that it answers.
    ///
    /// # Errors
    /// See [`FramingError`]. The connection it came on must not be used again.
    pub fn of_response(head: &ResponseHead, method: &Method) -> Result<Self, FramingError> {
        let stated = Self::stated(&head.fields, head.version)?;
        // RFC 9112 section 6.3, cases 1 and 2.
        if head.status.is_interim() || head.status == Status::NO_CONTENT {
            return match stated {
                Some(Self::Chunked | Self::Length(1..)) => Err(FramingError::Unexpected),
                _ => Ok(Self::None),
            };
        }
        if *method == Method::Head || head.status == Status::NOT_MODIFIED {
            return Ok(Self::None);
        }
        Ok(stated.unwrap_or(Self::UntilClose))
    }

    /// What the fields state, if anything: for a response to HEAD this is the length that GET would have had.
    ///
    /// # Errors
    /// See [`FramingError`].
    pub fn stated(fields: &Fields, version: Version) -> Result<Option<Self>, FramingError> {
        let coded = fields.contains(KnownField::TransferEncoding);
        let measured = fields.contains(KnownField::ContentLength);
        match (coded, measured) {
            (false, false) => Ok(None),
            (true, true) => Err(FramingError::LengthAndCoding),
            (false, true) => Self::stated_length(fields).map(|length| Some(Self::Length(length))),
            (true, false) => Self::stated_coding(fields, version).map(Some),
        }
    }

    /// Whether a body with this framing has no bytes.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }

    fn stated_length(fields: &Fields) -> Result<u64, FramingError> {
        let mut values = fields.get_all(KnownField::ContentLength);
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(FramingError::InvalidLength);
        };
        parse_length(value).ok_or(FramingError::InvalidLength)
    }

    fn stated_coding(fields: &Fields, version: Version) -> Result<Self, FramingError> {
        if version == Version::Http10 {
            return Err(FramingError::CodingInOldVersion);
        }
        let mut values = fields.get_all(KnownField::TransferEncoding);
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(FramingError::InvalidCoding);
        };
        if value.eq_ignore_ascii_case(b"chunked") {
            return Ok(Self::Chunked);
        }
        let is_chunked = |member: &[u8]| {
            member.len() >= 7
                && member
                    .get(..7)
                    .is_some_and(|name| name.eq_ignore_ascii_case(b"chunked"))
        };
        if value.is_empty() || list_members(value).any(is_chunked) {
            Err(FramingError::InvalidCoding)
        } else {
            Err(FramingError::UnknownCoding)
        }
    }
}

/// Methods whose requests have a body by their meaning. In HTTP/1.0 such a body could only end with the connection.
const fn has_body(method: &Method) -> bool {
    matches!(method, Method::Post | Method::Put | Method::Patch)
}

/// Decimal digits only, no more than 18 of them, so that no arithmetic on lengths can overflow.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0_u64, |length, &byte| {
        byte.is_ascii_digit()
            .then(|| length * 10 + u64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.append(*name, value.as_bytes());
        }
        fields
    }

    #[test]
    fn stated_framing_is_strict() {
        use FramingError as E;
        let te = "transfer-encoding";
        let cl = "content-length";
        let v11 = Version::Http11;
        type Row<'a> = (
            &'a str,
            Version,
            &'a [(&'a str, &'a str)],
            Result<Option<Framing>, FramingError>,
        );
        let rows: &[Row<'_>] = &[
            ("nothing", v11, &[], Ok(None)),
            ("length", v11, &[(cl, "10")], Ok(Some(Framing::Length(10)))),
            ("zero", v11, &[(cl, "0")], Ok(Some(Framing::Length(0)))),
            (
                "chunked",
                v11,
                &[(te, "Chunked")],
                Ok(Some(Framing::Chunked)),
            ),
            (
                "h1_cl_te_both",
                v11,
                &[(cl, "5"), (te, "chunked")],
                Err(E::LengthAndCoding),
            ),
            (
                "h2 same twice",
                v11,
                &[(cl, "5"), (cl, "5")],
                Err(E::InvalidLength),
            ),
            ("h2 plus", v11, &[(cl, "+5")], Err(E::InvalidLength)),
            ("h2 hex", v11, &[(cl, "0x5")], Err(E::InvalidLength)),
            ("h2 list", v11, &[(cl, "5,5")], Err(E::InvalidLength)),
            ("h2 empty", v11, &[(cl, "")], Err(E::InvalidLength)),
            (
                "h2 huge",
                v11,
                &[(cl, "1234567890123456789")],
                Err(E::InvalidLength),
            ),
            (
                "h3 extension",
                v11,
                &[(te, "chunked;x=1")],
                Err(E::InvalidCoding),
            ),
            (
                "h3 not last",
                v11,
                &[(te, "chunked, gzip")],
                Err(E::InvalidCoding),
            ),
            (
                "h3 listed",
                v11,
                &[(te, "gzip, chunked")],
                Err(E::InvalidCoding),
            ),
            (
                "h3 twice",
                v11,
                &[(te, "chunked"), (te, "chunked")],
                Err(E::InvalidCoding),
            ),
            ("h3 empty", v11, &[(te, "")], Err(E::InvalidCoding)),
            (
                "h3 unknown",
                v11,
                &[(te, "xchunked")],
                Err(E::UnknownCoding),
            ),
            (
                "h3 old version",
                Version::Http10,
                &[(te, "chunked")],
                Err(E::CodingInOldVersion),
            ),
        ];
        for (name, version, pairs, expected) in rows {
            assert_eq!(
                Framing::stated(&fields(pairs), *version),
                *expected,
                "{name}"
            );
        }
    }

    #[test]
    fn responses_follow_method_and_status() {
        type Row<'a> = (
            &'a str,
            u16,
            Method,
            &'a [(&'a str, &'a str)],
            Result<Framing, FramingError>,
        );
        let rows: &[Row<'_>] = &[
            (
                "until close",
                200,
                Method::Get,
                &[],
                Ok(Framing::UntilClose),
            ),
            (
                "head",
                200,
                Method::Head,
                &[("content-length", "9")],
                Ok(Framing::None),
            ),
            (
                "not modified",
                304,
                Method::Get,
                &[("content-length", "9")],
                Ok(Framing::None),
            ),
            ("no content", 204, Method::Get, &[], Ok(Framing::None)),
            (
                "no content, body",
                204,
                Method::Get,
                &[("transfer-encoding", "chunked")],
                Err(FramingError::Unexpected),
            ),
            (
                "switching",
                101,
                Method::Get,
                &[("content-length", "4")],
                Err(FramingError::Unexpected),
            ),
        ];
        for (name, status, method, pairs, expected) in rows {
            let mut head = ResponseHead::new(Status::from_code(*status).unwrap());
            head.fields = fields(pairs);
            assert_eq!(Framing::of_response(&head, method), *expected, "{name}");
        }
    }
}
