//! Requests for another host than the one that the connection was made for (RFC 9110 section 15.5.20).
//!
//! A client chose certificate, rules for client certificates and maybe the listener by the name it gave in TLS; a `Host`
//! that says otherwise would reach what those guard. Not routing: which hosts there are does not matter here. Start at
//! [`is_misdirected`].

use portcullis_filter::Connection;

use crate::forward::ForwardConfig;
use crate::head::Method;
use crate::message::Request;

/// Whether the client named another host in TLS than in this request. One that named none, as clients of an address do,
/// may ask for any; so may a trusted proxy, which speaks for many hosts over one connection. CONNECT names a target, not
/// this gateway.
pub(super) fn is_misdirected(
    request: &Request,
    connection: &Connection,
    config: &ForwardConfig,
) -> bool {
    let tls = connection.tls.as_ref();
    match tls.and_then(|tls| tls.server_name.as_deref()) {
        Some(name) => differs(name, request, connection, config),
        None => false,
    }
}

fn differs(name: &str, request: &Request, connection: &Connection, config: &ForwardConfig) -> bool {
    let host = request.host();
    let host = host.strip_suffix(b".").unwrap_or(host);
    !host.is_empty()
        && !host.eq_ignore_ascii_case(name.as_bytes())
        && request.head.method != Method::Connect
        && !config.is_trusted(connection.client_ip())
}
