//! gRPC-Web, as a browser speaks it over HTTP/1, to an upstream that speaks gRPC.

use harness::{Origin, RawResponse, Reply};

use super::{answer, ask, message, status, trailers_only};
use crate::support::{Running, Site};

const BINARY: (&str, &str) = ("content-type", "application/grpc-web+proto");
const TEXT: (&str, &str) = ("content-type", "application/grpc-web-text+proto");

fn site(origin: &Origin) -> Running {
    Site::new(origin)
        .listener("filters: [grpc_web, grpc: { max_message: 16B }]")
        .routes(
            "- match: { grpc: a.B }\n  cluster: site\n  without: []\n  filters:\n    \
             - cors: { origins: [\"https://app.test\"], methods: [POST], headers: [content-type, x-grpc-web, x-user-agent], expose: [grpc-status, grpc-message] }\n\
             - cluster: site",
        )
        .start()
}

fn origin() -> Origin {
    Origin::http(|request| match &*request.target {
        "/a.B/Fail" => trailers_only(5),
        "/a.B/Html" => Reply::status(502, "<html>"),
        "/a.B/Cut" => answer(&message(b"hi"), ""),
        _ => answer(
            &[&request.body[..], &message(b"more")].concat(),
            "grpc-status: 0\r\nx-a: 1\r\n",
        ),
    })
}

fn trailers(lines: &str) -> Vec<u8> {
    let length = u32::try_from(lines.len()).unwrap();
    [&[0x80], &length.to_be_bytes()[..], lines.as_bytes()].concat()
}

/// Standard base64 by hand, as a test should not agree with what it tests by sharing it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..4 {
            if place <= group.len() {
                text.push(char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

fn unbase64(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for group in text.chunks(4) {
        let digit = |byte: &u8| match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => 0,
        };
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| bits << 6 | u32::from(digit(byte)));
        let padding = group.iter().rev().take_while(|&&byte| byte == b'=').count();
        bytes.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
    }
    bytes
}

fn field<'a>(response: &'a RawResponse, name: &str) -> &'a str {
    response.header(name).unwrap_or("-")
}

#[test]
fn calls_go_there_and_back() {
    let origin = origin();
    let site = site(&origin);
    let mut client = site.client();
    let expected = [
        message(b"hi"),
        message(b"more"),
        trailers("grpc-status: 0\r\nx-a: 1\r\n"),
    ];
    let expected = expected.concat();
    for (name, fields, body, is_text) in [
        ("binary", &[BINARY][..], message(b"hi"), false),
        ("text", &[TEXT], base64(&message(b"hi")).into_bytes(), true),
        (
            "text, answered in binary",
            &[TEXT, ("accept", "application/grpc-web")],
            base64(&message(b"hi")).into_bytes(),
            false,
        ),
    ] {
        let response = ask(&mut client, "/a.B/C", fields, &body);
        assert_eq!(response.status, 200, "{name}");
        let body = if is_text {
            unbase64(&response.body)
        } else {
            response.body.clone()
        };
        assert_eq!(
            body.escape_ascii().to_string(),
            expected.escape_ascii().to_string(),
            "{name}"
        );
        assert_eq!(response.trailers, [], "{name}");
        // The origin names no subtype.
        let kind = if is_text {
            "application/grpc-web-text"
        } else {
            "application/grpc-web"
        };
        assert_eq!(field(&response, "content-type"), kind, "{name}");
        let seen = origin.take_requests().pop().unwrap();
        assert_eq!(
            seen.header("content-type"),
            Some("application/grpc+proto"),
            "{name}"
        );
        assert_eq!(seen.body, message(b"hi"), "{name}");
    }
    site.neighbour_is_well();
}

#[test]
fn errors_are_said_in_web() {
    let origin = origin();
    let site = site(&origin);
    let missing = "grpc-status: 13\r\ngrpc-message: upstream ended without grpc-status\r\n";
    for (path, body, said, content) in [
        ("/a.B/Fail", message(b""), "5 -", vec![]),
        (
            "/a.B/Html",
            message(b""),
            "14 upstream answered with HTTP status 502",
            vec![],
        ),
        (
            "/a.B/Cut",
            message(b""),
            "- -",
            [message(b"hi"), trailers(missing)].concat(),
        ),
        (
            "/a.B/C",
            message(&[0; 17]),
            "8 Content Too Large: grpc_message_too_large",
            vec![],
        ),
        (
            "/a.B/C",
            b"\x80\0\0\0\0".to_vec(),
            "13 Bad Request: grpc_bad_flag",
            vec![],
        ),
    ] {
        let mut client = site.client();
        let response = ask(&mut client, path, &[BINARY], &body);
        assert_eq!(status(&response), (200, said.to_owned()), "{path}");
        assert_eq!(response.body, content, "{path}");
        assert!(
            field(&response, "content-type").starts_with("application/grpc-web"),
            "{path}"
        );
    }
    site.wait_local_replies("grpc_web_not_grpc", 1);
    // Plain gRPC on the same listener is not touched.
    let mut client = site.client();
    let response = ask(&mut client, "/a.B/C", &[], &message(b"hi"));
    assert_eq!(
        (status(&response).1.as_str(), &*response.trailers[1].0),
        ("0 -", "x-a")
    );
    site.neighbour_is_well();
}

/// A browser asks first; the route's own `cors` answers, and exposes the status.
#[test]
fn preflights_find_the_route() {
    let origin = origin();
    let site = site(&origin);
    let mut client = site.client();
    client.send(
        "OPTIONS /a.B/C HTTP/1.1\r\nhost: a\r\norigin: https://app.test\r\n\
         access-control-request-method: POST\r\naccess-control-request-headers: content-type,x-grpc-web\r\n\r\n",
    );
    let response = client.read_response();
    assert_eq!(response.status, 204);
    assert_eq!(
        field(&response, "access-control-allow-origin"),
        "https://app.test"
    );
    let fields = [BINARY, ("origin", "https://app.test"), ("x-grpc-web", "1")];
    let response = ask(&mut client, "/a.B/Fail", &fields, &message(b""));
    assert_eq!(status(&response).1, "5 -");
    assert_eq!(
        field(&response, "access-control-allow-origin"),
        "https://app.test"
    );
    assert_eq!(
        field(&response, "access-control-expose-headers"),
        "grpc-status, grpc-message"
    );
    site.neighbour_is_well();
}
