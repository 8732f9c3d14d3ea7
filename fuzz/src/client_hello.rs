//! The ClientHello: the laws of its codec.
//!
//! An input is judged as the bytes of a connection, and as the extensions of an otherwise good message, so that a
//! fuzzer need not find out about lengths around them. Start at [`decode`]; the comparison with rustls is in
//! [`crate::client_hello_diff`].

#[path = "../../crates/tls/tests/support/mod.rs"]
mod support;

use bytes::BytesMut;
use portcullis_codec::Decoder as _;
use portcullis_testkit::{Random, laws};
use portcullis_tls::{ClientHello, ClientHelloDecoder, ClientHelloError, ClientHelloLimits, sniff};
use support::{list8, list16, message, record};

/// Limits small enough for a fuzzer to find their edges.
const SMALL: ClientHelloLimits = ClientHelloLimits {
    bytes: 128,
    records: 4,
    extensions: 3,
};

/// Any split gives the same answer, a look finds what taking finds, limits hold, and what was read is what it should be.
pub fn decode(data: &[u8]) {
    for wire in [data, &around_extensions(data)] {
        let mut random =
            Random::from_seed(data.len() as u64 ^ u64::from(*data.last().unwrap_or(&0)));
        for limits in [ClientHelloLimits::default(), SMALL] {
            let make = || ClientHelloDecoder::new(limits);
            let longest = 1 + random.below(64);
            let pieces = random.pieces(wire, longest);
            laws::split_agrees(make, pieces, laws::plain);
            take(wire, limits);
        }
    }
}

fn take(wire: &[u8], limits: ClientHelloLimits) {
    let mut src = BytesMut::from(wire);
    let taken = ClientHelloDecoder::new(limits).decode(&mut src);
    let looked = ClientHelloDecoder::new(limits).look(wire);
    assert_eq!(taken, looked, "a look finds something else");
    let sniffed = sniff(wire);
    match taken {
        Ok(Some(hello)) => {
            assert_eq!(sniffed, Some(true));
            assert!(wire.ends_with(&src), "bytes behind the message changed");
            let length = wire.len() - src.len();
            assert!(length <= limits.bytes);
            check(&hello);
            let mut decoder = ClientHelloDecoder::new(limits);
            let short = decoder.look(&wire[..length - 1]);
            assert_eq!(short, Ok(None), "the last byte is not needed");
            assert_eq!(decoder.look(&wire[..length]), Ok(Some(hello)));
        }
        Ok(None) => {
            assert_ne!(sniffed, Some(false));
            assert!(wire.len() < limits.bytes, "waits past the limit");
        }
        Err(ClientHelloError::NotTls | ClientHelloError::NotClientHello) => {
            assert_eq!(sniffed, Some(false));
        }
        // A limit can trip before there is enough to see what it is.
        Err(_) => {}
    }
}

fn check(hello: &ClientHello) {
    if let Some(name) = hello.server_name() {
        assert!((1..=253).contains(&name.len()), "{name:?}");
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        assert!(name.bytes().all(allowed), "{name:?}");
        assert!(!name.starts_with('.') && !name.ends_with('.'), "{name:?}");
    }
    assert!(hello.alpn().all(|name| !name.is_empty()));
    assert!(hello.versions().next().is_some());
    assert!(hello.cipher_suites() > 0);
}

/// A good message around extensions. One that rustls cannot do without stands in front of them.
pub(crate) fn around_extensions(extensions: &[u8]) -> Vec<u8> {
    const SIGNATURE_ALGORITHMS: &[u8] = &[0, 13, 0, 4, 0, 2, 4, 3];
    let longest = extensions.len().min(1 << 13);
    let block = [SIGNATURE_ALGORITHMS, &extensions[..longest]].concat();
    let body = [
        &[3, 3][..],
        &[0x7a; 32],
        &list8(&[]),
        &list16(&[0x13, 0x01]),
        &list8(&[0]),
        &list16(&block),
    ];
    record(22, &message(1, &body.concat()))
}
