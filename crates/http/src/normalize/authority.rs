//! Which host a request is for: one answer from the target and the Host field (RFC 9112 section 3.2).
//!
//! No name resolution and no virtual hosts. Start at [`settle`].
//!
//! Stricter than the grammar of RFC 3986: escapes and sub-delimiters are refused, since no DNS name has them, and
//! international names arrive as `xn--`. The port is kept as it was sent, also a default one.

use std::net::Ipv6Addr;

use bytes::Bytes;
use portcullis_codec::ByteSet;

use super::{RequestError, default_port};
use crate::head::{Method, Scheme, Version};
use crate::message::Request;
use crate::name::KnownField;

const NAME: ByteSet = ByteSet::of(b"-._~")
    .with_range(b'0', b'9')
    .with_range(b'a', b'z')
    .with_range(b'A', b'Z');

/// What a byte of a name in lower case is.
static PLAIN: [u8; 256] = plain_bytes();

/// Stands in names in lower case.
const NAMED: u8 = 1;
/// A dot, which may not come first and not behind another.
const DOT: u8 = 2;

#[allow(clippy::indexing_slicing)] // evaluated at compile time: an index out of range does not compile
const fn plain_bytes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        if matches!(byte as u8, b'0'..=b'9' | b'a'..=b'z' | b'-' | b'_' | b'~') {
            table[byte] = NAMED;
        }
        byte += 1;
    }
    table[b'.' as usize] = DOT;
    table
}

/// Sets [`Request::authority`] and makes Host say the same.
pub(super) fn settle(request: &mut Request) -> Result<(), RequestError> {
    let fields = &request.head.fields;
    if fields.is_repeated(KnownField::Host) {
        return Err(RequestError::SeveralHosts);
    }
    let named = fields.get_bytes(KnownField::Host);
    // As nearly all requests have it: nothing to compare and nothing to change.
    let named = match named {
        Some(named) if is_alone(request) && is_plain(&named) => {
            request.authority = named;
            return Ok(());
        }
        named => named,
    };
    settle_both(request, named)
}

/// What the target and the Host field say together, in whatever form.
#[cold]
fn settle_both(request: &mut Request, named: Option<Bytes>) -> Result<(), RequestError> {
    let target = request.head.target.authority.clone();
    let authority = match (target, &named) {
        (Some(target), named) => {
            let target = parse(target)?;
            if let Some(named) = named {
                check_same(request, &target, &parse(named.clone())?)?;
            } else if request.head.version == Version::Http11 {
                // Even where the target names the host (RFC 9112 section 3.2).
                return Err(RequestError::MissingHost);
            }
            target
        }
        (None, Some(named)) => parse(named.clone())?,
        (None, None) if request.head.version == Version::Http10 => return Ok(()),
        (None, None) => return Err(RequestError::MissingHost),
    };
    if request.head.method == Method::Connect && split_port(&authority).1.is_none() {
        return Err(RequestError::InvalidPort);
    }
    if named.is_none_or(|named| named != authority) {
        request.head.fields.set(KnownField::Host, &authority);
    }
    request.authority = authority;
    Ok(())
}

/// Whether the Host field alone says which host it is.
fn is_alone(request: &Request) -> bool {
    request.head.target.authority.is_none() && request.head.method != Method::Connect
}

/// The same host, and the same port once the scheme's own is filled in. CONNECT's Host may leave the port out.
fn check_same(request: &Request, target: &[u8], named: &[u8]) -> Result<(), RequestError> {
    if target == named {
        return Ok(());
    }
    let default = match (&request.head.method, request.head.target.scheme) {
        (Method::Connect, _) => split_port(target).1.and_then(port_number),
        (_, scheme) => Some(default_port(scheme.unwrap_or(Scheme::Http))),
    };
    let (target, target_port) = split_port(target);
    let (named, named_port) = split_port(named);
    let port = |port: Option<&[u8]>| port.map_or(default, port_number);
    if target == named && port(target_port) == port(named_port) {
        Ok(())
    } else {
        Err(RequestError::HostMismatch)
    }
}

/// An authority that a configuration names, in the form that requests have.
pub(crate) fn check(authority: &[u8]) -> Result<Bytes, RequestError> {
    parse(Bytes::copy_from_slice(authority))
}

/// Checks `host[:port]` and puts it into lower case. No copy is made where it is so already.
fn parse(authority: Bytes) -> Result<Bytes, RequestError> {
    if is_plain(&authority) {
        return Ok(authority);
    }
    if authority.contains(&b'@') {
        return Err(RequestError::Userinfo);
    }
    let (host, port) = split_port(&authority);
    if port.is_some_and(|port| port_number(port).is_none()) {
        return Err(RequestError::InvalidPort);
    }
    if !is_host(host) {
        return Err(RequestError::InvalidHost);
    }
    if authority.iter().any(u8::is_ascii_uppercase) {
        return Ok(Bytes::from(authority.to_ascii_lowercase()));
    }
    Ok(authority)
}

/// Whether it is right as it stands: a name or IPv4 address in lower case, with or without a port. Most are, and
/// this looks at each byte once.
fn is_plain(authority: &[u8]) -> bool {
    let mut before = DOT;
    let mut length = 0;
    for &byte in authority {
        let class = PLAIN.get(usize::from(byte)).copied().unwrap_or(0);
        if class == 0 || class & before == DOT {
            break;
        }
        before = class;
        length += 1;
    }
    // What has stopped it must be the colon of a port.
    (1..=255).contains(&length)
        && match authority.get(length..) {
            None | Some([]) => true,
            Some([b':', port @ ..]) => port_number(port).is_some(),
            Some(_) => false,
        }
}

/// Host and port of an authority. Brackets stay with the host. `Some("")` is a colon with nothing behind it.
pub(crate) fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let behind_literal = memchr::memrchr(b']', authority).map_or(0, |at| at + 1);
    let tail = authority.get(behind_literal..).unwrap_or_default();
    match memchr::memchr(b':', tail) {
        Some(at) => {
            let (host, port) = authority.split_at(behind_literal + at);
            (host, port.get(1..))
        }
        None => (authority, None),
    }
}

fn port_number(port: &[u8]) -> Option<u16> {
    if port.is_empty() || port.len() > 5 {
        return None;
    }
    let mut number = 0_u32;
    for &byte in port {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u32::from(digit);
    }
    u16::try_from(number).ok().filter(|&number| number != 0)
}

fn is_host(host: &[u8]) -> bool {
    if let [b'[', literal @ .., b']'] = host {
        return std::str::from_utf8(literal).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    }
    let labels = host.strip_suffix(b".").unwrap_or(host);
    !labels.is_empty()
        && host.len() <= 255
        && NAME.contains_all(host)
        && !labels.starts_with(b".")
        && memchr::memmem::find(host, b"..").is_none()
}
