//! From the types of the `http` crate to ours.
//!
//! Everything is copied once, into one block per message, so that a head holds no part of a read buffer or of the
//! peer's compression table. Start at [`request_head`].

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::Uri;

use crate::head::{Method, RequestHead, ResponseHead, Scheme, Status, Target, TargetForm, Version};
use crate::{Fields, Framing, KnownField, fields::is_field_value};

use super::{FieldError, is_connection_specific, is_forbidden_trailer};

/// What RFC 9113 section 6.5.2 adds to each field, so that many small ones are not free.
const FIELD_OVERHEAD: usize = 32;

/// What joins cookie crumbs (RFC 9113 section 8.2.3).
const CRUMB: &[u8] = b"; ";

/// How large a head or trailers may be.
#[derive(Debug, Clone, Copy)]
pub struct HeadBounds {
    /// Bytes of names and values, pseudo-headers included, with 32 for each field.
    pub bytes: usize,
    /// Fields, each cookie crumb counted. Pseudo-headers are not.
    pub fields: usize,
    /// Bytes of `:path`.
    pub path: usize,
}

/// A request as it came, besides its head.
#[derive(Debug, Clone, Copy)]
pub struct Came {
    /// The version that it came in.
    pub version: Version,
    /// No body follows.
    pub ended: bool,
    /// It is an extended CONNECT (RFC 8441, RFC 9220), which is for the caller: its head comes out with the method CONNECT
    /// and everything else as in a GET.
    pub extended: bool,
}

/// A request's head and the framing of its body.
///
/// # Errors
/// See [`FieldError::status`] for whether to answer or to reset.
pub fn request_head(
    parts: &http::request::Parts,
    came: Came,
    bounds: HeadBounds,
) -> Result<(RequestHead, Framing), FieldError> {
    let Came {
        version,
        ended,
        extended,
    } = came;
    let path = parts
        .uri
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    if path > bounds.path {
        return Err(FieldError::PathTooLong);
    }
    let authority = parts
        .uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    let pseudo = path + authority + parts.method.as_str().len() + 4 * FIELD_OVERHEAD;
    let fields = copy(&parts.headers, pseudo, bounds, Place::Head)?;
    let method = method(&parts.method);
    let target = target(&parts.uri, &method, extended)?;
    let framing = request_framing(&fields, &method, ended || extended)?;
    let head = RequestHead {
        method,
        target,
        version,
        fields,
    };
    Ok((head, framing))
}

/// What there is to say of a request that is refused: method, target, and the authority as its host. Other fields may be why.
pub fn refused_head(parts: &http::request::Parts, version: Version, head: &mut RequestHead) {
    let name = parts.method.as_str();
    head.method = Method::known(name.as_bytes())
        .unwrap_or_else(|| Method::Other(Bytes::copy_from_slice(name.as_bytes())));
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    head.target = Target::origin(Bytes::copy_from_slice(path.as_bytes()));
    head.version = version;
    if let Some(authority) = parts.uri.authority() {
        head.fields
            .append(KnownField::Host, authority.as_str().as_bytes());
    }
}

/// A response's head, and the length of its body if it states one.
///
/// # Errors
/// The response must not be passed on.
pub fn response_head(
    parts: &http::response::Parts,
    version: Version,
    bounds: HeadBounds,
) -> Result<ResponseHead, FieldError> {
    let fields = copy(&parts.headers, FIELD_OVERHEAD, bounds, Place::Head)?;
    let status = Status::from_code(parts.status.as_u16()).ok_or(FieldError::Pseudo)?;
    Ok(ResponseHead {
        status,
        reason: Bytes::new(),
        version,
        fields,
    })
}

/// The fields behind a body.
///
/// # Errors
/// The message is malformed.
pub fn trailers(map: &HeaderMap, bounds: HeadBounds) -> Result<Fields, FieldError> {
    copy(map, 0, bounds, Place::Trailers)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Trailers,
}

