//! `grpc`: what it refuses, what it adds, and what it counts.

use portcullis_http::Framing;
use portcullis_http::grpc::Named;

use super::play::{Play, message, mistakes};

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const GZIP: (&str, &str) = ("grpc-encoding", "gzip");
const PATH: &str = "/shop.Cart/Add";

#[test]
fn settings_are_checked() {
    let file = std::env::temp_dir().join("portcullis-no-such-descriptor-set");
    let missing = format!("- grpc: {{ descriptor_set: {} }}", file.display());
    for (name, filters, expected) in [
        ("plain", "- grpc", None),
        ("limit", "- grpc: { max_message: 64KiB }", None),
        (
            "limit too long",
            "- grpc: { max_message: 4GiB }",
            Some("no gRPC message is that long"),
        ),
        ("no file", &missing, Some("No such file")),
        (
            "no file of that kind",
            "- grpc: { descriptor_set: Cargo.toml }",
            Some("it is no descriptor set"),
        ),
        ("unknown", "- grpc: { max: 1 }", Some("max")),
    ] {
        let found = mistakes(filters).join("\n");
        match expected {
            Some(part) => assert!(found.contains(part), "{name}: {found}"),
            None => assert_eq!(found, "", "{name}"),
        }
    }
}

/// T11, from the client: the prefix alone is enough.
#[test]
fn bad_requests_are_refused() {
    let wrong = "application/grpc | 13 | Bad Request: ";
    type Row<'a> = (
        &'a str,
        &'a [(&'a str, &'a str)],
        &'a [&'a [u8]],
        Option<String>,
    );
    let rows: &[Row<'_>] = &[
        ("a message", &[GRPC], &[b"\0\0\0\0\x02hi"], None),
        ("in pieces", &[GRPC], &[b"\0\0\0", b"\0\x02h", b"i"], None),
        ("compressed", &[GRPC, GZIP], &[b"\x01\0\0\0\x02hi"], None),
        (
            "too long",
            &[GRPC],
            &[b"\0\0\0\0\x09"],
            Some("application/grpc | 8 | Content Too Large: grpc_message_too_large".to_owned()),
        ),
        (
            "too long, in pieces",
            &[GRPC],
            &[b"\0\0\0\0\x01a\0\xff", b"\xff\xff\xff"],
            Some("application/grpc | 8 | Content Too Large: grpc_message_too_large".to_owned()),
        ),
        (
            "compressed without a coding",
            &[GRPC],
            &[b"\x01\0\0\0\x02hi"],
            Some(format!("{wrong}grpc_compressed_without_encoding")),
        ),
        (
            "compressed by identity",
            &[GRPC, ("grpc-encoding", "identity")],
            &[b"\x01\0\0\0\x02hi"],
            Some(format!("{wrong}grpc_compressed_without_encoding")),
        ),
        (
            "flag",
            &[GRPC],
            &[b"\x07\0\0\0\0"],
            Some(format!("{wrong}grpc_bad_flag")),
        ),
        (
            "cut",
            &[GRPC],
            &[b"\0\0\0\0\x02h"],
            Some(format!("{wrong}grpc_truncated")),
        ),
        (
            "no call",
            &[("content-type", "application/json")],
            &[b"{\"a\": 1}"],
            None,
        ),
    ];
    for (name, fields, pieces, expected) in rows {
        let mut play = Play::new("- grpc: { max_message: 8B }", PATH, fields);
        play.ask().unwrap();
        let refused = pieces.iter().enumerate().find_map(|(index, piece)| {
            let last = index + 1 == pieces.len();
            play.send(piece, last).err()
        });
        let said = refused.map(|said| said.call());
        assert_eq!(said, *expected, "{name}");
    }
}

