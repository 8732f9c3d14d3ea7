//! The PROXY header: the laws of its codec.
//!
//! Not the policy of who may send one. Start at [`decode`].

use bytes::BytesMut;
use portcullis_codec::{Decoder, Encoder};
use portcullis_net::proxy_header::{ProxyHeaderDecoder, ProxyHeaderEncoder, Version};
use portcullis_testkit::laws;

/// Bytes that are cut everywhere: a text header and a good part of a binary one.
const SPLIT_BYTES: usize = 256;

/// Any split gives the same answer, nothing behind the header is taken, and what was read can be written and read.
pub fn decode(data: &[u8]) {
    // Every split of every byte is quadratic: what is behind the longest text header adds nothing but time.
    let front = data.get(..SPLIT_BYTES).unwrap_or(data);
    laws::every_split_agrees(ProxyHeaderDecoder::new, front, laws::plain);
    let mut input = BytesMut::from(data);
    let Ok(Some(header)) = ProxyHeaderDecoder::new().decode(&mut input) else {
        return;
    };
    assert!(data.ends_with(&input), "bytes behind the header changed");
    let mut wire = BytesMut::new();
    if ProxyHeaderEncoder::new(Version::V2)
        .encode(&header, &mut wire)
        .is_ok()
    {
        let again = ProxyHeaderDecoder::new().decode(&mut wire);
        assert_eq!(
            again,
            Ok(Some(header)),
            "what was written reads differently"
        );
        assert!(wire.is_empty(), "bytes behind a written header");
    }
}
