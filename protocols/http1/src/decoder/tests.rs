//! The laws of the head decoders. What each malformed head is called is in `tests/vectors/`.

use portcullis_http::{KnownField, Status};
use portcullis_testkit::laws;

use super::*;

const HEAD: &[u8] = b"GET /a?b HTTP/1.1\r\nHost: a\r\nX-Tenant: t1\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: a\r\n\r\n";

fn requests() -> RequestDecoder {
    RequestDecoder::new(HeadLimits::default())
}

fn responses() -> ResponseDecoder {
    ResponseDecoder::new(HeadLimits::default())
}

#[test]
fn partial_heads_are_untouched() {
    laws::partial_input_untouched(requests, HEAD);
    laws::partial_input_untouched(requests, &[b"\r\n\r\n", HEAD].concat());
    laws::partial_input_untouched(responses, ANSWER);
}

#[test]
fn limits_trip_at_one_more() {
    let base = HeadLimits::default();
    laws::limit_trips_after(
        40,
        |fields| RequestDecoder::new(HeadLimits { fields, ..base }),
        |n| [b"GET / HTTP/1.1\r\n", &b"a: b\r\n".repeat(n)[..], b"\r\n"].concat(),
        "too_many_fields",
    );
    laws::limit_trips_after(
        40,
        |target_bytes| {
            RequestDecoder::new(HeadLimits {
                target_bytes,
                ..base
            })
        },
        |n| [b"GET ", &b"/".repeat(n)[..], b" HTTP/1.1\r\n\r\n"].concat(),
        "uri_too_long",
    );
    laws::limit_trips_after(
        90,
        |head_bytes| RequestDecoder::new(HeadLimits { head_bytes, ..base }),
        |n| {
            [
                b"GET / HTTP/1.1\r\nx:",
                &b"v".repeat(n - 22)[..],
                b"\r\n\r\n",
            ]
            .concat()
        },
        "head_too_large",
    );
    laws::limit_trips_after(
        90,
        |head_bytes| ResponseDecoder::new(HeadLimits { head_bytes, ..base }),
        |n| [b"HTTP/1.1 200\r\nx:", &b"v".repeat(n - 20)[..], b"\r\n\r\n"].concat(),
        "head_too_large",
    );
}

#[test]
fn long_targets_are_known_before_their_line_ends() {
    let mut decoder = RequestDecoder::new(HeadLimits {
        target_bytes: 100,
        ..HeadLimits::default()
    });
    let mut buffer = BytesMut::from(&[b"GET /", &b"a".repeat(200)[..]].concat()[..]);
    let error = decoder.decode(&mut buffer).unwrap_err();
    assert_eq!(error, HeadError::TargetTooLong);
    assert_eq!(error.status(), Status::URI_TOO_LONG);
}

#[test]
fn everything_shares_one_allocation() {
    let mut buffer = BytesMut::from(HEAD);
    let start = buffer.as_ptr() as usize;
    let head = requests().decode(&mut buffer).unwrap().unwrap();
    let within = start..start + HEAD.len();
    for slice in [
        &head.target.path_and_query[..],
        head.fields.get(KnownField::Host).unwrap(),
        head.fields.get_named("x-tenant").unwrap(),
    ] {
        assert!(within.contains(&(slice.as_ptr() as usize)), "{slice:?}");
    }
}

#[test]
fn ends_are_told_apart() {
    for (name, input, expected) in [
        ("nothing", &b""[..], Ok(None)),
        ("empty lines", b"\r\n\r\n", Ok(None)),
        ("half an empty line", b"\r", Err(HeadError::Truncated)),
        (
            "half a head",
            b"GET / HTTP/1.1\r\n",
            Err(HeadError::Truncated),
        ),
    ] {
        let answer = requests().decode_eof(&mut BytesMut::from(input));
        assert_eq!(answer, expected, "{name}");
    }
}
