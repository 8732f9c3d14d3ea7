//! `grpc_web`: both forms there and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_http::Framing;

use super::play::{Play, message};

const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");
const BINARY: (&str, &str) = ("content-type", "application/grpc-web+proto");
const TEXT: (&str, &str) = ("content-type", "application/grpc-web-text+proto");
const PATH: &str = "/shop.Cart/Add";

fn trailers(lines: &str) -> Vec<u8> {
    let length = u32::try_from(lines.len()).unwrap();
    [&[0x80], &length.to_be_bytes()[..], lines.as_bytes()].concat()
}

#[test]
fn requests_become_grpc() {
    for (name, fields, body, framing) in [
        ("binary", BINARY, message(b"hi"), Framing::Length(100)),
        (
            "text",
            TEXT,
            STANDARD.encode(message(b"hi")).into_bytes(),
            Framing::Chunked,
        ),
        ("grpc", GRPC, message(b"hi"), Framing::Length(100)),
    ] {
        for cut in [1, 2, 3, 5, 100] {
            let mut play = Play::new("- grpc_web", PATH, &[fields]);
            play.ask().unwrap();
            let sent = &play.request.head.fields;
            assert_eq!(
                sent.get_named("content-type"),
                Some(&b"application/grpc+proto"[..]),
                "{name}"
            );
            let te = (name != "grpc").then_some(&b"trailers"[..]);
            assert_eq!(sent.get_named("te"), te, "{name}");
            assert_eq!(play.request.framing, framing, "{name}");
            let mut passed = Vec::new();
            for piece in body.chunks(cut) {
                passed.extend(play.send(piece, false).unwrap());
            }
            passed.extend(play.send(b"", true).unwrap());
            assert_eq!(passed, message(b"hi"), "{name} by {cut}");
        }
    }
}

#[test]
fn what_is_no_web_call_is_refused_in_its_own_words() {
    for (name, fields, body, expected) in [
        ("no base64", TEXT, &b"AAA_"[..], "grpc_web_bad_base64"),
        ("cut base64", TEXT, b"AAAAAAA", "grpc_web_truncated_base64"),
        ("trailers", BINARY, b"\x80\0\0\0\0", "grpc_bad_flag"),
        ("cut message", BINARY, b"\0\0\0\0\x02h", "grpc_truncated"),
    ] {
        let mut play = Play::new("- grpc_web", PATH, &[fields]);
        play.ask().unwrap();
        let said = play.send(body, true).unwrap_err();
        let call = format!("{} | 13 | Bad Request: {expected}", fields.1);
        assert_eq!(said.call(), call, "{name}");
    }
}

#[test]
fn answers_become_web() {
    let whole = [
        message(b"one"),
        message(b"two"),
        trailers("grpc-status: 0\r\nx-a: 1\r\n"),
    ]
    .concat();
    let accept_text = ("accept", "*/*, application/grpc-web-text");
    for (name, fields, content_type, is_text) in [
        ("binary", &[BINARY][..], BINARY.1, false),
        ("text", &[TEXT], TEXT.1, true),
        (
            "binary, answered in text",
            &[BINARY, accept_text],
            TEXT.1,
            true,
        ),
    ] {
        let mut play = Play::new("- grpc_web", PATH, fields);
        play.ask().unwrap();
        let head = play.answer(200, &[GRPC], Framing::Length(20));
        assert_eq!(head.field("content-type"), Some(content_type), "{name}");
        assert_eq!(head.framing, Some(Framing::Chunked), "{name}");
        let mut seen = Vec::new();
        for (piece, end) in [
            (message(b"one"), None),
            (message(b"two"), None),
            (vec![], Some(&[("Grpc-Status", "0"), ("x-a", "1")][..])),
        ] {
            let (bytes, left) = play.receive(&piece, end).unwrap();
            assert_eq!(left, None, "{name}: trailers are in the body now");
            // Each piece can be read when it arrives.
            seen.extend(if is_text {
                STANDARD.decode(bytes).unwrap()
            } else {
                bytes
            });
        }
        assert_eq!(seen, whole, "{name}");
    }
}

#[test]
fn answers_without_messages_stay_heads() {
    type Row<'a> = (
        &'a str,
        u16,
        &'a [(&'a str, &'a str)],
        Framing,
        &'a str,
        Option<&'static str>,
    );
    let rows: &[Row<'_>] = &[
        (
            "trailers-only",
            200,
            &[GRPC, ("grpc-status", "5"), ("grpc-message", "no")],
            Framing::None,
            "application/grpc-web+proto | 5 | no",
            None,
        ),
        (
            "no gRPC",
            502,
            &[("content-type", "text/html"), ("content-encoding", "gzip")],
            Framing::Length(300),
            "application/grpc-web | 14 | upstream answered with HTTP status 502",
            Some("grpc_web_not_grpc"),
        ),
    ];
    for (name, status, fields, framing, expected, reason) in rows {
        let mut play = Play::new("- grpc_web", PATH, &[BINARY]);
        play.ask().unwrap();
        let head = play.answer(*status, fields, *framing);
        assert_eq!(
            (head.call().as_str(), head.status),
            (*expected, 200),
            "{name}"
        );
        assert_eq!(head.reason, *reason, "{name}");
        assert_eq!(head.field("content-encoding"), None, "{name}");
    }
}

#[test]
fn an_end_without_status_is_given_one() {
    for (filters, name) in [("[grpc_web]", "alone"), ("[grpc_web, grpc]", "with grpc")] {
        let mut play = Play::new(filters, PATH, &[BINARY]);
        play.ask().unwrap();
        play.answer(200, &[GRPC], Framing::Chunked);
        let (bytes, left) = play.receive(&message(b"one"), Some(&[])).unwrap();
        let lines = "grpc-status: 13\r\ngrpc-message: upstream ended without grpc-status\r\n";
        assert_eq!(bytes, [message(b"one"), trailers(lines)].concat(), "{name}");
        assert_eq!(left, None, "{name}");
    }
}
