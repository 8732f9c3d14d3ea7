//! The key and accept values of the WebSocket handshake, where HTTP/1 meets HTTP/2.
//!
//! Over HTTP/2 a WebSocket begins without them (RFC 8441 section 5), so a gateway makes and checks them for the side that
//! speaks HTTP/1. They authenticate nothing: SHA-1 here only shows that a peer has read the request. Start at
//! [`accept`].

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The value of `sec-websocket-accept` for a `sec-websocket-key` (RFC 6455 section 4.2.2).
pub(super) fn accept(key: &[u8]) -> String {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(SUFFIX);
    STANDARD.encode(digest.finish())
}

/// A `sec-websocket-key` made of 16 random bytes (RFC 6455 section 4.1).
pub(super) fn key(random: [u64; 2]) -> String {
    let [first, second] = random.map(u64::to_be_bytes);
    STANDARD.encode([first, second].concat())
}

const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455() {
        assert_eq!(
            accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(key([0, 0]), "AAAAAAAAAAAAAAAAAAAAAA==");
    }
}
