//! What changes about a head on its way through a gateway: hop-by-hop fields go, forwarding fields come.
//!
//! Framing fields are left alone: encoders never echo them, they write the typed [`crate::Framing`]. Edits that a
//! configuration asks for are the route's and the filters'. Start at [`identify`] for what happens before filters
//! see a request, [`prepare_request`] and [`prepare_response`] for what happens before a head is sent.
//!
//! Hop-by-hop fields are taken out *before* filters run, so that `Connection: x-user` can only remove what the
//! client itself sent, and never a field that a filter or route has set since.
//!
//! `Expect` and `Trailer` pass: they speak of the body, which passes as well.

mod client;
mod client_cert;
mod config;
mod first_hop;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::net::IpAddr;

use portcullis_filter::{Context, Random};
use smallvec::SmallVec;

use crate::fields::{Fields, list_members};
use crate::head::{Method, ResponseHead, Scheme, Version};
use crate::message::Request;
use crate::name::KnownField;
use crate::service::Clock;

use first_hop::{DOTTED, id_line};

pub(crate) use config::is_token;
pub use config::{ForwardConfig, ServerField, Token, ViaName};

/// Where a field value is written: mostly the place it is sent from.
type Value = Vec<u8>;

/// Finds out who the client is and takes out what it may not say.
///
/// From a peer that is not a trusted proxy every forwarding field is removed; from a trusted one
/// `x-forwarded-proto` settles [`Request::scheme`]. Hop-by-hop fields are removed from either. Call it once,
/// before routes and filters see the request, and use the answer as [`Context::client_ip`].
pub fn identify(request: &mut Request, cx: &Context, config: &ForwardConfig) -> IpAddr {
    if request.head.fields.contains_any(ONE_HOP) {
        strip_hop_by_hop(&mut request.head.fields, Direction::Request);
    }
    let peer = cx.connection.client_ip();
    if config.is_trusted(peer) {
        return believe(request, peer, config);
    }
    remove_all(
        &mut request.head.fields,
        &FORWARDING,
        const { bits(&FORWARDING) },
    );
    peer
}

/// What a trusted proxy says of the client.
fn believe(request: &mut Request, peer: IpAddr, config: &ForwardConfig) -> IpAddr {
    if let Some(scheme) = client::scheme(&request.head.fields) {
        request.scheme = scheme;
    }
    client::address(&request.head.fields, peer, config)
}

/// Fields that only a trusted proxy may send.
const FORWARDING: [KnownField; 11] = [
    KnownField::Forwarded,
    KnownField::XForwardedClientCert,
    KnownField::XForwardedFor,
    KnownField::XForwardedHost,
    KnownField::XForwardedPort,
    KnownField::XForwardedPrefix,
    KnownField::XForwardedProto,
    KnownField::XForwardedServer,
    KnownField::XForwardedSsl,
    KnownField::XRealIp,
    KnownField::XRequestId,
];

/// Adds what the next hop is told about this one. [`identify`] came first; the route's edits come after.
pub fn prepare_request(
    request: &mut Request,
    cx: &Context,
    config: &ForwardConfig,
    random: &Random,
) {
    request.head.fields.reserve(192);
    if !first_hop::append(request, cx, config, random) {
        append_hop(request, cx, config, random);
    }
}

/// As [`prepare_request`], whatever is there and is asked for.
#[inline(never)] // what is usual is done by then
fn append_hop(request: &mut Request, cx: &Context, config: &ForwardConfig, random: &Random) {
    let peer = cx.connection.known_client_ip();
    if config.x_forwarded {
        append_x_forwarded(request, peer);
    }
    if config.forwarded {
        append_forwarded(request, peer);
    }
    client_cert::append(&mut request.head.fields, cx);
    if config.request_id && !has_sane_id(&request.head.fields) {
        let fields = &mut request.head.fields;
        let line = id_line(random.next(), random.next());
        if fields.contains(KnownField::XRequestId) {
            let name = KnownField::XRequestId.line_start().len();
            let id = line.get(name..line.len() - 2).unwrap_or_default();
            fields.set(KnownField::XRequestId, id);
        } else {
            fields.append_line(KnownField::XRequestId, &line);
        }
    }
    if let Some(name) = config.via_name() {
        append_via(&mut request.head.fields, request.head.version, name);
    }
    if let Some(protocol) = &request.upgrade {
        request.head.fields.set(KnownField::Upgrade, protocol);
    }
    // RFC 9112 section 3.2: where there is no authority, Host is sent with an empty value.
    if !request.head.fields.contains(KnownField::Host) {
        request.head.fields.append(KnownField::Host, b"");
    }
}

/// Takes hop-by-hop fields out of a response. The encoder of a 101 needs `upgrade` set again.
pub fn clean_response(head: &mut ResponseHead) {
    if head
        .fields
        .contains_any(const { ONE_HOP | KnownField::AltSvc.bit() })
    {
        strip_hop_by_hop(&mut head.fields, Direction::Response);
        // RFC 7838 section 3: it speaks of the upstream's own ports.
        head.fields.remove(KnownField::AltSvc);
    }
}

