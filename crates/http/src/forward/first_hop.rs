//! What nearly every request gets: its client is the first hop, by IPv4, and says nothing itself about where it comes from.
//!
//! Not the rules, which are [`super::append_hop`]'s: here is the same in fewer steps, for the case that there is nothing to
//! be merged with. Start at [`append`].

use std::net::{IpAddr, Ipv4Addr};

use portcullis_filter::{Context, Random};

use super::{ForwardConfig, append_via};
use crate::head::Scheme;
use crate::message::Request;
use crate::name::KnownField;

/// The fields that must not be there yet.
const ADDED: u64 = KnownField::XForwardedFor.bit()
    | KnownField::XForwardedProto.bit()
    | KnownField::XForwardedHost.bit()
    | KnownField::XRequestId.bit();

/// Adds what the next hop is told. The answer is whether that was done.
pub(super) fn append(
    request: &mut Request,
    cx: &Context,
    config: &ForwardConfig,
    random: &Random,
) -> bool {
    let Some(IpAddr::V4(peer)) = cx.connection.known_client_ip() else {
        return false;
    };
    let is_usual = config.x_forwarded
        && !config.forwarded
        && !request.head.fields.contains_any(ADDED)
        && request.head.fields.contains(KnownField::Host)
        && !request.authority.is_empty()
        && request.upgrade.is_none()
        && cx.connection.client_certificate().is_none();
    if !is_usual {
        return false;
    }
    append_forwarded(request, peer);
    let fields = &mut request.head.fields;
    if config.request_id {
        fields.append_line(
            KnownField::XRequestId,
            &id_line(random.next(), random.next()),
        );
    }
    if let Some(name) = config.via_name() {
        append_via(fields, request.head.version, name);
    }
    true
}

/// Adds the lines of `x-forwarded-for`, `x-forwarded-proto` and `x-forwarded-host`.
fn append_forwarded(request: &mut Request, peer: Ipv4Addr) {
    const FOR: &[u8; 17] = b"x-forwarded-for: ";
    const HTTP: &[u8; 45] = b"\r\nx-forwarded-proto: http\r\nx-forwarded-host: ";
    const HTTPS: &[u8; 46] = b"\r\nx-forwarded-proto: https\r\nx-forwarded-host: ";
    const HOST: usize = "x-forwarded-host: ".len();
    let mut text = [0; DOTTED];
    let text = dotted(peer, &mut text);
    // A settled authority is printable text on one line.
    let authority = &*request.authority;
    let scheme = request.scheme;
    request.head.fields.append_lines(|edits| {
        edits.extend_from_slice(FOR);
        edits.extend_from_slice(text);
        let middle = match scheme {
            Scheme::Http => {
                edits.extend_from_slice(HTTP);
                HTTP.len()
            }
            Scheme::Https => {
                edits.extend_from_slice(HTTPS);
                HTTPS.len()
            }
        };
        edits.extend_from_slice(authority);
        edits.extend_from_slice(b"\r\n");
        [
            (KnownField::XForwardedFor, FOR.len() + text.len() + 2),
            (KnownField::XForwardedProto, middle - 2 - HOST),
            (KnownField::XForwardedHost, HOST + authority.len() + 2),
        ]
    });
}

/// The most that an IPv4 address takes as text.
pub(super) const DOTTED: usize = "255.255.255.255".len();

/// Decimal without the formatting machinery: this runs for every request. Written from the back, where the length of
/// what is in front need not be known.
pub(super) fn dotted(ip: Ipv4Addr, text: &mut [u8; DOTTED]) -> &[u8] {
    let mut start = DOTTED;
    let mut put = |byte: u8| {
        start -= 1;
        if let Some(place) = text.get_mut(start) {
            *place = byte;
        }
    };
    let [a, b, c, d] = ip.octets();
    for (octet, separator) in [(d, false), (c, true), (b, true), (a, true)] {
        if separator {
            put(b'.');
        }
        put(b'0' + octet % 10);
        if octet >= 10 {
            put(b'0' + octet / 10 % 10);
        }
        if octet >= 100 {
            put(b'0' + octet / 100);
        }
    }
    text.get(start..).unwrap_or_default()
}

/// The line of `x-request-id` with an id of these bits.
pub(super) fn id_line(high: u64, low: u64) -> [u8; 52] {
    let mut line = *b"x-request-id: 00000000-0000-4000-8000-000000000000\r\n";
    if let Some(place) = line.get_mut(14..50) {
        place.copy_from_slice(&uuid(high, low));
    }
    line
}

/// Random bits in the shape of a version 4 UUID (RFC 9562 section 5.4).
pub(super) fn uuid(high: u64, low: u64) -> [u8; 36] {
    let high = (high & !0xf000) | 0x4000;
    let low = (low & (u64::MAX >> 2)) | (1 << 63);
    let mut text = [b'-'; 36];
    let digits = [hexadecimal(high), hexadecimal(low)];
    let (digits, _) = digits.as_flattened().as_chunks::<4>();
    // Behind the eighth, twelfth, sixteenth and twentieth digit stands a dash.
    for (start, digits) in [0, 4, 9, 14, 19, 24, 28, 32].into_iter().zip(digits) {
        if let Some(place) = text.get_mut(start..start + 4) {
            place.copy_from_slice(digits);
        }
    }
    text
}

/// Sixteen digits, the most significant first.
fn hexadecimal(bits: u64) -> [u8; 16] {
    let halves = [bits >> 32, bits & 0xffff_ffff].map(|half| eight_digits(half).to_be_bytes());
    let mut text = [0; 16];
    for (place, half) in text.as_chunks_mut::<8>().0.iter_mut().zip(halves) {
        *place = half;
    }
    text
}

/// Each nibble of the low half becomes a byte, then a digit.
pub(super) const fn eight_digits(bits: u64) -> u64 {
    let pairs = (bits | bits << 16) & 0x0000_ffff_0000_ffff;
    let bytes = (pairs | pairs << 8) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (bytes | bytes << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // 6 carries a nibble above 9 into the fifth bit; `a` is 39 above `0` plus 10.
    let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    nibbles + 0x3030_3030_3030_3030 + letters * 39
}
