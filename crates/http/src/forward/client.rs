//! Who the client is, in the words of proxies that are trusted to say it.
//!
//! Only called for a peer that is trusted. Start at [`address`].

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use super::ForwardConfig;
use crate::fields::{Fields, list_members};
use crate::head::Scheme;
use crate::name::KnownField;

/// The client's address: the last hop in `x-forwarded-for`, read from the right, that is not itself a trusted
/// proxy. Everything to the left of it is hearsay. A member that is no address ends the walk.
pub(super) fn address(fields: &Fields, peer: IpAddr, config: &ForwardConfig) -> IpAddr {
    let members: SmallVec<[&[u8]; 8]> = fields
        .get_all(KnownField::XForwardedFor)
        .flat_map(list_members)
        .collect();
    let mut client = peer;
    for member in members.iter().rev() {
        let Some(hop) = parse(member) else { break };
        client = hop;
        if !config.is_trusted(hop) {
            break;
        }
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn parse(member: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(member).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .map(|ip| ip.to_canonical())
}

/// The scheme that the nearest proxy says the client used.
pub(super) fn scheme(fields: &Fields) -> Option<Scheme> {
    let last = fields
        .get_all(KnownField::XForwardedProto)
        .flat_map(list_members)
        .last()?;
    if last.eq_ignore_ascii_case(b"https") {
        Some(Scheme::Https)
    } else if last.eq_ignore_ascii_case(b"http") {
        Some(Scheme::Http)
    } else {
        None
    }
}