/// T11, from the upstream: also what it leaves out.
#[test]
fn answers_are_held_to_the_protocol() {
    const OK: &[(&str, &str)] = &[("grpc-status", "0")];
    type Row<'a> = (
        &'a str,
        &'a [u8],
        &'a [(&'a str, &'a str)],
        Result<&'a str, &'a str>,
        &'a str,
    );
    let rows: &[Row<'_>] = &[
        ("good", b"\0\0\0\0\x02hi", OK, Ok("grpc-status: 0"), "ok"),
        (
            "failed",
            b"",
            &[("grpc-status", "5")],
            Ok("grpc-status: 5"),
            "not_found",
        ),
        (
            "failed in the middle of a message",
            b"\0\0\0\0\x02h",
            &[("grpc-status", "14")],
            Ok("grpc-status: 14"),
            "unavailable",
        ),
        (
            "no trailers",
            b"\0\0\0\0\x02hi",
            &[],
            Ok("grpc-status: 13, grpc-message: upstream ended without grpc-status"),
            "internal",
        ),
        (
            "trailers without a status",
            b"",
            &[("x-a", "1")],
            Ok("x-a: 1, grpc-status: 13, grpc-message: upstream ended without grpc-status"),
            "internal",
        ),
        (
            "strange status",
            b"",
            &[("grpc-status", "99")],
            Ok("grpc-status: 99"),
            "unknown",
        ),
        (
            "too long",
            b"\0\0\0\0\x09",
            OK,
            Err("grpc_message_too_large"),
            "resource_exhausted",
        ),
        (
            "flag",
            b"\x80\0\0\0\0",
            OK,
            Err("grpc_bad_flag"),
            "internal",
        ),
        (
            "compressed",
            b"\x01\0\0\0\x02hi",
            OK,
            Err("grpc_compressed_without_encoding"),
            "internal",
        ),
        (
            "cut",
            b"\0\0\0\0\x02h",
            OK,
            Err("grpc_truncated"),
            "internal",
        ),
    ];
    for (name, body, end, expected, counted) in rows {
        let mut play = Play::new("- grpc: { max_message: 8B }", PATH, &[GRPC]).named(Named::Method);
        play.ask().unwrap();
        play.send(&message(b"a"), true).unwrap();
        let head = play.answer(200, &[GRPC], Framing::Chunked);
        let passed = match play.receive(body, Some(end)) {
            Ok((bytes, trailers)) => {
                assert_eq!(bytes, *body, "{name}");
                Ok(trailers.unwrap_or_default())
            }
            Err(said) => Err(said.reason.unwrap()),
        };
        assert_eq!(passed, expected.map(str::to_owned), "{name}");
        let stats = play.complete(&head, None);
        let labels = [
            ("service", "shop.Cart"),
            ("method", "Add"),
            ("status", *counted),
        ];
        assert_eq!(
            stats.counter("portcullis_grpc_calls_total", &labels),
            1,
            "{name}"
        );
    }
}

#[test]
fn calls_are_counted_by_names_that_the_configuration_has() {
    let set = write_set();
    let known = format!("- grpc: {{ descriptor_set: {} }}", set.display());
    let plain = "- grpc";
    type Row<'a> = (&'a str, &'a str, &'a str, Named, (&'a str, &'a str));
    let rows: &[Row<'_>] = &[
        (
            "nobody names it",
            plain,
            PATH,
            Named::No,
            ("other", "other"),
        ),
        (
            "the route names it",
            plain,
            PATH,
            Named::Method,
            ("shop.Cart", "Add"),
        ),
        (
            "the route names the service",
            plain,
            PATH,
            Named::Service,
            ("shop.Cart", "other"),
        ),
        (
            "the set names it",
            &known,
            PATH,
            Named::No,
            ("shop.Cart", "Add"),
        ),
        (
            "the set names the service",
            &known,
            "/shop.Cart/Peer",
            Named::No,
            ("shop.Cart", "other"),
        ),
        (
            "the set names neither",
            &known,
            "/peer.Made/Up",
            Named::No,
            ("other", "other"),
        ),
        (
            "no name at all",
            plain,
            "/peer",
            Named::No,
            ("other", "other"),
        ),
    ];
    for (name, filters, path, named, (service, method)) in rows {
        let mut play = Play::new(filters, path, &[GRPC]).named(*named);
        play.ask().unwrap();
        play.send(&[message(b"a"), message(b"b")].concat(), true)
            .unwrap();
        let head = play.answer(200, &[GRPC], Framing::Chunked);
        play.receive(&message(b"c"), None).unwrap();
        play.receive(b"", Some(&[("grpc-status", "0")])).unwrap();
        let stats = play.complete(&head, None);
        let of =
            |more: (&'static str, &'static str)| [("service", *service), ("method", *method), more];
        let messages = "portcullis_grpc_messages_total";
        assert_eq!(
            stats.counter("portcullis_grpc_calls_total", &of(("status", "ok"))),
            1,
            "{name}"
        );
        assert_eq!(
            stats.counter(messages, &of(("direction", "request"))),
            2,
            "{name}"
        );
        assert_eq!(
            stats.counter(messages, &of(("direction", "response"))),
            1,
            "{name}"
        );
        let seconds = stats.histogram(
            "portcullis_grpc_call_seconds",
            &[("service", service), ("method", method)],
        );
        assert_eq!((seconds.count(), seconds.sum()), (1, 5000), "{name}");
    }
    let _ = std::fs::remove_file(set);
}

