//! The 24 bytes that a client's side of every connection begins with (RFC 9113 section 3.4).
//!
//! Not negotiation: ALPN and prior knowledge are decided by a session. Start at [`sniff`].

/// `PRI * HTTP/2.0`, chosen so that nothing that speaks HTTP/1 takes it for a request.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a connection that begins with `prefix` is HTTP/2: `None` until enough has arrived to tell.
///
/// The first line and its empty line decide, 18 bytes: no other protocol begins with them.
#[must_use]
pub fn sniff(prefix: &[u8]) -> Option<bool> {
    let (line, _) = PREFACE.split_at(18);
    if prefix.starts_with(line) {
        Some(true)
    } else if line.starts_with(prefix) {
        None
    } else {
        Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_recognised_as_it_arrives() {
        for (prefix, expected) in [
            (&b""[..], None),
            (b"P", None),
            (b"PRI * HTTP/2.0\r\n", None),
            (b"PRI * HTTP/2.0\r\n\r\n", Some(true)),
            (PREFACE, Some(true)),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Some(true)),
            (b"PRI * HTTP/1", Some(false)),
            (b"PUT / HTTP/1.1", Some(false)),
            (b"GET / HTTP/1.1", Some(false)),
            (b"\x16\x03\x01", Some(false)),
        ] {
            assert_eq!(sniff(prefix), expected, "{prefix:?}");
        }
    }
}