/// Checks every field, then copies all of them into one block.
fn copy(
    map: &HeaderMap,
    before: usize,
    bounds: HeadBounds,
    place: Place,
) -> Result<Fields, FieldError> {
    if map.len() > bounds.fields {
        return Err(FieldError::TooMany);
    }
    let mut bytes = 0;
    for (name, value) in map {
        check(name, value, place)?;
        bytes += name.as_str().len() + value.len();
    }
    if before + bytes + map.len() * FIELD_OVERHEAD > bounds.bytes {
        return Err(FieldError::TooLarge);
    }
    // Room for what joins the crumbs, of which there are no more than fields.
    let mut block = BytesMut::with_capacity(bytes + map.len() * CRUMB.len());
    let mut spans = Vec::with_capacity(map.len());
    let mut cookies_done = false;
    for (name, value) in map {
        let known = KnownField::classify(name.as_str().as_bytes());
        let is_cookie = known == Some(KnownField::Cookie);
        if is_cookie && cookies_done {
            continue;
        }
        let name_at = block.len();
        block.extend_from_slice(name.as_str().as_bytes());
        let value_at = block.len();
        block.extend_from_slice(value.as_bytes());
        if is_cookie {
            cookies_done = true;
            for crumb in map.get_all(name).iter().skip(1) {
                block.extend_from_slice(CRUMB);
                block.extend_from_slice(crumb.as_bytes());
            }
        }
        spans.push((name_at..value_at, value_at..block.len(), known));
    }
    let mut fields = Fields::with_block(block.freeze());
    for (name, value, known) in spans {
        fields.push_span(name, value, known);
    }
    Ok(fields)
}

fn check(name: &HeaderName, value: &HeaderValue, place: Place) -> Result<(), FieldError> {
    let value = value.as_bytes();
    if !is_field_value(value) || value.trim_ascii().len() != value.len() {
        return Err(FieldError::Value);
    }
    let name = name.as_str();
    if name.is_empty() || !name.bytes().all(is_name_byte) {
        return Err(FieldError::Name);
    }
    let known = KnownField::classify(name.as_bytes());
    if known.is_some_and(is_connection_specific) {
        return Err(FieldError::Connection);
    }
    if place == Place::Trailers && is_forbidden_trailer(name.as_bytes(), known) {
        return Err(FieldError::Trailer);
    }
    if known == Some(KnownField::Te) && value != b"trailers" {
        return Err(FieldError::Te);
    }
    Ok(())
}

/// A token (RFC 9110 section 5.6.2) without upper case.
const fn is_name_byte(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'
            | b'_' | b'`' | b'|' | b'~')
}

fn method(method: &http::Method) -> Method {
    let name = method.as_str().as_bytes();
    Method::known(name).unwrap_or_else(|| Method::Other(Bytes::copy_from_slice(name)))
}

fn target(uri: &Uri, method: &Method, extended: bool) -> Result<Target, FieldError> {
    let authority = uri
        .authority()
        .map(|authority| Bytes::copy_from_slice(authority.as_str().as_bytes()));
    if *method == Method::Connect && !extended {
        return Ok(Target {
            form: TargetForm::Authority,
            scheme: None,
            authority,
            path_and_query: Bytes::new(),
        });
    }
    let path = uri.path_and_query().ok_or(FieldError::Pseudo)?.as_str();
    let form = match path {
        "*" => TargetForm::Asterisk,
        _ if path.starts_with('/') => TargetForm::Origin,
        _ => return Err(FieldError::Pseudo),
    };
    let scheme = match uri.scheme_str() {
        // Dropped where there is no authority.
        None => None,
        Some("http") => Some(Scheme::Http),
        Some("https") => Some(Scheme::Https),
        Some(_) => return Err(FieldError::Pseudo),
    };
    Ok(Target {
        form,
        scheme,
        authority,
        path_and_query: Bytes::copy_from_slice(path.as_bytes()),
    })
}

/// RFC 9113 section 8.1.1: the length that is stated must be the length that comes; who reads the frames holds DATA to it.
fn request_framing(fields: &Fields, method: &Method, ended: bool) -> Result<Framing, FieldError> {
    // One rule for both versions: there is no transfer coding in either.
    let stated = Framing::stated(fields, Version::Http2).map_err(|_| FieldError::Length)?;
    match (stated, ended) {
        (Some(Framing::Length(1..)), true) => Err(FieldError::Length),
        (Some(Framing::Length(_)), _) if *method == Method::Connect => Err(FieldError::Length),
        (Some(framing), _) => Ok(framing),
        (None, true) => Ok(Framing::None),
        // What comes behind a CONNECT is the tunnel's (RFC 9113 section 8.5).
        (None, false) if *method == Method::Connect => Ok(Framing::None),
        (None, false) => Ok(Framing::Chunked),
    }
}