/// `package shop; service Cart { rpc Add ... }` as a descriptor set.
fn write_set() -> std::path::PathBuf {
    let nested = |number: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap();
        [&[number << 3 | 2, length], content].concat()
    };
    let service = [nested(1, b"Cart"), nested(2, &nested(1, b"Add"))].concat();
    let file = [nested(2, b"shop"), nested(6, &service)].concat();
    let path = std::env::temp_dir().join(format!("portcullis-set-{}.pb", std::process::id()));
    std::fs::write(&path, nested(1, &file)).unwrap();
    path
}

#[test]
fn every_end_has_a_status() {
    type Row<'a> = (
        &'a str,
        u16,
        &'a [(&'a str, &'a str)],
        Option<&'static str>,
        &'a str,
    );
    let rows: &[Row<'_>] = &[
        (
            "trailers-only",
            200,
            &[GRPC, ("grpc-status", "7")],
            None,
            "permission_denied",
        ),
        (
            "no gRPC",
            503,
            &[("content-type", "text/html")],
            None,
            "unavailable",
        ),
        (
            "no gRPC, and a status",
            200,
            &[("content-type", "text/html")],
            None,
            "unknown",
        ),
        (
            "the client left",
            200,
            &[GRPC],
            Some("downstream_reset"),
            "cancelled",
        ),
        (
            "too late",
            200,
            &[GRPC],
            Some("request_timeout"),
            "deadline_exceeded",
        ),
        (
            "the upstream broke",
            200,
            &[GRPC],
            Some("upstream_reset"),
            "unavailable",
        ),
    ];
    for (name, status, fields, reason, expected) in rows {
        let mut play = Play::new("- grpc", PATH, &[GRPC]);
        play.ask().unwrap();
        let head = play.answer(*status, fields, Framing::Chunked);
        let stats = play.complete(&head, *reason);
        let labels = [("status", *expected)];
        assert_eq!(
            stats.counter("portcullis_grpc_calls_total", &labels),
            1,
            "{name}"
        );
    }
}

#[test]
fn listed_twice_it_counts_once_and_the_smaller_limit_holds() {
    for filters in [
        "[{ grpc: { max_message: 4B } }, { grpc: { max_message: 9B } }]",
        "[{ grpc: { max_message: 9B } }, { grpc: { max_message: 4B } }]",
    ] {
        let mut play = Play::new(filters, PATH, &[GRPC]);
        play.ask().unwrap();
        play.send(&message(b"four"), false).unwrap();
        let said = play.send(&message(b"five5"), true).unwrap_err();
        assert_eq!(said.reason, Some("grpc_message_too_large"), "{filters}");
        let stats = play.complete(&said, None);
        let calls = stats.counter(
            "portcullis_grpc_calls_total",
            &[("status", "resource_exhausted")],
        );
        assert_eq!(calls, 1, "{filters}");
        let labels = [("direction", "request")];
        assert_eq!(
            stats.counter("portcullis_grpc_messages_total", &labels),
            1,
            "{filters}"
        );
    }
}
