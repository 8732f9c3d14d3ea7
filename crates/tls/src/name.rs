//! Which bytes are the name of a server.
//!
//! As strict as the servers behind: a name that one of them would read in another way is none. Not a pattern; those
//! are `portcullis-route`'s. Start at [`ServerName::of`].

use std::net::IpAddr;

use portcullis_codec::ByteSet;

/// RFC 1035 section 2.3.4: a label, and a name as text.
const LABEL_BYTES: usize = 63;
const NAME_BYTES: usize = 253;

/// Letters, digits and hyphen (RFC 952), and the underscore that people use all the same.
const LABEL: ByteSet = ByteSet::of(b"-_")
    .with_range(b'0', b'9')
    .with_range(b'a', b'z')
    .with_range(b'A', b'Z');

/// What stands where a host name should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerName {
    /// A DNS name; its length without the final dot that RFC 6066 forbids and some clients send.
    Dns(usize),
    /// An IP address, which RFC 6066 forbids. Servers take it for no name at all, because clients that are given an
    /// address instead of a name exist.
    Address,
    /// Neither.
    Neither,
}

impl ServerName {
    pub(crate) fn of(text: &[u8]) -> Self {
        let name = text.strip_suffix(b".").unwrap_or(text);
        if text.len() <= NAME_BYTES && is_name(name) {
            return Self::Dns(name.len());
        }
        let address = std::str::from_utf8(text).map(str::parse::<IpAddr>);
        if matches!(address, Ok(Ok(_))) {
            Self::Address
        } else {
            Self::Neither
        }
    }
}

fn is_name(name: &[u8]) -> bool {
    let labels = || name.split(|&byte| byte == b'.');
    labels().all(is_label) && labels().next_back().is_some_and(|last| !is_number(last))
}

fn is_label(label: &[u8]) -> bool {
    (1..=LABEL_BYTES).contains(&label.len())
        && LABEL.contains_all(label)
        && label.first() != Some(&b'-')
        && label.last() != Some(&b'-')
}

/// Whether a name that ends in this label could be taken for an IPv4 address (WHATWG URL, "ends in a number").
fn is_number(label: &[u8]) -> bool {
    match label {
        [b'0', b'x' | b'X', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        digits => digits.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_looks_like_them() {
        let label = "a".repeat(LABEL_BYTES);
        let longest = [&label[..], &label, &label, &label[2..]].join(".");
        let with_dot = format!("{longest}.");
        let long_label = "a".repeat(LABEL_BYTES + 1);
        let too_long = format!("{longest}a");
        let neither = ServerName::Neither;
        let rows: &[(&str, &str, ServerName)] = &[
            ("a name", "example.com", ServerName::Dns(11)),
            ("upper case", "EXAMPLE.com", ServerName::Dns(11)),
            ("one label", "localhost", ServerName::Dns(9)),
            ("one letter", "a", ServerName::Dns(1)),
            ("final dot", "example.com.", ServerName::Dns(11)),
            ("underscore", "_a.b_c.example", ServerName::Dns(14)),
            ("digits in front", "1.2.3.a4", ServerName::Dns(8)),
            ("hyphen inside", "a-b--c.xn--d", ServerName::Dns(12)),
            ("253 bytes", &longest, ServerName::Dns(253)),
            ("253 bytes and a dot", &with_dot, neither),
            ("254 bytes", &too_long, neither),
            ("label of 64", &long_label, neither),
            ("nothing", "", neither),
            ("a dot", ".", neither),
            ("two final dots", "a..", neither),
            ("empty label", "a..b", neither),
            ("dot in front", ".a", neither),
            ("hyphen in front", "a.-b", neither),
            ("hyphen behind", "a-.b", neither),
            ("hyphen behind, final dot", "a.b-.", neither),
            ("star", "*.example.com", neither),
            ("space", "a b", neither),
            ("zero byte", "a\0", neither),
            ("line end", "a\r\n", neither),
            ("colon", "a:443", neither),
            ("international", "bücher.example", neither),
            ("number behind", "a.1", neither),
            ("hexadecimal number behind", "a.0x1f", neither),
            ("empty hexadecimal number", "a.0X", neither),
            ("letters behind 0x", "a.0xg", ServerName::Dns(5)),
            ("number and dot", "192.0.2.1.", neither),
            ("IPv4", "192.0.2.1", ServerName::Address),
            ("IPv6", "2001:db8::1", ServerName::Address),
            ("IPv6 in brackets", "[2001:db8::1]", neither),
        ];
        for (name, text, expected) in rows {
            assert_eq!(ServerName::of(text.as_bytes()), *expected, "{name}");
        }
    }
}
