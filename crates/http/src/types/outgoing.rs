//! From our types to those of the `http` crate.
//!
//! Framing is written from the typed value and fields of one connection are left out, never echoed. What has no form there
//! is refused, wherever it came from. Start at [`response`].

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Uri};

use crate::head::{RequestHead, ResponseHead, Scheme, TargetForm, Version};
use crate::{Field, Fields, Framing, KnownField};

use super::{FieldError, is_connection_specific};

/// A response's head. A length is stated if it is known.
///
/// # Errors
/// It cannot be said.
pub fn response(head: &ResponseHead, framing: Framing) -> Result<http::Response<()>, FieldError> {
    let status =
        http::StatusCode::from_u16(head.status.code()).map_err(|_| FieldError::Unsendable)?;
    let mut headers = header_map(&head.fields)?;
    state_length(&mut headers, framing);
    let mut response = http::Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// A request's head: Host becomes `:authority`, and a CONNECT names nothing else. A length is stated if it is known.
///
/// # Errors
/// It cannot be said.
pub fn request(
    head: &RequestHead,
    framing: Framing,
    scheme: Scheme,
    version: Version,
) -> Result<http::Request<()>, FieldError> {
    let method =
        http::Method::from_bytes(head.method.as_bytes()).map_err(|_| FieldError::Unsendable)?;
    let mut headers = header_map(&head.fields)?;
    state_length(&mut headers, framing);
    let mut request = http::Request::new(());
    *request.method_mut() = method;
    *request.version_mut() = match version {
        Version::Http3 => http::Version::HTTP_3,
        _ => http::Version::HTTP_2,
    };
    *request.uri_mut() = uri(head, scheme)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Fields or trailers, without those that speak of one connection, of framing or of the authority.
///
/// # Errors
/// A name or value cannot be said.
pub fn header_map(fields: &Fields) -> Result<HeaderMap, FieldError> {
    let mut map = HeaderMap::with_capacity(fields.len() + 1);
    for field in fields.iter().filter(is_passed) {
        let name = HeaderName::from_bytes(field.name).map_err(|_| FieldError::Unsendable)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| FieldError::Unsendable)?;
        map.try_append(name, value)
            .map_err(|_| FieldError::Unsendable)?;
    }
    Ok(map)
}

fn is_passed(field: &Field<'_>) -> bool {
    let Some(known) = field.known else {
        return true;
    };
    match known {
        KnownField::Host | KnownField::ContentLength | KnownField::Http2Settings => false,
        KnownField::Te => field.value.eq_ignore_ascii_case(b"trailers"),
        known => !is_connection_specific(known),
    }
}

fn state_length(headers: &mut HeaderMap, framing: Framing) {
    if let Framing::Length(length) = framing {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

fn uri(head: &RequestHead, scheme: Scheme) -> Result<Uri, FieldError> {
    let target = &head.target;
    let authority = head
        .fields
        .get_bytes(KnownField::Host)
        .filter(|host| !host.is_empty())
        .or_else(|| target.authority.clone());
    let authority: Authority = authority
        .and_then(|authority| Authority::from_maybe_shared(authority).ok())
        .ok_or(FieldError::Unsendable)?;
    let mut parts = http::uri::Parts::default();
    parts.authority = Some(authority);
    if target.form != TargetForm::Authority {
        parts.scheme = Some(match scheme {
            Scheme::Http => http::uri::Scheme::HTTP,
            Scheme::Https => http::uri::Scheme::HTTPS,
        });
        parts.path_and_query = Some(path(target.path_and_query.clone())?);
    }
    Uri::from_parts(parts).map_err(|_| FieldError::Unsendable)
}

/// The path as it was settled: a form that would change under way, by a fragment cut off, is refused.
fn path(path: Bytes) -> Result<PathAndQuery, FieldError> {
    let length = path.len();
    PathAndQuery::from_maybe_shared(path)
        .ok()
        .filter(|parsed| parsed.as_str().len() == length)
        .ok_or(FieldError::Unsendable)
}