/// Makes an upstream's final head fit for downstream: hop-by-hop fields go, `via`, `server` and `date` are as
/// configured.
pub fn prepare_response(head: &mut ResponseHead, config: &ForwardConfig, clock: &dyn Clock) {
    clean_response(head);
    head.fields.reserve(96);
    match config.server {
        ServerField::Keep => {}
        ServerField::Remove => {
            head.fields.remove(KnownField::Server);
        }
        ServerField::Replace => head.fields.set(KnownField::Server, b"portcullis"),
    }
    if let Some(name) = config.via_name() {
        append_via(&mut head.fields, head.version, name);
    }
    date_response(head, clock);
}

/// Adds `date` where it is missing (RFC 9110 section 6.6.1).
pub fn date_response(head: &mut ResponseHead, clock: &dyn Clock) {
    if !head.fields.contains(KnownField::Date) {
        head.fields
            .append_line(KnownField::Date, &date_line(&clock.date()));
    }
}

/// Whether a request may go further (RFC 9110 section 7.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxForwards {
    /// It may; the field, if there was one, is counted down.
    Go,
    /// TRACE or OPTIONS with a count of 0: this gateway is who should answer.
    Last,
}

/// Counts Max-Forwards down. Only TRACE and OPTIONS have it; a value that is no number is passed as it is.
pub fn count_hop(request: &mut Request) -> MaxForwards {
    if !matches!(request.head.method, Method::Trace | Method::Options) {
        return MaxForwards::Go;
    }
    count_down(request)
}

#[cold]
fn count_down(request: &mut Request) -> MaxForwards {
    let fields = &mut request.head.fields;
    let Some(count) = fields.get(KnownField::MaxForwards).and_then(number) else {
        return MaxForwards::Go;
    };
    if count == 0 {
        return MaxForwards::Last;
    }
    let mut value = Value::new();
    let _ = write!(value, "{}", count - 1);
    fields.set(KnownField::MaxForwards, &value);
    MaxForwards::Go
}

fn number(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Response,
}

/// RFC 9110 section 7.6.1: Connection, what it names, and what was always meant for one hop.
#[inline(never)] // few heads have any of it
fn strip_hop_by_hop(fields: &mut Fields, direction: Direction) {
    if fields.contains(KnownField::Connection) {
        strip_named(fields);
        fields.remove(KnownField::Connection);
    }
    remove_all(fields, &HOP_BY_HOP, const { bits(&HOP_BY_HOP) });
    if direction == Direction::Response {
        fields.remove(KnownField::Te);
    } else if fields.contains(KnownField::Te) {
        settle_te(fields);
    }
}

/// Removes the fields of a list, given their bits: mostly none of them is there.
#[inline]
fn remove_all(fields: &mut Fields, list: &[KnownField], bits: u64) {
    if fields.contains_any(bits) {
        for &field in list {
            fields.remove(field);
        }
    }
}

/// The [bits](KnownField::bit) of the fields of a list.
#[allow(clippy::indexing_slicing)] // evaluated at compile time: an index out of range does not compile
const fn bits(list: &[KnownField]) -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < list.len() {
        bits |= list[index].bit();
        index += 1;
    }
    bits
}

/// The bits of all that [`strip_hop_by_hop`] looks at.
const ONE_HOP: u64 = bits(&HOP_BY_HOP) | KnownField::Connection.bit() | KnownField::Te.bit();

const HOP_BY_HOP: [KnownField; 6] = [
    KnownField::KeepAlive,
    KnownField::ProxyConnection,
    KnownField::ProxyAuthenticate,
    KnownField::ProxyAuthorization,
    KnownField::Http2Settings,
    KnownField::Upgrade,
];

/// Removes the fields that Connection names, except those that it must not touch.
fn strip_named(fields: &mut Fields) {
    let mut named: SmallVec<[SmallVec<[u8; 32]>; 4]> = SmallVec::new();
    for member in fields
        .get_all(KnownField::Connection)
        .flat_map(list_members)
    {
        if !is_connection_option(member) && !is_protected(member) {
            named.push(SmallVec::from_slice(member));
        }
    }
    if !named.is_empty() {
        fields.retain(|field| {
            !named
                .iter()
                .any(|name| name.eq_ignore_ascii_case(field.name))
        });
    }
}

/// Members that are in practice all there is.
fn is_connection_option(member: &[u8]) -> bool {
    [&b"close"[..], b"keep-alive", b"upgrade", b"te"]
        .iter()
        .any(|option| member.eq_ignore_ascii_case(option))
}

