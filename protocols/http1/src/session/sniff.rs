//! Whether the first bytes of a connection look like HTTP/1.
//!
//! Not a parser: a method and a space are enough to tell it from the protocols that share a port with it, most of
//! which begin with a length, a version byte or a banner of the server. Start at [`sniff`].

use portcullis_net::Sniff;

/// Methods that a connection may begin with to be recognised. Others are HTTP too, but rarely come first.
const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
];

/// Whether `prefix` begins with a well-known method and a space.
#[must_use]
pub fn sniff(prefix: &[u8]) -> Sniff {
    if METHODS.iter().any(|method| prefix.starts_with(method)) {
        Sniff::Yes
    } else if METHODS.iter().any(|method| method.starts_with(prefix)) {
        Sniff::NeedMore
    } else {
        Sniff::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_recognised_as_they_arrive() {
        for (prefix, expected) in [
            (&b""[..], Sniff::NeedMore),
            (b"GE", Sniff::NeedMore),
            (b"GET ", Sniff::Yes),
            (b"GET / HTTP/1.1\r\n", Sniff::Yes),
            (b"GETX", Sniff::No),
            (b"\x16\x03\x01", Sniff::No),
            (b"SSH-2.0", Sniff::No),
        ] {
            assert_eq!(sniff(prefix), expected, "{prefix:?}");
        }
    }
}
