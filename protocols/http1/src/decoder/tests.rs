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

/// What is wrong has its line in the log, with as much as there was.
#[test]
fn what_was_read_of_a_head_that_is_wrong() {
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000));
    let rows: [(&str, &[u8], &str, &str, Version); 10] = [
        (
            "field",
            b"GET /a?b HTTP/1.0\r\nhost : a\r\n\r\n",
            "GET",
            "/a?b",
            Version::Http10,
        ),
        (
            "fold",
            b"\r\nPUT /a HTTP/1.1\r\na: b\r\n c\r\n\r\n",
            "PUT",
            "/a",
            Version::Http11,
        ),
        (
            "target",
            b"BREW a HTTP/1.1\r\n\r\n",
            "BREW",
            "a",
            Version::Http11,
        ),
        (
            "version",
            b"GET /a HTTP/3.0\r\n\r\n",
            "GET",
            "/a",
            Version::Http11,
        ),
        (
            "no version",
            b"GET /a\r\n\r\n",
            "GET",
            "/a",
            Version::Http11,
        ),
        (
            "bare line feed",
            b"GET /a HTTP/1.0\nhost: a\n\n",
            "GET",
            "/a",
            Version::Http10,
        ),
        ("too long", long.as_bytes(), "GET", "", Version::Http11),
        (
            "method",
            b"G(T /a HTTP/1.1\r\n\r\n",
            "G(T",
            "/a",
            Version::Http11,
        ),
        (
            "no text",
            b"\x16\x03\x01 \x02\r\n\r\n",
            "",
            "\x02",
            Version::Http11,
        ),
        ("one word", &[b'x'; 40], "", "", Version::Http11),
    ];
    for (name, bytes, method, path, version) in rows {
        let mut head = RequestHead::blank();
        let decoded = requests().decode_into(&mut BytesMut::from(bytes), &mut head);
        assert!(decoded.is_err(), "{name}");
        let seen = (
            head.method.as_bytes(),
            &*head.target.path_and_query,
            head.version,
        );
        assert_eq!(
            seen,
            (method.as_bytes(), path.as_bytes(), version),
            "{name}"
        );
    }
}