/// Fields that say what a message is, where it goes and where it came from: they are never one hop's, whatever
/// Connection claims.
fn is_protected(member: &[u8]) -> bool {
    use KnownField as F;
    KnownField::classify(member).is_some_and(|field| {
        matches!(
            field,
            F::Authorization
                | F::CacheControl
                | F::ContentEncoding
                | F::ContentLength
                | F::ContentType
                | F::Cookie
                | F::Date
                | F::Expect
                | F::Forwarded
                | F::Host
                | F::MaxForwards
                | F::Origin
                | F::SetCookie
                | F::Trailer
                | F::TransferEncoding
                | F::Via
                | F::XForwardedClientCert
                | F::XForwardedFor
                | F::XForwardedHost
                | F::XForwardedPort
                | F::XForwardedPrefix
                | F::XForwardedProto
                | F::XForwardedServer
                | F::XForwardedSsl
                | F::XRealIp
                | F::XRequestId
        )
    })
}

/// TE is one hop's, but `trailers` is true of us as well (RFC 9110 section 10.1.4).
fn settle_te(fields: &mut Fields) {
    let trailers = fields
        .get_all(KnownField::Te)
        .flat_map(list_members)
        .any(|member| member.eq_ignore_ascii_case(b"trailers"));
    if trailers {
        fields.set(KnownField::Te, b"trailers");
    } else {
        fields.remove(KnownField::Te);
    }
}

/// A peer on a Unix socket has no address to be added.
fn append_x_forwarded(request: &mut Request, peer: Option<IpAddr>) {
    let fields = &mut request.head.fields;
    if let Some(peer) = peer {
        append_to_list(fields, KnownField::XForwardedFor, |value| {
            write_ip(value, peer);
        });
    }
    let scheme = request.scheme.as_str().as_bytes();
    fields.set(KnownField::XForwardedProto, scheme);
    if !fields.contains(KnownField::XForwardedHost) && !request.authority.is_empty() {
        // A settled authority is printable text on one line.
        fields.append_known(KnownField::XForwardedHost, &[&request.authority]);
    }
}

/// RFC 7239 section 4.
fn append_forwarded(request: &mut Request, peer: Option<IpAddr>) {
    let scheme: Scheme = request.scheme;
    let authority = request.authority.clone();
    append_to_list(&mut request.head.fields, KnownField::Forwarded, |value| {
        match peer {
            // RFC 7239 section 6.2.
            None => value.extend_from_slice(b"for=unknown"),
            Some(peer @ IpAddr::V4(_)) => {
                value.extend_from_slice(b"for=");
                write_ip(value, peer);
            }
            Some(peer @ IpAddr::V6(_)) => {
                value.extend_from_slice(b"for=\"[");
                write_ip(value, peer);
                value.extend_from_slice(b"]\"");
            }
        }
        if !authority.is_empty() {
            // Settled authorities have no quote and no backslash.
            value.extend_from_slice(b";host=\"");
            value.extend_from_slice(&authority);
            value.push(b'"');
        }
        value.extend_from_slice(b";proto=");
        value.extend_from_slice(scheme.as_str().as_bytes());
    });
}

/// RFC 9110 section 7.6.3: the version that the message was received in, and who received it.
fn append_via(fields: &mut Fields, version: Version, via: &ViaName) {
    let is_first = !fields.contains(KnownField::Via);
    let version: &[u8] = match version {
        Version::Http11 if is_first => return fields.append_line(KnownField::Via, via.line()),
        Version::Http10 => b"1.0 ",
        Version::Http11 => b"1.1 ",
        Version::Http2 => b"2 ",
        Version::Http3 => b"3 ",
    };
    let name = via.as_str().as_bytes();
    if is_first {
        fields.append_known(KnownField::Via, &[version, name]);
        return;
    }
    append_to_list(fields, KnownField::Via, |value| {
        value.extend_from_slice(version);
        value.extend_from_slice(name);
    });
}

/// Adds a member behind those that are there, all in one line: many readers look only at the first.
fn append_to_list(fields: &mut Fields, field: KnownField, write: impl FnOnce(&mut Value)) {
    if !fields.contains(field) {
        fields.append_with(field, write);
        return;
    }
    let mut value = Value::new();
    for line in fields.get_all(field).filter(|line| !line.is_empty()) {
        value.extend_from_slice(line);
        value.extend_from_slice(b", ");
    }
    write(&mut value);
    fields.set(field, &value);
}

fn write_ip(value: &mut Value, ip: IpAddr) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => value.extend_from_slice(first_hop::dotted(ip, &mut [0; DOTTED])),
        // Writing to memory cannot fail.
        IpAddr::V6(ip) => {
            let _ = write!(value, "{ip}");
        }
    }
}

/// An id from a trusted proxy is kept if it can do no harm in a log.
fn has_sane_id(fields: &Fields) -> bool {
    let mut ids = fields.get_all(KnownField::XRequestId);
    let (Some(id), None) = (ids.next(), ids.next()) else {
        return false;
    };
    !id.is_empty() && id.len() <= 128 && id.iter().all(u8::is_ascii_graphic)
}

/// The line of `date`.
fn date_line(date: &[u8; 29]) -> [u8; 37] {
    let mut line = *b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    if let Some(place) = line.get_mut(6..35) {
        place.copy_from_slice(date);
    }
    line
}
