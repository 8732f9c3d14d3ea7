//! The laws of the codec on generated messages: any split agrees, what is encoded decodes to the same.

mod support;

use bytes::{Bytes, BytesMut};
use portcullis_codec::Decoder;
use portcullis_http::{Framing, Method, Status};
use portcullis_http1::{
    BodyLimits, Connection, Encode, HeadLimits, RequestDecoder, ResponseDecoder,
    encode_request_head, encode_response_head,
};
use portcullis_testkit::{Random, laws};
use proptest::prelude::*;
use support::{Event, Messages, Role, merged};

fn token() -> impl Strategy<Value = String> {
    "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}"
}

fn value() -> impl Strategy<Value = String> {
    "([!-~]([ -~\t]{0,30}[!-~])?)?"
}

/// A head as text, without the fields that frame bodies.
fn head(first: String, fields: &[(String, String)]) -> Vec<u8> {
    let mut text = first;
    for (name, value) in fields {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = token().prop_map(|name| format!("x{name}"));
    proptest::collection::vec((name, value()), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_survive_a_round_trip(
        method in "[A-Z]{1,10}", path in "/[!-\"$-~]{0,40}", fields in fields(),
    ) {
        prop_assume!(method != "CONNECT");
        let input = head(format!("{method} {path} HTTP/1.1\r\n"), &fields);
        let decode = |bytes: &[u8]| {
            let mut decoder = RequestDecoder::new(HeadLimits::default());
            decoder.decode(&mut BytesMut::from(bytes)).unwrap()
        };
        let encode = |head: &_| {
            let mut bytes = Vec::new();
            let plain = Encode { framing: Framing::None, connection: Connection::Implied };
            encode_request_head(head, plain, &mut bytes).unwrap();
            bytes
        };
        // What is written canonically in the first place comes back byte by byte.
        prop_assert_eq!(laws::roundtrip(&input, decode, encode), Some(input));
    }

    #[test]
    fn responses_survive_a_round_trip(
        status in 200_u16..=999, reason in "[!-~]([ -~]{0,20}[!-~])?", fields in fields(),
    ) {
        let input = head(format!("HTTP/1.1 {status} {reason}\r\n"), &fields);
        let decode = |bytes: &[u8]| {
            let mut decoder = ResponseDecoder::new(HeadLimits::default());
            decoder.decode(&mut BytesMut::from(bytes)).unwrap()
        };
        let encode = |head: &_| {
            let mut bytes = Vec::new();
            let plain = Encode { framing: Framing::None, connection: Connection::Implied };
            encode_response_head(head, plain, &mut bytes).unwrap();
            bytes
        };
        let decoded = decode(&input).unwrap();
        prop_assert_eq!(decoded.status, Status::from_code(status).unwrap());
        prop_assert_eq!(decoded.reason, Bytes::from(reason));
        prop_assert_eq!(laws::roundtrip(&input, decode, encode), Some(input));
    }

    #[test]
    fn chunked_bodies_come_out_whole(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..10),
        seed in any::<u64>(),
    ) {
        let mut input = Vec::new();
        for chunk in &chunks {
            portcullis_http1::encode_chunk(chunk, &mut input);
        }
        portcullis_http1::encode_last_chunk(None, &mut input).unwrap();
        let make = || Messages::body(Framing::Chunked, BodyLimits::default());
        let pieces = Random::from_seed(seed).pieces(&input, 20);
        let seen = laws::split_agrees(make, pieces, merged);
        let mut expected = vec![Event::Framing(Framing::Chunked)];
        if !chunks.is_empty() {
            expected.push(Event::Data(chunks.concat()));
        }
        expected.push(Event::End);
        prop_assert_eq!(seen.items, expected);
        prop_assert_eq!(seen.error, None);
    }

    /// Noise made of the bytes that matter: whatever it means, it means the same in every split.
    #[test]
    fn noise_is_judged_alike_in_every_split(
        noise in "(GET|POST|/|HTTP/1.1|[ :;,5a]|\r\n|\r|\n|\0|\t|Host: a|Content-Length: 3|Transfer-Encoding: chunked|0){0,20}",
    ) {
        let requests = || Messages::new(Role::requests(HeadLimits::default()), BodyLimits::default());
        laws::every_split_agrees(requests, noise.as_bytes(), merged);
        let prefixed = format!("POST / HTTP/1.1\r\n{noise}");
        laws::every_split_agrees(requests, prefixed.as_bytes(), merged);
        let responses = || {
            let role = Role::responses(HeadLimits::default(), Method::Get);
            Messages::new(role, BodyLimits::default())
        };
        let prefixed = format!("HTTP/1.1 200 OK\r\n{noise}");
        laws::every_split_agrees(responses, prefixed.as_bytes(), merged);
        let bodies = || Messages::body(Framing::Chunked, BodyLimits::default());
        laws::every_split_agrees(bodies, noise.as_bytes(), merged);
    }
}
